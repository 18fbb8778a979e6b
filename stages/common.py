"""What every stage script shares: where things lie, its command line, its parameters and its errors."""

import argparse
import io
import json
import sys
import warnings
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import yaml
from threadpoolctl import threadpool_limits

from edgewise.errors import EdgewiseError
from edgewise.params import Params, parse_params

if TYPE_CHECKING:
    import pandas as pd

Content = TypeVar("Content")

DATA, METRICS = Path("data"), Path("metrics")
DATASET, STRENGTHS, RUNS = DATA / "dataset.npz", DATA / "strengths.json", DATA / "runs.json"
PROTOTYPES, CHECKPOINTS, RECORDS = DATA / "prototypes", DATA / "checkpoints", DATA / "records"
#: Where runs are written; not an output of any stage, so that DVC leaves them there to go on from.
JOURNALS = DATA / "journals"
TABLES, FIGURES = Path("plots/tables"), Path("plots/figures")

REPOSITORY = Path(__file__).resolve().parents[1]


def prototypes_file(seed: int) -> Path:
    """Where the images of a seed and of its groups are listed."""
    return PROTOTYPES / f"seed-{seed}.npz"


def journal_folder(seed: int, name: str) -> Path:
    """Where a run is written while it is trained."""
    return JOURNALS / f"seed-{seed}" / name


def checkpoints_folder(seed: int, name: str) -> Path:
    """Where the checkpoints of a run are; `name` is base or a branch's."""
    return CHECKPOINTS / f"seed-{seed}" / name


def records_folder(seed: int, name: str) -> Path:
    """Where the small records of a run are."""
    return RECORDS / f"seed-{seed}" / name


def dose(factor: float) -> str:
    """The name of the run that leaves the edge by a factor of the step size, beside the branches."""
    return f"dose-{factor}"


def without(group: str) -> str:
    """The name of the runs, of the model and real, in which a group is left out."""
    return f"without-{group}"


def stage(main: Callable[..., None], *arguments: str, shared: bool = False) -> None:
    """Run a stage: check all of params.yaml, call `main(params, ...)`, and say a user's error in plain words.

    `arguments` name the options beyond --params, each without its dashes; seed is a whole number. A `shared` stage runs
    in compute.ranks processes.
    """
    parser = argparse.ArgumentParser(description=sys.modules[main.__module__].__doc__)
    parser.add_argument("--params", type=Path, default=Path("params.yaml"), help="the parameter file")
    for name in arguments:
        parser.add_argument(f"--{name}", type=int if name == "seed" else str, required=True)
    # torch's own forward-mode differentiation warns of torch's own deprecation.
    warnings.filterwarnings("ignore", message="`torch.jit.script` is deprecated")
    options = vars(parser.parse_args())
    try:
        params = parse_params(read(options.pop("params")))
        if shared and params.compute.ranks > 1:
            from edgewise.network.ranks import run_in_ranks

            run_in_ranks(partial(_with_one_thread, main, params, **options), params.compute.ranks, device_of(params))
        else:
            _with_one_thread(main, params, **options)
    except EdgewiseError as error:
        sys.exit(f"error: {error}")


def _with_one_thread(main: Callable[..., None], *arguments: Any, **options: Any) -> None:
    """Call `main` with one thread for numpy's libraries: their last digits depend on it, and no parameter says it."""
    with threadpool_limits(limits=1):
        main(*arguments, **options)


def device_of(params: Params) -> str:
    """The kind of device that `compute.device` stands for on this machine, cpu or cuda."""
    import torch

    if params.compute.device != "auto":
        return params.compute.device
    return "cuda" if torch.cuda.is_available() else "cpu"


def read(path: Path) -> bytes:
    """The bytes of an input, or one clear error."""
    try:
        return path.read_bytes()
    except OSError as error:
        raise EdgewiseError(f"{path}: cannot be read ({error.strerror}); `dvc repro` makes it") from error


def load(path: Path, parse: Callable[[bytes], Content]) -> Content:
    """What an input holds, or one clear error that names the file."""
    content = read(path)
    try:
        return parse(content)
    except EdgewiseError as error:
        raise EdgewiseError(f"{path}: {error}; `dvc repro` restores it") from error


def load_table(path: Path) -> "pd.DataFrame":
    """A table of records, or one clear error that names the file."""
    import pandas as pd

    content = read(path)
    damaged = EdgewiseError(f"{path}: not a table, or a damaged one; `dvc repro` restores it")
    if content.count(b"\n") < 2 or not content.endswith(b"\n"):  # without rows, or cut
        raise damaged
    try:
        return pd.read_csv(io.BytesIO(content))
    except ValueError as error:
        raise damaged from error


def code_of(stage: str) -> dict[str, bytes]:
    """The code that dvc.yaml names among the dependencies of a stage: path from the repository's root, content."""
    deps = yaml.safe_load((REPOSITORY / "dvc.yaml").read_text())["stages"][stage]["deps"]
    named = [REPOSITORY / dep for dep in deps if dep.startswith(("src/", "stages/"))]
    files = {file for path in named for file in (path.rglob("*.py") if path.is_dir() else [path])}
    return {file.relative_to(REPOSITORY).as_posix(): file.read_bytes() for file in sorted(files)}


def write_json(path: Path, content: Any) -> None:
    """Write metrics with stable keys; nan becomes null, numbers keep six significant digits."""

    def plain(value: Any) -> Any:
        if isinstance(value, dict):
            return {key: plain(inner) for key, inner in value.items()}
        if isinstance(value, list):
            return [plain(inner) for inner in value]
        if isinstance(value, float):
            return None if value != value else float(f"{value:.6g}")
        return value

    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(plain(content), indent=2) + "\n")
