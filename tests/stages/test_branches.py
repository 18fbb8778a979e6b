"""All four branches of a tiny run: where they are one, that this is verified, and which runs are kept."""

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from conftest import assert_one_error, tiny

import base
import branch
import control
import dataset
import prototypes
import runs
import summary
import verification
from edgewise.data.files import pack, unpack
from edgewise.data.groups import Prototypes
from edgewise.errors import EdgewiseError
from edgewise.network.objective import Objective
from edgewise.params import Params, parse_params
from edgewise.states.trajectory import checkpoints
from experiment import Experiment

FOUR = ("baseline", "exit", "enter", "flow")
STEPS, EVERY, ENTER_STEP = 30, 10, 20
OPTIMIZERS = {"gd": {"lr": 0.08}, "momentum": {"lr": 0.12, "name": "momentum", "momentum": 0.5}}


def configuration(optimizer: str, **changes: object) -> str:
    return tiny(
        seeds=[1],
        branches=list(FOUR),
        branch={"enter_step": ENTER_STEP},
        optimizer=OPTIMIZERS[optimizer],
        **changes,
    )


@pytest.fixture(scope="module", params=list(OPTIMIZERS))
def finished(request, tmp_path_factory) -> Path:
    """The folder of a complete run of all branches, which is not to be changed."""
    folder = tmp_path_factory.mktemp(request.param)
    (folder / "params.yaml").write_text(configuration(request.param))
    params = parse_params((folder / "params.yaml").read_text())
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        dataset.main(params)
        prototypes.main(params)
        base.main(params, seed=1)
        for name in FOUR:
            branch.main(params, seed=1, branch=name)
    return folder


