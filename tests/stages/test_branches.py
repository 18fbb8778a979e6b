"""All four branches of a tiny run: where they are one, that this is verified, and which runs are kept."""

import json
import multiprocessing
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from conftest import assert_one_error, tiny
from small import (
    FOUR,
    OPTIMIZERS,
    SEED,
    checkpoints_of,
    configuration,
    files_under,
    onset_of,
    records_of,
    states_of,
    up_to_base,
)

import base
import branch
import control
import dataset
import dose_prediction
import hessian
import ood
import prediction
import prototypes
import robustness
import runs
import strengths
import summary
import verification
from edgewise.data.files import pack, unpack, write_atomically
from edgewise.errors import EdgewiseError, ParameterError
from edgewise.params import Params, parse_params
from edgewise.states.branches import length
from experiment import Experiment

STEPS, EVERY, ENTER_STEP = 30, 10, 10


@pytest.fixture(scope="module", params=list(OPTIMIZERS))
def finished(request, tmp_path_factory) -> Path:
    """The folder of all runs and their measurements, which is not to be changed."""
    folder = tmp_path_factory.mktemp(request.param)
    params = up_to_base(folder, configuration(request.param))
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        strengths.main(params, seed=SEED)
        hessian.main(params, seed=SEED, run="base")
        for name in FOUR:
            branch.main(params, seed=SEED, branch=name)
            hessian.main(params, seed=SEED, run=name)
            robustness.main(params, seed=SEED, branch=name)
            ood.main(params, seed=SEED, branch=name)
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


only_gd = pytest.mark.parametrize("finished", ["gd"], indirect=True)
only_momentum = pytest.mark.parametrize("finished", ["momentum"], indirect=True)


def steps_of(folder: Path, run: str) -> pd.DataFrame:
    return pd.read_csv(records_of(run, folder) / "steps.csv")


def records_at(folder: Path, run: str, table: str, step: int) -> list[str]:
    """The lines of a table about a step since onset, as they are in the file."""
    header, *lines = (records_of(run, folder) / f"{table}.csv").read_text().splitlines()
    found = [line for line in lines if int(line.split(",")[0]) == onset_of(folder) + step]
    assert header.split(",")[0] == "step"
    assert len(found) > 1
    return [header, *found]


def examples_at(folder: Path, run: str, step: int) -> dict[str, np.ndarray]:
    arrays, _ = unpack((records_of(run, folder) / "examples.npz").read_bytes())
    chosen = arrays["step"] == onset_of(folder) + step
    assert chosen.sum() == 2
    return {name: array[chosen] for name, array in arrays.items()}


def test_the_enter_branch_is_the_exit_branch_bit_for_bit_until_its_step_size_is_restored(finished):
    entering, leaving = (states_of(run, finished) for run in ("enter", "exit"))
    for step in range(0, STEPS + 1, EVERY):
        assert (entering[step] == leaving[step]) == (step <= ENTER_STEP)
    rows = [(records_of(run, finished) / "steps.csv").read_text().splitlines()[1:] for run in ("enter", "exit")]
    assert min(map(len, rows)) > STEPS
    for step, (one, other) in enumerate(zip(*rows, strict=False)):
        assert (one == other) == (step <= ENTER_STEP)


def test_all_branches_start_from_the_bytes_of_the_state_at_onset(finished):
    onset = states_of("base", finished)[0]
    for run in FOUR:
        assert states_of(run, finished)[0] == onset


def test_the_base_run_keeps_the_state_before_onset_too(finished):
    before, onset = (states_of("base", finished)[step] for step in (-1, 0))
    theta = [unpack(content)[0]["theta"] for content in (before, onset)]
    assert np.abs(theta[1] - theta[0]).max() > 0
    table = pd.read_csv(records_of("base", finished) / "hessian.csv")
    assert {onset_of(finished) - 1, onset_of(finished)} <= set(table["step"])


