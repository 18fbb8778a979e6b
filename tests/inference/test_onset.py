"""When a seed reached the edge, on records written by hand."""

import math
from dataclasses import replace

import pytest
from synthetic import STEPS, T_STAR, THRESHOLD, records

from edgewise.inference.onset import caveats, late_ratio, onset, second_onset


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


def near_the_edge(secant: float, sharpness: float):
    """A seed whose κ and λ₁ are at these ratios of the threshold, all along its baseline; its exit branch is below."""
    one = records(exit_threshold=1000.0)
    steps = one.steps["baseline"].assign(secant_sharpness=secant * THRESHOLD)
    hessian = one.hessian["baseline"].assign(sharpness=sharpness * THRESHOLD)
    return replace(one, steps={**one.steps, "baseline": steps}, hessian={**one.hessian, "baseline": hessian})


@pytest.mark.parametrize(("secant", "sharpness"), [(1.0, 1.0), (0.96, 0.7), (0.2, 1.09), (0.02, 1.0)])
def test_a_run_at_the_edge_by_either_measure_has_no_caveat(secant, sharpness):
    assert caveats({0: near_the_edge(secant, sharpness)}) == []


def test_a_run_that_leaves_the_edge_again_has_one():
    at = near_the_edge(1.0, 1.0)
    steps, hessian = at.steps["baseline"].copy(), at.hessian["baseline"].copy()
    steps.loc[steps.index[-2:], "secant_sharpness"] = 0.3 * THRESHOLD
    hessian.loc[hessian.index[-1:], "sharpness"] = 0.3 * THRESHOLD
    left = replace(at, steps={**at.steps, "baseline": steps}, hessian={**at.hessian, "baseline": hessian})
    (said,) = caveats({0: left, 1: at, 2: near_the_edge(0.91, 0.7)})
    assert said.startswith("in seeds 0 and 2 the baseline is not at the edge: late in it κ is 1.000 and then 0.")


def test_seeds_whose_baseline_is_not_at_the_edge_are_named():
    (said,) = caveats({0: near_the_edge(0.62, 0.7), 1: near_the_edge(1.0, 1.0), 4: near_the_edge(0.02, 0.99)})
    assert said.startswith(
        "in seeds 0 and 4 the baseline is not at the edge: late in it κ is 0.620 of the threshold and"
    )
    assert said.endswith("; κ is 0.020 of the threshold and the sharpness at most 0.990 of it")
    (said,) = caveats({0: near_the_edge(0.5, 0.5), 1: near_the_edge(math.nan, 0.5)})
    assert said.startswith("in every seed the baseline is not at the edge")


def test_an_exit_branch_at_an_edge_of_its_own_is_named():
    (said,) = caveats({0: records(), 1: near_the_edge(1.0, 1.0)})
    assert said.startswith(
        f"in seed 0 the exit branch reaches an edge of its own (t** at its step {T_STAR + 10 * STEPS})"
    )