@pytest.fixture
def copied(finished, tmp_path, monkeypatch) -> Path:
    """A copy of the run to work in."""
    shutil.copytree(finished, tmp_path, dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def params(copied) -> Params:
    return parse_params((copied / "params.yaml").read_text())


def states_of(folder: Path, run: str) -> dict[int, bytes]:
    """The checkpoint files of a run, by steps since onset."""
    files = checkpoints(folder / "data/checkpoints/seed-1" / run)
    return {int(path.stem[5:]) - onset_of(folder): path.read_bytes() for path in files}


def onset_of(folder: Path) -> int:
    return int(checkpoints(folder / "data/checkpoints/seed-1/base")[-1].stem[5:])


def steps_of(folder: Path, run: str) -> pd.DataFrame:
    return pd.read_csv(folder / "data/records/seed-1" / run / "steps.csv")


def test_the_enter_branch_is_the_exit_branch_bit_for_bit_until_its_step_size_is_restored(finished):
    entering, leaving = (states_of(finished, run) for run in ("enter", "exit"))
    for step in range(0, STEPS + 1, EVERY):
        assert (entering[step] == leaving[step]) == (step <= ENTER_STEP)
    rows = [
        (finished / "data/records/seed-1" / run / "steps.csv").read_text().splitlines()[1:] for run in ("enter", "exit")
    ]
    for step, (one, other) in enumerate(zip(*rows, strict=True)):
        assert (one == other) == (step <= ENTER_STEP)


def test_all_branches_start_from_the_bytes_of_the_state_at_onset(finished):
    onset = checkpoints(finished / "data/checkpoints/seed-1/base")[-1].read_bytes()
    for run in FOUR:
        assert states_of(finished, run)[0] == onset


def test_time_goes_on_at_each_branchs_own_rate(finished):
    tables = {run: steps_of(finished, run) for run in FOUR}
    rate = tables["baseline"]["time"].diff().iloc[1:]
    assert np.ptp(rate) < 1e-12
    for run, table in tables.items():
        first = ENTER_STEP if run == "enter" else (STEPS if run == "exit" else 0)
        expected = [rate.iloc[0] * (0.1 if step < first else 1) for step in range(STEPS)]
        np.testing.assert_allclose(table["time"].diff().iloc[1:], expected)


def test_the_flow_descends_at_every_step(finished):
    loss = steps_of(finished, "flow")["loss"].to_numpy()
    assert (np.diff(loss) < 0).all()


def test_a_sound_run_is_verified_branch_by_branch(copied, params):
    verification.main(params)
    found = verified(copied)
    assert found["passed"] is True
    assert found["tolerance"] == pytest.approx(10 * np.finfo(np.float32).eps, rel=1e-5)
    partners = {name: (row["partner"], row["step"] - onset_of(copied)) for name, row in found["branches"].items()}
    assert partners == {
        "seed-1/baseline": ("base", 0),
        "seed-1/exit": ("baseline", 0),
        "seed-1/enter": ("exit", ENTER_STEP),
        "seed-1/flow": ("baseline", 0),
    }
    for row in found["branches"].values():
        assert (row["parameters"], row["gradient_norms"], row["gradient_directions"]) == (0, 0, 0)


@pytest.mark.parametrize(
    ("run", "step", "failing"),
    [
        ("baseline", 0, {"baseline", "exit", "flow"}),
        ("exit", 0, {"exit"}),
        ("flow", 0, {"flow"}),
        ("enter", ENTER_STEP, {"enter"}),
        ("exit", ENTER_STEP, {"enter"}),
    ],
)
def test_a_branch_that_does_not_start_where_its_partner_does_stops_the_summary(copied, params, run, step, failing):
    tamper(copied, run, step, "theta")
    verification.main(params)
    found = verified(copied)
    assert found["passed"] is False
    assert {name for name, row in found["branches"].items() if not row["passed"]} == {f"seed-1/{n}" for n in failing}
    with pytest.raises(EdgewiseError, match="did not start from the same state") as caught:
        summary.main(params)
    assert {name for name in FOUR if f"seed-1/{name}" in str(caught.value)} == failing
    assert not (copied / "metrics/claims.json").exists()


@pytest.mark.parametrize("finished", ["gd"], indirect=True)
def test_the_scripts_say_in_one_line_which_branch_it_is(copied, stage):
    tamper(copied, "exit", 0, "theta")
    result = stage("verification")
    assert result.returncode == 0, result.stderr
    assert_one_error(stage("summary"), "the branches seed-1/exit did not start from the same state", "dvc repro")


@pytest.mark.parametrize("finished", ["momentum"], indirect=True)
def test_a_change_of_the_optimisers_memory_alone_is_found(copied, params):
    tamper(copied, "exit", 0, "buffer.velocity")
    verification.main(params)
    row = verified(copied)["branches"]["seed-1/exit"]
    assert row["passed"] is False
    assert row["parameters"] == pytest.approx(1e-3, rel=1e-2)
    assert row["gradient_norms"] == 0


@pytest.mark.parametrize("finished", ["gd"], indirect=True)
def test_a_checkpoint_that_is_missing_where_a_branch_begins_is_one_error(copied, stage):
    path = copied / f"data/checkpoints/seed-1/exit/step-{onset_of(copied) + ENTER_STEP:06d}.npz"
    path.unlink()
    assert_one_error(stage("verification"), str(path.relative_to(copied)), "no checkpoint of that step")


def verified(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((folder / "metrics/verification.json").read_text())
    return found


def tamper(folder: Path, run: str, step: int, vector: str) -> None:
    """Add 1e-3 to one entry of a vector in a checkpoint."""
    path = folder / f"data/checkpoints/seed-1/{run}/step-{onset_of(folder) + step:06d}.npz"
    arrays, about = unpack(path.read_bytes())
    arrays[vector][7] += 1e-3
    path.write_bytes(pack(arrays, about))


def files_under(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def test_what_is_no_longer_declared_is_removed_and_what_is_stays_as_it_is(copied, params):
    before = files_under(copied / "data")
    for root in ("checkpoints", "records"):
        shutil.copytree(copied / "data" / root / "seed-1", copied / "data" / root / "seed-11")
        shutil.copytree(copied / "data" / root / "seed-1/exit", copied / "data" / root / "seed-1/leave")
        (copied / "data" / root / "notes.txt").write_text("mine")
        (copied / "data" / root / "seed-1/.gitignore").write_text("/base")
    runs.main(params)
    after = files_under(copied / "data")
    assert json.loads(after.pop("runs.json")) == {"1": ["base", *FOUR]}
    own = {f"{root}/{name}" for root in ("checkpoints", "records") for name in ("notes.txt", "seed-1/.gitignore")}
    assert {name: content for name, content in after.items() if name not in own} == before
    assert own <= set(after)
    assert not list((copied / "data").rglob("seed-11"))

    fewer = params.model_copy(update={"branches": ["baseline", "exit"]})
    runs.main(fewer)
    left = {path.name for path in (copied / "data/checkpoints/seed-1").iterdir() if path.is_dir()}
    assert left == {"base", "baseline", "exit"}
    kept = {name: content for name, content in files_under(copied / "data").items() if name not in own}
    assert json.loads(kept.pop("runs.json")) == {"1": ["base", "baseline", "exit"]}
    assert kept == {name: content for name, content in before.items() if not {"enter", "flow"} & set(Path(name).parts)}


def test_verification_removes_nothing(copied, params):
    for root in ("checkpoints", "records"):
        shutil.copytree(copied / "data" / root / "seed-1", copied / "data" / root / "seed-11")
        shutil.copytree(copied / "data" / root / "seed-1/exit", copied / "data" / root / "seed-1/leave")
    before = files_under(copied / "data")
    verification.main(params)
    assert files_under(copied / "data") == before


@pytest.mark.parametrize("finished", ["momentum"], indirect=True)
@pytest.mark.parametrize("moment", [8, 19, 22, 27])
def test_an_enter_branch_killed_on_either_leg_ends_with_the_same_bytes(copied, params, monkeypatch, moment):
    whole = {kind: files_under(copied / f"data/{kind}/seed-1/enter") for kind in ("checkpoints", "records")}
    for kind in whole:
        shutil.rmtree(copied / f"data/{kind}/seed-1/enter")
    calls, evaluate = [], Objective.evaluate

    def killed(self: Objective, theta: torch.Tensor) -> object:
        calls.append(1)
        if len(calls) == moment:
            raise KeyboardInterrupt
        return evaluate(self, theta)

    with monkeypatch.context() as patch:
        patch.setattr(Objective, "evaluate", killed)
        with pytest.raises(KeyboardInterrupt):
            branch.main(params, seed=1, branch="enter")
    branch.main(params, seed=1, branch="enter")
    assert whole == {kind: files_under(copied / f"data/{kind}/seed-1/enter") for kind in whole}


@pytest.mark.parametrize("finished", ["gd"], indirect=True)
def test_the_control_at_the_runs_own_alpha_is_that_of_the_trained_groups(copied, params):
    """The stage displaces anew; at alpha of the run it must come to the examples that the prototypes stage made."""
    fewer = params.control.model_copy(update={"draws": 20})
    control.main(params.model_copy(update={"control": fewer}), seed=1)
    table = pd.read_csv(copied / "data/records/seed-1/base/control.csv").set_index("alpha")
    experiment = Experiment(params)
    made = Prototypes.from_bytes((copied / "data/prototypes.npz").read_bytes())
    arrays, _ = unpack(checkpoints(copied / "data/checkpoints/seed-1/base")[-1].read_bytes())
    theta = torch.from_numpy(arrays["theta"])
    for way in ("coherent", "random"):
        examples = getattr(made, f"control_{way}")
        objective = experiment.objective_on(examples.x, examples.y)
        product = experiment.objective.hessian(theta)
        dense = torch.stack([product(e) for e in torch.eye(len(theta))])
        v1 = torch.linalg.eigh((dense + dense.T) / 2).eigenvectors[:, -1]
        expected = (objective.gradient(theta) @ v1).item() ** 2
        assert table.loc[params.alpha, f"curvature_influence_{way}"] == pytest.approx(expected, rel=0.02)
    assert table.loc[0, "alignment_coherent"] == pytest.approx(table.loc[0, "alignment_random"], rel=1e-5)
    for name in ("alignment_coherent_p_value", "curvature_influence_random_p_value"):
        assert table[name].between(1 / 21, 1).all()
