"""When a seed reached the edge, on records written by hand."""

import pytest
from synthetic import STEPS, T_STAR, THRESHOLD, records

from edgewise.inference.onset import late_ratio, onset, second_onset


def test_onset_by_secant_sharpness_is_where_the_base_run_ends():
    assert records().t_star == T_STAR
    assert onset(records(), "secant") == T_STAR


def test_onset_by_sharpness_may_come_later_in_the_baseline_branch():
    assert onset(records(), "sharpness") == T_STAR + 4


def test_onset_by_sharpness_at_the_branching_step_itself_is_not_missed():
    assert onset(records(at_onset=20.5), "sharpness") == T_STAR


def test_onset_by_sharpness_may_never_come():
    assert onset(records(later=19.9), "sharpness") is None


def test_second_onset_is_the_exit_branchs_own_threshold():
    assert second_onset(records()) == T_STAR + 10 * STEPS  # its last step, far beyond the comparison at equal step
    assert second_onset(records(rule="sharpness")) is None
    assert second_onset(records(rule="sharpness", exit_threshold=150.0)) == T_STAR + 8


def test_the_late_ratio_is_that_of_the_later_half_of_the_baseline():
    one = records(at_onset=40.0, later=23.0)
    assert late_ratio(one, "sharpness") == pytest.approx((23 + 19) / 2 / THRESHOLD)
    assert late_ratio(one, "secant") == pytest.approx(1)
