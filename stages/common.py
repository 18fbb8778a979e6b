"""What every stage script shares: where things lie, its command line, its parameters and its errors."""

import argparse
import json
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from edgewise.errors import EdgewiseError
from edgewise.params import parse_params

if TYPE_CHECKING:
    import pandas as pd

Content = TypeVar("Content")

DATA, METRICS, PLOTS = Path("data"), Path("metrics"), Path("plots")
DATASET, PROTOTYPES = DATA / "dataset.npz", DATA / "prototypes.npz"
CHECKPOINTS, RECORDS = DATA / "checkpoints", DATA / "records"


def checkpoints_folder(seed: int, name: str) -> Path:
    """Where the checkpoints of a run are; `name` is base or a branch's."""
    return CHECKPOINTS / f"seed-{seed}" / name


def records_folder(seed: int, name: str) -> Path:
    """Where the small records of a run are."""
    return RECORDS / f"seed-{seed}" / name


def stage(main: Callable[..., None], *arguments: str) -> None:
    """Run a stage: check all of params.yaml, call `main(params, ...)`, and say a user's error in plain words.

    `arguments` name the options beyond --params, each without its dashes; seed is a whole number.
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
        main(params, **options)
    except EdgewiseError as error:
        sys.exit(f"error: {error}")


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


def write_plot(name: str, table: "pd.DataFrame") -> None:
    """Write plots/<name>.csv with six significant digits; nan is an empty field."""
    PLOTS.mkdir(exist_ok=True)
    table.to_csv(PLOTS / f"{name}.csv", float_format="%.6g", lineterminator="\n")


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
