"""The tables under plots/ on records written by hand."""

import numpy as np
import pandas as pd
import pytest
from synthetic import (
    COUPLING_RATIO,
    COUPLING_RATIO_OVER_STEP,
    ENTER_SHARE,
    FLOW,
    FOUR,
    GAIN,
    GRADIENT_NORM,
    INFLUENCE,
    NATURALS,
    SHARED,
    STEPS,
    STRATA,
    STRATUM_FLOW,
    STRATUM_GAIN,
    STRATUM_INFLUENCE,
    T_STAR,
    THRESHOLD,
    TRANSIENT,
    records,
)

from edgewise.data.groups import GROUPS
from edgewise.inference.generalisation import evaluation_tables
from edgewise.inference.intervals import LOG, Scale, fraction, plain
from edgewise.inference.series import (
    coupling,
    examples_at_moments,
    moments,
    scale_of,
    selector,
    series_tables,
    typical_and_atypical,
    with_base,
)


def test_plots_have_one_row_a_step_since_onset_and_mark_the_threshold():
    tables = series_tables({0: records(), 1: records()})
    for name in ("secant_sharpness", "group_loss"):
        assert tables[name].index.tolist() == list(range(-T_STAR, STEPS + 1))
    for name in ("sharpness", "alignment", "curvature_influence"):
        assert tables[name].index.tolist() == [-4, 0, 4, 8]
    assert (tables["sharpness"]["stability_threshold"] == THRESHOLD).all()
    assert tables["sharpness"]["baseline"].tolist() == [2, 19, 21, 19]
    assert tables["sharpness"]["exit"].tolist() == [2, 19, 100, 199]
    before = tables["group_loss"].loc[-T_STAR:-1]
    np.testing.assert_array_equal(before["baseline_inlier"], before["exit_inlier"])
    assert {f"exit_{group}{end}" for group in GROUPS for end in ("", "_low", "_high")} <= set(tables["group_loss"])
    assert list(tables["delta_loss"].columns[:3]) == ["inlier", "inlier_low", "inlier_high"]
    np.testing.assert_allclose(tables["delta_loss"]["boundary"].iloc[1:], GAIN["boundary"])
    assert tables["dominance"].index.name == "seed"
    np.testing.assert_array_equal(tables["dominance"].index.value_counts(), 2 * (1 + len(GROUPS)))


@pytest.mark.parametrize("group", ["inlier", "misalignment", "influencers", "label_probability"])
@pytest.mark.parametrize(
    ("quantity", "scale"),
    [
        ("loss", plain()),
        ("alignment", fraction()),
        ("subspace_alignment", fraction()),
        ("label_probability", fraction()),
        ("curvature_influence", LOG),
        ("subspace_influence", LOG),
        ("gradient_norm", LOG),
    ],
)
def test_a_quantity_is_averaged_on_its_own_scale_whatever_the_name_of_the_group(
    quantity: str, scale: Scale, group: str
):
    values = np.array([0.2, 0.7])
    assert scale_of(f"{quantity}_{group}").to(values).tolist() == scale.to(values).tolist()


@pytest.mark.parametrize("factor", [0.1, 0.3, 0.5])
def test_all_branches_agree_at_onset_in_every_table(factor):
    seeds = {seed: records(1.0 + seed, jitter=0.01 * seed, branches=FOUR, exit_factor=factor) for seed in (0, 1, 2)}
    tables = series_tables(seeds) | evaluation_tables(seeds)
    assert_agreement_at_onset(tables)


def assert_agreement_at_onset(tables: dict[str, pd.DataFrame]) -> None:
    """Whatever has a column for every branch, and a row for onset."""
    checked = set()
    for name, table in tables.items():
        if table.index.name != "step" or name.startswith("delta_loss"):
            continue
        for column in (str(column) for column in table.columns):
            branch, _, rest = column.partition("_")
            others = [f"{other}_{rest}".rstrip("_") for other in FOUR]
            if branch == "baseline" and set(others) <= set(table.columns):
                at_onset = table.loc[0, others].to_numpy(float)
                assert np.isfinite(at_onset).all(), (name, column)
                np.testing.assert_allclose(at_onset, at_onset[0], rtol=1e-9, err_msg=f"{name}: {column}")
                checked.add(name)
    over_both = {f"{name}{end}" for name in TWINS for end in ("", "_equal_time")}
    assert checked >= over_both | {"group_loss", "gradient_norm", "label_probability", "centroid_correlation"}
    assert "robustness" in checked


TWINS = ("sharpness", "secant_sharpness", "alignment", "curvature_influence")


@pytest.mark.parametrize("factor", [0.1, 0.3, 0.5])
def test_tables_by_step_end_with_the_comparison_and_those_over_time_cover_the_whole_branch(factor):
    seeds = {0: records(branches=FOUR, exit_factor=factor)}
    tables = series_tables(seeds)
    for name in TWINS:
        by_step, over_time = tables[name], tables[f"{name}_equal_time"]
        assert list(by_step.columns) == list(over_time.columns)
        assert by_step.index.max() == over_time.index.max() == STEPS
        values = [column for column in by_step if not column.endswith(("_low", "_high"))]
        assert by_step.loc[0:, values].notna().all(axis=None)
        pd.testing.assert_frame_equal(
            by_step.filter(like="baseline"), over_time.filter(like="baseline").loc[by_step.index]
        )
    whole = seeds[0].hessian["exit"]
    assert tables["alignment_equal_time"].loc[STEPS, "exit_inlier"] == whole["alignment_inlier"].iloc[-1]
    assert tables["secant_sharpness_equal_time"].loc[STEPS, "exit"] == 200  # where it is at its own threshold
    assert (tables["secant_sharpness"].loc[1:, "exit"] == 30).all()


