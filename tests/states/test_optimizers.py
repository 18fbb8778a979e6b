"""Steps against torch.optim, thresholds against the divergence of a quadratic, exactness of what a branch inherits."""

import math
from dataclasses import replace
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from edgewise.dynamics.edge import first_crossing, gradient_sharpness, measure_sharpness, rule_window, secant_sharpness
from edgewise.dynamics.eigen import EigenTracker
from edgewise.dynamics.loop import train
from edgewise.errors import EdgewiseError
from edgewise.network.objective import Objective
from edgewise.params import OptimizerParams, parse_params
from edgewise.states.optimizers import (
    OPTIMIZERS,
    OSCILLATION,
    Adam,
    GradientDescent,
    Momentum,
    Nesterov,
    Optimizer,
    State,
    StochasticGradientDescent,
    build_optimizer,
)
from edgewise.states.trajectory import Journal, checkpoint_at, load_state

DECAY = 0.3
INSTANCES: dict[str, Optimizer] = {
    "gd": GradientDescent(0.02),
    "momentum": Momentum(0.02),
    "nesterov": Nesterov(0.02),
    "sgd": StochasticGradientDescent(0.02, batch_size=4),
    "adam": Adam(0.02),
}


def random_symmetric(size: int, largest: float) -> Tensor:
    """A positive definite matrix whose largest eigenvalue is `largest`."""
    basis = torch.linalg.qr(torch.randn(size, size, generator=torch.Generator().manual_seed(1), dtype=torch.float64))[0]
    return basis @ torch.diag(torch.linspace(0.1, 1, size, dtype=torch.float64) * largest) @ basis.T


def small_net(n: int = 24, loss: str = "mse") -> Objective:
    generator = torch.Generator().manual_seed(3)
    x = torch.randn(n, 5, generator=generator, dtype=torch.float64)
    y = (x[:, 0] + 0.3 * torch.randn(n, generator=generator, dtype=torch.float64) > 0).long()
    model = nn.Sequential(nn.Linear(5, 8), nn.Tanh(), nn.Linear(8, 2)).double()
    return Objective(model, loss, x, y, chunk_size=1000)  # type: ignore[arg-type]


def small_theta(objective: Objective) -> Tensor:
    return 0.3 * torch.randn(objective.num_params, generator=torch.Generator().manual_seed(4), dtype=torch.float64)


# Steps against torch.optim


@pytest.mark.parametrize("decay", [0.0, DECAY])
@pytest.mark.parametrize("name", ["gd", "momentum", "nesterov", "adam"])
def test_steps_equal_those_of_torch(name: str, decay: float) -> None:
    objective = small_net()
    ours = replace(INSTANCES[name], weight_decay=decay)
    state = State(small_theta(objective))
    leaf = state.theta.clone().requires_grad_()
    lr = ours.lr
    theirs: torch.optim.Optimizer = {
        "gd": lambda: torch.optim.SGD([leaf], lr, weight_decay=decay),
        "momentum": lambda: torch.optim.SGD([leaf], lr, momentum=0.9, weight_decay=decay),
        "nesterov": lambda: torch.optim.SGD([leaf], lr, momentum=0.9, nesterov=True, weight_decay=decay),
        "adam": lambda: torch.optim.AdamW([leaf], lr, weight_decay=decay),
    }[name]()
    for _ in range(20):
        state = ours.step(state, objective.evaluate(state.theta).gradient)
        leaf.grad = objective.evaluate(leaf.detach()).gradient
        theirs.step()
        torch.testing.assert_close(state.theta, leaf.detach(), rtol=1e-12, atol=1e-13)
    assert state.step == 20
    assert state.time == pytest.approx(20 * ours.time_per_step)


def test_adam_without_decay_is_torch_adam() -> None:
    objective = small_net()
    state = State(small_theta(objective))
    leaf = state.theta.clone().requires_grad_()
    theirs = torch.optim.Adam([leaf], 0.01, betas=(0.8, 0.99), eps=1e-6)
    for _ in range(20):
        state = Adam(0.01, 0.0, 0.8, 0.99, 1e-6).step(state, objective.evaluate(state.theta).gradient)
        leaf.grad = objective.evaluate(leaf.detach()).gradient
        theirs.step()
    torch.testing.assert_close(state.theta, leaf.detach(), rtol=1e-12, atol=1e-13)


# Thresholds against a quadratic


