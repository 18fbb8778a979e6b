"""What a report says of one run, read from a revision."""

import io
import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import pandas as pd

from edgewise.study.catalogue import Figure
from edgewise.study.claims_table import CLAIMS_FILE, ClaimsFile
from edgewise.study.panels import Tables
from edgewise.study.revisions import LockFile, Output, Revision

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
    judged : metrics/claims.json
    metrics : the files of metrics/, by their names without .json
    tables : the content of plots/tables, by their names without .csv
    images : the content of plots/figures, by their names without .png
    lock : what the stages that it declares left
    figures : the figures of the paper that the run is about; all, if None
    """

    name: str
    statement: str
    command: str
    commit: str
    params: Mapping[str, Any]
    judged: ClaimsFile
    metrics: Mapping[str, Any]
    tables: Mapping[str, str]
    images: Mapping[str, bytes]
    lock: LockFile
    figures: tuple[str, ...] | None = None

    @classmethod
    def read(cls, revision: str) -> "Run":
        """Read a run from a revision of the repository around the working directory.

        Raises
        ------
        EdgewiseError
            If the revision is unknown, lacks what a run leaves, or has it otherwise than the run left it.
        """
        files = Revision.open(revision)
        outputs = [
            (stage, output)
            for stage, output in files.lock.outputs()
            if output.path.startswith((f"{METRICS}/", TABLES, IMAGES))
        ]
        found: dict[str, bytes] = {}
        for stage, output in outputs:
            found |= files.read_left(stage, output)
        for stage in dict.fromkeys(stage for stage, _ in outputs):
            files.require_params(stage)

        def named(folder: str, suffix: str) -> dict[str, bytes]:
            names = (path.removeprefix(f"{folder}/") for path in found if path.startswith(f"{folder}/"))
            return {n.removesuffix(suffix): found[f"{folder}/{n}"] for n in names if n.endswith(suffix)}

        return cls(
            name=revision,
            statement="",
            command=f"git checkout {files.commit[:10]} && dvc repro" if files.commit else "dvc repro",
            commit=files.commit,
            params=files.params,
            judged=files.read_as(CLAIMS_FILE, ClaimsFile),
            metrics={name: json.loads(content) for name, content in named(METRICS, ".json").items()},
            tables={name: content.decode() for name, content in named(TABLES, ".csv").items()},
            images=named(IMAGES, ".png"),
            lock=files.lock,
        )

    @cached_property
    def frames(self) -> Tables:
        """The tables, parsed."""
        return {name: pd.read_csv(io.StringIO(text)) for name, text in self.tables.items()}

    def stage_of(self, path: str) -> str:
        """The stage that makes a file."""
        for name, output in self.lock.outputs():
            if path == output.path or path.startswith(f"{output.path}/"):
                return name
        return ""

    def data(self) -> list[Output]:
        """What the stage `dataset` left."""
        return self.lock.stages["dataset"].outs if "dataset" in self.lock.stages else []

    def outputs(self) -> list[dict[str, str]]:
        """Every output of every stage: its path, the command that made it, and its MD5."""
        return [
            {"path": output.path, "command": self.lock.stages[name].cmd, "md5": output.md5}
            for name, output in self.lock.outputs()
        ]

    def is_about(self, figure: Figure) -> bool:
        """Whether the run is to be seen in a figure."""
        return self.figures is None or not figure.numbers or bool(set(self.figures) & set(figure.numbers))