def test_what_is_measured_along_a_step_is_known_at_onset_from_the_base_run():
    one = records()
    for held in ("step", "time"):
        table = with_base(one, "steps", "exit", held)
        last = one.steps["base"].iloc[-1]
        assert table.loc[0, "secant_sharpness"] == last["secant_sharpness"] == 20
        assert table.loc[0, "oscillation"] == last["oscillation"]


def test_moments_are_counted_from_onset_in_steps_and_in_training_time():
    table = moments({3: records(), 5: records(exit_threshold=300.0)})
    assert table.index.tolist() == [3, 5]
    assert table["t_star"].tolist() == [T_STAR] * 2
    assert table["transient"].tolist() == [TRANSIENT] * 2
    np.testing.assert_allclose(table["t_star_star"], [10 * STEPS, np.nan])
    np.testing.assert_allclose(table["t_star_star_equal_time"], [STEPS, np.nan])


def test_the_selector_table_has_what_was_known_before_onset_beside_what_was_gained():
    table = selector(7, records(2.0, branches=FOUR)).set_index("name")
    assert list(table.index) == [*GROUPS, *STRATA]
    assert table["kind"].tolist() == ["group"] * len(GROUPS) + ["stratum"] * len(STRATA)
    assert set(table["seed"]) == {7}
    for name, influence in (INFLUENCE | STRATUM_INFLUENCE).items():
        row = table.loc[name]
        gain = 2 * (GAIN | STRATUM_GAIN)[name]
        assert row["curvature_influence"] == pytest.approx(influence)
        assert row["coupling"] == pytest.approx(np.sign(gain) * np.sqrt(COUPLING_RATIO * influence))
        assert row["coupling_over_step"] == pytest.approx(np.sign(gain) * np.sqrt(COUPLING_RATIO_OVER_STEP * influence))
        assert (row["gain_step"], row["gain_time"]) == pytest.approx((gain, gain))
        assert row["flow_gain_time"] == pytest.approx((FLOW | STRATUM_FLOW)[name])
        assert row["enter_gain_step"] == pytest.approx((1 - ENTER_SHARE) * gain)
    assert table.loc["inlier", "gradient_norm"] == GRADIENT_NORM["inlier"]


def test_strata_are_the_means_over_seeds_of_the_selector_table():
    seeds = {0: records(), 1: records(3.0)}
    tables = series_tables(seeds)
    table = tables["strata"]
    assert list(table.index) == list(STRATA)
    assert list(zip(table["label"], table["quantile"], strict=True)) == [(0, 1), (0, 2), (1, 1), (1, 2)]
    np.testing.assert_allclose(table["gain_time"], [2 * gain for gain in STRATUM_GAIN.values()])
    assert (table["gain_time_low"] < table["gain_time"]).all()
    # The table of curves settles at the same gains.
    curves = tables["delta_loss_strata"]
    np.testing.assert_allclose(curves[list(STRATA)].iloc[STEPS // 2 :].mean(), table["gain_time"])


def test_images_that_groups_share_are_listed_by_seed():
    table = series_tables({2: records(), 4: records()})["shared_images"]
    assert table.loc["inlier & boundary", "seed"].tolist() == [2, 4]
    assert table[table["seed"] == 2]["images"].to_dict() == SHARED


def test_typical_examples_are_the_nearest_tenth_and_atypical_the_farthest():
    one = records()
    table = typical_and_atypical(one)
    assert table.index.tolist() == [-4, 0, 4, 8]
    near, far = (np.flatnonzero(np.isin(one.distance, d)) for d in ([1, 2], [NATURALS - 1, NATURALS]))
    # The measurement a step before onset has no place of its own.
    alignment = np.stack([one.examples["base"]["alignment"][0], *one.examples["baseline"]["alignment"]])
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
    assert len(table) == len(GROUPS) * (3 + 3)  # of the base run, and of the baseline, which begins where it ends
    assert set(table["seed"]) == {7}
    for group in GROUPS:
        of_group = table[table["group"] == group]
        assert of_group["step"].tolist() == [-T_STAR, 4 - T_STAR, -1, 0, 4, 8]
        influence = INFLUENCE[group] + np.array([-0.5, 0.25, 0.0, -0.5, 0.0, 0.5])
        np.testing.assert_allclose(of_group["curvature_influence"], influence)
        for name, ratio in (("coupling", COUPLING_RATIO), ("coupling_over_step", COUPLING_RATIO_OVER_STEP)):
            np.testing.assert_allclose(of_group[name], np.sign(GAIN[group]) * np.sqrt(ratio * influence))
            np.testing.assert_allclose(of_group[f"sharpness_{name}"], ratio * influence)


@pytest.mark.parametrize("order", [FOUR, ("flow", "enter", "baseline", "exit")])
def test_plots_of_all_branches_name_the_branch_but_for_exit(order):
    tables = series_tables({seed: records(scale, branches=order) for seed, scale in ((0, 1.0), (1, 3.0))})
    delta = tables["delta_loss"]
    for group in GROUPS:
        np.testing.assert_allclose(delta.loc[1:, group], 2 * GAIN[group])
        np.testing.assert_allclose(delta.loc[1:, f"flow_{group}"], FLOW[group])
        np.testing.assert_allclose(delta.loc[1:, f"enter_{group}"], 2 * (1 - ENTER_SHARE) * GAIN[group])
    for name in ("sharpness", "centroid_correlation"):
        assert set(FOUR) <= set(tables[name])
    assert tables["control"].columns[:2].tolist() == ["alignment_coherent", "alignment_coherent_low"]
    np.testing.assert_allclose(tables["control"]["alignment_random"], 0.01)
    assert tables["control_alpha"].index.tolist() == [0, 3, 10]
