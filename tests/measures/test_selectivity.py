"""Alignment, influence, coupling and their null on cases with a known answer."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats
from torch import Tensor, nn

from edgewise.measures.selectivity import (
    alignment,
    coupling,
    curvature_influence,
    measure_examples,
    measure_groups,
    permutation_null,
    permutation_p_value,
    rank_correlation,
)
from edgewise.network.objective import Objective


@given(seed=st.integers(0, 10_000), size=st.integers(1, 20))
def test_alignment_is_the_squared_cosine(seed, size):
    rng = np.random.default_rng(seed)
    g, v = rng.standard_normal(size), rng.standard_normal(size)
    v /= np.linalg.norm(v)
    value = alignment(torch.from_numpy(g), torch.from_numpy(v))
    assert 0 <= value <= 1 + 1e-12
    assert value == pytest.approx((g @ v / np.linalg.norm(g)) ** 2)
    assert value == pytest.approx(alignment(torch.from_numpy(-7 * g), torch.from_numpy(-v)))
    assert curvature_influence(torch.from_numpy(g), torch.from_numpy(v)) == pytest.approx((g @ v) ** 2)


def test_alignments_with_an_orthonormal_basis_sum_to_one(rng):
    basis = torch.from_numpy(np.linalg.qr(rng.standard_normal((9, 9)))[0])
    g = torch.from_numpy(rng.standard_normal(9))
    assert sum(alignment(g, v) for v in basis) == pytest.approx(1)
    assert sum(curvature_influence(g, v) for v in basis) == pytest.approx((g @ g).item())


def test_alignment_is_one_along_v_zero_across_it_and_zero_for_no_gradient():
    v = torch.tensor([1.0, 0.0])
    assert alignment(torch.tensor([-3.0, 0.0]), v) == 1
    assert alignment(torch.tensor([0.0, 5.0]), v) == 0
    assert alignment(torch.zeros(2), v) == 0
    assert curvature_influence(torch.tensor([-3.0, 4.0]), v) == 9


@pytest.mark.parametrize("k", [1, 3])
def test_groups_are_measured_with_the_gradient_of_their_own_mean_loss(rng, k):
    x = torch.from_numpy(rng.standard_normal((6, 3)))
    y = torch.tensor([0, 1, 0, 1, 1, 0])
    whole = Objective(nn.Linear(3, 2, bias=False), "mse", x, y, chunk_size=2)
    theta = torch.from_numpy(rng.standard_normal(6))
    vectors = torch.from_numpy(np.linalg.qr(rng.standard_normal((6, k)))[0].T)
    v, *slopes = vectors[0], *torch.from_numpy(rng.standard_normal((2, 6)))
    couplings = dict(zip(("coupling", "coupling_over_step"), slopes, strict=True))
    groups = {"first": [0, 1], "rest": [2, 3, 4, 5]}
    objectives = {name: whole.subset(torch.tensor(index)) for name, index in groups.items()}
    measured = measure_groups(objectives, theta, vectors, couplings)
    for name, index in groups.items():
        outputs, label = x[index] @ theta.view(2, 3).T, y[index]
        error = outputs - torch.eye(2, dtype=x.dtype)[label]
        gradient = (2 / len(index) * error.T @ x[index]).reshape(-1).numpy()  # of the mean of |W x - e_y|^2
        influence = (gradient @ v.numpy()) ** 2
        assert measured[f"curvature_influence_{name}"] == pytest.approx(influence)
        assert measured[f"alignment_{name}"] == pytest.approx(influence / (gradient @ gradient))
        assert measured[f"gradient_norm_{name}"] == pytest.approx(np.linalg.norm(gradient))
        for kind, slope in couplings.items():
            assert measured[f"{kind}_{name}"] == pytest.approx(gradient @ slope.numpy())
        of_label = np.clip(outputs.numpy()[range(len(index)), label], 0, 1)
        assert measured[f"label_probability_{name}"] == pytest.approx(of_label.mean())
        if k > 1:
            span = ((vectors.numpy() @ gradient) ** 2).sum()
            assert measured[f"subspace_influence_{name}"] == pytest.approx(span)
            assert measured[f"subspace_alignment_{name}"] == pytest.approx(span / (gradient @ gradient))
    assert len(measured) == len(groups) * (7 if k == 1 else 9)
    without = measure_groups(objectives, theta, vectors, {})
    assert without == {name: value for name, value in measured.items() if not name.startswith("coupling")}


def probed(objective: Objective, theta: Tensor) -> float:
    return measure_groups({"it": objective}, theta, torch.eye(len(theta))[:1].to(theta), {})["gradient_probe_it"]


def test_the_probe_is_the_gradient_along_one_fixed_unit_vector(rng):
    """With the outputs of a linear model at 0 the gradient is linear in the targets, and any gradient can be had."""
    x = torch.eye(3).double()
    objectives = [
        Objective(nn.Linear(3, 2, bias=False), "mse", x[[i]], torch.tensor([y]), 1) for y in (0, 1) for i in range(3)
    ]
    theta = torch.zeros(6).double()
    gradients = np.array([objective.gradient(theta).numpy() for objective in objectives])
    along = np.array([probed(objective, theta) for objective in objectives])
    probe = np.linalg.solve(gradients, along)
    assert np.linalg.norm(probe) == pytest.approx(1)
    again = torch.from_numpy(rng.standard_normal(6))
    for objective in objectives:  # at another theta it is the same vector
        assert probed(objective, again) == pytest.approx(objective.gradient(again).numpy() @ probe)


def test_the_probe_tells_a_gradient_from_another_of_the_same_norm_and_the_same_place_along_v1(network):
    objective, theta, v = network
    gradient = objective.gradient(theta)
    mirrored = gradient - 2 * (gradient @ v) * v  # a reflection keeps the norm and (grad . v)^2
    assert mirrored.norm().item() == pytest.approx(gradient.norm().item())
    assert curvature_influence(mirrored, v) == pytest.approx(curvature_influence(gradient, v))

    class Mirrored(Objective):
        def evaluate(self, theta: Tensor):
            return replace(super().evaluate(theta), gradient=mirrored)

    other = Mirrored(objective.model, objective.loss, objective.x, objective.y, objective.chunk_size)
    one, two = (measure_groups({"it": o}, theta, v[None], {}) for o in (objective, other))
    assert two["alignment_it"] == pytest.approx(one["alignment_it"])
    assert two["gradient_norm_it"] == pytest.approx(one["gradient_norm_it"])
    assert abs(two["gradient_probe_it"] - one["gradient_probe_it"]) > 1e-3 * one["gradient_norm_it"]


def test_the_coupling_is_the_product_of_the_gradients_with_its_sign():
    gradient, slope = torch.tensor([1.0, -2.0, 3.0]), torch.tensor([2.0, 2.0, 2.0])
    assert coupling(gradient, slope) == pytest.approx(4)
    assert coupling(-gradient, slope) == pytest.approx(-4)
    assert coupling(gradient, -slope) == pytest.approx(-4)
    assert coupling(gradient, torch.tensor([2.0, 1.0, 0.0])) == 0


class Product(nn.Module):
    """Outputs (a b x, 0): with label 0, the losses are (a b x - 1)^2."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.Parameter(torch.ones(1)), nn.Parameter(torch.ones(1))

    def forward(self, x: Tensor) -> Tensor:
        output = self.a * self.b * x
        return torch.cat([output, torch.zeros_like(output)], dim=1)


