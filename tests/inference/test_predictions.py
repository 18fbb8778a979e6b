"""Edge flow beside what was measured, and the split of what was measured, on records in which both are known."""

import json
from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from synthetic import (
    COST,
    FLOW,
    GAIN,
    LEVEL,
    LR,
    STEPS,
    STRATA,
    STRATUM_COST,
    STRATUM_FLOW,
    STRATUM_GAIN,
    STRATUM_LEVEL,
    T_STAR,
    THRESHOLD,
    by_group,
    decomposition_table,
    records,
)

from edgewise.data.groups import GROUPS
from edgewise.inference.claims import RIVALS_OF_EDGE_FLOW, judge
from edgewise.inference.gains import delta_loss, gains
from edgewise.inference.predictions import (
    both,
    error_over_time,
    follows_until,
    gain_if_the_edge_stood_still,
    has_prediction,
    predicted_delta_loss,
    prediction_tables,
    reference,
    settled,
    settled_path,
    split_delta_loss,
    theory_metrics,
)
from edgewise.inference.records import SeedRecords
from edgewise.params import Params, parse_params

NAMES = (*GROUPS, *STRATA)
WITH_FLOW = ("baseline", "exit", "flow")
#: By reference: the branches, and what it loses against the baseline.
REFERENCES = {"exit": (("baseline", "exit"), GAIN | STRATUM_GAIN), "flow": (WITH_FLOW, FLOW | STRATUM_FLOW)}


def predicting(one: SeedRecords, table: pd.DataFrame, model: str = "edge_flow") -> SeedRecords:
    """The same seed, where a model predicts this."""
    return replace(one, predictions={**one.predictions, model: table})


def without_a_model(one: SeedRecords) -> SeedRecords:
    """As where the optimiser is not gradient descent."""
    nothing = pd.DataFrame({"step": [T_STAR], "time": [0.0]})
    setting = replace(one.setting, optimizer="adam", has_model=False)
    away = dict.fromkeys(one.edge_flow_away, nothing)
    return predicting(replace(one, setting=setting, edge_flow_away=away), nothing)


@pytest.mark.parametrize("name", REFERENCES)
def test_the_reference_is_gradient_flow_where_it_was_run_and_else_the_exit_branch(name):
    branches, planted = REFERENCES[name]
    one = records(branches=branches)
    assert reference(one) == name
    measured, predicted = settled(one, NAMES)
    assert dict(zip(NAMES, measured, strict=True)) == pytest.approx(planted)
    assert predicted == pytest.approx(measured)


@pytest.mark.parametrize("name", REFERENCES)
@pytest.mark.parametrize("factor", [0.1, 0.5])
def test_a_prediction_of_the_baselines_own_averages_has_no_error(name, factor):
    one = records(branches=REFERENCES[name][0], exit_factor=factor)
    measured, predicted = both(one, NAMES)
    pd.testing.assert_frame_equal(predicted, measured, check_index_type=False)
    assert measured.index.tolist() == list(range(STEPS))
    assert error_over_time(one).max() < 1e-12
    assert follows_until(one) == STEPS


def test_what_is_measured_is_the_gain_that_all_other_results_have():
    for name, (branches, _) in REFERENCES.items():
        one = records(1.3, branches=branches)
        assert settled(one, NAMES)[0] == pytest.approx(gains(one, name, "time", NAMES).to_numpy())


