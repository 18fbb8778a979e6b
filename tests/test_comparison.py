"""The comparison of branches on records written by hand."""

import json
import math

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from edgewise.comparison import SeedRecords, edge_metrics, plot_tables, selectivity_metrics
from edgewise.prototypes import GROUPS

LR, THRESHOLD, EXIT_THRESHOLD = 0.1, 20.0, 200.0
T_STAR, STEPS, SPACING = 6, 8, 4

#: What the exit branch loses against the baseline at every step, group by group, and the groups' influence.
GAIN = dict(zip(GROUPS, [0.1, -0.2, 0.3, -0.4], strict=True))
INFLUENCE = dict(zip(GROUPS, [3.0, 2.0, 4.0, 1.0], strict=True))


def steps_table(first: int, count: int, lr: float, secant: list[float], shift: dict[str, float]) -> pd.DataFrame:
    """A run whose losses flip with the parity of the step around 1 + shift."""
    step = np.arange(first, first + count)
    table = {"step": step, "time": LR * first + lr * (step - first), "loss": 1.0, "accuracy": 0.5}
    table["secant_sharpness"] = secant
    return pd.DataFrame(table | {f"loss_{g}": 1 + shift.get(g, 0.0) + 0.5 * (-1.0) ** step for g in GROUPS})


def hessian_table(steps: list[int], sharpness: list[float]) -> pd.DataFrame:
    table = {"step": steps, "time": [LR * s for s in steps], "sharpness": sharpness}
    for group in GROUPS:
        table[f"alignment_{group}"] = [0.1 * INFLUENCE[group]] * len(steps)
        # The mean over the branch is INFLUENCE.
        table[f"curvature_influence_{group}"] = INFLUENCE[group] + np.linspace(-0.5, 0.5, len(steps))
        table[f"gradient_norm_{group}"] = 1.0
    return pd.DataFrame(table)


def records(scale: float = 1.0, at_onset: float = 19.0, later: float = 21.0) -> SeedRecords:
    base = steps_table(0, T_STAR + 1, LR, [math.nan, 5, 8, 12, 15, 19, 20], {})
    base["sharpness"] = [2, math.nan, math.nan, math.nan, 18, math.nan, math.nan]
    shift = {group: scale * gain for group, gain in GAIN.items()}
    onset = [T_STAR, T_STAR + 4, T_STAR + 8]
    return SeedRecords(
        base_steps=base,
        base_hessian=hessian_table([0, 4, T_STAR], [2, 18, at_onset]),
        steps={
            "baseline": steps_table(T_STAR, STEPS + 1, LR, [math.nan] + [20.0] * STEPS, {}),
            "exit": steps_table(T_STAR, STEPS + 1, LR / 10, [math.nan] + [30.0] * (STEPS - 1) + [200.0], shift),
        },
        hessian={
            "baseline": hessian_table(onset, [at_onset, later, 19]),
            "exit": hessian_table(onset, [at_onset, 100, 199]),
        },
    )


def test_onset_by_secant_sharpness_is_where_the_base_run_ends():
    assert records().t_star == T_STAR
    assert records().onset("secant", THRESHOLD) == T_STAR


def test_onset_by_sharpness_may_come_later_in_the_baseline_branch():
    assert records().onset("sharpness", THRESHOLD) == T_STAR + 4


def test_onset_by_sharpness_at_the_branching_step_itself_is_not_missed():
    assert records(at_onset=20.5).onset("sharpness", THRESHOLD) == T_STAR


def test_onset_by_sharpness_may_never_come():
    assert records(later=19.9).onset("sharpness", THRESHOLD) is None


def test_second_onset_is_the_exit_branchs_own_threshold():
    assert records().second_onset("exit", "secant", EXIT_THRESHOLD) == T_STAR + STEPS
    assert records().second_onset("exit", "sharpness", EXIT_THRESHOLD) is None
    assert records().second_onset("exit", "sharpness", 150.0) == T_STAR + 8


def test_delta_loss_is_the_gain_without_the_oscillation():
    table = records().delta_loss("exit")
    assert table.index.tolist() == list(range(STEPS))
    for group in GROUPS:
        np.testing.assert_allclose(table[group], GAIN[group], atol=1e-12)


