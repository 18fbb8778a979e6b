"""The comparison of branches on records written by hand."""

import numpy as np
import pytest
from synthetic import (
    GAIN,
    STEPS,
    T_STAR,
    THRESHOLD,
    records,
)

from edgewise.comparison import plot_tables
from edgewise.prototypes import GROUPS

FOUR = ("baseline", "exit", "enter", "flow")


def test_onset_by_secant_sharpness_is_where_the_base_run_ends():
    assert records().t_star == T_STAR
    assert records().onset("secant") == T_STAR


def test_onset_by_sharpness_may_come_later_in_the_baseline_branch():
    assert records().onset("sharpness") == T_STAR + 4


def test_onset_by_sharpness_at_the_branching_step_itself_is_not_missed():
    assert records(at_onset=20.5).onset("sharpness") == T_STAR


def test_onset_by_sharpness_may_never_come():
    assert records(later=19.9).onset("sharpness") is None


def test_second_onset_is_the_exit_branchs_own_threshold():
    assert records().second_onset() == T_STAR + STEPS
    assert records(rule="sharpness").second_onset() is None
    assert records(rule="sharpness", exit_threshold=150.0).second_onset() == T_STAR + 8


def test_delta_loss_is_the_gain_without_the_oscillation():
    table = records().delta_loss("exit")
    assert table.index.tolist() == list(range(STEPS))
    for group in GROUPS:
        np.testing.assert_allclose(table[group], GAIN[group], atol=1e-12)


def test_delta_loss_at_equal_time_is_indexed_in_steps_of_the_baseline():
    constant = records().delta_loss_equal_time("exit")
    assert constant.index.tolist() == [0]  # the exit branch's averages end at 0.75 steps of the baseline
    assert constant.loc[0].to_dict() == pytest.approx(GAIN)


def test_plots_have_one_row_a_step_since_onset_and_mark_the_threshold():
    tables = plot_tables({0: records(), 1: records()})
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
