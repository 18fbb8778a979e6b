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
from edgewise.theory.registry import MODELS

STEPS = 30
OPTIMIZERS = {
    "gd": {"lr": 0.08},
    "decayed": {"lr": 0.08, "weight_decay": 0.05},
    "momentum": {"lr": 0.12, "name": "momentum", "momentum": 0.5},
    "smooth": {"lr": 0.15},
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
        for model in params.theory.models:
            prediction.main(params, seed=1, model=model)


def finish(folder: Path, params: Params) -> None:
    """All stages, in this process."""
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


@pytest.fixture(scope="module", params=["gd", "nesterov"])
def finished(request, tmp_path_factory) -> tuple[str, Path]:
    """The optimiser, and the folder of a complete run."""
    folder = tmp_path_factory.mktemp(request.param)
    finish(folder, configuration(request.param))
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
        records_of(folder, "edge_flow", "prediction"),
        two_step_averages(records_of(folder, "baseline", "steps")),
    )
    onset = records_of(folder, "base", "steps")["step"].iloc[-1]
    options = OPTIMIZERS[optimizer]
    time_per_step = options["lr"] / (1 - options.get("momentum", 0))
    assert table["step"].tolist() == list(range(onset, onset + STEPS))
    assert table["time"].to_numpy() == pytest.approx(time_per_step * (np.arange(STEPS) + 0.5))
    losses = [name for name in baseline if name.startswith("loss")]
    assert set(table) == {"step", "time", "sharpness", "oscillation", "gradients", "distance", "covered", *losses}
    # At onset the model is where the run is; the distance is known at checkpoints alone.
    known = table["distance"].notna()
    assert table["step"][known].tolist() == [onset, onset + 10, onset + 20]
    assert table.loc[0, ["distance", "covered"]].tolist() == [0, 0]
    assert (table["distance"] < table["covered"])[known].iloc[1:].all()
    assert table["gradients"].tolist() == [2] + [4] * (STEPS - 1)
    # With momentum the half-step is without the way of the centre, and so the losses are nearly those of the pair.
    tolerance = 0.02 if optimizer == "momentum" else 1e-4
    np.testing.assert_allclose(table[losses].iloc[0], baseline[losses].iloc[0], rtol=tolerance)
    wanted = baseline[losses].to_numpy()[:STEPS]
    error, change = (np.abs(found - wanted).mean(axis=0) for found in (table[losses].to_numpy(), wanted[:1]))
    # It is 0.2; without the weight decay that the run has, it would be 10.
    assert np.median(error / change) < 0.5


def test_substeps_change_what_follows_the_start(predicted, tmp_path, monkeypatch):
    optimizer, folder = predicted
    shutil.copytree(folder, tmp_path, dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path)
    prediction.main(configuration(optimizer, theory={"substeps": 4}), seed=1, model="edge_flow")
    finer, table = (records_of(place, "edge_flow", "prediction") for place in (tmp_path, folder))
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
        assert found["reason"] == "edge_flow: no model of nesterov; edge flow is one of gd and momentum"
        assert "predicted" not in found["dose"]["gains"]["0.25"]["inlier"]
        assert set(records_of(folder, "edge_flow", "prediction")) == {"step", "time"}
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


@pytest.fixture(scope="module")
def smooth(tmp_path_factory) -> Path:
    """The folder of a run of a smooth network, with every model of the edge, as far as the summary and its figures."""
    network = {"width": 16, "init_scale": 0.5, "activation": "tanh"}
    folder = tmp_path_factory.mktemp("smooth")
    finish(folder, configuration("smooth", model=network, theory={"models": list(MODELS)}))
    return folder


def test_every_model_predicts_from_onset_on_and_is_judged(smooth):
    onset = records_of(smooth, "base", "steps")["step"].iloc[-1]
    found = json.loads((smooth / "metrics/theory.json").read_text())
    assert set(found) >= {*MODELS, "seeds"}
    for model in MODELS:
        table = records_of(smooth, model, "prediction")
        assert table["step"].tolist() == list(range(onset, onset + STEPS))
        assert {"loss", "sharpness", "gradients", "distance", *(f"loss_{group}" for group in GROUPS)} <= set(table)
        assert found[model]["gradients"]["mean"] == pytest.approx(table["gradients"].iloc[1:].mean(), rel=1e-5)
    # The flow branch is gradient flow from onset, the model from shortly before.
    flow = two_step_averages(records_of(smooth, "flow", "steps"))
    model = records_of(smooth, "gradient_flow", "prediction")
    np.testing.assert_allclose(model["loss"], flow["loss"][:STEPS], rtol=0.02)
    threshold = 2 / OPTIMIZERS["smooth"]["lr"]
    for held in ("constrained", "central_flow"):
        assert records_of(smooth, held, "prediction")["sharpness"].max() < 1.02 * threshold


def test_several_models_have_a_figure_of_their_own(smooth, finished):
    assert (smooth / "plots/figures/figure_models.png").exists()
    assert not (finished[1] / "plots/figures/figure_models.png").exists()


def test_what_a_model_that_is_no_longer_declared_left_is_removed(smooth, tmp_path, monkeypatch):
    shutil.copytree(smooth, tmp_path, dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path)
    runs.main(configuration("smooth", theory={"models": ["edge_flow"]}))
    left = {path.name for path in (tmp_path / "data/records/seed-1").iterdir()}
    assert left == {"base", "baseline", "exit", "flow", "edge_flow"}
