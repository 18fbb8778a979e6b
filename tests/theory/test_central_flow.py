"""Central flow where its oscillation is known, along one direction and several, and the problem that gives it."""

from itertools import islice

import numpy as np
import pytest
import torch
from scipy.optimize import nnls
from toys import DRIVE, LR, Losses, problem_of, walls

from edgewise.errors import DivergenceError
from edgewise.theory.central_flow import central_flow, complementary
from edgewise.theory.cubic import Expansion

SLOPE = (1.0, 0.5)
#: Two valleys, with the covariance that holds both: sum_i X_ii s_i / 2 = DRIVE, so that nothing moves any more.
TWO, HELD = ((1.0, 0.0), (0.5, 1.0)), (0.5, 0.6)


def test_below_the_threshold_there_is_no_oscillation_and_the_flow_is_eulers():
    for step, (w, row) in enumerate(islice(central_flow(problem_of(walls(SLOPE), [0.0, -1.0, 0.0])), 10)):
        assert w.tolist() == pytest.approx([0.0, -1 + DRIVE[0] * LR * step, DRIVE[1] * LR * step])
        assert row["oscillation"] == row["directions"] == 0


@pytest.mark.parametrize("decay", [0.0, 0.5])
def test_along_one_direction_the_oscillation_has_the_amplitude_at_which_the_cubic_model_rests(decay):
    """The sharpness of L is held at 2 / LR less the weight decay."""
    groups = {"wall": torch.tensor([0]), "floor": torch.tensor([1])}
    problem = problem_of(walls(SLOPE), [0.0, -0.1 - decay, 0.0], groups=groups, weight_decay=decay)
    *_, (w, row) = islice(central_flow(problem), 40)
    assert row["sharpness"] == pytest.approx(2 / LR - decay, rel=1e-6)
    rest = Expansion.of(problem_of(walls(SLOPE), w.tolist(), weight_decay=decay))
    # It is that of the substep before, in which w has moved by a little.
    assert row["oscillation"] ** 2 == pytest.approx(2 * rest.alpha / rest.beta, rel=1e-2 if decay else 1e-6)
    assert row["directions"] == 1
    assert row["loss_wall"] == pytest.approx((2 / LR - decay) * row["oscillation"] ** 2)
    assert row["loss_floor"] == pytest.approx(-2 * np.dot(DRIVE, w[1:].numpy()))


def turned(angle: float) -> Losses:
    """The two valleys with the axes of x turned."""
    rotation = torch.eye(4, dtype=torch.float64)
    rotation[:2, :2] = torch.tensor([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    objective = walls(*TWO)
    return Losses(lambda theta: objective.losses_at(rotation @ theta))


@pytest.mark.parametrize("angle", [0.0, 0.4])
def test_two_equal_eigenvalues_are_held_by_an_oscillation_along_both(angle):
    """They are equal at w = 0 alone, where the eigenvectors are any two of the plane."""
    groups = {"one": torch.tensor([0]), "two": torch.tensor([1])}
    start = [0.0, 0.0, -0.05, -0.02]
    *_, (w, row) = islice(central_flow(problem_of(turned(angle), start, groups=groups)), 40)
    np.testing.assert_allclose(w, 0, atol=1e-6)
    assert row["directions"] == 2
    assert row["sharpness"] == pytest.approx(2 / LR)
    assert row["loss_one"] == pytest.approx(3 / LR * HELD[0], rel=1e-4)
    assert row["loss_two"] == pytest.approx(3 / LR * HELD[1], rel=1e-4)
    assert row["oscillation"] == pytest.approx(np.sqrt(sum(HELD)), rel=1e-4)


def test_a_direction_that_the_oscillation_along_another_holds_down_has_none():
    """Once the first valley is held, w moves along its second coordinate alone, on which the second one widens."""
    slopes = ((1.0, 0.0), (2.0, -1.0))
    *_, (w, row) = islice(central_flow(problem_of(walls(*slopes), [0.0, 0.0, -0.1, 0.1])), 40)
    assert row["directions"] == 1
    assert w[2].item() == pytest.approx(0, abs=1e-9)
    assert np.dot(slopes[1], w[2:].numpy()) < 0
    assert row["oscillation"] ** 2 == pytest.approx(2 * DRIVE[0])


def test_along_the_axes_the_problem_is_that_of_least_squares_without_negative_numbers(rng):
    for _ in range(5):
        slopes, drive = rng.standard_normal((4, 3)), rng.standard_normal(4)
        products, slack = np.zeros((3, 3, 3, 3)), np.zeros((3, 3))
        for i in range(3):
            slack[i, i] = slopes[:, i] @ drive
            for j in range(3):
                products[i, i, j, j] = slopes[:, i] @ slopes[:, j]
        expected, _ = nnls(slopes, -drive)
        np.testing.assert_allclose(complementary(slack, products), np.diag(expected), atol=1e-5)


@pytest.mark.parametrize("number", [np.nan, np.inf])
def test_numbers_that_are_not_finite_are_a_divergence(number):
    slack, products = np.diag([-1.0, -2.0]), np.einsum("ij,kl->ijkl", np.eye(2), np.eye(2))
    products[0, 0, 0, 0] = number
    with pytest.raises(DivergenceError, match="central flow: no oscillation"):
        complementary(slack, products)


@pytest.mark.parametrize("scale", [1e-3, 1.0, 1e6])
def test_the_conditions_of_complementarity_hold(rng, scale):
    """For matrices of any kind: the covariance does not have the eigenvectors of the slack."""
    slopes = rng.standard_normal((3, 3, 20))
    slopes = scale * (slopes + slopes.transpose(1, 0, 2)) / 2
    products = np.einsum("ijp,klp->ijkl", slopes, slopes)
    slack = np.diag([-3.0, -1.0, 2.0]) + 0.5
    found = complementary(slack, products)
    left = slack + np.einsum("ijkl,kl->ij", products, found)
    unit = np.abs(slack).max()
    assert np.linalg.eigvalsh(left).min() > -1e-5 * unit
    assert np.linalg.eigvalsh(found).min() >= -1e-6 * np.abs(found).max()
    assert abs(np.sum(left * found)) < 1e-5 * unit * np.abs(found).max()
    assert np.abs(found).max() > 0
