"""Gradient flow on quadratics, where it is exp(-H t), however stiff."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy.linalg import expm
from torch import Tensor

from edgewise.errors import DivergenceError
from edgewise.states.flow import FlowPath, GradientFlow
from edgewise.states.optimizers import GradientDescent, State

SIZE = 6


class Counted:
    """The gradient H theta, and how often it was asked for."""

    def __init__(self, hessian: np.ndarray) -> None:
        self.hessian, self.calls = torch.from_numpy(hessian), 0

    def __call__(self, theta: Tensor) -> Tensor:
        self.calls += 1
        return (self.hessian.to(theta) @ theta).to(theta)


@pytest.fixture
def basis(rng) -> np.ndarray:
    return np.linalg.qr(rng.standard_normal((SIZE, SIZE)))[0]


@pytest.fixture
def start(rng) -> Tensor:
    return torch.from_numpy(rng.standard_normal(SIZE))


def quadratic(basis: np.ndarray, largest: float) -> np.ndarray:
    """A Hessian with eigenvalues from 0 to `largest`."""
    return basis @ np.diag(np.linspace(0, 1, SIZE) ** 2 * largest) @ basis.T


def after(flow: GradientFlow, start: Tensor, steps: int) -> State:
    state = State(start)
    for _ in range(steps):
        state = flow.step(state, flow.gradient(state.theta))
    return state


@pytest.mark.parametrize("tolerance", [1e-2, 1e-4, 1e-7])
@pytest.mark.parametrize("decay", [0.0, 0.8])
def test_the_flow_on_a_quadratic_is_the_matrix_exponential_to_the_tolerance(basis, start, tolerance, decay):
    hessian, lr, steps = quadratic(basis, 3.0), 0.2, 10
    flow = GradientFlow(lr, decay, gradient=Counted(hessian), tolerance=tolerance)
    state = after(flow, start, steps)
    expected = expm(-(hessian + decay * np.eye(SIZE)) * lr * steps) @ start.numpy()
    displacement = np.linalg.norm(expected - start.numpy())
    assert np.linalg.norm(state.theta.numpy() - expected) < tolerance * displacement
    assert (state.step, state.time) == (steps, pytest.approx(lr * steps))


@pytest.mark.parametrize("stiffness", [10, 100, 1000])
def test_a_step_far_beyond_stability_is_refused_and_refined(basis, start, stiffness):
    """A gradient step of this lr multiplies the sharpest direction by 1 - stiffness, the flow by exp(-stiffness)."""
    lr, steps = 0.1, 3
    hessian = quadratic(basis, stiffness / lr)
    gradient = Counted(hessian)
    state = after(GradientFlow(lr, gradient=gradient, tolerance=1e-2), start, steps)
    expected = expm(-hessian * lr * steps) @ start.numpy()
    displacement = np.linalg.norm(expected - start.numpy())
    assert np.linalg.norm(state.theta.numpy() - expected) < 0.02 * displacement
    # Dormand and Prince's pair is stable up to 3.3, and a step of it takes 6 evaluations.
    assert gradient.calls > steps * stiffness / 3.3 * 6


def test_where_the_step_is_far_inside_stability_it_is_one_step_of_the_integrator(basis, start):
    gradient = Counted(quadratic(basis, 0.5))
    flow = GradientFlow(0.1, gradient=gradient, tolerance=1e-2)
    flow.step(State(start), gradient(start))
    assert gradient.calls <= 9


def test_many_small_gradient_steps_converge_to_the_flow_on_a_loss_that_is_not_quadratic(start):
    def gradient(theta: Tensor) -> Tensor:
        return theta**3 - theta + 0.3 * theta.roll(1).sin()

    flow = after(GradientFlow(0.3, gradient=gradient, tolerance=1e-6), start, 5).theta
    errors = []
    for pieces in (50, 100):
        theta = start.clone()
        for _ in range(5 * pieces):
            theta = theta - 0.3 / pieces * gradient(theta)
        errors.append((theta - flow).norm().item())
    assert errors[1] == pytest.approx(errors[0] / 2, rel=0.1)  # of first order


def test_the_flow_stays_where_there_is_no_gradient():
    flow = GradientFlow(0.1, gradient=torch.zeros_like, tolerance=1e-2)
    theta = torch.tensor([1.0, -2.0])
    assert torch.equal(flow.step(State(theta), torch.zeros(2)).theta, theta)


def test_weight_decay_alone_shrinks_the_weights_exponentially():
    flow = GradientFlow(0.1, 2.0, gradient=torch.zeros_like, tolerance=1e-4)
    theta = torch.tensor([1.0, -2.0], dtype=torch.float64)
    found = flow.step(State(theta), torch.zeros_like(theta)).theta
    torch.testing.assert_close(found, theta * np.exp(-0.2), rtol=1e-5, atol=0)


def test_a_step_in_single_precision_keeps_the_type_and_the_vectors_of_the_state(basis, start):
    hessian = quadratic(basis, 3.0)
    vectors = {"momentum": torch.ones(SIZE)}
    before = replace(State(start.float()), step=7, time=0.5, buffers=vectors)
    flow = GradientFlow(0.2, gradient=Counted(hessian), tolerance=1e-3)
    found = flow.step(before, flow.gradient(before.theta))
    assert found.theta.dtype == torch.float32
    assert (found.step, found.time) == (8, pytest.approx(0.7))
    assert torch.equal(found.buffers["momentum"], vectors["momentum"])
    expected = expm(-hessian * 0.2) @ start.numpy()
    np.testing.assert_allclose(found.theta.numpy(), expected, atol=1e-3)
    assert flow.stability_threshold == float("inf")


def test_a_first_substep_that_overflows_is_repeated_with_a_shorter_one():
    """From 5, a step of 1 along theta^5 leaves the range of single precision at once."""
    flow = GradientFlow(1.0, gradient=lambda theta: theta**5, tolerance=1e-6)
    theta = torch.tensor([5.0])
    found = flow.step(State(theta), flow.gradient(theta)).theta
    # d(theta^-4)/dt = 4
    assert found.item() == pytest.approx((5.0**-4 + 4) ** -0.25, rel=1e-4)


def test_a_path_is_the_flow_at_the_states_kept_between_them_and_beyond(basis, start):
    hessian, kept = quadratic(basis, 3.0), 0.5
    flow = GradientFlow(kept, gradient=Counted(hessian), tolerance=1e-7)
    states = [State(start)]
    for _ in range(3):
        states.append(flow.step(states[-1], flow.gradient(states[-1].theta)))
    path = FlowPath(flow, states)
    for time in (0.0, 0.1, 0.5, 0.75, 1.4999, 1.5, 1.7):
        np.testing.assert_allclose(path.at(time)[0].numpy(), expm(-hessian * time) @ start.numpy(), atol=1e-6)
    assert path.at(3 * kept)[0] is states[3].theta
    ways = [(states[i + 1].theta - states[i].theta).norm().item() for i in range(3)]
    assert path.at(0.0)[1] == 0
    assert path.at(1.0)[1] == pytest.approx(ways[0] + ways[1])
    there, way = path.at(0.75)
    assert way == pytest.approx(ways[0] + (there - states[1].theta).norm().item())


@pytest.mark.parametrize("sharpness", [3.0, 19.0, 21.0])
def test_gradient_descent_on_a_quadratic_leaves_the_flow_by_the_closed_form(sharpness):
    """After k steps they are apart by |(1 - lr s)^k - exp(-lr s k)|: at 2 / lr = 20 it stops to shrink."""
    lr, start = 0.1, torch.ones(1, dtype=torch.float64)
    flow = GradientFlow(1.0, gradient=lambda theta: sharpness * theta, tolerance=1e-8)
    states, state = [State(start)], State(start)
    for _ in range(4):
        states.append(flow.step(states[-1], flow.gradient(states[-1].theta)))
    path, descent = FlowPath(flow, states), GradientDescent(lr)
    for k in range(41):
        apart = abs((1 - lr * sharpness) ** k - np.exp(-lr * sharpness * k))
        assert (state.theta - path.at(state.time)[0]).norm().item() == pytest.approx(apart, abs=1e-6)
        state = descent.step(state, sharpness * state.theta)


def test_where_the_flow_runs_away_in_finite_time_it_is_an_error():
    """From 5, d theta / dt = theta^5 is infinite at a time of 0.0004."""
    flow = GradientFlow(1.0, gradient=lambda theta: -(theta**5), tolerance=1e-3)
    theta = torch.tensor([5.0])
    with pytest.raises(DivergenceError, match=r"^gradient flow cannot be followed beyond step 0 to within 0.001$"):
        flow.step(State(theta), flow.gradient(theta))
