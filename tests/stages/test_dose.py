"""The stages dose, dose_prediction and counterfactual on a tiny run."""

import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from conftest import tiny
from small import SEED, Killed, configuration, evaluations, in_a_copy, onset_of, records_of, up_to_base

import branch
import counterfactual
import dose
import dose_prediction
import hessian
import prediction
import runs
import verification
from edgewise.data.groups import GROUPS
from edgewise.params import Params
from experiment import Experiment

STEPS, EXIT = 30, 0.25


@pytest.fixture(scope="module")
def at_onset(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("at_onset")
    text = configuration(branches=["baseline", "exit"], branch={"factors": [0.5], "exit_factor": EXIT})
    params = up_to_base(folder, text)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        for name in params.branches:
            branch.main(params, seed=SEED, branch=name)
        prediction.main(params, seed=SEED, model="edge_flow")
    return folder


@pytest.fixture
def params(at_onset, tmp_path, monkeypatch) -> Params:
    """The parameters, in a copy of the run to work in."""
    return in_a_copy(at_onset, tmp_path, monkeypatch)


def steps_of(run: str) -> bytes:
    return (records_of(run) / "steps.csv").read_bytes()


def two_step_averages(table: pd.DataFrame) -> pd.DataFrame:
    losses = table.filter(regex="^(time$|loss)")
    return (losses.iloc[:-1].reset_index(drop=True) + losses.iloc[1:].reset_index(drop=True)) / 2


def test_at_the_factor_of_the_exit_branch_a_dose_is_the_exit_branch_byte_for_byte(params):
    dose.main(params, seed=SEED, factor=str(EXIT))
    assert steps_of(f"dose-{EXIT}") == steps_of("exit")


def test_a_dose_covers_the_time_of_the_baseline_and_keeps_no_checkpoint(params):
    dose.main(params, seed=SEED, factor="0.5")
    table, baseline = (pd.read_csv(records_of(run) / "steps.csv") for run in ("dose-0.5", "baseline"))
    assert len(table) == 1 + 2 * STEPS
    assert table["time"].iloc[-1] == pytest.approx(baseline["time"].iloc[-1])
    assert not Path(f"data/checkpoints/seed-{SEED}/dose-0.5").exists()


def test_a_dose_that_was_killed_goes_on_and_ends_with_the_same_bytes(params):
    dose.main(params, seed=SEED, factor="0.5")
    whole = steps_of("dose-0.5")
    shutil.rmtree(f"data/journals/seed-{SEED}/dose-0.5")
    with evaluations(killed_at=45), pytest.raises(Killed):
        dose.main(params, seed=SEED, factor="0.5")
    with evaluations() as count:
        dose.main(params, seed=SEED, factor="0.5")
    assert count() < 30
    assert steps_of("dose-0.5") == whole


def test_doses_begin_at_onset_or_verification_says_so(params):
    dose.main(params, seed=SEED, factor="0.5")
    for run in ("base", *params.branches):
        hessian.main(params, seed=SEED, run=run)

    def verified() -> dict:
        verification.main(params)
        return pd.read_json("metrics/verification.json", typ="series")["branches"][f"seed-{SEED}/dose-0.5"]

    row = verified()
    assert (row["passed"], row["partner"], row["step"], row["losses"]) == (True, "base", onset_of(), 0)
    path = records_of("dose-0.5") / "steps.csv"
    table = pd.read_csv(path)
    table.loc[0, "loss_inlier"] *= 1.01
    table.to_csv(path, index=False)
    assert verified()["passed"] is False


def test_what_is_declared_is_kept_and_what_no_longer_is_is_removed(params):
    for factor in (0.5, 0.75):
        dose.main(params, seed=SEED, factor=str(factor))
    counterfactual.main(params, seed=SEED, group="inlier")
    runs.main(params)
    kept = {path.name for root in ("records", "journals") for path in Path(f"data/{root}/seed-{SEED}").iterdir()}
    assert kept == {"base", "baseline", "exit", "edge_flow", "dose-0.5"}


def test_the_prediction_of_a_dose_starts_and_goes_as_its_run(params):
    dose.main(params, seed=SEED, factor="0.5")
    dose_prediction.main(params, seed=SEED, run="dose-0.5", factor="0.5")
    found = pd.read_csv(records_of("dose-0.5") / "edge_flow.csv")
    run = two_step_averages(pd.read_csv(records_of("dose-0.5") / "steps.csv"))
    assert len(found) == 2 * STEPS
    np.testing.assert_allclose(found["time"], run["time"] - run["time"].iloc[0] + found["time"].iloc[0], rtol=1e-6)
    losses = [f"loss_{group}" for group in GROUPS]
    np.testing.assert_allclose(found[losses].iloc[0], run[losses].iloc[0], rtol=1e-4)
    error = (found[losses] - run[losses]).abs().mean()
    assert (error < 0.2 * (run[losses].iloc[-1] - run[losses].iloc[0]).abs()).all()


@pytest.mark.parametrize("way", ["at_centre", "removed"])
def test_without_a_group_run_and_prediction_start_from_the_state_at_onset_and_go_together(params, way):
    counterfactual.main(params, seed=SEED, group="boundary")
    measured, predicted = (
        pd.read_csv(records_of("without-boundary") / f"{name}.csv") for name in (way, f"{way}_predicted")
    )
    base = pd.read_csv(records_of("base") / "steps.csv")
    names = [name for name in base if name.startswith("loss_") and (way == "at_centre" or name != "loss_boundary")]
    assert {name for name in measured if name.startswith("loss_")} == set(names)
    assert len(predicted) == len(measured) - 1 == STEPS
    assert measured["step"].tolist() == list(range(onset_of(), onset_of() + STEPS + 1))
    np.testing.assert_allclose(measured[names].iloc[0], base[names].iloc[-1], rtol=1e-5)
    averages = two_step_averages(measured)
    np.testing.assert_allclose(predicted[names].iloc[0], averages[names].iloc[0], rtol=1e-4)
    error = (predicted[names] - averages[names]).abs().mean()
    assert (error / (measured[names].iloc[-1] - measured[names].iloc[0]).abs()).median() < 0.3


def test_a_group_at_the_centre_changes_what_the_model_predicts_from_the_same_start(params):
    counterfactual.main(params, seed=SEED, group="inlier")
    at_centre = pd.read_csv(records_of("without-inlier") / "at_centre_predicted.csv")
    whole = pd.read_csv(records_of("edge_flow") / "prediction.csv")[at_centre.columns]
    pd.testing.assert_series_equal(at_centre.iloc[0], whole.iloc[0])
    assert (at_centre["loss_inlier"].iloc[2:] != whole["loss_inlier"].iloc[2:]).all()


def test_groups_that_lie_in_the_removed_one_have_no_loss_without_it(tmp_path, monkeypatch):
    """Half of the images of digits are `three`, some of those `sub`; without `three` there is no `sub`."""
    monkeypatch.chdir(tmp_path)
    rows = "".join(f"{i},three\n" + f"{i},sub\n" * (i % 9 == 0) for i in range(0, 1437, 2))
    (tmp_path / "groups.csv").write_text(f"example,group\n{rows}")
    groups = {"source": "file", "file": "groups.csv"}
    changes = {"optimizer": {"lr": 0.16}, "edge": {"max_steps": 3000}, "theory": {"left_out": ["three"]}}
    own = up_to_base(tmp_path, tiny(seeds=[SEED], groups=groups, **changes))
    counterfactual.main(own, seed=SEED, group="three")
    folder = tmp_path / f"data/records/seed-{SEED}/without-three"
    for name, there in (("removed", False), ("at_centre", True)):
        losses = pd.read_csv(folder / f"{name}.csv").filter(like="loss_").columns
        assert {"loss_three" in losses, "loss_sub" in losses} == {there}


def test_removed_a_group_has_no_part_in_the_gradient(params):
    counterfactual.main(params, seed=SEED, group="inlier")
    experiment = Experiment(params, SEED)
    rest = experiment.objective.subset(~experiment.groups["inlier"])
    _, (onset, _) = experiment.pair("base", onset_of())
    after = experiment.optimizer.step(onset, rest.gradient(onset.theta))
    measured = pd.read_csv(records_of("without-inlier") / "removed.csv")
    assert measured["loss"].iloc[1] == pytest.approx(rest.evaluate(after.theta).loss, rel=1e-5)
