"""Who pays for whom, on records in which it is known."""

import json
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from synthetic import STRATA, by_group, by_stratum, records

from edgewise.data.groups import GROUPS
from edgewise.inference.counterfactuals import (
    WAYS,
    affected,
    counterfactual_metrics,
    counterfactual_tables,
    has_counterfactuals,
    lower_without,
)
from edgewise.inference.records import SeedRecords

NAMES = (*GROUPS, *STRATA)
#: By how much lower the losses at the edge are where a group is removed; at the centre it is half of that.
PAYS = {
    "output_outlier": by_group(0.02, 0.03, 0.1, -0.01) | by_stratum(0.001, 0.002, 0.003, 0.004),
    "inlier": by_group(0.01, 0.0, -0.02, 0.005) | by_stratum(0.004, 0.001, 0.002, 0.003),
}
SHARE = {"at_centre": 0.5, "removed": 1.0}


def paid(scale: float = 1.0) -> SeedRecords:
    lower = {group: {name: scale * value for name, value in values.items()} for group, values in PAYS.items()}
    return records(pays=lower)


@pytest.mark.parametrize("group", PAYS)
@pytest.mark.parametrize("way", WAYS)
def test_what_a_group_costs_the_others_is_how_much_lower_their_losses_are_without_it(group, way):
    one = paid()
    names = affected({0: one}, group, way)
    assert names == [name for name in NAMES if way == "at_centre" or name != group]
    expected = [SHARE[way] * PAYS[group][name] for name in names]
    measured, predicted = lower_without(one, group, way, names)
    assert measured == pytest.approx(expected)
    assert predicted == pytest.approx(expected)


def test_what_has_no_examples_left_in_one_seed_is_compared_in_none():
    whole, part = paid(), paid()
    without = part.left_out["inlier"]
    measured = {way: table.drop(columns="loss_boundary") for way, table in without.measured.items()}
    part = replace(part, left_out={**part.left_out, "inlier": replace(without, measured=measured)})
    for way in WAYS:
        assert "boundary" not in affected({0: whole, 1: part}, "inlier", way)
        assert "boundary" in affected({0: whole, 1: part}, "output_outlier", way)
    assert "boundary" not in counterfactual_metrics({0: whole, 1: part})["removed"]["inlier"]["lower"]


@pytest.mark.parametrize("way", WAYS)
def test_a_model_that_is_wrong_has_an_error_and_the_measurement_stands(way):
    one = paid()
    without = one.left_out["inlier"]
    table = without.predicted[way]
    wrong = {**without.predicted, way: table.assign(loss_boundary=table["loss_boundary"] + 0.04)}
    off = replace(one, left_out={"inlier": replace(without, predicted=wrong)})
    right, found = (counterfactual_metrics({0: each, 1: each})[way]["inlier"] for each in (paid(), off))
    assert found["lower"]["boundary"]["measured"] == right["lower"]["boundary"]["measured"]
    assert found["lower"]["boundary"]["predicted"]["mean"] == pytest.approx(-0.04)
    length = SHARE[way] * np.linalg.norm([PAYS["inlier"][name] for name in affected({0: one}, "inlier", way)])
    assert right["relative_error"]["geometric_mean"] == pytest.approx(0, abs=1e-9)
    assert found["relative_error"]["geometric_mean"] == pytest.approx(0.04 / length)


def test_the_metrics_are_means_over_seeds():
    found = counterfactual_metrics({0: paid(1.0), 1: paid(3.0)})
    assert tuple(found) == WAYS
    for way, share in SHARE.items():
        assert set(found[way]) == set(PAYS)
        for group, values in PAYS.items():
            assert set(found[way][group]["lower"]) == set(GROUPS) - ({group} if way == "removed" else set())
            assert found[way][group]["rank_correlation"]["mean"] == pytest.approx(1)
            for name, both in found[way][group]["lower"].items():
                assert both["measured"]["mean"] == pytest.approx(2 * share * values[name], abs=1e-12)
                assert both["predicted"]["seeds"] == 2
    json.dumps(found)


def test_the_tables_have_the_matrix_of_the_model_and_every_point_of_the_check():
    tables = counterfactual_tables({3: paid(1.0), 5: paid(2.0)})
    matrix, points = tables["counterfactuals"], tables["left_out"]
    assert set(matrix.index) == set(PAYS)
    for group, values in PAYS.items():
        assert matrix.loc[group, list(GROUPS)].tolist() == pytest.approx([0.75 * values[name] for name in GROUPS])
    assert points.index.tolist() == [3] * 30 + [5] * 30  # of two groups, eight at the centre and seven removed
    assert points["measured"].to_numpy() == pytest.approx(points["predicted"].to_numpy())
    of_inliers = points[points["left_out"] == "inlier"]
    assert set(of_inliers.loc[of_inliers["way"] == "removed", "name"]) == set(NAMES) - {"inlier"}
    assert set(of_inliers.loc[of_inliers["way"] == "at_centre", "name"]) == set(NAMES)


def test_without_groups_left_out_or_without_a_model_there_is_nothing():
    nothing = pd.DataFrame({"step": [6], "time": [0.0]})
    one = paid()
    unmodelled = {
        group: replace(without, predicted=dict.fromkeys(WAYS, nothing)) for group, without in one.left_out.items()
    }
    for records_of_one in (records(), replace(one, predictions={"edge_flow": nothing}, left_out=unmodelled)):
        assert not has_counterfactuals({0: records_of_one})
        assert counterfactual_metrics({0: records_of_one}) is None
        assert counterfactual_tables({0: records_of_one}) == {}
    assert has_counterfactuals({0: one})
