"""A finished run of the pipeline as tidy tables."""

import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import pandas as pd
from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from edgewise.errors import EdgewiseError, said_by
from edgewise.study.reported import METRICS, TABLES
from edgewise.study.revisions import LOCK, LockFile, md5_of, md5_of_folder

RECORDS = "data/records"

#: The folder of a seed.
SEED = re.compile(r"seed-(0|[1-9]\d*)")

Content = TypeVar("Content")

#: What the records have for each group at a checkpoint.
QUANTITIES = ("alignment", "curvature_influence", "gradient_norm", "label_probability")


@dataclass(frozen=True)
class Run:
    """What a run left.

    Attributes
    ----------
    groups : the names of the groups, and after them those of the strata
    steps : a row a seed, run (base, baseline, exit, ...) and step: since_onset, time, loss, secant_sharpness, ...
    losses : a row a seed, run, step and group or stratum: since_onset, time, loss
    measured : a row a seed, run, step, iterate and group or stratum: since_onset, sharpness, curvature_influence, ...
    tables : what the figures are drawn from, by name (plots/tables)
    metrics : by name (metrics)
    """

    groups: list[str]
    steps: pd.DataFrame = field(repr=False)
    losses: pd.DataFrame = field(repr=False)
    measured: pd.DataFrame = field(repr=False)
    tables: dict[str, pd.DataFrame] = field(repr=False)
    metrics: dict[str, Any] = field(repr=False)


def load_run(folder: str | Path) -> Run:
    """Read the run whose repository, or copy of its data/records, plots/tables and metrics, is in a folder.

    Where dvc.lock is beside them, they must be what its stages left: `git checkout` changes the metrics, and only
    `dvc checkout` the records that belong to them.

    Raises
    ------
    EdgewiseError
        If there is no finished run, a file of it is missing or damaged, or the files are not those of one run.
    """
    folder = Path(folder)
    files = [path for path in sorted(folder.glob(f"{RECORDS}/*/*/hessian.csv")) if SEED.fullmatch(path.parts[-3])]
    table_files, metric_files = (sorted(folder.glob(path)) for path in (f"{TABLES}/*.csv", f"{METRICS}/*.json"))
    if not files or not any(path.stem == "selector" for path in table_files):
        raise EdgewiseError(f"{folder}: holds no finished run; `dvc repro` makes one")
    steps_files = [file.with_name("steps.csv") for file in files]
    if (folder / LOCK).exists():
        left = _left(folder)
        metric_files = [path for path in metric_files if path.relative_to(folder).as_posix() in left]
        _require_of_one_run(folder, left, [*files, *steps_files, *metric_files])
    metrics = {path.stem: _read(path, lambda path: json.loads(path.read_bytes())) for path in metric_files}
    _require_complete(folder, metrics.get("verification"))
    tables = {path.stem: _read(path, lambda path: pd.read_csv(path, index_col=0)) for path in table_files}
    groups = list(dict.fromkeys(tables["selector"].get("name", [])))
    if not groups:
        raise EdgewiseError(f"{folder / TABLES}/selector.csv: names no groups; `dvc repro` makes it again")
    steps = _records(steps_files, [f"loss_{group}" for group in groups])
    _require_every_step(folder, steps)
    of_groups = [f"{name}_{group}" for name in QUANTITIES for group in groups]
    hessian = _records(files, ["iterate", "sharpness", *of_groups])
    onset = steps[steps["run"] == "base"].groupby("seed")["step"].max()
    steps, hessian = (
        pd.concat([table, (table["step"] - table["seed"].map(onset)).rename("since_onset")], axis=1)
        for table in (steps, hessian)
    )
    keys = ["seed", "run", "step", "since_onset", "time"]
    own = [name for name in steps if name not in keys and name not in {f"loss_{group}" for group in groups}]
    return Run(
        groups,
        steps[[*keys, *own]],
        _by_group(steps, keys, ["loss"], groups),
        _by_group(hessian, [*keys, "iterate", "sharpness"], QUANTITIES, groups),
        tables,
        metrics,
    )


def _read(path: Path, parse: Callable[[Path], Content]) -> Content:
    """A file of the run, or one clear error that names it."""
    try:
        return parse(path)
    except (OSError, ValueError, RecursionError) as error:
        raise EdgewiseError(f"{path}: cannot be read ({said_by(error)}); `dvc repro` makes it again") from error


