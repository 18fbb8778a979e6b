"""FGSM and PGD against closed forms on linear networks, a peer library, and what must hold of any attack."""

import numpy as np
import pytest
import torch
from conftest import assert_one_parameter_error
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from edgewise.data.examples import Dataset
from edgewise.data.pixels import PixelSpace
from edgewise.network.models import build_model, initial_theta
from edgewise.network.objective import Objective
from edgewise.params import ModelParams, RobustnessParams
from edgewise.unseen.attacks import (
    LEFT,
    LEVELS,
    TRIED,
    Attacked,
    attack_loss,
    calibrated_strengths,
    into_ball,
    random_starts,
    steepest_ascent,
)
from edgewise.unseen.attacks import attack as attack_at

SHAPE = (3, 4, 4)
MEAN, STD = (
    torch.tensor([0.5, 0.4, 0.3]).double()[:, None, None],
    torch.tensor([0.2, 0.3, 0.25]).double()[:, None, None],
)
PIXELS = PixelSpace(MEAN, STD, 0.0, 1.0)
#: So wide a range that only the ball binds.
UNBOUNDED = PixelSpace(MEAN, STD, -1e6, 1e6)

few = settings(derandomize=True, deadline=None, max_examples=15, database=None)
norms = pytest.mark.parametrize("norm", ["linf", "l2"])
losses = pytest.mark.parametrize("loss", ["mse", "ce"])


