"""What every stage script shares: where things lie, its command line, its parameters and its errors."""

import argparse
import io
import json
import math
import os
import signal
import socket
import sys
import warnings
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from filelock import FileLock, Timeout
from ruamel.yaml import YAML
from threadpoolctl import threadpool_limits

from edgewise.data.files import MAY_LACK
from edgewise.errors import EdgewiseError, ParameterError, in_plain_words
from edgewise.params import Params, parse_params

if TYPE_CHECKING:
    from types import FrameType

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


class Stopped(KeyboardInterrupt):
    """A signal asks the process to end."""

    def __init__(self, number: int) -> None:
        super().__init__(signal.Signals(number).name)
        self.status = 128 + number


def stage(
    main: Callable[..., None],
    *arguments: str,
    shared: Callable[[Callable[[], None], int, str], None] | None = None,
    writes: Callable[..., Path] | None = None,
) -> None:
    """Run a stage: check params.yaml and the command line, call `main(params, ...)`, and say errors in plain words.

    Parameters
    ----------
    arguments : the options beyond --params, each without its dashes; params.yaml declares their values
    shared : runs the stage in compute.ranks processes, where there are several
    writes : from the options to the journal that the stage writes; it is locked
    """
    parser = argparse.ArgumentParser(description=sys.modules[main.__module__].__doc__)
    parser.add_argument("--params", type=Path, default=Path("params.yaml"), help="the parameter file")
    for name in arguments:
        parser.add_argument(f"--{name}", required=True)
    # torch's own forward-mode differentiation warns of torch's own deprecation.
    warnings.filterwarnings("ignore", message="`torch.jit.script` is deprecated")
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, _stop)
    options = vars(parser.parse_args())
    try:
        params = parse_params(read(options.pop("params")))
        options = {name: declared(params, name, value) for name, value in options.items()}
        first = os.environ.get("RANK", "0") == "0"  # of the processes that torchrun starts
        with locked(writes(**options)) if writes and first else nullcontext():
            if shared and params.compute.ranks > 1:
                shared(partial(_with_one_thread, main, params, **options), params.compute.ranks, device_of(params))
            else:
                _with_one_thread(main, params, **options)
    except (EdgewiseError, OSError) as error:
        sys.exit(f"error: {in_plain_words(error)}")
    except Stopped as stopped:
        notes = getattr(
            stopped, "__notes__", ["the same command begins the stage again, or goes on from the last checkpoint"]
        )
        print(f"stopped by {stopped}: {notes[0]}", file=sys.stderr)
        sys.exit(stopped.status)


def _stop(number: int, frame: "FrameType | None") -> None:
    raise Stopped(number)


def declared(params: Params, name: str, value: str) -> int | str:
    """An option of the command line, if params.yaml declares it."""
    known: dict[str, Sequence[object]] = {
        "seed": params.seeds,
        "branch": params.branches,
        "run": ["base", *params.branches],
        "model": params.theory.models,
        "factor": params.branch.factors,
        "group": params.theory.left_out,
        "optimizer": params.sweep.optimizers,
        "lr": params.sweep.step_sizes,
    }
    allowed = [str(one) for one in known[name]]
    if value not in allowed:
        raise ParameterError(f"--{name}", value, f"must be one that params.yaml declares: {', '.join(allowed)}")
    return int(value) if name == "seed" else value


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """The one writer of a run, whose journal is `folder`; whoever comes second is told who the first is.

    The lock is the kernel's: it goes when its process does, however that ends.
    """
    path = folder.with_name(f"{folder.name}.lock")
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        with FileLock(path, timeout=1):
            path.write_text(f"process {os.getpid()} on {socket.gethostname()}")
            try:
                yield
            finally:
                path.unlink()
    except Timeout as error:
        holder = path.read_text() if path.exists() else "another process"
        raise EdgewiseError(f"{folder}: is being written by {holder or 'another process'}; wait for it") from error


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
        if path.exists() and not path.is_file():
            raise EdgewiseError(f"{path}: is not a regular file")
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
    except (KeyError, TypeError, ValueError) as error:  # a sound file of another kind
        raise EdgewiseError(f"{path}: not the file that is expected there; `dvc repro` restores it") from error


def load_table(path: Path) -> "pd.DataFrame":
    """A table, or one clear error that names the file."""
    import pandas as pd

    content = read(path)
    damaged = EdgewiseError(f"{path}: not a table, or a damaged one; `dvc repro` restores it")
    if content.count(b"\n") < 2 or not content.endswith(b"\n"):  # without rows, or cut
        raise damaged
    try:
        return pd.read_csv(io.BytesIO(content))
    except ValueError as error:
        raise damaged from error


def load_records(path: Path, columns: Collection[str], words: Collection[str] = ()) -> "pd.DataFrame":
    """A table of records, or one clear error that names the file.

    Parameters
    ----------
    columns : that it must have
    words : the columns that hold text; all others hold numbers
    """
    table = load_table(path)
    for name in columns:
        if name not in table:
            raise EdgewiseError(f"{path}: does not have the column {name}; `dvc repro` restores it")
    for name in [str(column) for column in table if column not in words]:
        numbers = table[name].dtype.kind in "if" and not (table[name].abs() == math.inf).any()
        if not numbers or (table[name].isna().any() and name not in MAY_LACK):
            raise EdgewiseError(f"{path}: the column {name} holds what is not a number; `dvc repro` restores it")
    return table


def code_of(stage: str) -> dict[str, bytes]:
    """The code that dvc.yaml names among the dependencies of a stage: path from the repository's root, content."""
    deps = YAML(typ="safe").load(REPOSITORY / "dvc.yaml")["stages"][stage]["deps"]
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
