"""Gradient flow as a model, where the flow is known."""

from itertools import islice

import pytest
from toys import DRIVE, LR, problem_of, walls

from edgewise.theory.gradient_flow import gradient_flow


def test_it_goes_through_the_edge_as_if_there_were_none():
    groups = {"floor": [1]}
    problem = problem_of(walls((1.0, 0.0)), [0.0, -0.1, 0.0], [0.3, 0.0, 0.0], groups=groups)
    for step, (theta, row) in enumerate(islice(gradient_flow(problem), 20)):
        w = [-0.1 + DRIVE[0] * LR * step, DRIVE[1] * LR * step]
        assert theta.tolist() == pytest.approx([0.0, *w])
        assert row["sharpness"] == pytest.approx(2 / LR + w[0])
        assert row["loss"] == pytest.approx(-DRIVE[0] * w[0] - DRIVE[1] * w[1])
        assert row["loss_floor"] == pytest.approx(2 * row["loss"])
        assert "oscillation" not in row