def test_delta_loss_at_equal_time_is_indexed_in_steps_of_the_baseline():
    constant = records().delta_loss_equal_time("exit", LR)
    assert constant.index.tolist() == [0]  # the exit branch's averages end at 0.75 steps of the baseline
    assert constant.loc[0].to_dict() == pytest.approx(GAIN)


def test_edge_metrics_report_every_seed_and_their_interval():
    metrics = edge_metrics({3: records(), 5: records(at_onset=20.5)}, "secant", THRESHOLD, EXIT_THRESHOLD)
    assert metrics["seeds"]["3"] == {
        "t_star": 6,
        "t_star_secant": 6,
        "t_star_sharpness": 10,
        "sharpness_ratio_at_t_star": pytest.approx(19 / 20),
        "t_star_star": T_STAR + STEPS,
    }
    assert metrics["seeds"]["5"]["t_star_sharpness"] == 6
    low, high = stats.t.interval(0.95, 1, loc=8, scale=stats.sem([10, 6]))
    summary = metrics["summary"]["t_star_sharpness"]
    assert summary == {"mean": 8, "low": pytest.approx(low), "high": pytest.approx(high), "seeds": 2}
    assert (metrics["rule"], metrics["stability_threshold"]) == ("secant", THRESHOLD)


def test_what_no_seed_reached_is_null_and_what_some_reached_says_how_many():
    metrics = edge_metrics({0: records(later=19.0), 1: records()}, "sharpness", THRESHOLD, EXIT_THRESHOLD)
    assert metrics["summary"]["t_star_star"] is None
    assert metrics["seeds"]["0"]["t_star_sharpness"] is None
    assert metrics["summary"]["t_star_sharpness"]["seeds"] == 1
    json.dumps(metrics)


def test_selectivity_metrics_average_over_seeds():
    metrics = selectivity_metrics({0: records(), 1: records(scale=3.0)}, LR)
    for group in GROUPS:
        low, high = stats.t.interval(0.95, 1, loc=2 * GAIN[group], scale=stats.sem([GAIN[group], 3 * GAIN[group]]))
        for name in ("delta_loss", "delta_loss_equal_time"):
            found = metrics["groups"][group][name]
            assert found["mean"] == pytest.approx(2 * GAIN[group])
            assert (found["low"], found["high"]) == pytest.approx((low, high))
        for branch in ("baseline", "exit"):
            assert metrics["groups"][group]["curvature_influence"][branch] == pytest.approx(INFLUENCE[group])
            assert metrics["groups"][group]["alignment"][branch] == pytest.approx(0.1 * INFLUENCE[group])
    assert metrics["seeds"] == [0, 1]


def test_the_selector_score_is_the_rank_correlation_of_influence_and_gain():
    score = selectivity_metrics({0: records(), 1: records()}, LR)["selector_score"]
    expected = stats.spearmanr(list(INFLUENCE.values()), list(GAIN.values())).statistic
    assert score["spearman"] == pytest.approx(expected)
    assert expected == pytest.approx(1.0)  # influence and gain were written in the same order
    assert (score["low"], score["high"]) == pytest.approx((1, 1))


def test_plots_have_one_row_a_step_since_onset_and_mark_the_threshold():
    tables = plot_tables({0: records(), 1: records()}, LR, THRESHOLD, SPACING)
    for name in ("secant_sharpness", "group_loss"):
        assert tables[name].index.tolist() == list(range(-T_STAR, STEPS + 1))
    for name in ("sharpness", "alignment", "curvature_influence"):
        assert tables[name].index.tolist() == [-4, 0, 4, 8]
    assert (tables["sharpness"]["stability_threshold"] == THRESHOLD).all()
    assert tables["sharpness"].loc[[0, 4, 8], "baseline"].tolist() == [19, 21, 19]
    assert tables["sharpness"].loc[[0, 4, 8], "exit"].tolist() == [19, 100, 199]
    before = tables["group_loss"].loc[-T_STAR:-1]
    np.testing.assert_array_equal(before["baseline_inlier"], before["exit_inlier"])
    assert {f"exit_{group}{end}" for group in GROUPS for end in ("", "_low", "_high")} <= set(tables["group_loss"])
    assert list(tables["delta_loss"].columns[:3]) == ["inlier", "inlier_low", "inlier_high"]
    np.testing.assert_allclose(tables["delta_loss"]["boundary"], GAIN["boundary"])