def test_a_prediction_that_is_too_high_predicts_that_much_less_gain():
    missed = by_group(0.03, -0.04, 0.02, 0.0)
    one = records(branches=WITH_FLOW, missed=missed)
    measured, predicted = both(one)
    for group in GROUPS:
        assert predicted[group].iloc[0] == pytest.approx(measured[group].iloc[0])
        assert (measured - predicted)[group].iloc[1:].to_numpy() == pytest.approx(missed[group])
    found = theory_metrics({0: one, 1: one})["edge_flow"]["groups"]
    for group in GROUPS:
        assert found[group]["measured"]["mean"] == pytest.approx(FLOW[group])
        assert found[group]["predicted"]["mean"] == pytest.approx(FLOW[group] - missed[group])
        assert found[group]["relative_error"]["geometric_mean"] == pytest.approx(abs(missed[group] / FLOW[group]))
        assert found[group]["relative_error"]["seeds"] == 2
    # The gains are half as large at the first step, of whose two iterates the branches share one.
    size = np.linalg.norm(list(FLOW.values())) * np.sqrt((STEPS - 1 + 0.25) / STEPS)
    length = np.linalg.norm(list(missed.values())) / size
    assert error_over_time(one).tolist() == pytest.approx([0.0] + [length] * (STEPS - 1))


def too_high_from(step: int, share: float) -> SeedRecords:
    """The predicted gains of the groups are too small by this share, from that step on."""
    one = records(branches=WITH_FLOW)
    table = one.predictions["edge_flow"].copy()
    for group in GROUPS:
        table.loc[table["step"] >= T_STAR + step, f"loss_{group}"] += share * FLOW[group]
    return predicting(one, table)


@pytest.mark.parametrize(
    ("step", "share", "expected"), [(1, 0.2, 1), (5, 0.11, 5), (5, 0.09, STEPS), (STEPS, 1, STEPS)]
)
def test_it_follows_until_the_error_is_above_a_tenth(step, share, expected):
    one = too_high_from(step, share)
    assert follows_until(one) == expected
    found = theory_metrics({0: one, 1: too_high_from(2, 0.5)})["edge_flow"]["follows_until"]
    assert found["mean"] == pytest.approx((expected + 2) / 2)
    assert 0 <= found["low"] <= found["mean"] <= found["high"] <= STEPS


def test_correlations_are_over_groups_and_strata_of_a_seed():
    right = records(branches=WITH_FLOW)
    upside_down = records(branches=WITH_FLOW, missed={k: 2 * v for k, v in (FLOW | STRATUM_FLOW).items()})
    for one, sign in ((right, 1), (upside_down, -1)):
        found = theory_metrics({4: one, 7: one})
        assert found["seeds"] == [4, 7]
        assert found["edge_flow"]["rank_correlation"]["mean"] == pytest.approx(sign)
        assert found["edge_flow"]["linear_correlation"] == pytest.approx([sign, sign])