def test_time_goes_on_at_each_branchs_own_rate(finished):
    tables = {run: steps_of(finished, run) for run in FOUR}
    params = parse_params((finished / "params.yaml").read_text())
    factor = params.branch.exit_factor
    rate = tables["baseline"]["time"].diff().iloc[1:]
    assert np.ptp(rate) < 1e-12
    for run, table in tables.items():
        last = length(run, params.branch)
        slow = ENTER_STEP if run == "enter" else (last if run == "exit" else 0)
        expected = [rate.iloc[0] * (factor if step < slow else 1) for step in range(last)]
        np.testing.assert_allclose(table["time"].diff().iloc[1:], expected)


def test_the_flow_descends_at_every_step(finished):
    loss = steps_of(finished, "flow")["loss"].to_numpy()
    assert (np.diff(loss) < 0).all()


@pytest.mark.parametrize("table", ["hessian", "robustness", "ood"])
def test_at_onset_every_branch_is_measured_the_same_bit_for_bit(finished, table):
    """Whatever a branch does next, the second iterate there is that of the base run's own step."""
    records = {run: records_at(finished, run, table, 0) for run in FOUR}
    header = records["baseline"][0].split(",")
    assert {line.split(",")[header.index("iterate")] for line in records["baseline"][1:]} == {"0", "1"}
    for run in FOUR:
        assert records[run] == records["baseline"]


def test_at_onset_every_example_is_measured_the_same_in_every_branch(finished):
    expected = examples_at(finished, "baseline", 0)
    for run in FOUR:
        for name, array in examples_at(finished, run, 0).items():
            np.testing.assert_array_equal(array, expected[name])


def test_at_onset_the_base_run_agrees_with_its_branches(finished):
    """Not bit for bit along v1, which it has carried on from earlier checkpoints."""
    tables = [pd.read_csv(records_of(run, finished) / "hessian.csv") for run in ("base", "baseline")]
    base_run, baseline = (table[table["step"] == onset_of(finished)].reset_index(drop=True) for table in tables)
    assert list(base_run) == list(baseline)
    gradients = [name for name in base_run if name.startswith(("gradient_", "label_probability_"))]
    assert len(gradients) > 20
    np.testing.assert_array_equal(base_run[gradients], baseline[gradients])
    assert base_run["sharpness"].to_numpy() == pytest.approx(baseline["sharpness"].to_numpy(), rel=2e-3)


@pytest.mark.parametrize("table", ["hessian", "robustness", "ood"])
def test_where_the_enter_branch_meets_the_edge_again_it_is_measured_as_the_exit_branch_is(finished, table):
    assert records_at(finished, "enter", table, ENTER_STEP) == records_at(finished, "exit", table, ENTER_STEP)
    assert records_at(finished, "enter", table, STEPS) != records_at(finished, "exit", table, STEPS)


def test_the_second_iterate_is_where_the_run_itself_went_next(copied, params):
    """But where a part begins, and so at onset: there it is where the part before would have gone."""
    experiment = Experiment(params, SEED)
    for run in ("base", *FOUR):
        losses = steps_of(copied, run).set_index("step")["loss"]
        parts = [0, ENTER_STEP] if run == "enter" else [0]
        for since_onset in states_of(run, copied):
            step = onset_of(copied) + since_onset
            first, second = experiment.pair(run, step)[1]
            assert experiment.objective.evaluate(first.theta).loss == losses[step]
            if step < losses.index[-1]:
                same = experiment.objective.evaluate(second.theta).loss == losses[step + 1]
                assert same == (since_onset not in parts or run == "baseline"), (run, since_onset)


# Verification


