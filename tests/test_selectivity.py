"""Alignment, influence and the comparison of branches on cases with a known answer."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from edgewise.objective import Objective
from edgewise.selectivity import (
    alignment,
    curvature_influence,
    delta_loss,
    delta_loss_equal_time,
    measure_groups,
    two_step_average,
)


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
    v, slope = vectors[0], torch.from_numpy(rng.standard_normal(6))
    groups = {"first": [0, 1], "rest": [2, 3, 4, 5]}
    objectives = {name: whole.subset(torch.tensor(index)) for name, index in groups.items()}
    measured = measure_groups(objectives, theta, vectors, slope)
    for name, index in groups.items():
        outputs, label = x[index] @ theta.view(2, 3).T, y[index]
        error = outputs - torch.eye(2, dtype=x.dtype)[label]
        gradient = (2 / len(index) * error.T @ x[index]).reshape(-1).numpy()  # of the mean of |W x - e_y|^2
        influence = (gradient @ v.numpy()) ** 2
        assert measured[f"curvature_influence_{name}"] == pytest.approx(influence)
        assert measured[f"alignment_{name}"] == pytest.approx(influence / (gradient @ gradient))
        assert measured[f"gradient_norm_{name}"] == pytest.approx(np.linalg.norm(gradient))
        assert measured[f"sharpness_coupling_{name}"] == pytest.approx((gradient @ slope.numpy()) ** 2)
        of_label = np.clip(outputs.numpy()[range(len(index)), label], 0, 1)
        assert measured[f"label_probability_{name}"] == pytest.approx(of_label.mean())
        if k > 1:
            span = ((vectors.numpy() @ gradient) ** 2).sum()
            assert measured[f"subspace_influence_{name}"] == pytest.approx(span)
            assert measured[f"subspace_alignment_{name}"] == pytest.approx(span / (gradient @ gradient))
    assert len(measured) == len(groups) * (5 if k == 1 else 7)


def test_two_step_averages_remove_a_period_two_oscillation_exactly():
    steps = np.arange(10.0)
    flipping = 5 + 3 * (-1.0) ** steps
    np.testing.assert_array_equal(two_step_average(flipping), np.full(9, 5.0))
    np.testing.assert_allclose(two_step_average(steps + flipping), steps[:-1] + 0.5 + 5)


def test_delta_loss_is_free_of_the_oscillation_and_positive_where_leaving_the_edge_costs():
    steps = np.arange(20.0)
    baseline = np.stack([1 - 0.01 * steps + 0.4 * (-1.0) ** steps, 2 + 0 * steps], axis=1)
    branch = np.stack([1 + 0 * steps, 2 - 0.05 * steps], axis=1)
    expected = np.stack([0.01 * (steps[:-1] + 0.5), -0.05 * (steps[:-1] + 0.5)], axis=1)
    np.testing.assert_allclose(delta_loss(baseline, branch), expected, atol=1e-12)


def curve(time: np.ndarray) -> np.ndarray:
    """Two smooth losses of training time."""
    return np.stack([np.exp(-time), 1 + np.sin(2 * time)], axis=1)


@pytest.mark.parametrize("factor", [0.1, 0.5, 0.3])
def test_the_same_curve_in_time_has_no_difference_at_equal_time(factor):
    lr, steps = 0.02, 101
    times = [lr * np.arange(steps), factor * lr * np.arange(steps)]
    time, difference = delta_loss_equal_time(curve(times[0]), times[0], curve(times[1]), times[1])
    # Averaging and interpolating err by about f'' h^2 / 8, with |f''| <= 4.
    assert np.abs(difference).max() < 4 * lr**2 / 8 * 1.01
    assert np.abs(delta_loss(curve(times[0]), curve(times[1]))).max() > 0.1  # at equal step they do differ
    np.testing.assert_allclose(time, (np.arange(len(time)) + 0.5) * lr)
    assert time[-1] <= factor * lr * (steps - 1.5) < time[-1] + lr


def test_a_linear_difference_in_time_is_found_exactly_with_its_sign():
    lr = 0.1
    times = [lr * np.arange(31), lr / 5 * np.arange(31)]
    losses = [np.stack([1 - t, 3 * t], axis=1) for t in times]
    losses[1] = losses[1] + times[1][:, None] * [0.5, -0.25]
    time, difference = delta_loss_equal_time(losses[0], times[0], losses[1], times[1])
    np.testing.assert_allclose(difference, time[:, None] * [0.5, -0.25], atol=1e-12)


def test_a_branch_with_larger_steps_is_compared_on_its_own_times():
    lr = 0.1
    times = [lr * np.arange(31), 3 * lr * np.arange(31)]
    time, difference = delta_loss_equal_time(*(a for t in times for a in (np.stack([2 * t], axis=1), t)))
    np.testing.assert_allclose(time, 3 * lr * (np.arange(len(time)) + 0.5))
    np.testing.assert_allclose(difference, 0, atol=1e-12)
    assert time[-1] <= lr * 29.5 < time[-1] + 3 * lr


def test_an_oscillation_of_the_baseline_does_not_reach_the_comparison_at_equal_time():
    lr, steps = 0.02, np.arange(80)
    times = [lr * steps, 0.1 * lr * steps]
    flat, flipping = np.ones((80, 1)), (1 + 0.4 * (-1.0) ** steps)[:, None]
    _, difference = delta_loss_equal_time(flipping, times[0], flat, times[1])
    assert len(difference) > 0
    np.testing.assert_allclose(difference, 0, atol=1e-12)


def test_runs_too_short_to_overlap_compare_nothing():
    times = [np.arange(5.0), 0.1 * np.arange(5.0)]
    time, difference = delta_loss_equal_time(np.ones((5, 3)), times[0], np.ones((5, 3)), times[1])
    assert len(time) == 0
    assert difference.shape == (0, 3)
