"""The comparison of branches on records written by hand."""

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
    NATURALS,
    STEPS,
    T_STAR,
    THRESHOLD,
    records,
)

from edgewise.data.groups import GROUPS
from edgewise.inference.comparison import coupling, examples_at_moments, plot_tables, typical_and_atypical


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
    # Measured: 2, 19, 21, 19 and 2, 19, 100, 199; averaged over neighbouring checkpoints.
    assert tables["sharpness"]["baseline"].tolist() == [2, (2 + 38 + 21) / 4, 20, 20]
    assert tables["sharpness"]["exit"].tolist() == [2, (2 + 38 + 100) / 4, (19 + 200 + 199) / 4, 149.5]
    before = tables["group_loss"].loc[-T_STAR:-1]
    np.testing.assert_array_equal(before["baseline_inlier"], before["exit_inlier"])
    assert {f"exit_{group}{end}" for group in GROUPS for end in ("", "_low", "_high")} <= set(tables["group_loss"])
    assert list(tables["delta_loss"].columns[:3]) == ["inlier", "inlier_low", "inlier_high"]
    np.testing.assert_allclose(tables["delta_loss"]["boundary"], GAIN["boundary"])


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
    pair = one.pair(branch)
    for found, run in zip(pair, (at_edge, away), strict=True):
        expected = one.steps[run].iloc[first - T_STAR :]
        assert found["step"].tolist() == list(range(first, T_STAR + STEPS + 1))
        np.testing.assert_array_equal(found, expected)


def test_gains_of_flow_and_enter_are_those_of_the_run_at_the_edge():
    one = records(branches=FOUR, exit_factor=0.5)
    assert one.gains("flow").to_dict() == pytest.approx(FLOW)
    assert one.gains("flow", equal_time=True).to_dict() == pytest.approx(FLOW)
    table = one.delta_loss("enter")
    assert table.index.tolist() == list(range(STEPS - ENTER_STEP))
    for group in GROUPS:
        whole = (1 - ENTER_SHARE) * GAIN[group]
        expected = [whole / 2, whole, whole, whole]  # the first average holds the state that both start from
        np.testing.assert_allclose(table[group], expected, atol=1e-12)
        assert one.gains("enter")[group] == pytest.approx(whole)


def test_at_equal_time_the_enter_branch_is_compared_from_where_it_branches():
    """Averages of enter lie at 0.5, 1.5, ... steps since branching, those of exit at 0.25, 0.75, ... 1.75."""
    table = records(branches=FOUR, exit_factor=0.5).delta_loss_equal_time("enter")
    assert table.index.tolist() == [0, 1]
    for group in GROUPS:
        whole = (1 - ENTER_SHARE) * GAIN[group]
        np.testing.assert_allclose(table[group], [whole / 2, whole], atol=1e-12)


@pytest.mark.parametrize("branch", ["exit", "flow", "enter"])
def test_predictors_are_averages_over_the_run_at_the_edge_since_branching(branch):
    one = records(branches=FOUR)
    found = one.predictor("curvature_influence", branch)
    # Of the enter branch the last two of three checkpoints are at the edge: the mean of its ramp there is 0.25.
    np.testing.assert_allclose(found, [INFLUENCE[g] + (0.25 if branch == "enter" else 0.0) for g in GROUPS])
    np.testing.assert_array_equal(one.predictor("centroid_distance", branch), [GROUP_DISTANCE[g] for g in GROUPS])
    rows = (STEPS if branch != "enter" else STEPS - ENTER_STEP) + 1
    shift = [0.0] * 4 if branch != "enter" else [GAIN[g] * (1 + (rows - 1) * ENTER_SHARE) / rows for g in GROUPS]
    expected = [LEVEL[g] + s + 0.5 / rows for g, s in zip(GROUPS, shift, strict=True)]
    np.testing.assert_allclose(one.predictor("loss", branch), expected)


def test_the_control_is_looked_up_at_the_displacement_of_the_run():
    one = records()
    assert one.at_alpha("alignment_coherent") == pytest.approx(0.4)  # 0.1 (1 + alpha)
    assert one.at_alpha("curvature_influence_random") == pytest.approx(0.5)


def test_typical_examples_are_the_nearest_tenth_and_atypical_the_farthest():
    one = records()
    table = typical_and_atypical(one)
    assert table.index.tolist() == [-4, 0, 4, 8]
    near, far = (np.flatnonzero(np.isin(one.distance, d)) for d in ([1, 2], [NATURALS - 1, NATURALS]))
    a, b, c, d = [*one.examples["base"]["alignment"][:1], *one.examples["baseline"]["alignment"]]
    alignment = np.stack([a, (a + 2 * b + c) / 4, (b + 2 * c + d) / 4, (c + d) / 2])
    np.testing.assert_allclose(table["typical"], alignment[:, near].mean(axis=1))
    np.testing.assert_allclose(table["atypical"], alignment[:, far].mean(axis=1))
    np.testing.assert_allclose(table["all"], alignment.mean(axis=1))


def test_single_examples_are_shown_halfway_at_onset_and_at_the_end():
    one = records()
    table = examples_at_moments(one)
    expected = {
        "sharpening": one.examples["base"]["alignment"][1],  # step 4 is nearest to 3, half of t*
        "onset": one.examples["baseline"]["alignment"][0],
        "late": one.examples["baseline"]["alignment"][2],
    }
    assert list(dict.fromkeys(table.index)) == list(expected)
    for moment, alignment in expected.items():
        np.testing.assert_array_equal(table.loc[moment, "alignment"], alignment)
        np.testing.assert_array_equal(table.loc[moment, "centroid_distance"], one.distance)
    assert len(examples_at_moments(one, shown=5)) == 3 * 5


def test_coupling_has_every_group_at_every_checkpoint_once():
    table = coupling(7, records())
    assert len(table) == len(GROUPS) * (2 + 3)  # of the base run, and of the baseline, which begins where it ends
    assert set(table["seed"]) == {7}
    for group in GROUPS:
        of_group = table[table["group"] == group]
        assert of_group["step"].tolist() == [-T_STAR, 4 - T_STAR, 0, 4, 8]
        ramp = np.array([-0.5, 0.0, -0.5, 0.0, 0.5])
        np.testing.assert_allclose(of_group["curvature_influence"], INFLUENCE[group] + ramp)
        np.testing.assert_allclose(of_group["sharpness_coupling"], 100 * (INFLUENCE[group] + ramp))


@pytest.mark.parametrize("order", [FOUR, ("flow", "enter", "baseline", "exit")])
def test_plots_of_all_branches_name_the_branch_but_for_exit(order):
    tables = plot_tables({seed: records(scale, branches=order, seed=seed) for seed, scale in ((0, 1.0), (1, 3.0))})
    delta = tables["delta_loss"]
    for group in GROUPS:
        np.testing.assert_allclose(delta[group], 2 * GAIN[group])
        np.testing.assert_allclose(delta[f"flow_{group}"], FLOW[group])
        np.testing.assert_allclose(delta.loc[1:3, f"enter_{group}"], 2 * (1 - ENTER_SHARE) * GAIN[group])
        assert delta.loc[STEPS - ENTER_STEP :, f"enter_{group}"].isna().all()
    for name in ("sharpness", "centroid_correlation"):
        assert set(FOUR) <= set(tables[name])
    assert tables["control"].columns[:2].tolist() == ["alignment_coherent", "alignment_coherent_low"]
    np.testing.assert_allclose(tables["control"]["alignment_random"], 0.01)
    assert tables["control_alpha"].index.tolist() == [0, 3, 10]
