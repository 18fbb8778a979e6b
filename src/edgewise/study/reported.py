"""What a report says of one run, read from a revision."""

import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import pandas as pd
import yaml

from edgewise.study.catalogue import Figure
from edgewise.study.claims_table import JudgedClaim, read_claims
from edgewise.study.panels import Tables
from edgewise.study.revisions import LOCK, PARAMS, Revision

TABLES, IMAGES, METRICS = "plots/tables", "plots/figures", "metrics"


@dataclass(frozen=True)
class Run:
    """What a report says of one run.

    Attributes
    ----------
    name, statement : of the variant; by themselves, the revision and nothing
    command : makes the run
    commit : hash of its commit, empty for the working tree
    params : params.yaml, flat
    claims : metrics/claims.json
    metrics : the other files of metrics/, by name
    tables : the content of plots/tables, by name
    images : the content of plots/figures, by name
    lock : the stages of the lock file
    figures : the figures of the paper that the run is about; all, if None
    """

    name: str
    statement: str
    command: str
    commit: str
    params: Mapping[str, Any]
    claims: Sequence[JudgedClaim]
    metrics: Mapping[str, Any]
    tables: Mapping[str, str]
    images: Mapping[str, bytes]
    lock: Mapping[str, Any]
    figures: tuple[str, ...] | None = None

    @classmethod
    def read(cls, revision: str) -> "Run":
        """Read a run from a revision of the repository around the working directory.

        Raises
        ------
        EdgewiseError
            If the revision is unknown, or lacks what a run leaves.
        """
        files = Revision.open(revision)
        tables = files.read_folder(TABLES, ".csv")
        metrics = files.read_folder(METRICS, ".json")
        return cls(
            name=revision,
            statement="",
            command=f"git checkout {files.commit[:10]} && dvc repro" if files.commit else "dvc repro",
            commit=files.commit,
            params=flat(yaml.safe_load(files.read(PARAMS))),
            claims=read_claims(revision),
            metrics={name: json.loads(content) for name, content in metrics.items()},
            tables={name: content.decode() for name, content in tables.items()},
            images=files.read_folder(IMAGES, ".png"),
            lock=yaml.safe_load(files.read(LOCK))["stages"],
        )

    @cached_property
    def frames(self) -> Tables:
        """The tables, parsed."""
        return {name: pd.read_csv(io.StringIO(text)) for name, text in self.tables.items()}

    def stage_of(self, path: str) -> str:
        """The stage that makes a file."""
        for name, stage in self.lock.items():
            if any(path == out["path"] or path.startswith(f"{out['path']}/") for out in stage.get("outs", [])):
                return str(name)
        return ""

    def data(self) -> list[dict[str, Any]]:
        """What the stage `dataset` left: path, size and MD5."""
        outs: list[dict[str, Any]] = self.lock.get("dataset", {}).get("outs", [])
        return outs

    def outputs(self) -> list[dict[str, Any]]:
        """Every output of every stage: its path, the command that made it, and its MD5."""
        return [
            {"path": out["path"], "command": stage["cmd"], "md5": out.get("md5", "")}
            for stage in self.lock.values()
            for out in stage.get("outs", [])
        ]

    def is_about(self, figure: Figure) -> bool:
        """Whether the run is to be seen in a figure."""
        return self.figures is None or not figure.numbers or bool(set(self.figures) & set(figure.numbers))


def flat(params: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Parameters by their dotted names.

    >>> flat({"alpha": 3, "model": {"name": "mlp"}})
    {'alpha': 3, 'model.name': 'mlp'}
    """
    found: dict[str, Any] = {}
    for name, value in params.items():
        found |= flat(value, f"{prefix}{name}.") if isinstance(value, Mapping) else {f"{prefix}{name}": value}
    return found
