"""Small runs of all branches, and what is looked at in them."""

import itertools
import math
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

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
from edgewise.dynamics import loop
from edgewise.params import Params, parse_params
from edgewise.states.trajectory import checkpoints, last_checkpoint

SEED = 1
FOUR = ("baseline", "exit", "enter", "flow")
OPTIMIZERS = {"gd": {"lr": 0.08}, "momentum": {"lr": 0.12, "name": "momentum", "momentum": 0.5}}


def configuration(optimizer: str = "gd", **changes: Any) -> str:
    """The tiny configuration of one seed and all branches, every checkpoint of them evaluated."""
    changes = {"ood": {"every": 1}, **changes, "robustness": {"every": 1, **changes.get("robustness", {})}}
    return tiny(**{"seeds": [SEED], "branches": list(FOUR), "optimizer": OPTIMIZERS[optimizer], **changes})


def up_to_base(folder: Path, text: str) -> Params:
    """Write params.yaml and run the stages up to the state at onset; the parameters."""
    (folder / "params.yaml").write_text(text)
    params = parse_params(text)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        dataset.main(params)
        for seed in params.seeds:
            prototypes.main(params, seed=seed)
            base.main(params, seed=seed)
    return params


def in_a_copy(run: Path, folder: Path, monkeypatch: pytest.MonkeyPatch) -> Params:
    """Go to a copy of a run's folder, to work in; the run's parameters."""
    shutil.copytree(run, folder, dirs_exist_ok=True)
    monkeypatch.chdir(folder)
    return parse_params((folder / "params.yaml").read_text())


def checkpoints_of(run: str, folder: Path = Path()) -> Path:
    return folder / f"data/checkpoints/seed-{SEED}" / run


def records_of(run: str, folder: Path = Path()) -> Path:
    return folder / f"data/records/seed-{SEED}" / run


def onset_of(folder: Path = Path()) -> int:
    """t*."""
    return int(last_checkpoint(checkpoints_of("base", folder)).stem.removeprefix("step-"))


def states_of(run: str, folder: Path = Path()) -> dict[int, bytes]:
    """The checkpoint files of a run, by steps since onset."""
    files = checkpoints(checkpoints_of(run, folder))
    return {int(path.stem.removeprefix("step-")) - onset_of(folder): path.read_bytes() for path in files}


def files_under(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def published(run: str, folder: Path = Path()) -> dict[str, bytes]:
    """What training a branch leaves for the other stages."""
    steps = records_of(run, folder) / "steps.csv"
    return {**files_under(checkpoints_of(run, folder)), "steps.csv": steps.read_bytes()}


def with_branch(params: Params, **changes: float) -> Params:
    """The parameters with another section `branch`, checked anew."""
    content = params.model_dump()
    return Params.model_validate({**content, "branch": {**content["branch"], **changes}})


class Killed(BaseException):
    """The process ends here."""


@contextmanager
def evaluations(killed_at: float = math.inf) -> Iterator[Callable[[], int]]:
    """Counts the states that training evaluates; the process is killed at the one of number `killed_at`."""
    count, train = 0, loop.train

    def counted(*arguments: Any) -> Iterator[loop.Step]:
        nonlocal count
        for step in train(*arguments):
            count += 1
            if count == killed_at:
                raise Killed
            yield step

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(loop, "train", counted)
        yield lambda: count


def whole_run(folder: Path, text: str) -> Params:
    """Run every stage; the parameters."""
    params = up_to_base(folder, text)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        for seed in params.seeds:
            hessian.main(params, seed=seed, run="base")
            control.main(params, seed=seed)
        strengths.main(params, seed=params.seeds[0])
        for seed, name in itertools.product(params.seeds, params.branches):
            branch.main(params, seed=seed, branch=name)
            hessian.main(params, seed=seed, run=name)
            robustness.main(params, seed=seed, branch=name)
            ood.main(params, seed=seed, branch=name)
        for seed, model in itertools.product(params.seeds, params.theory.models):
            prediction.main(params, seed=seed, model=model)
        for seed in params.seeds:
            dose_prediction.main(params, seed=seed, run="exit", factor=str(params.branch.exit_factor))
        for stage in (runs, verification, summary, figures):
            stage.main(params)
    return params
