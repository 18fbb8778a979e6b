"""The stage prediction, and what summary and figures make of it, with a model of the optimiser and without one."""

import json
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from conftest import tiny

import base
import branch
import control
import dataset
import dose_prediction
import figures
import hessian
import ood
import prediction
import prototypes
import robustness
import runs
import strengths
import summary
import verification
from edgewise.data.groups import GROUPS
from edgewise.params import Params, parse_params

STEPS = 30
OPTIMIZERS = {
    "gd": {"lr": 0.08},
    "decayed": {"lr": 0.08, "weight_decay": 0.05},
    "momentum": {"lr": 0.12, "name": "momentum", "momentum": 0.5},
    "nesterov": {"lr": 0.12, "name": "nesterov", "momentum": 0.5},
}


def configuration(optimizer: str, **changes: object) -> Params:
    few = {"robustness": {"examples": 10, "steps": 2, "restarts": 1, "epsilons": [8]}, "control": {"draws": 20}}
    return parse_params(
        tiny(seeds=[1], branches=["baseline", "exit", "flow"], optimizer=OPTIMIZERS[optimizer], **few, **changes)
    )


def to_onset(folder: Path, params: Params) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        dataset.main(params)
        prototypes.main(params, seed=1)
        base.main(params, seed=1)
        branch.main(params, seed=1, branch="baseline")
        prediction.main(params, seed=1)


@pytest.fixture(scope="module", params=["gd", "nesterov"])
def finished(request, tmp_path_factory) -> tuple[str, Path]:
    """The optimiser, and the folder of a complete run."""
    folder, params = tmp_path_factory.mktemp(request.param), configuration(request.param)
    to_onset(folder, params)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        for name in ("exit", "flow"):
            branch.main(params, seed=1, branch=name)
        dose_prediction.main(params, seed=1, run="exit", factor=str(params.branch.exit_factor))
        for name in ("base", *params.branches):
            hessian.main(params, seed=1, run=name)
        control.main(params, seed=1)
        strengths.main(params, seed=1)
        for name in params.branches:
            robustness.main(params, seed=1, branch=name)
            ood.main(params, seed=1, branch=name)
        runs.main(params)
        verification.main(params)
        summary.main(params)
        figures.main(params)
    return request.param, folder


@pytest.fixture(scope="module", params=["gd", "decayed", "momentum"])
def predicted(request, tmp_path_factory) -> tuple[str, Path]:
    """The optimiser, and the folder of a run as far as the prediction."""
    folder = tmp_path_factory.mktemp(f"{request.param}_to_onset")
    to_onset(folder, configuration(request.param))
    return request.param, folder


def records_of(folder: Path, run: str, name: str) -> pd.DataFrame:
    return pd.read_csv(folder / f"data/records/seed-1/{run}/{name}.csv")


def two_step_averages(table: pd.DataFrame) -> pd.DataFrame:
    losses = table.filter(regex="^(time$|loss)")
    return (losses.iloc[:-1].reset_index(drop=True) + losses.iloc[1:].reset_index(drop=True)) / 2


def test_the_prediction_starts_as_the_baseline_and_is_nearer_to_it_than_standing_still(predicted):
    optimizer, folder = predicted
    table, baseline = (
        records_of(folder, "base", "edge_flow"),
        two_step_averages(records_of(folder, "baseline", "steps")),
    )
    onset = records_of(folder, "base", "steps")["step"].iloc[-1]
    options = OPTIMIZERS[optimizer]
    time_per_step = options["lr"] / (1 - options.get("momentum", 0))
    assert table["step"].tolist() == list(range(onset, onset + STEPS))
    assert table["time"].to_numpy() == pytest.approx(time_per_step * (np.arange(STEPS) + 0.5))
    losses = [name for name in baseline if name.startswith("loss")]
    assert set(table) == {"step", "time", "sharpness", "oscillation", *losses}
    np.testing.assert_allclose(table[losses].iloc[0], baseline[losses].iloc[0], rtol=1e-4)
    wanted = baseline[losses].to_numpy()[:STEPS]
    error, change = (np.abs(found - wanted).mean(axis=0) for found in (table[losses].to_numpy(), wanted[:1]))
    # It is 0.2; without the weight decay that the run has, it would be 10.
    assert np.median(error / change) < 0.5


def test_substeps_change_what_follows_the_start(predicted, tmp_path, monkeypatch):
    optimizer, folder = predicted
    shutil.copytree(folder, tmp_path, dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path)
    prediction.main(configuration(optimizer, theory={"substeps": 4}), seed=1)
    finer, table = (records_of(place, "base", "edge_flow") for place in (tmp_path, folder))
    pd.testing.assert_series_equal(finer.iloc[0], table.iloc[0])
    assert (finer["loss"].iloc[1:] != table["loss"].iloc[1:]).all()


def test_the_split_at_the_checkpoints_adds_up_to_the_averages_of_the_run(finished):
    _, folder = finished
    steps = records_of(folder, "baseline", "steps")
    averages = two_step_averages(steps).set_index(steps["step"].iloc[:-1])
    split = records_of(folder, "baseline", "decomposition").set_index("step")
    assert len(split) > 3
    split = split.loc[split.index.intersection(averages.index)]
    for group in GROUPS:
        whole = split[f"centre_loss_{group}"] + split[f"oscillation_cost_{group}"]
        np.testing.assert_allclose(whole, averages.loc[split.index, f"loss_{group}"], rtol=1e-4)
    assert (split[["force", "centre_gradient"]] > 0).all(axis=None)


def test_a_model_is_in_the_metrics_tables_claims_and_figures_and_nothing_of_it_where_there_is_none(finished):
    optimizer, folder = finished
    model = optimizer == "gd"
    found = json.loads((folder / "metrics/theory.json").read_text())
    tables, drawn = ({path.stem for path in (folder / "plots" / kind).iterdir()} for kind in ("tables", "figures"))
    claims = json.loads((folder / "metrics/claims.json").read_text())["claims"]
    assert ("theory" in {row["figure"] for row in claims}) == model
    assert ({"prediction", "predicted_gains"} <= tables) == model
    assert ("figure_edge_flow" in drawn) == model
    assert {"figure_decomposition", "figure_04_delta_loss"} <= drawn
    assert "decomposition" in tables
    if not model:
        assert found["edge_flow"] is None
        assert found["reason"] == "edge flow is a model of gd and momentum; optimizer.name is nesterov"
        assert "predicted" not in found["dose"]["gains"]["0.25"]["inlier"]
        assert set(records_of(folder, "base", "edge_flow")) == {"step", "time"}
        return
    assert found["edge_flow"]["reference"] == "flow"
    assert set(found["edge_flow"]["groups"]) == set(GROUPS)
    assert found["edge_flow"]["sharpness_ratio"]["mean"] == pytest.approx(1, abs=0.2)
    assert found["seeds"] == [1]


def test_the_split_of_the_tables_is_the_difference_that_all_other_results_have(finished):
    _, folder = finished
    split, whole = (
        pd.read_csv(folder / f"plots/tables/{name}.csv", index_col=0)
        for name in ("decomposition", "delta_loss_equal_time")
    )
    assert len(split) > 1
    for group in GROUPS:
        expected = whole.loc[split.index, f"flow_{group}"]
        np.testing.assert_allclose(split[f"path_{group}"] - split[f"oscillation_{group}"], expected, atol=1e-6)