def _left(folder: Path) -> dict[str, str]:
    """What the stages left by dvc.lock: the MD5 of each path."""
    try:
        lock = LockFile.model_validate(YAML(typ="safe").load((folder / LOCK).read_bytes()))
    except (YAMLError, ValueError, OSError, RecursionError) as error:
        raise EdgewiseError(f"{folder / LOCK}: cannot be read; `git checkout {LOCK}` restores it") from error
    return {output.path: output.md5 for _, output in lock.outputs()}


def _require_of_one_run(folder: Path, left: Mapping[str, str], files: Sequence[Path]) -> None:
    """Stop if one of the files, or a table, is not what a stage left."""
    found = {file.relative_to(folder).as_posix(): md5_of(_read(file, Path.read_bytes)) for file in files}
    tables = {path.name: _read(path, Path.read_bytes) for path in sorted((folder / TABLES).iterdir())}
    for path, md5 in (found | {TABLES: md5_of_folder(tables)}).items():
        if left.get(path) != md5:
            raise EdgewiseError(
                f"{folder / path}: is not of the run that {LOCK} is of; `dvc checkout` restores it, or `dvc repro`"
            )


def _require_complete(folder: Path, verification: Any) -> None:
    """Stop if a branch that was verified has left no record."""
    if verification is None:
        return
    branches = verification.get("branches") if isinstance(verification, dict) else None
    if not isinstance(branches, dict) or not all(re.fullmatch(rf"{SEED.pattern}/[\w.-]+", name) for name in branches):
        raise EdgewiseError(f"{folder / METRICS}/verification.json: damaged; `dvc repro` restores it")
    for name in branches:
        seed, _, run = name.partition("/")
        measured = [] if run.startswith("dose") else [f"{run}/hessian.csv"]
        for needed in ("base/steps.csv", "base/hessian.csv", f"{run}/steps.csv", *measured):
            if not (folder / RECORDS / seed / needed).exists():
                raise EdgewiseError(
                    f"{folder / RECORDS / seed / needed}: is missing; `dvc checkout` restores it, or `dvc repro`"
                )


def _require_every_step(folder: Path, steps: pd.DataFrame) -> None:
    """Stop if a run lacks steps: the base run's are from 0 on, those of other runs from where it ends."""
    runs = {key: run["step"].to_list() for key, run in steps.groupby(["seed", "run"])}
    for (seed, run), own in runs.items():
        base = runs.get((seed, "base"), [])
        first = 0 if run == "base" else base[-1] if base else None
        if first is None or own != list(range(int(first), int(first) + len(own))):
            raise EdgewiseError(
                f"{folder / RECORDS}/seed-{seed}/{run}/steps.csv: rows are missing or doubled, there or in the base"
                " run; `dvc checkout` restores it, or `dvc repro`"
            )


def _records(files: Sequence[Path], own: Sequence[str]) -> pd.DataFrame:
    """The records of all runs, with their seeds and names; all have the columns step, time and `own`, of numbers."""
    needed = ["step", "time", *own]

    def table(path: Path) -> pd.DataFrame:
        found = pd.read_csv(path)
        if lacking := sorted(set(needed) - set(found)):
            raise ValueError(f"has no column {lacking[0]}")
        if found.empty or not all(pd.api.types.is_numeric_dtype(found[name]) for name in needed):
            raise ValueError("has no rows, or cells that are no numbers")
        if found[["step", "time"]].isna().any(axis=None):
            raise ValueError("has a row without a step or a time")
        return found

    tables = {(int(file.parts[-3].removeprefix("seed-")), file.parts[-2]): _read(file, table) for file in files}
    joined = pd.concat(tables, names=["seed", "run", "row"])
    return pd.concat([joined.index.to_frame()[["seed", "run"]], joined], axis=1).reset_index(drop=True)


def _by_group(table: pd.DataFrame, keys: list[str], quantities: Sequence[str], groups: Sequence[str]) -> pd.DataFrame:
    """The columns <quantity>_<group> as a row a group."""
    parts = [
        table[keys].assign(group=group, **{quantity: table[f"{quantity}_{group}"] for quantity in quantities})
        for group in groups
    ]
    return pd.concat(parts, ignore_index=True)