@pytest.mark.parametrize("over", [None, 0.3, 2.0])
@pytest.mark.parametrize("sign", [1.0, -1.0])
def test_to_become_flatter_costs_those_with_a_negative_coupling(over, sign):
    """Along a, S = 2 b^2 mean x^2, so self-stabilisation lowers |b|: good for outputs above the label, bad for others.

    d loss / d b = 2 (a b x - 1) a x, and grad S = (0, 4 b mean x^2), over any length: the loss is quadratic in a.
    """
    x, a, b = torch.tensor([[2.0], [0.2], [1.5], [0.1]], dtype=torch.float64), sign * 0.8, sign * 1.5
    whole = Objective(Product(), "mse", x, torch.zeros(4, dtype=torch.int64), chunk_size=3)
    theta, along_a = torch.tensor([[a, b], [1.0, 0.0]], dtype=torch.float64)
    if over is None:
        slope = whole.sharpness_gradient(theta, along_a)
    else:
        slope = whole.sharpness_gradient_over(theta, along_a, over)
    mean_square = (x**2).mean().item()
    np.testing.assert_allclose(slope.numpy(), [0, 4 * b * mean_square], atol=1e-9)
    groups = {"above": whole.subset(torch.tensor([0, 2])), "below": whole.subset(torch.tensor([1, 3]))}
    measured = measure_groups(groups, theta, along_a[None], {"coupling": slope})
    for name, objective in groups.items():
        inputs = objective.x.numpy()
        expected = (2 * (a * b * inputs - 1) * a * inputs).mean() * 4 * b * mean_square
        assert measured[f"coupling_{name}"] == pytest.approx(expected)
    assert measured["coupling_below"] < 0 < measured["coupling_above"]
    flatter = theta - 1e-3 * slope
    assert whole.hessian(flatter)(along_a)[0] < whole.hessian(theta)(along_a)[0]
    change = {
        name: objective.evaluate(flatter).loss - objective.evaluate(theta).loss for name, objective in groups.items()
    }
    assert change["above"] < 0 < change["below"]
    for name, difference in change.items():
        assert difference == pytest.approx(-1e-3 * measured[f"coupling_{name}"], rel=0.05)