def images(n: int, seed: int = 0, outside: float = 0.0) -> torch.Tensor:
    """Normalised inputs; with `outside`, pixels reach that far beyond the range from 0 to 1."""
    pixels = torch.rand((n, *SHAPE), generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return ((pixels * (1 + 2 * outside) - outside) - MEAN) / STD


def network(loss: str, n: int = 24, seed: int = 0, chunk_size: int = 1000, outside: float = 0.0):
    """A small random network, and labels that it mostly gets right, so that there is something to attack."""
    model = build_model(ModelParams(width=16, depth=1), SHAPE)
    theta = initial_theta(model, 1.0, seed)
    x = images(n, seed, outside)
    y = Objective(model, loss, x, torch.zeros(n, dtype=torch.int64), n).outputs(theta, x).argmax(dim=1)
    y[:3] = 1 - y[:3]
    return Objective(model, loss, x, y, chunk_size), theta


def params(norm: str = "linf", **changes) -> RobustnessParams:
    epsilons = [1, 3, 8, 20] if norm == "linf" else [5, 20, 50, 120]
    return RobustnessParams(**{"norm": norm, "epsilons": epsilons, "steps": 6, **changes})


def attack(objective: Objective, theta: torch.Tensor, pixels: PixelSpace, params: RobustnessParams) -> list[Attacked]:
    """The attacks at the strengths of the parameters."""
    return attack_at(objective, theta, pixels, params, params.epsilons)


def accuracies(results: list[Attacked]) -> tuple[np.ndarray, np.ndarray]:
    return tuple(
        np.array([getattr(r, name).double().mean() for r in results]) for name in ("fgsm_correct", "pgd_correct")
    )


def linear(loss: str = "ce", n: int = 40):
    """A linear network with random weights, and labels at random."""
    model = nn.Sequential(nn.Flatten(), nn.Linear(int(np.prod(SHAPE)), 2))
    generator = torch.Generator().manual_seed(3)
    theta = 0.1 * torch.randn(2 * int(np.prod(SHAPE)) + 2, generator=generator, dtype=torch.float64)
    objective = Objective(model, loss, images(n, 5), torch.randint(0, 2, (n,), generator=generator), 1000)
    return objective, theta


def margin_of(objective: Objective, theta: torch.Tensor) -> torch.Tensor:
    outputs = objective.outputs(theta, objective.x)
    rows = torch.arange(len(objective))
    return outputs[rows, objective.y] - outputs[rows, 1 - objective.y]


@norms
def test_on_a_linear_network_the_optimum_is_found(norm):
    objective, theta = linear()
    weights = theta[:-2].view(2, *SHAPE)
    in_pixels = (weights[1] - weights[0]) / STD
    dual = in_pixels.abs().sum() if norm == "linf" else in_pixels.norm()
    margin = margin_of(objective, theta)
    results = attack(objective, theta, UNBOUNDED, params(norm))
    for result in results:
        # The margin falls by at most epsilon times the dual norm of its gradient.
        expected = margin > result.epsilon / LEVELS * dual
        assert torch.equal(result.pgd_correct, expected)
        assert torch.equal(result.fgsm_correct, expected)
    survivors = results[-1].pgd_correct
    sign = (2 * objective.y - 1)[:, None, None, None]
    direction = in_pixels.sign() if norm == "linf" else in_pixels / in_pixels.norm()
    best = -sign * direction * results[-1].epsilon / LEVELS
    assert torch.allclose(results[-1].perturbation[survivors], best[survivors], atol=1e-12)


@losses
@norms
@given(seed=st.integers(0, 1000), outside=st.sampled_from([0.0, 0.7]))
@few
def test_ball_range_and_order(loss, norm, seed, outside):
    objective, theta = network(loss, n=12, seed=seed, outside=outside)
    results = attack(objective, theta, PIXELS, params(norm, restarts=2, steps=4, step_size=0.6, seed=seed))
    clean = PIXELS.pixels(objective.x)
    for result in results:
        epsilon, change = result.epsilon / LEVELS, result.perturbation
        lengths = change.abs().amax((1, 2, 3)) if norm == "linf" else change.flatten(1).norm(dim=1)
        assert (lengths <= epsilon * (1 + 1e-12)).all()
        assert (clean + change >= clean.clamp(max=0) - 1e-12).all()
        assert (clean + change <= clean.clamp(min=1) + 1e-12).all()
        # The reported correctness is that of the network on the reported perturbation.
        outputs = objective.outputs(theta, PIXELS.perturbed(objective.x, change))
        assert torch.equal(outputs.argmax(dim=1) == objective.y, result.pgd_correct)
        assert (~result.pgd_correct | result.fgsm_correct).all()
    for smaller, larger in zip(results, results[1:], strict=False):
        assert (~larger.pgd_correct | smaller.pgd_correct).all()
        assert (~larger.fgsm_correct | smaller.fgsm_correct).all()


@losses
@norms
@given(seed=st.integers(0, 1000))
@few
def test_epsilon_zero_is_the_clean_accuracy(loss, norm, seed):
    objective, theta = network(loss, seed=seed, outside=0.5)
    clean = attack(objective, theta, PIXELS, params(norm, steps=1))[0]
    assert clean.epsilon == 0
    assert clean.rows()[1]["accuracy"] == objective.evaluate(theta).accuracy
    assert torch.equal(clean.pgd_correct, objective.evaluate(theta).correct)
    assert not clean.perturbation.any()


@pytest.mark.parametrize(("loss", "maximise"), [("ce", "loss"), ("ce", "margin"), ("mse", "margin")])
@norms
def test_the_attack_lowers_the_accuracy(loss, maximise, norm):
    fgsm, pgd = accuracies(attack(*network(loss), PIXELS, params(norm, maximise=maximise)))
    assert fgsm[0] == pgd[0] == 21 / 24
    assert pgd[-1] < 0.5 * pgd[0]


@norms
def test_ascending_mse_overstates_the_robustness_and_ascending_the_margin_does_not(norm):
    """Far from one-hot outputs, MSE also grows where the network gets more sure of the right label."""
    accuracy = {
        maximise: accuracies(attack(*network("mse"), PIXELS, params(norm, maximise=maximise)))[1]
        for maximise in ("loss", "margin")
    }
    assert (accuracy["margin"] <= accuracy["loss"]).all()
    assert accuracy["margin"][-1] < accuracy["loss"][-1]


@norms
def test_the_strengths_are_those_asked_for_whatever_the_parameters_say(norm):
    objective, theta = network("mse")
    for other in (params(norm), params(norm, epsilons="auto")):
        results = attack_at(objective, theta, PIXELS, other, [2.0, 50.0])
        assert [result.epsilon for result in results] == [0.0, 2.0, 50.0]
        expected = attack(objective, theta, PIXELS, params(norm, epsilons=[2, 50]))
        for one, same in zip(results, expected, strict=True):
            assert torch.equal(one.perturbation, same.perturbation)


def closed_form(margins: list[float], wrong: int = 0) -> tuple[Objective, torch.Tensor]:
    """A linear network on one-pixel images that is fooled beyond just these strengths, and always on `wrong` more.

    The outputs are the normalised pixel z and 0, and epsilon moves z by epsilon / 255 / std. Both norms are the same.
    """
    z = torch.tensor([level / LEVELS / 0.5 for level in margins] + [-0.1] * wrong, dtype=torch.float64)
    y = torch.arange(len(z)) % 2
    x = torch.where(y == 0, z, -z).view(-1, 1, 1, 1)
    model = nn.Sequential(nn.Flatten(), nn.Linear(1, 2))
    return Objective(model, "ce", x, y, 1000), torch.tensor([1.0, 0.0, 0.0, 0.0]).double()


#: Of one channel, so wide that only the ball binds.
ONE_PIXEL = PixelSpace(torch.full((1, 1, 1), 0.5).double(), torch.full((1, 1, 1), 0.5).double(), -1e6, 1e6)


@norms
@pytest.mark.parametrize("wrong", [0, 37])
def test_calibrated_strengths_leave_the_shares_of_the_clean_accuracy_that_they_should(norm, wrong):
    """A hundred examples that are fooled at one strength each: the accuracy is what lies above epsilon."""
    levels = np.geomspace(1, 100, 100)
    objective, theta = closed_form(list(levels), wrong)
    found = calibrated_strengths(objective, theta, ONE_PIXEL, params(norm))
    # On a logarithmic scale of 1 to 100 the share that is left falls by 1 / log2(100) / 2 a tried strength.
    for epsilon, wanted in zip(found, sorted(LEFT, reverse=True), strict=True):
        assert epsilon in TRIED
        left = (levels > epsilon).mean()
        others = [abs((levels > tried).mean() - wanted) for tried in TRIED]
        assert abs(left - wanted) == pytest.approx(min(others))
        assert abs(left - wanted) <= 0.5 / np.log2(100) / 2 + 0.01
    assert found == sorted(found)


@norms
@pytest.mark.parametrize("factor", [1 / 4, 1.0, 2.0])
def test_calibrated_strengths_scale_with_the_margins(norm, factor):
    levels = factor * np.geomspace(1.05, 105, 100)
    found = calibrated_strengths(*closed_form(list(levels)), ONE_PIXEL, params(norm))
    reference = calibrated_strengths(*closed_form(list(levels / factor)), ONE_PIXEL, params(norm))
    assert found == pytest.approx([factor * epsilon for epsilon in reference])


@norms
def test_where_the_accuracy_falls_at_once_the_strengths_are_those_around_the_fall(norm):
    """All examples are fooled between two tried strengths: what is left is all or nothing."""
    found = calibrated_strengths(*closed_form([1.2] * 20), ONE_PIXEL, params(norm))
    assert found == [1.0, 2**0.5]
    assert TRIED[TRIED.index(1.0) + 1] == 2**0.5


@norms
def test_a_network_that_is_always_wrong_has_strengths_too(norm):
    found = calibrated_strengths(*closed_form([], wrong=12), ONE_PIXEL, params(norm))
    assert found
    assert set(found) <= set(TRIED)


@losses
@norms
def test_calibrated_strengths_of_a_network_can_tell_it_apart_from_others(loss, norm):
    objective, theta = network(loss, n=60)
    found = calibrated_strengths(objective, theta, PIXELS, params(norm))
    assert found == calibrated_strengths(objective, theta, PIXELS, params(norm, epsilons="auto"))
    assert found == sorted(set(found))
    clean, *left = accuracies(attack_at(objective, theta, PIXELS, params(norm), found))[1]
    assert len(left) == len(LEFT)
    np.testing.assert_allclose(np.array(left) / clean, LEFT, atol=0.2)


@losses
@norms
def test_more_steps_and_restarts_do_not_help_the_network(loss, norm):
    """Gradient masking would show as an attack that gets weaker with more effort (Athalye et al. 2018)."""
    objective, theta = network(loss, n=40)
    _, weak = accuracies(attack(objective, theta, PIXELS, params(norm, steps=3, restarts=1)))
    _, strong = accuracies(attack(objective, theta, PIXELS, params(norm, steps=30, restarts=4, step_size=0.1)))
    assert (strong <= weak + 1 / 40).all()


@losses
@norms
@pytest.mark.parametrize("chunk_size", [1, 7])
def test_chunked_equals_unchunked(loss, norm, chunk_size):
    whole, theta = network(loss)
    chunked, _ = network(loss, chunk_size=chunk_size)
    for one, other in zip(*(attack(o, theta, PIXELS, params(norm)) for o in (whole, chunked)), strict=True):
        assert torch.equal(one.pgd_correct, other.pgd_correct)
        assert torch.equal(one.fgsm_correct, other.fgsm_correct)
        assert torch.allclose(one.perturbation, other.perturbation, atol=1e-9)


@norms
def test_same_seed_same_attack(norm):
    runs = [attack(*network("mse"), PIXELS, params(norm, restarts=3)) for _ in range(2)]
    assert all(torch.equal(one.perturbation, other.perturbation) for one, other in zip(*runs, strict=True))


@norms
def test_random_starts_are_in_the_ball_and_the_first_ones_stay(norm):
    x = images(50)
    few_starts, more = random_starts(x, norm, 2, seed=1), random_starts(x, norm, 4, seed=1)
    assert torch.equal(few_starts, more[:, :2])
    assert random_starts(x, norm, 0, seed=1).shape == (len(x), 0, *SHAPE)
    lengths = more.abs().amax((2, 3, 4)) if norm == "linf" else more.flatten(2).norm(dim=2)
    assert (lengths <= 1 + 1e-12).all()
    assert lengths.mean() > 0.9


def test_into_ball():
    change = torch.tensor([[3.0, 4.0], [0.3, 0.4], [0.0, 0.0]]).double().view(3, 1, 1, 2)
    wide = torch.tensor(10.0).double()
    got = into_ball(change, "l2", 1.0, -wide, wide).view(3, 2)
    assert torch.allclose(got, torch.tensor([[0.6, 0.8], [0.3, 0.4], [0.0, 0.0]]).double())
    got = into_ball(change, "linf", 0.35, -wide, torch.tensor(0.32).double()).view(3, 2)
    assert torch.allclose(got, torch.tensor([[0.32, 0.32], [0.3, 0.32], [0.0, 0.0]]).double())


@norms
def test_no_gradient_no_direction(norm):
    assert torch.equal(steepest_ascent(torch.zeros(2, 1, 1, 2), norm), torch.zeros(2, 1, 1, 2))


@given(st.lists(st.floats(-5, 5), min_size=3, max_size=3), st.integers(0, 2))
@few
def test_ce_is_ascended_by_its_margin(outputs, label):
    """CE = log(1 + exp(margin)), for any number of classes."""
    model = nn.Linear(1, 1)
    objective = Objective(model, "ce", torch.zeros(1, 1), torch.tensor([label]), 1)
    logits = torch.tensor([outputs]).double()
    margin = attack_loss(objective, logits, objective.y, "loss")
    assert torch.allclose(nn.functional.softplus(margin), objective.example_losses(logits, objective.y))


def test_saturated_ce_does_not_weaken_the_attack():
    """Where softmax is 1 to the last bit, the gradient of CE is zero; that of the margin is not."""
    objective, theta = linear("ce")
    confident = 1e4 * theta
    mild, saturated = (accuracies(attack(objective, t, PIXELS, params()))[1] for t in (theta, confident))
    assert np.array_equal(mild, saturated)
    assert mild[-1] < mild[0]


def test_mse_is_also_large_beyond_the_label_and_the_margin_is_not():
    objective, _ = linear("mse")
    y = torch.tensor([0, 0])
    outputs = torch.tensor([[5.0, 0.0], [0.4, 0.6]]).double()
    by_loss, by_margin = (attack_loss(objective, outputs, y, maximise) for maximise in ("loss", "margin"))
    assert by_loss[0] > by_loss[1]
    assert by_margin[0] < by_margin[1]


def test_the_margin_of_many_outputs_is_positive_exactly_where_the_network_errs():
    """Of MSE; the logsumexp of four outputs near 0 and 1 would be above the label's even where that is the largest."""
    outputs = torch.rand((200, 5), generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    y = torch.arange(200) % 5
    objective = Objective(nn.Linear(1, 5), "mse", torch.zeros(200, 1), y, 1000)
    margin = attack_loss(objective, outputs, y, "margin")
    expected = [
        max(o for j, o in enumerate(row) if j != label) - row[label] for row, label in zip(outputs, y, strict=True)
    ]
    assert margin.tolist() == [value.item() for value in expected]
    assert torch.equal(margin < 0, outputs.argmax(dim=1) == y)


@pytest.mark.parametrize("loss", ["mse", "ce"])
def test_the_attack_on_a_linear_network_of_many_classes_succeeds_beyond_the_nearest_boundary(loss):
    """Rows of equal length at equal angles: the boundary to class j is (o_y - o_j) / |w_y - w_j| away.

    The outputs are large, so that the logsumexp of CE is nearly the largest of them.
    """
    shape = (1, 1, 8)
    model = nn.Sequential(nn.Flatten(), nn.Linear(8, 4, bias=False))
    theta = 300 * torch.eye(4, 8, dtype=torch.float64).reshape(-1)
    x = 0.2 * torch.rand((40, *shape), generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    one, none = torch.ones(1, 1, 1, dtype=torch.float64), torch.zeros(1, 1, 1, dtype=torch.float64)
    free = PixelSpace(none, one, -10.0, 10.0)
    outputs = x.reshape(40, 8)[:, :4]
    y = outputs.argmax(dim=1)
    objective = Objective(model, loss, x, y, 7)
    gaps = outputs.gather(1, y[:, None]) - outputs
    gaps[torch.arange(40), y] = torch.inf
    distance = gaps.min(dim=1).values / 2**0.5
    epsilons = [4.0, 10.0, 20.0]
    settings = params("l2", steps=40, step_size=0.1, restarts=1)
    for attacked in attack_at(objective, theta, free, settings, epsilons)[1:]:
        radius = attacked.epsilon / 255
        assert attacked.pgd_correct[radius < 0.99 * distance].all()
        assert not attacked.pgd_correct[radius > 1.1 * distance].any()
        assert attacked.pgd_correct.any() or radius > distance.max()


def test_pixel_space_of_a_dataset():
    x = np.array([-1.0, 0.0, 4.0], np.float32).reshape(3, 1, 1, 1)
    y = np.zeros(3, np.int64)

    def space(mean: float, std: float) -> PixelSpace:
        statistics = (np.array([value], np.float32) for value in (mean, std))
        return PixelSpace.of(Dataset(x, y, x, y, *statistics, ("a", "b"), "npz"), torch.zeros(1))

    assert (space(0.2, 0.2).low, space(0.2, 0.2).high) == (0.0, 1.0)
    assert (space(0.0, 2.0).low, space(0.0, 2.0).high) == (-2.0, 8.0)


def test_feasible_changes_include_no_change_and_stay_in_the_valid_range():
    x = images(10, outside=0.6)
    lowest, highest = PIXELS.feasible_change(x)
    pixels = PIXELS.pixels(x)
    assert (lowest <= 0).all()
    assert (highest >= 0).all()
    inside = (pixels >= 0) & (pixels <= 1)
    assert torch.allclose((pixels + lowest)[inside], torch.zeros(1).double())
    assert torch.allclose((pixels + highest)[inside], torch.ones(1).double())
    assert not highest[pixels > 1].any()
    assert not lowest[pixels < 0].any()
    assert torch.allclose(PIXELS.inputs(pixels), x)


@norms
def test_peer_foolbox(norm):
    """FGSM as foolbox has it, and at least as many errors as its PGD."""
    foolbox = pytest.importorskip("foolbox")
    objective, theta = network("ce", n=60)
    objective.x, theta = objective.x.float(), theta.float()
    pixels = PixelSpace(MEAN.float(), STD.float(), 0.0, 1.0)

    class Whole(nn.Module):
        def forward(self, images):
            return objective.outputs(theta, pixels.inputs(images))

    peer = foolbox.PyTorchModel(Whole().eval(), bounds=(0, 1), device="cpu")
    clean = pixels.pixels(objective.x).clamp(0, 1)
    settings_ = params(norm, steps=20, restarts=2)
    results = attack(objective, theta, pixels, settings_)[1:]
    attacks = foolbox.attacks
    one_step = attacks.LinfFastGradientAttack if norm == "linf" else attacks.L2FastGradientAttack
    many = attacks.LinfPGD if norm == "linf" else attacks.L2PGD
    kept = torch.ones(len(objective), dtype=torch.bool)
    for result in results:
        epsilon = result.epsilon / LEVELS
        _, _, fooled = one_step(random_start=False)(peer, clean, objective.y, epsilons=epsilon)
        kept &= ~fooled
        assert (kept != result.fgsm_correct).sum() <= 1
        torch.manual_seed(0)
        _, _, fooled = many(steps=20, rel_stepsize=0.25, random_start=False)(peer, clean, objective.y, epsilons=epsilon)
        assert result.pgd_correct.sum() <= (~fooled).sum() + 1


@pytest.mark.parametrize(
    ("text", "name", "allowed"),
    [
        ("norm: l1", "robustness.norm", "'linf' or 'l2'"),
        ("epsilons: []", "robustness.epsilons", "at least 1"),
        ("epsilons: [0, 8]", "robustness.epsilons[0]", "greater than 0"),
        ("epsilons: [8, 4]", "robustness.epsilons", "ascend"),
        ("epsilons: [8, 8]", "robustness.epsilons", "without repeats"),
        ("epsilons: [.inf]", "robustness.epsilons[0]", "finite"),
        ("maximise: accuracy", "robustness.maximise", "'loss' or 'margin'"),
        ("steps: 0", "robustness.steps", "greater than or equal to 1"),
        ("step_size: 0", "robustness.step_size", "greater than 0"),
        ("restarts: 0", "robustness.restarts", "greater than or equal to 1"),
        ("examples: 0", "robustness.examples", "greater than or equal to 1"),
        ("every: 0", "robustness.every", "greater than or equal to 1"),
        ("strength: 3", "robustness.strength", "is not a parameter"),
    ],
)
def test_bad_parameters_are_one_clear_error(text, name, allowed):
    assert_one_parameter_error(f"robustness: {{{text}}}", name, allowed)
