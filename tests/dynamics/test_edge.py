"""Secant sharpness on quadratics, where it has a closed form, and the onset rule."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from edgewise.dynamics.edge import BLOCK, first_crossing, secant_sharpness


@given(seed=st.integers(0, 10_000), size=st.integers(1, 12))
def test_on_a_quadratic_it_is_the_rayleigh_quotient_of_the_step(seed, size):
    rng = np.random.default_rng(seed)
    half = rng.standard_normal((size, size))
    a, theta, v = half + half.T, rng.standard_normal(size), rng.standard_normal(size)
    displacement, change = (torch.from_numpy(d) for d in ((theta + v) - theta, a @ (theta + v) - a @ theta))
    expected = v @ a @ v / (v @ v)
    assert secant_sharpness(displacement, change) == pytest.approx(expected, rel=1e-9, abs=1e-9)


@given(seed=st.integers(0, 10_000), size=st.integers(1, 12))
def test_with_a_preconditioner_it_is_the_rayleigh_quotient_of_the_preconditioned_hessian(seed, size):
    rng = np.random.default_rng(seed)
    half = rng.standard_normal((size, size))
    a, v, diagonal = half + half.T, rng.standard_normal(size), rng.uniform(0.1, 10, size)
    u, root = np.sqrt(diagonal) * v, np.diag(diagonal**-0.5)
    expected = u @ root @ a @ root @ u / (u @ u)
    found = secant_sharpness(*(torch.from_numpy(x) for x in (v, a @ v, diagonal)))
    assert found == pytest.approx(expected, rel=1e-9, abs=1e-9)


def test_along_an_eigenvector_it_is_the_eigenvalue():
    a = torch.diag(torch.tensor([7.0, -2.0]))
    start = torch.tensor([1.0, 1.0])
    for step, eigenvalue in (([0.5, 0.0], 7.0), ([0.0, 0.5], -2.0)):
        end = start + torch.tensor(step)
        assert secant_sharpness(end - start, a @ end - a @ start) == pytest.approx(eigenvalue)


def test_no_step_has_no_curvature():
    nothing = torch.zeros(3)
    assert math.isnan(secant_sharpness(nothing, nothing))
    assert math.isnan(secant_sharpness(nothing, nothing, torch.ones(3)))


@pytest.mark.parametrize("size", [BLOCK - 1, BLOCK, 2 * BLOCK + 5])
def test_of_long_vectors_in_single_precision_the_sums_are_in_double_precision(size):
    rng = np.random.default_rng(0)
    step, change, diagonal = rng.standard_normal((3, size)).astype(np.float32)
    diagonal = np.abs(diagonal)
    vectors = [torch.from_numpy(vector) for vector in (step, change, diagonal)]
    step, change, diagonal = (vector.astype(float) for vector in (step, change, diagonal))
    assert secant_sharpness(*vectors[:2]) == pytest.approx(change @ step / (step @ step), rel=1e-11)
    assert secant_sharpness(*vectors) == pytest.approx(change @ step / (step @ (diagonal * step)), rel=1e-11)


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([1.0, 2.0, 3.0, 2.0], 20),  # reaching counts, not only exceeding
        ([1.0, 1.0, 3.0, 4.0], 30),
        ([5.0, 0.0, 0.0, 2.0], 40),  # from below
        ([5.0, 4.0, 3.0, 2.0], None),
        ([math.nan, 1.0, math.nan, 2.5], 40),
        ([math.nan, math.nan, 2.5, math.nan], None),
        ([1.0, 1.0, 1.999, -5.0], None),
        ([math.nan] * 4, None),
    ],
)
def test_first_crossing_is_the_first_measured_step_at_which_the_threshold_is_reached_from_below(values, expected):
    assert first_crossing([10, 20, 30, 40], values, 2.0) == expected
    assert first_crossing(np.array([10, 20, 30, 40]), np.array(values), 2.0) == expected


def test_first_crossing_of_nothing_is_never():
    assert first_crossing([], [], 2.0) is None