def test_on_a_network_examples_gain_from_a_flatter_place_as_their_couplings_say(network):
    objective, theta, v = network
    smooth = Objective(
        nn.Sequential(nn.Flatten(), nn.Linear(3, 5, bias=False), nn.Tanh(), nn.Linear(5, 2, bias=False)),
        "mse",
        objective.x,
        objective.y,
        chunk_size=5,
    )
    slope = smooth.sharpness_gradient(theta, v)
    flatter = theta - 1e-6 * slope / slope.norm()
    alone = {str(i): smooth.subset(torch.tensor([i])) for i in range(12) if i != 3}
    measured = measure_groups(alone, theta, v[None], {"coupling": slope / slope.norm()})
    signs = set()
    for name, example in alone.items():
        gained = example.evaluate(theta).loss - example.evaluate(flatter).loss
        assert gained == pytest.approx(1e-6 * measured[f"coupling_{name}"], rel=1e-2, abs=1e-12)
        signs.add(measured[f"coupling_{name}"] > 0)
    assert signs == {True, False}


@pytest.fixture
def network(rng) -> tuple[Objective, Tensor, Tensor]:
    """A small network on 12 examples, theta and a unit vector; the fourth example has no gradient."""
    x = torch.from_numpy(rng.standard_normal((12, 3)))
    x[3] = 0
    model = nn.Sequential(nn.Flatten(), nn.Linear(3, 5, bias=False), nn.ReLU(), nn.Linear(5, 2, bias=False))
    objective = Objective(model, "mse", x, torch.arange(12) % 2, chunk_size=5)
    theta, v = torch.from_numpy(rng.standard_normal((2, objective.num_params)))
    return objective, theta, v / v.norm()


def test_examples_are_measured_with_their_own_gradients_and_no_gradient_is_no_alignment(network):
    objective, theta, v = network
    influence, aligned = measure_examples(objective, theta, v)
    for i in range(len(objective)):
        gradient = objective.subset(torch.tensor([i])).gradient(theta)
        assert influence[i] == pytest.approx(curvature_influence(gradient, v), rel=1e-9)
        assert aligned[i] == pytest.approx(alignment(gradient, v), rel=1e-9)
    assert influence[3] == aligned[3] == 0
    assert ((aligned >= 0) & (aligned <= 1)).all()
    assert (np.delete(aligned, 3) > 0).all()


def test_alignments_of_examples_with_an_orthonormal_basis_sum_to_one(network, rng):
    objective, theta, _ = network
    basis = torch.from_numpy(np.linalg.qr(rng.standard_normal((len(theta), len(theta))))[0])
    total = sum(measure_examples(objective, theta, v)[1] for v in basis)
    np.testing.assert_allclose(total, [0 if i == 3 else 1 for i in range(12)])


def test_the_null_of_groups_of_all_examples_is_the_whole_gradient(network):
    objective, theta, v = network
    gradient = objective.gradient(theta)
    alignments, influences = permutation_null(objective, theta, v, size=12, draws=5, seed=1)
    np.testing.assert_allclose(alignments, alignment(gradient, v))
    np.testing.assert_allclose(influences, curvature_influence(gradient, v))


def test_the_null_of_single_examples_is_made_of_single_examples(network):
    objective, theta, v = network
    influence, aligned = measure_examples(objective, theta, v)
    alignments, influences = permutation_null(objective, theta, v, size=1, draws=300, seed=1)
    for drawn, single in ((alignments, aligned), (influences, influence)):
        distance = np.abs(drawn[:, None] - single[None])
        assert distance.min(axis=1).max() < 1e-12
        assert set(distance.argmin(axis=1)) == set(range(12))  # every example is drawn
        assert drawn.mean() == pytest.approx(single.mean(), abs=4 * single.std() / np.sqrt(300))


