"""Secant sharpness on quadratics, where it has a closed form, and the onset rule."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from edgewise.edge import first_crossing, secant_sharpness


@given(seed=st.integers(0, 10_000), size=st.integers(1, 12))
def test_on_a_quadratic_it_is_the_rayleigh_quotient_of_the_step(seed, size):
    rng = np.random.default_rng(seed)
    half = rng.standard_normal((size, size))
    a, theta, v = half + half.T, rng.standard_normal(size), rng.standard_normal(size)
    points = [torch.from_numpy(p) for p in (theta, a @ theta, theta + v, a @ (theta + v))]
    expected = v @ a @ v / (v @ v)
    assert secant_sharpness(*points) == pytest.approx(expected, rel=1e-9, abs=1e-9)


def test_along_an_eigenvector_it_is_the_eigenvalue():
    a = torch.diag(torch.tensor([7.0, -2.0]))
    start = torch.tensor([1.0, 1.0])
    for step, eigenvalue in (([0.5, 0.0], 7.0), ([0.0, 0.5], -2.0)):
        end = start + torch.tensor(step)
        assert secant_sharpness(start, a @ start, end, a @ end) == pytest.approx(eigenvalue)


def test_no_step_has_no_curvature():
    point = torch.ones(3)
    assert math.isnan(secant_sharpness(point, point, point, point))


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([1.0, 2.0, 3.0, 2.0], 20),  # reaching counts, not only exceeding
        ([1.0, 1.0, 3.0, 4.0], 30),
        ([5.0, 0.0, 0.0, 0.0], 10),
        ([math.nan, math.nan, 2.5, math.nan], 30),
        ([1.0, 1.0, 1.999, -5.0], None),
        ([math.nan] * 4, None),
    ],
)
def test_first_crossing_is_the_first_measured_step_at_the_threshold(values, expected):
    assert first_crossing([10, 20, 30, 40], values, 2.0) == expected
    assert first_crossing(np.array([10, 20, 30, 40]), np.array(values), 2.0) == expected


def test_first_crossing_of_nothing_is_never():
    assert first_crossing([], [], 2.0) is None
