"""A finished run of the pipeline as tidy tables."""

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd
from pydantic import ValidationError
from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from edgewise.errors import EdgewiseError
from edgewise.study.reported import METRICS, TABLES, LockFile, md5_of, md5_of_folder
from edgewise.study.revisions import LOCK

RECORDS = "data/records"

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
        If there is no finished run, or the files are not those of one run.
    """
    folder = Path(folder)
    files = sorted(folder.glob(f"{RECORDS}/seed-*/*/hessian.csv"))
    table_files, metric_files = (sorted(folder.glob(path)) for path in (f"{TABLES}/*.csv", f"{METRICS}/*.json"))
    if not files or not any(path.stem == "selector" for path in table_files):
        raise EdgewiseError(f"{folder}: holds no finished run; `dvc repro` makes one")
    steps_files = [file.with_name("steps.csv") for file in files]
    if (folder / LOCK).exists():
        _require_of_one_run(folder, [*files, *steps_files, *metric_files])
    tables = {path.stem: pd.read_csv(path, index_col=0) for path in table_files}
    groups = list(dict.fromkeys(tables["selector"]["name"]))
    steps, hessian = _labelled(steps_files), _labelled(files)
    onset = steps[steps["run"] == "base"].groupby("seed")["step"].max()
    steps, hessian = (
        pd.concat([table, (table["step"] - table["seed"].map(onset)).rename("since_onset")], axis=1)
        for table in (steps, hessian)
    )
    keys = ["seed", "run", "step", "since_onset", "time"]
    losses = _by_group(steps, keys, ["loss"], groups)
    measured = _by_group(hessian, [*keys, "iterate", "sharpness"], QUANTITIES, groups)
    own = [name for name in steps if name not in keys and name not in {f"loss_{group}" for group in groups}]
    metrics = {path.stem: json.loads(path.read_text()) for path in metric_files}
    return Run(groups, steps[[*keys, *own]], losses, measured, tables, metrics)


def _require_of_one_run(folder: Path, files: Sequence[Path]) -> None:
    """Stop if one of the files, or a table, is not what a stage left by dvc.lock."""
    try:
        lock = LockFile.model_validate(YAML(typ="safe").load((folder / LOCK).read_bytes()))
    except (YAMLError, ValidationError) as error:
        raise EdgewiseError(f"{folder / LOCK}: cannot be read; `git checkout {LOCK}` restores it") from error
    left = {output.path: output.md5 for _, output in lock.outputs()}
    found = {file.relative_to(folder).as_posix(): md5_of(file.read_bytes()) for file in files}
    found[TABLES] = md5_of_folder({path.name: path.read_bytes() for path in sorted((folder / TABLES).iterdir())})
    for path, md5 in found.items():
        if left.get(path) != md5:
            raise EdgewiseError(
                f"{folder / path}: is not of the run that {LOCK} is of; `dvc checkout` restores it, or `dvc repro`"
            )


def _labelled(files: Sequence[Path]) -> pd.DataFrame:
    """The records of all runs, with their seeds and names."""
    tables = {(int(file.parts[-3].removeprefix("seed-")), file.parts[-2]): pd.read_csv(file) for file in files}
    joined = pd.concat(tables, names=["seed", "run", "row"])
    return pd.concat([joined.index.to_frame()[["seed", "run"]], joined], axis=1).reset_index(drop=True)


def _by_group(table: pd.DataFrame, keys: list[str], quantities: Sequence[str], groups: Sequence[str]) -> pd.DataFrame:
    """The columns <quantity>_<group> as a row a group."""
    parts = [
        table[keys].assign(group=group, **{quantity: table[f"{quantity}_{group}"] for quantity in quantities})
        for group in groups
    ]
    return pd.concat(parts, ignore_index=True)