def test_the_curvature_along_the_prediction_is_given_over_the_threshold_in_the_settled_part():
    one = records()
    curvature = np.where(np.arange(STEPS) < STEPS // 2, 5.0, 0.9 * THRESHOLD)
    one = predicting(one, one.predictions["edge_flow"].assign(sharpness=curvature))
    assert theory_metrics({0: one})["edge_flow"]["sharpness_ratio"]["mean"] == pytest.approx(0.9)


def test_a_prediction_ends_where_the_reference_does_and_is_compared_on_the_times_that_both_have():
    one = records(branches=WITH_FLOW)
    row = one.predictions["edge_flow"].iloc[[-1]]
    longer = [row.assign(step=row["step"] + i, time=row["time"] + i * LR) for i in (1, 2, 3)]
    assert len(predicted_delta_loss(predicting(one, pd.concat([one.predictions["edge_flow"], *longer])))) == STEPS
    shorter = predicting(one, one.predictions["edge_flow"].iloc[:5])
    assert [len(table) for table in both(shorter)] == [5, 5]


@pytest.mark.parametrize("name", REFERENCES)
def test_the_path_less_the_oscillation_is_the_measured_difference_exactly(name):
    branches, planted = REFERENCES[name]
    one = records(branches=branches)
    split, whole = split_delta_loss(one, NAMES), delta_loss(one, name, "time", NAMES)
    at = split.index
    assert at.tolist() == [0, 4]  # the last checkpoint is followed by no step of the record
    for each in NAMES:
        difference = split[f"path_{each}"] - split[f"oscillation_{each}"]
        np.testing.assert_allclose(difference, whole.loc[at, each], rtol=0, atol=1e-15)
        np.testing.assert_array_equal(split[f"delta_{each}"], whole.loc[at, each])
        assert split[f"oscillation_{each}"].to_numpy() == pytest.approx((COST | STRATUM_COST)[each])
        assert split.loc[4, f"path_{each}"] == pytest.approx(planted[each] + (COST | STRATUM_COST)[each])


@pytest.mark.parametrize("name", REFERENCES)
def test_the_settled_path_is_the_mean_of_the_path_at_the_checkpoints_of_the_later_half(name):
    """The centre goes down by 0.01 a step, and the cost goes up by as much, so that the gain stays what it is."""
    branches, planted = REFERENCES[name]
    table = decomposition_table([0, 2, 3, 4, 6], LEVEL | STRATUM_LEVEL)
    since = table["step"] - T_STAR
    for each in NAMES:
        table[f"centre_loss_{each}"] -= 0.01 * since
        table[f"oscillation_cost_{each}"] += 0.01 * since
    one = replace(records(branches=branches), decomposition=table)
    expected = [planted[each] + (COST | STRATUM_COST)[each] + 0.01 * (4 + 6) / 2 for each in NAMES]
    assert settled_path(one, NAMES) == pytest.approx(expected)
    assert settled_path(one) == pytest.approx(expected[: len(GROUPS)])
    assert settled_path(one, ["class1_q1"]) == pytest.approx([expected[NAMES.index("class1_q1")]])


def test_the_tables_have_measured_and_predicted_side_by_side():
    seeds = {3: records(jitter=0.01), 5: records(2.0, missed=by_group(0.1, 0.1, 0.1, 0.1))}
    tables = prediction_tables(seeds)
    assert set(tables) == {"decomposition", "prediction", "predicted_gains"}
    over_time = tables["prediction"]
    assert over_time.index.name == "step"
    for group in GROUPS:
        assert over_time.loc[6, f"measured_{group}"] == pytest.approx(1.5 * GAIN[group])
        assert over_time.loc[6, f"predicted_{group}"] == pytest.approx(1.5 * GAIN[group] - 0.05)
        assert {f"{kind}_{group}_{end}" for kind in ("measured", "predicted") for end in ("low", "high")} <= set(
            over_time
        )
    errors = [error_over_time(one).loc[6] for one in seeds.values()]
    assert over_time.loc[6, "error"] == pytest.approx(np.sqrt(max(errors[0], 1e-30) * errors[1]), rel=1e-3)
    points = tables["predicted_gains"]
    assert points.index.tolist() == [3] * len(NAMES) + [5] * len(NAMES)
    assert points["name"].tolist() == [*NAMES] * 2
    assert points["kind"].tolist() == (["group"] * len(GROUPS) + ["stratum"] * len(STRATA)) * 2
    measured = [scale * (GAIN | STRATUM_GAIN)[name] for scale in (1, 2) for name in NAMES]
    assert points["measured"].tolist() == pytest.approx(measured)
    apart = (points["measured"] - points["predicted"]).tolist()
    assert apart == pytest.approx([0.0] * len(NAMES) + [0.1] * len(GROUPS) + [0.0] * len(STRATA))


def test_without_a_model_the_metrics_say_so_and_the_split_alone_has_a_table():
    seeds = {seed: without_a_model(records(jitter=0.01 * seed)) for seed in range(2)}
    assert not has_prediction(seeds)
    assert has_prediction({0: records()})
    found = theory_metrics(seeds)
    assert found["edge_flow"] is None
    assert found["reason"] == "edge_flow: no model of adam; edge flow is one of gd and momentum"
    json.dumps(found)
    assert set(prediction_tables(seeds)) == {"decomposition"}


def claims_of_the_theory(params: Params, seeds: dict[int, SeedRecords]) -> dict[str, str]:
    return {row["statement"]: row["verdict"] for row in judge(params, seeds) if row["figure"] == "theory"}


@pytest.mark.parametrize("name", ["momentum", "nesterov", "sgd", "adam"])
def test_without_a_model_no_claim_of_the_theory_is_judged(name):
    seeds = {seed: without_a_model(records(jitter=0.01 * seed)) for seed in range(3)}
    assert claims_of_the_theory(parse_params(f"optimizer: {{name: {name}}}"), seeds) == {}


def moving(one: SeedRecords, by: Mapping[str, float]) -> SeedRecords:
    """The losses of all runs, and of the prediction, are lower by `by` after onset: no gain is another."""
    columns = {f"loss_{name}": value for name, value in by.items()}
    steps = {run: table.copy() for run, table in one.steps.items()}
    for run, table in steps.items():
        if run != "base":
            table.loc[table["step"] > T_STAR, list(columns)] -= list(columns.values())

    def moved(predicted: pd.DataFrame) -> pd.DataFrame:
        predicted = predicted.copy()
        share = np.where(predicted["step"] > T_STAR, 1.0, 0.5)  # of the first pair of iterates one is that at onset
        predicted[list(columns)] -= np.outer(share, list(columns.values()))
        return predicted

    away = {factor: moved(table) for factor, table in one.edge_flow_away.items()}
    return predicting(replace(one, steps=steps, edge_flow_away=away), moved(one.predictions["edge_flow"]))


def planted_seeds(missed: float, moved: float) -> dict[int, SeedRecords]:
    """Seeds with `GAIN`, predicted too small by a multiple of it, and the losses lower by a multiple of it."""
    gain = GAIN | STRATUM_GAIN
    wrong, by = ({name: share * value for name, value in gain.items()} for share in (missed, moved))
    return {seed: moving(records(jitter=0.01 * seed, missed=wrong), by) for seed in range(3)}


@pytest.mark.parametrize("missed", [0.0, 2.0])
def test_the_loss_away_alone_is_the_gain_that_there_were_had_the_losses_at_the_edge_stayed(missed):
    """Whatever edge flow says of later. Away the gain is taken from the loss; half of what moved is in the first."""
    for moved in (0.0, 3.0):
        one = planted_seeds(missed, moved)[1]
        assert settled(one, NAMES)[0] == pytest.approx(list((GAIN | STRATUM_GAIN).values()))
        expected = [(1 - moved / 2) * value for value in (GAIN | STRATUM_GAIN).values()]
        assert gain_if_the_edge_stood_still(one, NAMES) == pytest.approx(expected)
        assert gain_if_the_edge_stood_still(one, ["inlier"]) == pytest.approx([expected[NAMES.index("inlier")]])


def test_where_the_edge_stands_still_the_loss_away_alone_ranks_as_well():
    found = claims_of_the_theory(Params(), planted_seeds(missed=0.0, moved=0.0))
    still = {statement: verdict for statement, verdict in found.items() if "that loss alone" in statement}
    assert list(still.values()) == ["undecided"]
    assert {verdict for statement, verdict in found.items() if statement not in still} == {"holds"}


@pytest.mark.parametrize(("missed", "moved", "verdict"), [(0.0, 3.0, "holds"), (2.0, 0.0, "fails")])
def test_the_claims_of_the_theory_hold_for_a_right_prediction_and_fail_for_the_opposite(missed, moved, verdict):
    """It is right of an edge that leads away from where the loss away alone would put the gains, or it is opposite."""
    found = claims_of_the_theory(Params(), planted_seeds(missed, moved))
    assert len(found) == 2 + len(RIVALS_OF_EDGE_FLOW)
    assert set(found.values()) == {verdict}


def test_a_model_that_is_not_declared_makes_no_claim_and_no_table_of_its_own():
    seeds = {seed: replace(records(jitter=0.01 * seed), predictions={}) for seed in range(2)}
    assert not has_prediction(seeds)
    assert theory_metrics(seeds) == {"seeds": [0, 1]}
    assert claims_of_the_theory(Params(), seeds) == {}


def with_another(one: SeedRecords, model: str, missed: Mapping[str, float], **columns: object) -> SeedRecords:
    """The same seed, where another model predicts losses that are by `missed` above those of edge flow."""
    table = one.predictions["edge_flow"].assign(**columns)
    for name, value in missed.items():
        table.loc[table["step"] > T_STAR, f"loss_{name}"] += value
    return predicting(one, table, model)


def test_every_model_is_judged_by_its_own_prediction():
    missed = by_group(0.03, -0.04, 0.02, 0.0)
    off = {"sharpness": 1.25 * THRESHOLD, "loss": 1.5, "gradients": 7}
    one = records(branches=WITH_FLOW, later=THRESHOLD)
    found = theory_metrics({0: with_another(one, "central_flow", missed, **off)})
    right, wrong = found["edge_flow"], found["central_flow"]
    assert {group: right["groups"][group]["relative_error"]["geometric_mean"] for group in GROUPS} == pytest.approx(
        dict.fromkeys(GROUPS, 0), abs=1e-12
    )
    for group in GROUPS:
        assert wrong["groups"][group]["relative_error"]["geometric_mean"] == pytest.approx(
            abs(missed[group] / FLOW[group])
        )
    measured = one.hessian["baseline"].set_index("step")["sharpness"][T_STAR + STEPS // 2]
    for model, sharpness in ((right, 1), (wrong, 1.25)):
        assert model["sharpness_ratio"]["mean"] == pytest.approx(sharpness)
        expected = abs(sharpness - measured / THRESHOLD)
        assert model["sharpness_error"]["geometric_mean"] == pytest.approx(expected)
    size = np.linalg.norm(list(missed.values())) / np.linalg.norm(list(FLOW.values()))
    assert [model["gains_error"]["geometric_mean"] for model in (right, wrong)] == pytest.approx([0, size], abs=1e-12)
    assert [model["loss_error"]["geometric_mean"] for model in (right, wrong)] == pytest.approx([0, 0.5], abs=1e-12)
    assert [model["gradients"]["mean"] for model in (right, wrong)] == [4, 7]
    assert [model["distance"]["geometric_mean"] for model in (right, wrong)] == pytest.approx([0.2, 0.2])


def test_a_model_without_a_prediction_in_one_seed_is_null_and_the_others_stand():
    nothing = pd.DataFrame({"step": [T_STAR], "time": [0.0]})
    seeds = {0: with_another(records(), "cubic", {}), 1: predicting(records(1.1), nothing, "cubic")}
    found = theory_metrics(seeds)
    assert found["cubic"] is None
    assert found["reason"].startswith("cubic: ")
    assert (
        found["edge_flow"]
        == theory_metrics(
            {s: replace(r, predictions={"edge_flow": r.predictions["edge_flow"]}) for s, r in seeds.items()}
        )["edge_flow"]
    )
    assert not {"models", "models_gains"} & set(prediction_tables(seeds))


def test_several_models_have_a_table_over_time_and_one_of_their_gains():
    missed = by_group(0.1, 0.2, -0.1, 0.0)
    seeds = {s: with_another(records(jitter=0.01 * s), "cubic", missed, sharpness=0.5 * THRESHOLD) for s in (0, 1)}
    tables = prediction_tables(seeds)
    over_time, points = tables["models"], tables["models_gains"]
    assert over_time.index.tolist() == list(range(STEPS))
    assert over_time["sharpness_edge_flow"].tolist() == [1.0] * STEPS
    assert over_time["sharpness_cubic"].tolist() == [0.5] * STEPS
    assert over_time["sharpness_measured"].dropna().index.tolist() == [0, 4]
    assert over_time["distance_cubic"].dropna().tolist() == pytest.approx([0, 0.2])
    assert points.index.unique().tolist() == ["edge_flow", "cubic"]
    pd.testing.assert_frame_equal(points.loc["edge_flow"].set_index("seed"), tables["predicted_gains"])
    of_groups = points[points["kind"] == "group"]
    apart = of_groups.loc["edge_flow", "predicted"].to_numpy() - of_groups.loc["cubic", "predicted"].to_numpy()
    assert apart == pytest.approx([missed[group] for group in GROUPS] * 2)
