"""A finished run of the pipeline as tidy tables."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from edgewise.errors import EdgewiseError

#: What the records have for each group at a checkpoint.
QUANTITIES = ("alignment", "curvature_influence", "gradient_norm", "label_probability")


@dataclass(frozen=True)
class Run:
    """What a run left.

    Attributes
    ----------
    groups : the names of the groups, and after them those of the strata
    steps : a row a seed, run (base, baseline, exit, ...) and step: time, loss, accuracy, secant_sharpness, ...
    losses : a row a seed, run, step and group or stratum: loss
    measured : a row a seed, run, step, iterate and group or stratum: sharpness, alignment, curvature_influence, ...
    tables : what the figures are drawn from, by name (plots/tables)
    metrics : by name (metrics)
    """

    groups: list[str]
    steps: pd.DataFrame
    losses: pd.DataFrame
    measured: pd.DataFrame
    tables: dict[str, pd.DataFrame]
    metrics: dict[str, Any]


def load_run(folder: str | Path) -> Run:
    """Read the run whose repository, or copy of its data/records, plots/tables and metrics, is in a folder.

    Raises
    ------
    EdgewiseError
        If there is no finished run.
    """
    folder = Path(folder)
    tables = {path.stem: pd.read_csv(path, index_col=0) for path in sorted(folder.glob("plots/tables/*.csv"))}
    files = sorted(folder.glob("data/records/seed-*/*/hessian.csv"))
    if not files or "selector" not in tables:
        raise EdgewiseError(f"{folder}: holds no finished run; `dvc repro` makes one, `dvc pull` brings one")
    groups = list(dict.fromkeys(tables["selector"]["name"]))
    steps, hessian = (
        pd.concat(_labelled(file.with_name(f"{name}.csv")) for file in files) for name in ("steps", "hessian")
    )
    losses = _by_group(steps, ["seed", "run", "step", "time"], ["loss"], groups)
    measured = _by_group(hessian, ["seed", "run", "step", "time", "iterate", "sharpness"], QUANTITIES, groups)
    whole = steps.drop(columns=[f"loss_{group}" for group in groups]).reset_index(drop=True)
    metrics = {path.stem: json.loads(path.read_text()) for path in sorted(folder.glob("metrics/*.json"))}
    return Run(groups, whole, losses, measured, tables, metrics)


def _labelled(file: Path) -> pd.DataFrame:
    """The records of a run, with its seed and its name."""
    table = pd.read_csv(file)
    table.insert(0, "seed", int(file.parts[-3].removeprefix("seed-")))
    table.insert(1, "run", file.parts[-2])
    return table


def _by_group(
    table: pd.DataFrame, keys: list[str], quantities: list[str] | tuple[str, ...], groups: list[str]
) -> pd.DataFrame:
    """The columns <quantity>_<group> as a row a group."""
    parts = [
        table[keys].assign(group=group, **{quantity: table[f"{quantity}_{group}"] for quantity in quantities})
        for group in groups
    ]
    return pd.concat(parts, ignore_index=True)
