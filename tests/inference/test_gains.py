"""Differences of loss between branches: of curves with a known answer, and of records written by hand."""

from dataclasses import replace

import numpy as np
import pandas as pd
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
    LR,
    STEPS,
    STRATA,
    STRATUM_GAIN,
    STRATUM_INFLUENCE,
    T_STAR,
    TRANSIENT,
    records,
)

from edgewise.data.groups import GROUPS
from edgewise.inference.gains import (
    compared,
    delta_loss,
    difference_at_equal_step,
    difference_at_equal_time,
    gains,
    predictor,
    since_branching,
    transient,
    two_step_average,
)
from edgewise.inference.records import SeedRecords
from edgewise.states.branches import PAIRS


def assert_gain_after_the_first_step(found: pd.Series, gain: float, first: float) -> None:
    """The state that both runs start from has no gain; `first` is what the first value has of it."""
    np.testing.assert_allclose(found, [first * gain] + [gain] * (len(found) - 1), atol=1e-12)


def test_delta_loss_is_the_gain_without_the_oscillation():
    table = delta_loss(records(), "exit", "step")
    assert table.index.tolist() == list(range(STEPS))
    for group in GROUPS:
        assert_gain_after_the_first_step(table[group], GAIN[group], 0.5)


@pytest.mark.parametrize(("factor", "first"), [(0.1, 1.0), (0.5, 0.75)])
def test_delta_loss_at_equal_time_reaches_the_horizon_and_is_indexed_in_steps_of_the_baseline(factor, first):
    """With half the step the exit branch's averages lie at 0.25, half of the gain, and 0.75; the baseline's at 0.5."""
    table = delta_loss(records(exit_factor=factor), "exit", "time")
    assert table.index.tolist() == list(range(STEPS))
    for group in GROUPS:
        assert_gain_after_the_first_step(table[group], GAIN[group], first)


@pytest.mark.parametrize("held", ["step", "time"])
def test_strata_have_gains_as_groups_do(held):
    found = gains(records(2.0), "exit", held, STRATA)
    assert found.to_dict() == pytest.approx({name: 2 * gain for name, gain in STRATUM_GAIN.items()})


def test_the_transient_ends_where_the_oscillation_has_its_late_amplitude():
    one = records()
    assert transient(one) == TRANSIENT
    early, settled = (gains(one, "exit", "step", part=part) for part in ("transient", "settled"))
    for group in GROUPS:
        # One half, then the whole, of the gain at the first four averages.
        assert early[group] == pytest.approx((0.5 + TRANSIENT - 1) / TRANSIENT * GAIN[group])
        assert settled[group] == pytest.approx(GAIN[group])


def quadratic(growth: float, factor: float, steps: int) -> SeedRecords:
    """Gradient descent on the loss (a x^2 + b y^2) / 2 from (x, y) = (0.5, 2), at the edge of stability along x.

    lr a = 1 + growth, so that x changes sign at every step and grows by `growth`; y, along the valley, goes on at its
    own pace. The loss of a group is l = m x + h x^2 / 2 + g y, with coefficients of its own.
    """
    sharp, flat = (1 + growth) / LR, 0.3
    one = records(exit_factor=factor)
    runs = {"base": one.steps["base"]}
    for branch, lr, count in (("baseline", LR, steps), ("exit", factor * LR, round(steps / factor))):
        theta = np.array([[0.5, 2.0]])
        for _ in range(count + 1):
            theta = np.vstack([theta, theta[-1] - lr * np.array([sharp, flat]) * theta[-1]])
        oscillation = np.linalg.norm(theta[2:] - 2 * theta[1:-1] + theta[:-2], axis=1) / 4
        x, y = theta[:-1].T
        table = {"step": T_STAR + np.arange(count + 1), "time": LR * T_STAR + lr * np.arange(count + 1)}
        table["oscillation"] = np.concatenate([[np.nan], oscillation])
        losses = {f"loss_{group}": m * x + h * x**2 / 2 + g * y for group, (m, h, g) in COEFFICIENTS.items()}
        runs[branch] = pd.DataFrame(table | losses)
    return replace(one, steps=runs, setting=replace(one.setting, steps=steps))


