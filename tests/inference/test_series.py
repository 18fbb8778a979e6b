"""The tables under plots/ on records written by hand."""

import numpy as np
import pytest
from synthetic import (
    ENTER_SHARE,
    ENTER_STEP,
    FLOW,
    FOUR,
    GAIN,
    INFLUENCE,
    NATURALS,
    STEPS,
    T_STAR,
    THRESHOLD,
    records,
)

from edgewise.data.groups import GROUPS
from edgewise.inference.series import (
    coupling,
    examples_at_moments,
    series_tables,
    typical_and_atypical,
)


def test_plots_have_one_row_a_step_since_onset_and_mark_the_threshold():
    tables = series_tables({0: records(), 1: records()})
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
    assert tables["dominance"].index.name == "seed"
    np.testing.assert_array_equal(tables["dominance"].index.value_counts(), 2 * (1 + len(GROUPS)))


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
    tables = series_tables({seed: records(scale, branches=order) for seed, scale in ((0, 1.0), (1, 3.0))})
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
