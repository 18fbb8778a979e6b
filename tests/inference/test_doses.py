"""Dose and response, on records in which the gain at each factor of the step size is known."""

import json
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from synthetic import GAIN, STRATA, STRATUM_GAIN, by_group, records

from edgewise.data.groups import GROUPS
from edgewise.inference.claims import judge
from edgewise.inference.doses import (
    dose_metrics,
    dose_tables,
    factors,
    has_predicted_doses,
    measured_gains,
    predicted_gains,
    response,
)
from edgewise.inference.gains import gains
from edgewise.inference.records import SeedRecords
from edgewise.params import Params

NAMES = (*GROUPS, *STRATA)
EXIT = 0.25
#: The share of the exit branch's gain that there is at each further factor: less where the step size is lowered less.
SHARES = {0.1: 1.5, 0.5: 0.6, 0.9: 0.1}


def dosed(shares: dict[float, float] = SHARES, **more) -> SeedRecords:
    return records(exit_factor=EXIT, doses=shares, **more)


@pytest.mark.parametrize("factor", [*SHARES, EXIT])
def test_the_gain_at_a_factor_is_measured_against_the_run_there_and_predicted_from_both_sides(factor):
    one = dosed()
    share = SHARES.get(factor, 1.0)
    expected = [share * value for value in (GAIN | STRATUM_GAIN).values()]
    assert measured_gains(one, factor, NAMES) == pytest.approx(expected)
    assert predicted_gains(one, factor, NAMES) == pytest.approx(expected)


def test_the_gain_at_the_factor_of_the_exit_branch_is_that_of_all_other_results():
    one = dosed(jitter=0.01)
    assert measured_gains(one, EXIT, NAMES) == pytest.approx(gains(one, "exit", "time", NAMES).to_numpy())
    assert factors(one) == [0.1, 0.25, 0.5, 0.9]


def test_a_prediction_sees_nothing_that_was_measured_after_onset():
    one = dosed()
    steps = {run: table.assign(**{f"loss_{name}": 7.0 for name in NAMES}) for run, table in one.steps.items()}
    for factor in factors(one):
        blind = replace(one, steps=steps, doses=dict.fromkeys(SHARES, steps["exit"]))
        assert predicted_gains(blind, factor, NAMES) == pytest.approx(predicted_gains(one, factor, NAMES))


def test_what_edge_flow_misses_at_the_edge_is_missed_at_every_factor():
    one = dosed(missed=by_group(0.03, -0.02, 0.0, 0.01))
    for factor in factors(one):
        apart = measured_gains(one, factor) - predicted_gains(one, factor)
        assert apart == pytest.approx([0.03, -0.02, 0.0, 0.01])


def test_the_response_is_the_rank_correlation_of_size_and_dose():
    assert all(response(dosed(), group) == pytest.approx(1) for group in GROUPS)
    upside_down = dosed({0.1: 0.2, 0.5: 1.1, 0.9: 1.2})
    assert all(response(upside_down, group) == pytest.approx(-1) for group in GROUPS)
    # The size alone: a gain that becomes a loss twice as large has grown.
    assert response(dosed({0.1: -2.0, 0.5: 0.6, 0.9: 0.1}), "inlier") == pytest.approx(1)


def test_the_metrics_have_every_factor_and_group():
    found = dose_metrics({seed: dosed(scale=scale) for seed, scale in ((0, 1.0), (1, 2.0))})
    assert list(found["gains"]) == ["0.1", "0.25", "0.5", "0.9"]
    for name, share in (("0.1", 1.5), ("0.25", 1.0), ("0.9", 0.1)):
        for group in GROUPS:
            for kind in ("measured", "predicted"):
                assert found["gains"][name][group][kind]["mean"] == pytest.approx(1.5 * share * GAIN[group])
                assert found["gains"][name][group][kind]["seeds"] == 2
        assert found["rank_correlation"][name]["mean"] == pytest.approx(1)
    assert {group: found["response"][group]["mean"] for group in GROUPS} == pytest.approx(dict.fromkeys(GROUPS, 1))
    json.dumps(found)


def test_without_further_factors_there_is_the_exit_branch_and_no_response_and_no_table():
    seeds = {0: records(exit_factor=EXIT), 1: records(exit_factor=EXIT)}
    found = dose_metrics(seeds)
    assert list(found["gains"]) == ["0.25"]
    assert "response" not in found
    assert dose_tables(seeds) == {}
    assert "dose" not in {row["figure"] for row in judge(Params(), seeds)}


def test_two_factors_have_gains_and_a_table_but_no_claim():
    """A rank correlation of two points is 1 or -1 by chance: no seeds could decide it, and Holm would count it."""
    seeds = {seed: dosed({0.5: 0.6}, scale=1 + seed) for seed in range(3)}
    found = dose_metrics(seeds)
    assert list(found["gains"]) == list(found["rank_correlation"]) == ["0.25", "0.5"]
    assert all(np.isnan(of_group["mean"]) for of_group in found["response"].values())
    assert dose_tables(seeds)["dose"].index.tolist() == [0.25, 0.5]
    assert "dose" not in {row["figure"] for row in judge(Params(), seeds)}
    three = {seed: dosed({0.5: 0.6, 0.9: 0.1}, scale=1 + seed) for seed in range(3)}
    assert all(of_group["mean"] == pytest.approx(1) for of_group in dose_metrics(three)["response"].values())
    assert "dose" in {row["figure"] for row in judge(Params(), three)}


def test_the_table_has_a_row_a_factor():
    table = dose_tables({seed: dosed(scale=1 + seed) for seed in range(2)})["dose"]
    assert table.index.tolist() == [0.1, 0.25, 0.5, 0.9]
    for group in GROUPS:
        expected = [1.5 * share * GAIN[group] for share in (1.5, 1.0, 0.6, 0.1)]
        assert table[f"measured_{group}"].tolist() == pytest.approx(expected)
        assert table[f"predicted_{group}"].tolist() == pytest.approx(expected)
        assert (table[f"measured_{group}_low"] < table[f"measured_{group}_high"]).all()


def test_without_a_model_of_the_optimiser_the_doses_are_measured_all_the_same():
    nothing = pd.DataFrame({"step": [6], "time": [0.0]})
    one = dosed()
    away = dict.fromkeys(one.edge_flow_away, nothing)
    seeds = {0: replace(one, predictions={"edge_flow": nothing}, edge_flow_away=away)}
    assert not has_predicted_doses(seeds)
    assert has_predicted_doses({0: one})
    assert set(dose_tables(seeds)["dose"].filter(regex="^predicted")) == set()
    found = dose_metrics(seeds)
    assert found["rank_correlation"] is None
    assert set(found["gains"]["0.1"]["inlier"]) == {"measured"}


@pytest.mark.parametrize(("shares", "verdict"), [(SHARES, "holds"), ({0.1: 0.2, 0.5: 1.1, 0.9: 1.2}, "fails")])
def test_more_of_the_cause_does_more_holds_where_gains_grow_with_the_dose_and_fails_where_they_shrink(shares, verdict):
    rng = np.random.default_rng(0)
    seeds = {seed: dosed(shares, scale=rng.uniform(0.5, 2)) for seed in range(4)}
    claims = [row for row in judge(Params(), seeds) if row["figure"] == "dose"]
    assert len(claims) == len(GROUPS)
    assert {row["verdict"] for row in claims} == {verdict}
    assert {row["paper"] for row in claims} == {""}