#: With a beta2 as near to 1 as this the second moment stays where it is put; nothing else of Adam is changed.
FROZEN = 1 - 1e-10


def frozen(optimizer: Optimizer, size: int) -> dict[str, Any]:
    """Where to start so that Adam's second moment is an uneven vector, and its bias corrections are long over."""
    if not isinstance(optimizer, Adam):
        return {}
    second = torch.linspace(0.5, 3, size, dtype=torch.float64).square()
    return {"step": 10**12, "buffers": {"second_moment": second}}


def diverges(optimizer: Optimizer, hessian: Tensor, steps: int = 1200) -> bool:
    """Whether the iterates on theta.H theta / 2 grow; Adam's second moment is held at a fixed, uneven vector."""
    size = len(hessian)
    state = State(torch.full((size,), 1e-3, dtype=torch.float64), **frozen(optimizer, size))
    norms = []
    for _ in range(steps):
        state = optimizer.step(state, hessian @ state.theta)
        norms.append(state.theta.norm().item())
        if norms[-1] > 10:
            return True
    return norms[-1] > norms[steps // 2]


def boundary(optimizer: Optimizer, hessian: Tensor) -> float:
    """The step size at which divergence begins, by bisection to 0.1 %."""
    low, high = 1e-3, 1e2
    while high / low > 1.001:
        middle = math.sqrt(low * high)
        low, high = (low, middle) if diverges(optimizer.with_lr(middle), hessian) else (middle, high)
    return low


@pytest.mark.parametrize("decay", [0.0, DECAY])
@pytest.mark.parametrize(
    "optimizer",
    [
        GradientDescent(1.0),
        Momentum(1.0),
        Momentum(1.0, momentum=0.5),
        Nesterov(1.0),
        Nesterov(1.0, momentum=0.5),
        Adam(1.0, beta2=FROZEN),
        Adam(1.0, beta1=0.5, beta2=FROZEN),
    ],
    ids=lambda o: f"{type(o).__name__}-{getattr(o, 'momentum', getattr(o, 'beta1', 0))}",
)
def test_divergence_begins_at_the_threshold(optimizer: Optimizer, decay: float) -> None:
    hessian = random_symmetric(4, largest=5.0)
    optimizer = replace(optimizer, weight_decay=decay)
    lr = boundary(optimizer, hessian)
    sharpness = torch.linalg.eigvalsh(hessian)[-1].item()
    if isinstance(optimizer, Adam):
        root = torch.linspace(0.5, 3, 4, dtype=torch.float64).sqrt()
        sharpness = torch.linalg.eigvalsh(hessian / root / root[:, None])[-1].item()
    assert optimizer.with_lr(lr).stability_threshold == pytest.approx(sharpness, rel=0.01)


def test_sgd_diverges_at_the_threshold_where_the_batches_share_a_hessian() -> None:
    """Labels differ from batch to batch, inputs do not: the noise is in the gradient alone."""
    generator = torch.Generator().manual_seed(0)
    inputs = torch.randn(4, 3, generator=generator, dtype=torch.float64)
    hessian = 2 * inputs.T @ inputs / 4
    noise = torch.randn(6, 3, generator=generator, dtype=torch.float64)
    noise -= noise.mean(0)

    def diverged(lr: float) -> bool:
        optimizer = StochasticGradientDescent(lr, batch_size=1)
        state = State(torch.ones(3, dtype=torch.float64))
        for _ in range(3000):
            batch = optimizer.batch(state.step, 6)
            state = optimizer.step(state, hessian @ state.theta + noise[batch].mean(0))
        return not state.theta.norm() < 1e5

    low, high = 1e-2, 1e1
    while high / low > 1.002:
        middle = math.sqrt(low * high)
        low, high = (low, middle) if diverged(middle) else (middle, high)
    sharpness = torch.linalg.eigvalsh(hessian)[-1].item()
    assert StochasticGradientDescent(low).stability_threshold == pytest.approx(sharpness, rel=0.01)


def test_adam_on_a_quadratic_settles_at_its_threshold() -> None:
    """With a live second moment: as the gradient shrinks so does P, until P^-1/2 H P^-1/2 is at the edge and holds."""
    hessian = random_symmetric(4, largest=5.0)
    optimizer = Adam(0.01, beta2=0.99)
    state, ratios = State(torch.ones(4, dtype=torch.float64)), []
    for _ in range(6000):
        gradient = hessian @ state.theta
        root = optimizer.preconditioner(state, gradient).sqrt()
        ratios.append(torch.linalg.eigvalsh(hessian / root / root[:, None])[-1].item() / optimizer.stability_threshold)
        state = optimizer.step(state, gradient)
    assert ratios[50] < 0.5
    assert np.mean(ratios[-2000:]) == pytest.approx(1, abs=0.1)


# Secant sharpness


@pytest.mark.parametrize("optimizer", [GradientDescent(1.0), Momentum(1.0), Nesterov(1.0), Adam(1.0, beta2=FROZEN)])
def test_secant_sharpness_is_the_threshold_at_the_boundary(optimizer: Optimizer) -> None:
    """At the boundary all modes but v1 die out, and along v1 the secant is the (preconditioned) sharpness."""
    hessian = random_symmetric(4, largest=5.0)
    optimizer = optimizer.with_lr(boundary(optimizer, hessian) * 0.9999)
    state = State(torch.full((4,), 1e-3, dtype=torch.float64), **frozen(optimizer, 4))
    for _ in range(1000):
        gradient = hessian @ state.theta
        following = optimizer.step(state, gradient)
        secant = optimizer.secant(state, gradient, following, hessian @ following.theta)
        kappa = secant_sharpness(*secant, optimizer.preconditioner(state, gradient))
        state = following
    assert kappa / optimizer.stability_threshold == pytest.approx(1, rel=0.01)


def test_secant_of_momentum_sees_an_oscillation_in_a_drift() -> None:
    """Linear in one direction and quadratic in the other: the step is mostly drift, its change is oscillation alone."""
    hessian, slope = torch.tensor([4.0, 0.0], dtype=torch.float64), torch.tensor([0.0, 1.0], dtype=torch.float64)
    optimizer = Momentum(3.8 / 4 * 0.9999)
    state = State(torch.tensor([0.5, 0.0], dtype=torch.float64))
    for _ in range(400):
        gradient = hessian * state.theta + slope
        following = optimizer.step(state, gradient)
        next_gradient = hessian * following.theta + slope
        displacement, change = optimizer.secant(state, gradient, following, next_gradient)
        of_step = secant_sharpness(following.theta - state.theta, next_gradient - gradient)
        state = following
    assert secant_sharpness(displacement, change) == pytest.approx(4, rel=1e-3)
    assert of_step < 2


def test_secant_of_momentum_is_of_the_step_if_that_does_not_oscillate() -> None:
    state = State(torch.tensor([2.0, 0.0]), buffers={"previous_theta": torch.tensor([3.0, 0.0])})
    gradient, next_gradient = torch.tensor([1.0, 0.0]), torch.tensor([0.5, 0.0])
    for length in (1.0 - 0.4 * OSCILLATION, 1.0 + 0.4 * OSCILLATION):
        following = replace(state, theta=torch.tensor([2.0 - length, 0.0]))
        displacement, change = Momentum(0.1).secant(state, gradient, following, next_gradient)
        torch.testing.assert_close(displacement, following.theta - state.theta)
        torch.testing.assert_close(change, next_gradient - gradient)


def test_secant_of_a_mini_batch_is_its_gradient_sharpness_to_first_order() -> None:
    objective = small_net()
    theta = small_theta(objective)
    batch = objective.subset(torch.arange(6))
    gradient = batch.evaluate(theta).gradient
    following = theta - 1e-5 * gradient
    kappa = secant_sharpness(following - theta, batch.evaluate(following).gradient - gradient)
    assert kappa == pytest.approx(gradient_sharpness(batch, theta), rel=1e-3)


def test_first_crossing_of_a_running_mean() -> None:
    values = [math.nan, 9, 0, 3, 3, 3, 6, 6]
    assert first_crossing(range(8), values, 5) == 6
    assert first_crossing(range(8), values, 5, window=3) == 7
    assert first_crossing(range(8), values, 4, window=3) == 6
    assert first_crossing(range(8), values, 3, window=3) == 5
    assert first_crossing(range(2), values[:2], 1, window=3) is None
    assert rule_window("secant", StochasticGradientDescent(0.1)) == 100
    assert rule_window("sharpness", StochasticGradientDescent(0.1)) == 1
    assert rule_window("secant", GradientDescent(0.1)) == 1


# Batch sharpness and the preconditioned Hessian


def dense_hessian(objective: Objective, theta: Tensor) -> Tensor:
    product = objective.hessian(theta)
    return torch.stack([product(row) for row in torch.eye(len(theta), dtype=theta.dtype)])


def test_batch_sharpness_is_the_mean_over_the_batches_with_its_standard_error() -> None:
    objective = small_net()
    state = State(small_theta(objective), step=7)
    optimizer = StochasticGradientDescent(0.1, batch_size=4, shuffle_seed=2)
    values = []
    for members in optimizer.sample_batches(7, len(objective)):
        batch = objective.subset(members)
        gradient = batch.evaluate(state.theta).gradient
        hessian = dense_hessian(batch, state.theta)
        values.append((gradient @ hessian @ gradient / gradient.square().sum()).item())
    assert len(values) == 6
    measured = measure_sharpness(objective, optimizer, state, EigenTracker(objective).measure(state.theta))
    assert measured.value == pytest.approx(np.mean(values))
    assert measured.standard_error == pytest.approx(np.std(values, ddof=1) / math.sqrt(6))


def test_batch_of_everything_has_no_error() -> None:
    objective = small_net()
    state = State(small_theta(objective))
    pairs = EigenTracker(objective).measure(state.theta)
    measured = measure_sharpness(objective, StochasticGradientDescent(0.1, batch_size=1000), state, pairs)
    assert measured.value == pytest.approx(gradient_sharpness(objective, state.theta))
    assert measured.standard_error == 0
    exact = measure_sharpness(objective, GradientDescent(0.1), state, pairs)
    assert (exact.value, exact.standard_error) == (pairs.values[0].item(), 0.0)


def test_preconditioned_eigenpair_against_a_dense_matrix() -> None:
    objective = small_net()
    theta = small_theta(objective)
    metric = torch.rand(len(theta), generator=torch.Generator().manual_seed(8), dtype=torch.float64) + 0.1
    dense = dense_hessian(objective, theta)
    pairs = EigenTracker(objective, tolerance=1e-8).measure(theta, metric)
    expected = torch.linalg.eigvalsh(dense / metric.sqrt() / metric.sqrt()[:, None])[-1]
    torch.testing.assert_close(pairs.values[0], expected)
    v = pairs.vectors[0]
    assert v.norm().item() == pytest.approx(1)
    torch.testing.assert_close(dense @ v, expected * metric * v, rtol=1e-5, atol=1e-6)


def test_preconditioner_is_that_of_the_step() -> None:
    """Without a memory of gradients, Adam's step is -lr P^-1 (1 - beta1) g."""
    objective = small_net()
    state = State(small_theta(objective))
    gradient = objective.evaluate(state.theta).gradient
    optimizer = INSTANCES["adam"]
    following = optimizer.step(state, gradient)
    expected = -optimizer.lr * 0.1 * gradient / optimizer.preconditioner(state, gradient)
    torch.testing.assert_close(following.theta - state.theta, expected)
    torch.testing.assert_close(following.theta - state.theta, -optimizer.lr * gradient.sign(), rtol=1e-4, atol=1e-6)


# What a branch inherits


@pytest.mark.parametrize("name", list(INSTANCES))
def test_branches_agree_to_the_bit(name: str, tmp_path: Path) -> None:
    """From a checkpoint: both branches have the same vectors and mini-batches; the baseline is the base run gone on."""
    objective, optimizer = small_net(), INSTANCES[name]
    run = train(objective, optimizer, State(small_theta(objective)), {})
    states = [next(run).state for _ in range(20)]
    journal = Journal(tmp_path / "base", "fingerprint", states[0])
    journal.checkpoint(states[10])
    saved = load_state(checkpoint_at(journal.folder, 10), states[0].theta)
    assert saved.step == 10
    assert saved.time == states[10].time
    assert set(saved.buffers) == set(states[10].buffers)
    for key, vector in states[10].buffers.items():
        assert torch.equal(saved.buffers[key], vector)

    baseline = train(objective, optimizer, saved, {})
    leaving = train(objective, optimizer.with_lr(0.1 * optimizer.lr), saved, {})
    first, second = next(baseline).state, next(leaving).state
    assert torch.equal(first.theta, second.theta)
    assert all(torch.equal(first.buffers[key], second.buffers[key]) for key in first.buffers)
    for expected in states[11:]:
        state = next(baseline).state
        assert torch.equal(state.theta, expected.theta)
        assert all(torch.equal(state.buffers[key], expected.buffers[key]) for key in expected.buffers)
        batches = [one.batch(state.step, 24) for one in (optimizer, optimizer.with_lr(0.1 * optimizer.lr))]
        assert batches[0] is batches[1] is None or torch.equal(*batches)


def test_mini_batches_visit_the_examples_in_another_order_every_epoch() -> None:
    optimizer = StochasticGradientDescent(0.1, batch_size=4, shuffle_seed=5)
    epochs = [torch.cat([optimizer.batch(5 * epoch + i, 22) for i in range(5)]) for epoch in range(3)]
    for order in epochs:
        assert len(order.unique()) == 20
        assert order.max() < 22
    assert not torch.equal(epochs[0], epochs[1])
    assert torch.equal(optimizer.batch(7, 22), optimizer.batch(7, 22))
    assert not torch.equal(optimizer.batch(7, 22), replace(optimizer, shuffle_seed=6).batch(7, 22))
    assert not torch.equal(optimizer.batch(7, 22), optimizer.sample_batches(7, 22)[2])


def test_sgd_follows_the_gradient_of_its_batch() -> None:
    objective, optimizer = small_net(), INSTANCES["sgd"]
    run = train(objective, optimizer, State(small_theta(objective)), {})
    first, second = next(run), next(run)
    batch = objective.subset(optimizer.batch(0, len(objective)))
    gradient = batch.evaluate(first.state.theta).gradient
    torch.testing.assert_close(second.state.theta, first.state.theta - 0.02 * gradient)
    change = batch.evaluate(second.state.theta).gradient - gradient
    expected = secant_sharpness(second.state.theta - first.state.theta, change)
    assert second.row["secant_sharpness"] == pytest.approx(expected)
    assert first.row["loss"] == pytest.approx(objective.evaluate(first.state.theta).loss)


# Parameters


def test_every_name_in_the_parameters_has_its_builder() -> None:
    assert set(OPTIMIZERS) == set(get_args(OptimizerParams.model_fields["name"].annotation)) == set(INSTANCES)


@pytest.mark.parametrize("name", list(INSTANCES))
def test_every_name_is_built_with_its_own_parameters(name: str) -> None:
    params = OptimizerParams(name=name, lr=0.5, momentum=0.8, batch_size=7, beta1=0.7, weight_decay=0.1)  # type: ignore[arg-type]
    optimizer = build_optimizer(params, shuffle_seed=3)
    assert type(optimizer) is type(INSTANCES[name])
    assert (optimizer.lr, optimizer.weight_decay) == (0.5, 0.1)
    expected = {"momentum": 0.8, "batch_size": 7, "beta1": 0.7, "shuffle_seed": 3}
    assert all(getattr(optimizer, key, value) == value for key, value in expected.items())


def test_thresholds_by_their_formulas() -> None:
    thresholds = {name: optimizer.stability_threshold * 0.02 for name, optimizer in INSTANCES.items()}
    assert thresholds == pytest.approx({"gd": 2, "momentum": 3.8, "nesterov": 3.8 / 2.8, "sgd": 2, "adam": 38})


@pytest.mark.parametrize(
    ("given", "named"),
    [
        ("{name: adagrad}", "optimizer.name"),
        ("{momentum: 1.0}", "optimizer.momentum"),
        ("{batch_size: 0}", "optimizer.batch_size"),
        ("{beta2: -0.1}", "optimizer.beta2"),
        ("{epsilon: 0}", "optimizer.epsilon"),
        ("{lr: 0.5, weight_decay: 2.0}", "optimizer.weight_decay"),
    ],
)
def test_bad_parameters_are_named(given: str, named: str) -> None:
    with pytest.raises(EdgewiseError, match=rf"^{named}: was"):
        parse_params(f"optimizer: {given}")


def test_label_probability() -> None:
    outputs, y = torch.tensor([[2.0, 0.0], [0.3, 0.7], [-1.0, 1.5]]), torch.tensor([0, 0, 0])
    assert small_net().label_probabilities(outputs, y).tolist() == pytest.approx([1.0, 0.3, 0.0])
    cross_entropy = small_net(loss="ce")
    expected = torch.exp(-cross_entropy.example_losses(outputs, y))
    torch.testing.assert_close(cross_entropy.label_probabilities(outputs, y), expected)
