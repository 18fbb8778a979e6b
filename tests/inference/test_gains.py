"""Differences of loss between branches: of curves with a known answer, and of records written by hand."""

import numpy as np
import pytest
from synthetic import (
    ENTER_SHARE,
    ENTER_STEP,
    FLOW,
    FOUR,
    GAIN,
    GROUP_DISTANCE,
    INFLUENCE,
    LEVEL,
    STEPS,
    T_STAR,
    records,
)

from edgewise.branches import PAIRS
from edgewise.data.groups import GROUPS
from edgewise.inference.gains import (
    compared,
    delta_loss,
    difference_at_equal_step,
    difference_at_equal_time,
    gains,
    predictor,
    since_branching,
    two_step_average,
)


def test_delta_loss_is_the_gain_without_the_oscillation():
    table = delta_loss(records(), "exit", "step")
    assert table.index.tolist() == list(range(STEPS))
    for group in GROUPS:
        np.testing.assert_allclose(table[group], GAIN[group], atol=1e-12)


def test_delta_loss_at_equal_time_is_indexed_in_steps_of_the_baseline():
    constant = delta_loss(records(), "exit", "time")
    assert constant.index.tolist() == [0]  # the exit branch's averages end at 0.75 steps of the baseline
    assert constant.loc[0].to_dict() == pytest.approx(GAIN)


@pytest.mark.parametrize(
    ("branch", "at_edge", "away", "first"),
    [
        ("exit", "baseline", "exit", T_STAR),
        ("flow", "baseline", "flow", T_STAR),
        ("enter", "enter", "exit", T_STAR + ENTER_STEP),
    ],
)
def test_a_branch_is_paired_with_what_it_branches_from_at_the_step_it_branches(branch, at_edge, away, first):
    one = records(branches=FOUR)
    assert PAIRS[branch] == (at_edge, away)
    for run in (at_edge, away):
        found = since_branching(one, one.steps[run], branch)
        expected = one.steps[run].iloc[first - T_STAR :]
        assert found["step"].tolist() == list(range(first, T_STAR + STEPS + 1))
        np.testing.assert_array_equal(found, expected)


def test_gains_of_flow_and_enter_are_those_of_the_run_at_the_edge():
    one = records(branches=FOUR, exit_factor=0.5)
    assert gains(one, "flow", "step").to_dict() == pytest.approx(FLOW)
    assert gains(one, "flow", "time").to_dict() == pytest.approx(FLOW)
    table = delta_loss(one, "enter", "step")
    assert table.index.tolist() == list(range(STEPS - ENTER_STEP))
    for group in GROUPS:
        whole = (1 - ENTER_SHARE) * GAIN[group]
        expected = [whole / 2, whole, whole, whole]  # the first average holds the state that both start from
        np.testing.assert_allclose(table[group], expected, atol=1e-12)
        assert gains(one, "enter", "step")[group] == pytest.approx(whole)


def test_at_equal_time_the_enter_branch_is_compared_from_where_it_branches():
    """Averages of enter lie at 0.5, 1.5, ... steps since branching, those of exit at 0.25, 0.75, ... 1.75."""
    table = delta_loss(records(branches=FOUR, exit_factor=0.5), "enter", "time")
    assert table.index.tolist() == [0, 1]
    for group in GROUPS:
        whole = (1 - ENTER_SHARE) * GAIN[group]
        np.testing.assert_allclose(table[group], [whole / 2, whole], atol=1e-12)


@pytest.mark.parametrize("branch", ["exit", "flow", "enter"])
def test_predictors_are_averages_over_the_run_at_the_edge_since_branching(branch):
    one = records(branches=FOUR)
    found = predictor(one, "curvature_influence", branch)
    # Of the enter branch the last two of three checkpoints are at the edge: the mean of its ramp there is 0.25.
    np.testing.assert_allclose(found, [INFLUENCE[g] + (0.25 if branch == "enter" else 0.0) for g in GROUPS])
    np.testing.assert_array_equal(predictor(one, "centroid_distance", branch), [GROUP_DISTANCE[g] for g in GROUPS])
    rows = (STEPS if branch != "enter" else STEPS - ENTER_STEP) + 1
    shift = [0.0] * 4 if branch != "enter" else [GAIN[g] * (1 + (rows - 1) * ENTER_SHARE) / rows for g in GROUPS]
    expected = [LEVEL[g] + s + 0.5 / rows for g, s in zip(GROUPS, shift, strict=True)]
    np.testing.assert_allclose(predictor(one, "loss", branch), expected)


