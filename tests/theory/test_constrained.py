"""The constrained trajectory where the constraint is a plane, and where it cannot be held."""

from itertools import islice

import numpy as np
import pytest
import torch
from toys import DRIVE, LR, Losses, problem_of, walls

from edgewise.errors import DivergenceError
from edgewise.theory.constrained import TOLERANCE, constrained
from edgewise.theory.gradient_flow import gradient_flow

SLOPE = (1.0, 0.5)


def test_below_the_threshold_it_is_gradient_flow():
    start = [0.05, -1.0, 0.0]
    found, flow = (islice(model(problem_of(walls(SLOPE), start)), 15) for model in (constrained, gradient_flow))
    for (theta, row), (at, expected) in zip(found, flow, strict=True):
        torch.testing.assert_close(theta, at, rtol=1e-5, atol=1e-7)
        assert row == pytest.approx(expected, rel=1e-5, abs=1e-7)
    assert row["sharpness"] < 2 / LR


@pytest.mark.parametrize("substeps", [1, 2, 5])
def test_at_the_threshold_it_goes_along_the_constraint_by_the_part_of_the_gradient_that_does(substeps):
    drive, slope = np.array(DRIVE), np.array(SLOPE)
    along = drive - (drive @ slope) / (slope @ slope) * slope
    problem = problem_of(walls(SLOPE), [0.0, 0.0, 0.0], substeps=substeps)
    for step, (theta, row) in enumerate(islice(constrained(problem), 30)):
        np.testing.assert_allclose(theta[1:], step * LR * along, atol=2 * TOLERANCE * 2 / LR)
        assert row["sharpness"] <= (1 + TOLERANCE) * 2 / LR
    assert np.linalg.norm(along) * 29 * LR > 10 * 2 * TOLERANCE * 2 / LR


def test_where_the_constraint_is_curved_it_is_held_within_the_tolerance():
    """S = 2 / LR + y - z^2 at x = 0, and the drive is along y and z."""

    def losses(theta):
        x, y, z = theta
        return ((2 / LR + y - z**2) * x**2 / 2 - 0.4 * y - 0.05 * z)[None]

    rows = list(islice(constrained(problem_of(Losses(losses), [0.02, -0.1, 0.2])), 60))
    assert max(row["sharpness"] for _, row in rows) <= (1 + TOLERANCE) * 2 / LR
    y, z = rows[-1][0][1:].tolist()
    assert y == pytest.approx(z**2, abs=2 * TOLERANCE * 2 / LR)
    assert z > 0.5


def test_it_says_when_no_point_is_below_the_threshold():
    """On a quadratic the sharpness is the same everywhere."""
    objective = Losses(lambda theta: 15 * theta[:1] ** 2 + theta[1:] ** 2)
    with pytest.raises(DivergenceError, match="finds no point below the threshold"):
        list(constrained(problem_of(objective, [0.1, 0.1])))