def test_the_null_has_the_mean_that_sampling_without_replacement_gives_it(network):
    """E (mean of m of n)^2 = mean^2 + (variance / m) (n - m) / (n - 1), for the projections."""
    objective, theta, v = network
    projections = objective.projections(theta, v).numpy()
    _, influences = permutation_null(objective, theta, v, size=4, draws=2000, seed=0)
    expected = projections.mean() ** 2 + projections.var() / 4 * 8 / 11
    assert influences.mean() == pytest.approx(expected, abs=4 * influences.std() / np.sqrt(2000))


def test_the_null_is_the_same_for_the_same_seed_and_has_as_many_draws_as_asked_for(network):
    first, again, other = (permutation_null(*network, size=4, draws=30, seed=seed) for seed in (7, 7, 8))
    for side in (0, 1):
        assert first[side].shape == (30,)
        np.testing.assert_array_equal(first[side], again[side])
        assert not np.array_equal(first[side], other[side])


@pytest.mark.parametrize(("value", "expected"), [(0.0, 1.0), (1.0, 1.0), (2.5, 0.6), (4.0, 0.4), (5.0, 0.2)])
def test_the_p_value_counts_the_draws_that_are_as_large_and_the_value_itself(value, expected):
    assert permutation_p_value(value, np.array([4.0, 1.0, 3.0, 2.0])) == pytest.approx(expected)


def test_the_p_value_is_uniform_where_the_group_is_no_group(network):
    """One of 20 draws against the 19 others is below 5 % about once in 20."""
    objective, theta, v = network
    _, influences = permutation_null(objective, theta, v, size=4, draws=2000, seed=3)
    p_values = [permutation_p_value(group[0], group[1:]) for group in influences.reshape(100, 20)]
    assert np.mean(np.array(p_values) <= 0.05) == pytest.approx(0.05, abs=3 * np.sqrt(0.05 * 0.95 / 100))
    assert np.mean(p_values) == pytest.approx(0.525, abs=3 * np.sqrt(1 / 12 / 100))


@pytest.mark.parametrize("ties", [False, True])
def test_the_rank_correlation_is_scipys_with_fishers_interval(rng, ties):
    x = rng.standard_normal(60)
    y = x + rng.standard_normal(60)
    if ties:
        x, y = x.round(), y.round()
    estimate, low, high = rank_correlation(x, y)
    assert estimate == pytest.approx(stats.spearmanr(x, y).statistic)
    half = stats.norm.ppf(0.975) / np.sqrt(60 - 3)
    assert (low, high) == pytest.approx((np.tanh(np.arctanh(estimate) - half), np.tanh(np.arctanh(estimate) + half)))
    assert rank_correlation(-x, y) == pytest.approx((-estimate, -high, -low))
    assert rank_correlation(np.exp(x), y**3) == pytest.approx((estimate, low, high))  # the ranks alone count


@pytest.mark.parametrize("slope", [0.0, 0.5, -0.5])
def test_the_interval_of_the_rank_correlation_covers_the_truth_about_as_often_as_it_says(rng, slope):
    """For a normal pair with correlation r, Spearman's is 6 / pi asin(r / 2)."""
    truth = 6 / np.pi * np.arcsin(slope / 2)
    covered = 0
    for _ in range(1000):
        x, noise = rng.standard_normal((2, 60))
        _, low, high = rank_correlation(x, slope * x + np.sqrt(1 - slope**2) * noise)
        covered += low <= truth <= high
    # Ranks vary a little more than Fisher's 1 / (n - 3): by 1 + r^2 / 2 (Bonett & Wright 2000).
    expected = 2 * stats.norm.cdf(stats.norm.ppf(0.975) / np.sqrt(1 + truth**2 / 2)) - 1
    assert covered / 1000 == pytest.approx(expected, abs=3 * np.sqrt(0.05 * 0.95 / 1000))


def test_a_perfect_rank_correlation_is_certain():
    x = np.arange(6.0)
    for sign in (1, -1):
        assert rank_correlation(x, sign * x**3) == pytest.approx((sign, sign, sign))


@pytest.mark.filterwarnings("error")
def test_a_rank_correlation_that_is_not_defined_has_no_interval():
    for x, y in ((np.ones(5), np.arange(5.0)), (np.arange(5.0), np.ones(5)), (np.ones(1), np.ones(1))):
        assert np.isnan(rank_correlation(x, y)).all()
    assert np.isnan(rank_correlation(np.arange(5.0), np.array([1.0, np.nan, 2.0, 3.0, 4.0]))).all()


@pytest.mark.parametrize(("value", "null"), [(np.nan, [0.1, 0.2]), (np.inf, [0.1, 0.2]), (0.3, [0.1, np.nan])])
def test_what_is_not_a_number_is_never_significant(value, null):
    assert np.isnan(permutation_p_value(value, np.array(null)))