def test_every_branch_but_the_baseline_is_compared_in_the_order_declared():
    assert compared(records()) == ["exit"]
    assert compared(records(branches=("flow", "enter", "baseline", "exit"))) == ["flow", "enter", "exit"]


def test_two_step_averages_remove_a_period_two_oscillation_exactly():
    steps = np.arange(10.0)
    flipping = 5 + 3 * (-1.0) ** steps
    np.testing.assert_array_equal(two_step_average(flipping), np.full(9, 5.0))
    np.testing.assert_allclose(two_step_average(steps + flipping), steps[:-1] + 0.5 + 5)


def test_the_difference_is_free_of_the_oscillation_and_positive_where_leaving_the_edge_costs():
    steps = np.arange(20.0)
    baseline = np.stack([1 - 0.01 * steps + 0.4 * (-1.0) ** steps, 2 + 0 * steps], axis=1)
    branch = np.stack([1 + 0 * steps, 2 - 0.05 * steps], axis=1)
    expected = np.stack([0.01 * (steps[:-1] + 0.5), -0.05 * (steps[:-1] + 0.5)], axis=1)
    np.testing.assert_allclose(difference_at_equal_step(baseline, branch), expected, atol=1e-12)


def curve(time: np.ndarray) -> np.ndarray:
    """Two smooth losses of training time."""
    return np.stack([np.exp(-time), 1 + np.sin(2 * time)], axis=1)


@pytest.mark.parametrize("factor", [0.1, 0.5, 0.3])
def test_the_same_curve_in_time_has_no_difference_at_equal_time(factor):
    lr, steps = 0.02, 101
    times = [lr * np.arange(steps), factor * lr * np.arange(steps)]
    time, difference = difference_at_equal_time(curve(times[0]), times[0], curve(times[1]), times[1])
    # Averaging and interpolating err by about f'' h^2 / 8, with |f''| <= 4.
    assert np.abs(difference).max() < 4 * lr**2 / 8 * 1.01
    assert (
        np.abs(difference_at_equal_step(curve(times[0]), curve(times[1]))).max() > 0.1
    )  # at equal step they do differ
    np.testing.assert_allclose(time, (np.arange(len(time)) + 0.5) * lr)
    assert time[-1] <= factor * lr * (steps - 1.5) < time[-1] + lr


def test_a_linear_difference_in_time_is_found_exactly_with_its_sign():
    lr = 0.1
    times = [lr * np.arange(31), lr / 5 * np.arange(31)]
    losses = [np.stack([1 - t, 3 * t], axis=1) for t in times]
    losses[1] = losses[1] + times[1][:, None] * [0.5, -0.25]
    time, difference = difference_at_equal_time(losses[0], times[0], losses[1], times[1])
    np.testing.assert_allclose(difference, time[:, None] * [0.5, -0.25], atol=1e-12)


def test_a_branch_with_larger_steps_is_compared_on_its_own_times():
    lr = 0.1
    times = [lr * np.arange(31), 3 * lr * np.arange(31)]
    time, difference = difference_at_equal_time(*(a for t in times for a in (np.stack([2 * t], axis=1), t)))
    np.testing.assert_allclose(time, 3 * lr * (np.arange(len(time)) + 0.5))
    np.testing.assert_allclose(difference, 0, atol=1e-12)
    assert time[-1] <= lr * 29.5 < time[-1] + 3 * lr


def test_an_oscillation_of_the_baseline_does_not_reach_the_comparison_at_equal_time():
    lr, steps = 0.02, np.arange(80)
    times = [lr * steps, 0.1 * lr * steps]
    flat, flipping = np.ones((80, 1)), (1 + 0.4 * (-1.0) ** steps)[:, None]
    _, difference = difference_at_equal_time(flipping, times[0], flat, times[1])
    assert len(difference) > 0
    np.testing.assert_allclose(difference, 0, atol=1e-12)


def test_runs_too_short_to_overlap_compare_nothing():
    times = [np.arange(5.0), 0.1 * np.arange(5.0)]
    time, difference = difference_at_equal_time(np.ones((5, 3)), times[0], np.ones((5, 3)), times[1])
    assert len(time) == 0
    assert difference.shape == (0, 3)
