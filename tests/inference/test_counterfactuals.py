"""Who pays for whom, on records in which it is known."""

import json
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from synthetic import STRATA, by_group, by_stratum, records

from edgewise.data.groups import GROUPS
from edgewise.inference.counterfactuals import (
    at_the_centre,
    counterfactual_metrics,
    counterfactual_tables,
    has_counterfactuals,
    others,
    removed,
)
from edgewise.inference.records import SeedRecords

NAMES = (*GROUPS, *STRATA)
#: By how much lower the losses at the edge are without a group.
PAYS = {
    "output_outlier": by_group(0.02, 0.03, 0.1, -0.01) | by_stratum(0.001, 0.002, 0.003, 0.004),
    "inlier": by_group(0.01, 0.0, -0.02, 0.005) | by_stratum(0.004, 0.001, 0.002, 0.003),
}


def paid(scale: float = 1.0) -> SeedRecords:
    lower = {group: {name: scale * value for name, value in values.items()} for group, values in PAYS.items()}
    return records(pays=lower)


@pytest.mark.parametrize("group", PAYS)
def test_what_a_group_costs_the_others_is_how_much_more_they_would_gain_without_it(group):
    one = paid()
    assert at_the_centre(one, group, NAMES) == pytest.approx([value / 2 for value in PAYS[group].values()])
    names = others(one, group)
    assert names == [name for name in NAMES if name != group]
    expected = [PAYS[group][name] for name in names]
    measured, predicted = removed(one, group)
    assert measured == pytest.approx(expected)
    assert predicted == pytest.approx(expected)


def test_a_model_that_is_wrong_of_a_removal_has_an_error_and_the_measurement_stands():
    one = paid()
    without = one.left_out["inlier"]
    wrong = without.removed_predicted.assign(loss_boundary=without.removed_predicted["loss_boundary"] + 0.04)
    one = replace(one, left_out={"inlier": replace(without, removed_predicted=wrong)})
    right, found = (counterfactual_metrics({0: each, 1: each})["removed"]["inlier"] for each in (paid(), one))
    assert found["groups"]["boundary"]["measured"] == right["groups"]["boundary"]["measured"]
    assert found["groups"]["boundary"]["predicted"]["mean"] == pytest.approx(-0.04)
    length = np.linalg.norm([PAYS["inlier"][name] for name in NAMES if name != "inlier"])
    assert right["relative_error"]["mean"] == pytest.approx(0, abs=1e-9)
    assert found["relative_error"]["mean"] == pytest.approx(0.04 / length)


def test_the_metrics_are_means_over_seeds():
    found = counterfactual_metrics({0: paid(1.0), 1: paid(3.0)})
    assert set(found["at_centre"]) == set(found["removed"]) == set(PAYS)
    for group, values in PAYS.items():
        for name in GROUPS:
            assert found["at_centre"][group][name]["mean"] == pytest.approx(values[name])
            assert found["at_centre"][group][name]["seeds"] == 2
        assert set(found["removed"][group]["groups"]) == set(GROUPS) - {group}
        assert found["removed"][group]["rank_correlation"]["mean"] == pytest.approx(1)
        for name, both in found["removed"][group]["groups"].items():
            assert both["measured"]["mean"] == pytest.approx(2 * values[name], abs=1e-12)
    json.dumps(found)


def test_the_tables_have_a_matrix_and_the_points_of_the_check():
    tables = counterfactual_tables({3: paid(1.0), 5: paid(2.0)})
    matrix, points = tables["counterfactuals"], tables["removed"]
    assert set(matrix.index) == set(PAYS)
    for group, values in PAYS.items():
        assert matrix.loc[group, list(GROUPS)].tolist() == pytest.approx([0.75 * values[name] for name in GROUPS])
    assert points.index.tolist() == [3] * 14 + [5] * 14
    assert points["measured"].to_numpy() == pytest.approx(points["predicted"].to_numpy())
    assert set(points.loc[points["removed"] == "inlier", "name"]) == set(NAMES) - {"inlier"}


def test_without_groups_left_out_or_without_a_model_there_is_nothing():
    nothing = pd.DataFrame({"step": [6], "time": [0.0]})
    one = paid()
    unmodelled = {
        group: replace(without, at_centre=nothing, removed_predicted=nothing) for group, without in one.left_out.items()
    }
    for records_of_one in (records(), replace(one, predictions={"edge_flow": nothing}, left_out=unmodelled)):
        assert not has_counterfactuals({0: records_of_one})
        assert counterfactual_metrics({0: records_of_one}) is None
        assert counterfactual_tables({0: records_of_one}) == {}
    assert has_counterfactuals({0: one})