COEFFICIENTS = dict(zip(GROUPS, [(5.0, 0.0, 1.0), (-3.0, 2.0, 0.5), (0.0, 4.0, -1.0), (2.0, 0.5, 0.0)], strict=True))


@pytest.mark.parametrize("steps", [12, 41])
def test_on_a_quadratic_gains_are_those_of_its_closed_form(steps):
    """With lr a = 2 both walls are at x = +-0.5 for ever; half the step size leads to x = 0 at once.

    So the edge pays h x^2 / 2 for its walls, nothing for m x, and g times what the exit branch is behind along y.
    """
    one = quadratic(growth=1.0, factor=0.5, steps=steps)
    step = np.arange(steps)
    pace, half_pace = 1 - LR * 0.3, 1 - LR * 0.3 / 2
    at_edge = 2.0 * (pace**step + pace ** (step + 1)) / 2
    away_at_step = 2.0 * (half_pace**step + half_pace ** (step + 1)) / 2
    # At the baseline's times the exit branch is halfway between two of its averages, of steps 2t, 2t+1 and 2t+2.
    away_at_time = 2.0 * (half_pace ** (2 * step) + 2 * half_pace ** (2 * step + 1) + half_pace ** (2 * step + 2)) / 4
    # The first state is that of both: in x the exit branch has left the wall after its first step.
    share_at_step, share_at_time = np.where(step == 0, 0.5, 0.0), np.where(step == 0, 0.25, 0.0)
    for held, away, share in (("step", away_at_step, share_at_step), ("time", away_at_time, share_at_time)):
        table = delta_loss(one, "exit", held)
        assert table.index.tolist() == list(range(steps))
        for group, (m, h, g) in COEFFICIENTS.items():
            walls = h * 0.5**2 / 2
            expected = g * (away - at_edge) - walls * (1 - share) + m * 0.5 * share
            np.testing.assert_allclose(table[group], expected, atol=1e-12)
            assert gains(one, "exit", held)[group] == pytest.approx(expected[steps // 2 :].mean())
    # At equal step the exit branch is far behind along the valley; at equal time it is hardly so.
    behind = gains(one, "exit", "step")["inlier"], gains(one, "exit", "time")["inlier"]
    assert behind[0] > 10 * abs(behind[1])


@pytest.mark.parametrize("growth", [1.01, 1.015])
def test_on_a_quadratic_the_transient_lasts_until_the_walls_are_at_80_percent_of_where_they_are_later(growth):
    steps = 40
    one = quadratic(growth, 0.5, steps)
    # Along x the amplitude at step t is 0.5 growth^(t-1) (1 + growth)^2 / 4; along y next to nothing changes sign.
    amplitude = 0.5 * growth ** np.arange(steps) * (1 + growth) ** 2 / 4
    level = 0.8 * amplitude[steps // 2 :].mean()
    expected = int(np.ceil(1 + np.log(level / amplitude[0]) / np.log(growth)))
    assert steps // 10 < expected < steps // 2
    assert transient(one) == expected


@pytest.mark.parametrize("growth", [1.05, 1.2])
def test_where_the_walls_still_move_apart_in_the_later_half_the_transient_ends_where_that_begins(growth):
    assert transient(quadratic(growth, 0.5, 40)) == 20


def with_amplitude(*amplitude: float) -> SeedRecords:
    """Records whose baseline oscillates with this amplitude, from the first step after onset on."""
    one = records()
    table = one.steps["baseline"]
    rows = [table.iloc[[0]]] * (len(amplitude) + 1)
    grown = pd.concat(rows, ignore_index=True).assign(oscillation=[np.nan, *amplitude])
    return replace(one, steps={**one.steps, "baseline": grown})


@pytest.mark.parametrize(
    ("early", "late", "expected"),
    [
        ([0.1, 0.5, 0.8, 0.9, 1.0], [1.0] * 5, 3),  # 80 % is enough
        ([0.1, 0.5, 0.79, 0.9, 1.0], [1.0] * 5, 4),
        ([0.1, 0.9, 0.1, 0.1, 0.9], [1.0] * 5, 2),  # first; a later dip is part of the settled part
        ([0.1, 0.8, 0.1, 0.1, 0.1], [0.2, 1.8] * 2 + [1.0], 2),  # of the mean of the later half, not of its end
        ([0.1, 0.2, 0.3, 0.4, 0.5], [1.0] * 5, 5),  # grown in the later half alone
        ([2.0, 2.0, 2.0, 2.0, 2.0], [1.0] * 5, 1),
        ([2.0] * 15, [1.0] * 15, 3),  # a tenth of the steps
        ([0.0] * 5, [0.0] * 5, 1),  # no oscillation at all
    ],
)
def test_the_transient_ends_with_the_first_step_that_has_80_percent_in_the_first_half(early, late, expected):
    assert transient(with_amplitude(*early, *late)) == expected


def test_the_transient_is_at_least_a_tenth_of_the_steps_even_where_the_oscillation_has_long_grown():
    assert transient(quadratic(0.9, 0.5, 40)) == 4


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
        assert found["step"].iloc[0] == first
        assert found["step"].iloc[-1] == one.steps[run]["step"].iloc[-1]
        np.testing.assert_array_equal(found, expected)


def test_gains_of_flow_and_enter_are_those_of_the_run_at_the_edge():
    one = records(branches=FOUR, exit_factor=0.5)
    assert gains(one, "flow", "step").to_dict() == pytest.approx(FLOW)
    assert gains(one, "flow", "time").to_dict() == pytest.approx(FLOW)
    table = delta_loss(one, "enter", "step")
    after = STEPS - ENTER_STEP // 2  # steps at full size that cover what is left of the horizon
    assert table.index.tolist() == list(range(after))
    for group in GROUPS:
        whole = (1 - ENTER_SHARE) * GAIN[group]
        assert_gain_after_the_first_step(table[group], whole, 0.5)
        assert gains(one, "enter", "step")[group] == pytest.approx(whole)


def test_at_equal_time_the_enter_branch_is_compared_from_where_it_branches():
    """Averages of enter lie at 0.5, 1.5, ... steps since branching; those of exit, at 0.25, 0.75, ..., do not move."""
    table = delta_loss(records(branches=FOUR, exit_factor=0.5), "enter", "time")
    assert table.index.tolist() == list(range(STEPS - ENTER_STEP // 2))
    for group in GROUPS:
        assert_gain_after_the_first_step(table[group], (1 - ENTER_SHARE) * GAIN[group], 0.5)


@pytest.mark.parametrize("branch", ["exit", "flow", "enter"])
def test_predictors_before_onset_are_those_of_the_last_pair_of_the_base_run(branch):
    one = records(branches=FOUR)
    found = predictor(one, "curvature_influence", branch, (*GROUPS, *STRATA))
    np.testing.assert_allclose(found, [*INFLUENCE.values(), *STRATUM_INFLUENCE.values()])
    np.testing.assert_allclose(predictor(one, "loss", branch), list(LEVEL.values()))
    np.testing.assert_array_equal(predictor(one, "centroid_distance", branch), [GROUP_DISTANCE[g] for g in GROUPS])


@pytest.mark.parametrize("branch", ["exit", "flow", "enter"])
def test_predictors_along_a_branch_are_averages_over_the_run_at_the_edge_since_branching(branch):
    one = records(branches=FOUR)
    found = predictor(one, "curvature_influence", branch, when="along_branch")
    # Of the enter branch all checkpoints but the first are at the edge: the mean of its ramp there is 1/6.
    np.testing.assert_allclose(found, [INFLUENCE[g] + (1 / 6 if branch == "enter" else 0.0) for g in GROUPS])
    run = one.steps["enter" if branch == "enter" else "baseline"]
    losses = run[run["step"] >= T_STAR + (ENTER_STEP if branch == "enter" else 0)]
    expected = [losses[f"loss_{g}"].mean() for g in GROUPS]
    np.testing.assert_allclose(predictor(one, "loss", branch, when="along_branch"), expected)
    rows = len(losses)
    if branch == "enter":
        shifts = [GAIN[g] * (1 + (rows - 1) * ENTER_SHARE) / rows for g in GROUPS]
    else:
        shifts = [0.0] * len(GROUPS)
    odd = 0.5 / rows if rows % 2 else 0.0
    np.testing.assert_allclose(expected, [LEVEL[g] + shift + odd for g, shift in zip(GROUPS, shifts, strict=True)])


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