def verified(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((folder / "metrics/verification.json").read_text())
    return found


def failed(folder: Path) -> set[str]:
    """The branches that did not pass; that the whole did not then either."""
    found = verified(folder)
    names = {name.removeprefix(f"seed-{SEED}/") for name, row in found["branches"].items() if not row["passed"]}
    assert found["passed"] == (not names)
    return names


def test_a_sound_run_is_verified_branch_by_branch(copied, params):
    verification.main(params)
    found = verified(copied)
    assert found["passed"] is True
    assert found["tolerance"] == verification.TOLERANCE["float32"] <= 1e-4
    partners = {name: (row["partner"], row["step"] - onset_of(copied)) for name, row in found["branches"].items()}
    assert partners == {
        "seed-1/baseline": ("base", 0),
        "seed-1/exit": ("base", 0),
        "seed-1/enter": ("exit", ENTER_STEP),
        "seed-1/flow": ("base", 0),
    }
    for row in found["branches"].values():
        assert row["passed"] is True
        assert (row["parameters"], row["losses"], row["gradient_norms"], row["gradient_directions"]) == (0, 0, 0, 0)


def tamper(folder: Path, run: str, step: int, vector: str, by: float = 1e-3) -> None:
    """Add to one entry of a vector in a checkpoint."""
    path = checkpoints_of(run, folder) / f"step-{onset_of(folder) + step:06d}.npz"
    arrays, about = unpack(path.read_bytes())
    arrays[vector][7] += by
    write_atomically(path, pack(arrays, about))


def tamper_record(folder: Path, run: str, step: int, table: str, column: str, *, factor: float = 1.001) -> None:
    """Multiply the last number that a run recorded in a column at a step."""
    path = records_of(run, folder) / f"{table}.csv"
    content = pd.read_csv(path)
    row = content.index[content["step"] == onset_of(folder) + step][-1]
    assert content.loc[row, column] != 0
    content.loc[row, column] *= factor
    content.to_csv(path, index=False)


#: A run that is tampered with at a step, and the branches whose start is then not that of their partner.
PLACES = [
    ("base", 0, {"baseline", "exit", "flow"}),
    ("baseline", 0, {"baseline"}),
    ("exit", 0, {"exit"}),
    ("flow", 0, {"flow"}),
    ("enter", ENTER_STEP, {"enter"}),
    ("exit", ENTER_STEP, {"enter"}),
]


@pytest.mark.parametrize(("run", "step", "failing"), PLACES)
def test_a_branch_that_does_not_start_where_its_partner_does_stops_the_summary(copied, params, run, step, failing):
    tamper(copied, run, step, "theta")
    verification.main(params)
    assert failed(copied) == failing
    for name in failing:
        row = verified(copied)["branches"][f"seed-1/{name}"]
        assert row["parameters"] == pytest.approx(1e-3, rel=1e-2)
        assert (row["losses"], row["gradient_norms"], row["gradient_directions"]) == (0, 0, 0)
    with pytest.raises(EdgewiseError, match="did not start from the same state") as caught:
        summary.main(params)
    assert {name for name in FOUR if f"seed-1/{name}" in str(caught.value)} == failing
    assert not (copied / "metrics/claims.json").exists()


@only_gd
@pytest.mark.parametrize(("run", "step", "failing"), PLACES)
@pytest.mark.parametrize(
    ("table", "column", "found"),
    [
        ("steps", "loss", "losses"),
        ("steps", "loss_boundary", "losses"),
        ("hessian", "gradient_norm_inlier", "gradient_norms"),
        ("hessian", "gradient_probe_output_outlier", "gradient_directions"),
    ],
)
def test_a_record_that_is_not_that_of_the_partner_is_found(copied, params, run, step, failing, table, column, found):
    tamper_record(copied, run, step, table, column, factor=-1.0 if "probe" in column else 1.001)
    verification.main(params)
    assert failed(copied) == failing
    for name in failing:
        row = verified(copied)["branches"][f"seed-1/{name}"]
        assert row[found] > 1e-4
        others = {"parameters", "losses", "gradient_norms", "gradient_directions"} - {found}
        assert [row[other] for other in sorted(others)] == pytest.approx([0, 0, 0], abs=1e-6)


@only_gd
@pytest.mark.parametrize(
    ("table", "column"), [("steps", "loss"), ("steps", "loss_inlier"), ("hessian", "gradient_norm_inlier")]
)
def test_what_is_not_a_number_is_refused(copied, params, table, column):
    path = records_of("exit", copied) / f"{table}.csv"
    content = pd.read_csv(path)
    content.loc[content["step"] == onset_of(copied), column] = np.nan
    content.to_csv(path, index=False)
    with pytest.raises(EdgewiseError, match=rf"exit/{table}.csv: the column {column} holds what is not a number"):
        verification.main(params)
    assert not (copied / "metrics/verification.json").exists()


def harmed(path: Path, harm: str) -> None:
    """Do harm to a table: to its rows, or to a column that holds numbers."""
    header, *rows = (line.split(",") for line in path.read_text().splitlines())
    match harm:
        case "the last rows gone":
            rows = rows[:-2]
        case "a row gone":
            del rows[len(rows) // 2]
        case "a row doubled":
            rows.insert(1, rows[1])
        case "a checkpoint gone":
            rows = [row for row in rows if row[0] != rows[-1][0]]
        case "a column gone":
            header, rows = header[:-1], [row[:-1] for row in rows]
        case "text":
            rows[-1][-1] = "much"
        case "cut":
            path.write_bytes(path.read_bytes()[:-3])
            return
    path.write_text("".join(f"{','.join(row)}\n" for row in [header, *rows]))


@only_gd
@pytest.mark.parametrize(
    "harm", ["the last rows gone", "a row gone", "a row doubled", "a checkpoint gone", "a column gone", "text", "cut"]
)
@pytest.mark.parametrize(
    ("run", "table"),
    [("base", "steps"), ("exit", "steps"), ("base", "hessian"), ("exit", "hessian")]
    + [("exit", "robustness"), ("exit", "ood"), ("baseline", "decomposition")],
)
def test_a_harmed_table_stops_the_summary_before_it_writes(copied, params, run, table, harm):
    control.main(params, seed=SEED)
    prediction.main(params, seed=SEED, model="edge_flow")
    dose_prediction.main(params, seed=SEED, run="exit", factor=str(params.branch.exit_factor))
    verification.main(params)
    path = records_of(run, copied) / f"{table}.csv"
    harmed(path, harm)
    with pytest.raises(EdgewiseError) as refused:
        summary.main(params)
    assert str(refused.value).startswith(f"{records_of(run)}/{table}.csv: ")
    assert "\n" not in str(refused.value)
    assert [file.name for file in (copied / "metrics").iterdir()] == ["verification.json"]


@only_gd
def test_the_scripts_say_in_one_line_which_branch_it_is(copied, stage):
    tamper(copied, "exit", 0, "theta")
    result = stage("verification")
    assert result.returncode == 0, result.stderr
    assert_one_error(stage("summary"), "the branches seed-1/exit did not start from the same state", "dvc repro")


@only_momentum
@pytest.mark.parametrize("vector", ["buffer.velocity", "buffer.previous_theta", "buffer.previous_gradient"])
def test_a_change_of_the_optimisers_memory_alone_is_found(copied, params, vector):
    tamper(copied, "exit", 0, vector)
    verification.main(params)
    row = verified(copied)["branches"]["seed-1/exit"]
    assert failed(copied) == {"exit"}
    assert row["parameters"] == pytest.approx(1e-3, rel=1e-2)
    assert row["gradient_norms"] == 0


@only_momentum
def test_a_memory_that_one_run_does_not_have_is_found(copied, params):
    path = checkpoints_of("exit", copied) / f"step-{onset_of(copied):06d}.npz"
    arrays, about = unpack(path.read_bytes())
    largest = np.abs(arrays.pop("buffer.velocity")).max()
    write_atomically(path, pack(arrays, about))
    verification.main(params)
    assert failed(copied) == {"exit"}
    assert verified(copied)["branches"]["seed-1/exit"]["parameters"] == pytest.approx(largest, rel=1e-5)


@only_gd
def test_a_checkpoint_that_is_missing_where_a_branch_begins_is_one_error(copied, stage):
    path = checkpoints_of("exit", copied) / f"step-{onset_of(copied) + ENTER_STEP:06d}.npz"
    path.unlink()
    assert_one_error(stage("verification"), str(path.relative_to(copied)), "the checkpoint is missing", "dvc repro")


@only_gd
@pytest.mark.parametrize(
    ("name", "measure"),
    [("hessian", hessian.main), ("robustness", robustness.main), ("ood", ood.main)],
)
def test_a_run_that_is_not_complete_is_one_error_for_what_measures_it(copied, params, name, measure):
    path = checkpoints_of("exit", copied) / f"step-{onset_of(copied) + 30:06d}.npz"
    manifest = checkpoints_of("exit", copied) / "run.json"
    option = {"run" if name == "hessian" else "branch": "exit"}
    path.unlink()
    with pytest.raises(EdgewiseError, match=rf"^{path.relative_to(copied)}: the checkpoint is missing; [^\n]*$"):
        measure(params, seed=SEED, **option)
    manifest.write_text("{")
    with pytest.raises(EdgewiseError, match=rf"^{manifest.relative_to(copied)}: damaged; [^\n]*$"):
        measure(params, seed=SEED, **option)
    manifest.unlink()
    with pytest.raises(EdgewiseError, match=rf"^{manifest.parent.relative_to(copied)}: holds no checkpoints[^\n]*$"):
        measure(params, seed=SEED, **option)


# Networks of your own


PURE = """
from torch import nn

def network(shape, outputs):
    return nn.Sequential(nn.Flatten(), nn.Linear(shape[0] * shape[1] * shape[2], 16), nn.ReLU(), nn.Linear(16, outputs))
"""

HIDDEN = """
import os
import torch
from torch import nn

class Hidden(nn.Module):
    def __init__(self, inner):
        super().__init__()
        self.inner = inner
        generator = torch.Generator().manual_seed(os.getpid())
        self.noise = 1 + 0.1 * torch.rand(1, generator=generator).item()

    def forward(self, x):
        return self.noise * self.inner(x)

def network(shape, outputs):
    size = shape[0] * shape[1] * shape[2]
    return Hidden(nn.Sequential(nn.Flatten(), nn.Linear(size, 16), nn.ReLU(), nn.Linear(16, outputs)))
"""


def in_a_process_of_its_own(main: Callable[..., None], *arguments: Any, **options: Any) -> None:
    process = multiprocessing.get_context("fork").Process(target=main, args=arguments, kwargs=options)
    process.start()
    process.join()
    assert process.exitcode == 0


def trained_in_processes(folder: Path, monkeypatch: pytest.MonkeyPatch, name: str, network: str) -> Params:
    """Every training and measurement of a network of one's own in a process of its own, then the verification."""
    (folder / "networks").mkdir()
    (folder / f"networks/{name}.py").write_text(network)
    monkeypatch.chdir(folder)
    model = {"name": f"{name}:network", "init_scale": 0.5}
    params = parse_params(tiny(seeds=[SEED], branch={"steps": 10, "enter_step": 5, "checkpoint_every": 5}, model=model))
    dataset.main(params)
    prototypes.main(params, seed=SEED)
    in_a_process_of_its_own(base.main, params, seed=SEED)
    for run in ("base", "baseline", "exit"):
        if run != "base":
            in_a_process_of_its_own(branch.main, params, seed=SEED, branch=run)
        in_a_process_of_its_own(hessian.main, params, seed=SEED, run=run)
    in_a_process_of_its_own(verification.main, params)
    return params


def test_a_network_of_your_own_that_is_a_function_of_its_parameters_is_verified(tmp_path, monkeypatch):
    trained_in_processes(tmp_path, monkeypatch, "pure_network", PURE)
    found = verified(tmp_path)
    assert found["passed"] is True
    for row in found["branches"].values():
        assert (row["parameters"], row["losses"], row["gradient_norms"], row["gradient_directions"]) == (0, 0, 0, 0)


def test_a_network_whose_outputs_differ_from_process_to_process_is_refused_by_name(tmp_path, monkeypatch):
    params = trained_in_processes(tmp_path, monkeypatch, "hidden_network", HIDDEN)
    assert failed(tmp_path) == {"baseline", "exit"}
    for row in verified(tmp_path)["branches"].values():
        assert row["parameters"] == 0
        assert row["losses"] > 1e-4
        assert row["gradient_norms"] > 1e-4
    with pytest.raises(ParameterError, match=r"^model\.name: was 'hidden_network:network'; "):
        summary.main(params)
    assert not (tmp_path / "metrics/claims.json").exists()


# Which runs are kept


ROOTS = ("checkpoints", "records", "journals")


def test_what_is_no_longer_declared_is_removed_and_what_is_stays_as_it_is(copied, params):
    before = files_under(copied / "data")
    for root in ROOTS:
        shutil.copytree(copied / f"data/{root}/seed-1", copied / f"data/{root}/seed-11")
        shutil.copytree(copied / f"data/{root}/seed-1/exit", copied / f"data/{root}/seed-1/leave")
        (copied / f"data/{root}/notes.txt").write_text("mine")
        (copied / f"data/{root}/seed-1/.gitignore").write_text("/base")
    shutil.copy(copied / "data/prototypes/seed-1.npz", copied / "data/prototypes/seed-11.npz")
    (copied / "data/prototypes/notes.txt").write_text("mine")
    runs.main(params)
    after = files_under(copied / "data")
    assert json.loads(after.pop("runs.json")) == {"1": ["base", *FOUR, "edge_flow"]}
    own = {f"{root}/{name}" for root in ROOTS for name in ("notes.txt", "seed-1/.gitignore")} | {"prototypes/notes.txt"}
    assert {name: content for name, content in after.items() if name not in own} == before
    assert own <= set(after)
    assert not list((copied / "data").rglob("seed-11*"))

    fewer = params.model_copy(update={"branches": ["baseline", "exit"]})
    runs.main(fewer)
    left = {root: {path.name for path in (copied / f"data/{root}/seed-1").glob("*/")} for root in ROOTS}
    kept = {"base", "baseline", "exit"}
    assert left == {"checkpoints": kept, "records": kept, "journals": {"baseline", "exit"}}
    files = {name: content for name, content in files_under(copied / "data").items() if name not in own}
    assert json.loads(files.pop("runs.json")) == {"1": ["base", "baseline", "exit", "edge_flow"]}
    assert files == {name: content for name, content in before.items() if not {"enter", "flow"} & set(Path(name).parts)}


def test_a_base_run_leaves_no_journal_and_a_branch_does(finished):
    left = {path.name for path in (finished / "data/journals/seed-1").iterdir()}
    assert left == set(FOUR)


def test_what_a_killed_process_left_beside_a_run_is_removed(copied, params):
    before = files_under(copied / "data")
    shutil.copytree(checkpoints_of("exit", copied), checkpoints_of("exit.publishing", copied))
    runs.main(params)
    after = files_under(copied / "data")
    after.pop("runs.json")
    assert after == before


def test_verification_removes_nothing(copied, params):
    for root in ROOTS:
        shutil.copytree(copied / f"data/{root}/seed-1", copied / f"data/{root}/seed-11")
        shutil.copytree(copied / f"data/{root}/seed-1/exit", copied / f"data/{root}/seed-1/leave")
    before = files_under(copied / "data")
    verification.main(params)
    assert files_under(copied / "data") == before
