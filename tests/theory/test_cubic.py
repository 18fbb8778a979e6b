"""The cubic model on a loss that is its own expansion to third order: there it is gradient descent itself."""

from itertools import islice

import numpy as np
import pytest
import torch
from toys import DRIVE, LR, Losses, problem_of, walls

from edgewise.errors import DivergenceError
from edgewise.states.optimizers import GradientDescent, State
from edgewise.theory.cubic import Expansion, cubic

SLOPE = (1.0, 0.5)
START, HALF_STEP = [0.0, -0.2, 0.1], [0.3, 0.05, 0.0]
GROUPS = {"wall": torch.tensor([0]), "floor": torch.tensor([1])}


@pytest.mark.parametrize("decay", [0.0, 0.6])
def test_the_coefficients_are_those_of_the_third_derivatives(decay):
    at = Expansion.of(problem_of(walls(SLOPE), START, HALF_STEP, weight_decay=decay))
    drive, slope, w = np.array(DRIVE), np.array(SLOPE), np.array(START[1:])
    assert at.alpha == pytest.approx((drive - decay * w) @ slope)
    assert at.beta == pytest.approx(slope @ slope)
    assert abs(at.x) == pytest.approx(HALF_STEP[0])
    assert at.y == pytest.approx(w @ slope + decay)  # the threshold is lower by the weight decay
    assert at.slope.numpy() == pytest.approx(np.array([0.0, *SLOPE]))
    assert at.couplings.tolist() == pytest.approx([0.0, -2 * drive @ slope])
    assert at.curvatures.tolist() == pytest.approx([2 * (2 / LR + w @ slope), 0.0])


def test_the_part_of_the_gradient_of_the_sharpness_along_v1_is_left_out():
    """L = 10 x^2 + x^3 + 2 x^2 y + y^2: at 0 the sharpness is 20 and its gradient is (6, 4)."""
    objective = Losses(lambda t: (10 * t[0] ** 2 + t[0] ** 3 + 2 * t[0] ** 2 * t[1] + t[1] ** 2)[None])
    at = Expansion.of(problem_of(objective, [0.0, 0.0], [0.1, 0.0]))
    assert at.slope.tolist() == pytest.approx([0.0, 4.0])
    assert at.beta == pytest.approx(16)


def test_on_a_cubic_it_is_gradient_descent():
    found = list(islice(cubic(problem_of(walls(SLOPE), START, [HALF_STEP[0], 0.0, 0.0], groups=GROUPS)), 40))
    objective, optimizer = walls(SLOPE), GradientDescent(LR)
    state = State(torch.tensor(START, dtype=torch.float64) + torch.tensor([HALF_STEP[0], 0.0, 0.0]))
    for centre, row in found:
        x, *w = state.theta.tolist()
        assert row["oscillation"] == pytest.approx(abs(x))
        assert row["sharpness"] == pytest.approx(2 / LR + np.dot(SLOPE, w))
        assert centre.tolist() == pytest.approx([0.0, *w], abs=1e-6)
        assert row["loss_floor"] == pytest.approx(-2 * np.dot(DRIVE, w), abs=1e-6)
        # The curvature of the wall is that of the reference point.
        assert row["loss_wall"] == pytest.approx((2 / LR + np.dot(SLOPE, START[1:])) * x**2)
        state = optimizer.step(state, objective.gradient(state.theta))
    # There was a burst, and after it the sharpness was below the threshold.
    assert max(row["oscillation"] for _, row in found) > 2 * HALF_STEP[0]
    assert found[-1][1]["sharpness"] < 2 / LR


def test_at_the_amplitude_of_rest_it_rests():
    alpha, beta = np.dot(DRIVE, SLOPE), np.dot(SLOPE, SLOPE)
    problem = problem_of(walls(SLOPE), [0.0, 0.0, 0.0], [float(np.sqrt(2 * alpha / beta)), 0.0, 0.0])
    rows = [row for _, row in islice(cubic(problem), 30)]
    for column in ("sharpness", "oscillation"):
        assert [row[column] for row in rows] == pytest.approx([rows[0][column]] * 30)
    assert rows[0]["sharpness"] == pytest.approx(2 / LR)


def test_without_an_oscillation_it_is_gradient_flow_whose_sharpness_rises_steadily():
    *_, (centre, row) = islice(cubic(problem_of(walls(SLOPE), START)), 11)
    assert centre.tolist() == pytest.approx([0.0, *(np.array(START[1:]) + 10 * LR * np.array(DRIVE))])
    assert row["sharpness"] == pytest.approx(2 / LR + np.dot(SLOPE, START[1:]) + 10 * LR * np.dot(DRIVE, SLOPE))


def test_it_says_when_it_diverges():
    with pytest.raises(DivergenceError, match=r"optimizer\.lr: was 0\.1; the cubic model diverged"):
        list(cubic(problem_of(walls(SLOPE), [0.0, 60.0, 0.0], [100.0, 0.0, 0.0])))
