"""What a report says of one run, read from a revision."""

import hashlib
import io
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import pandas as pd
from pydantic import BaseModel

from edgewise.errors import EdgewiseError
from edgewise.params import load_yaml
from edgewise.study.catalogue import Figure
from edgewise.study.claims_table import CLAIMS_FILE, ClaimsFile
from edgewise.study.panels import Tables
from edgewise.study.plan import flat
from edgewise.study.revisions import LOCK, PARAMS, Revision

TABLES, IMAGES, METRICS = "plots/tables", "plots/figures", "metrics"


class Output(BaseModel):
    """What a stage left: its path, its MD5 as DVC has it, and its size in bytes."""

    path: str
    md5: str = ""
    size: int = 0


class RecordedStage(BaseModel):
    """A stage as it last ran."""

    cmd: str
    outs: list[Output] = []
    params: dict[str, dict[str, Any]] = {}


class LockFile(BaseModel):
    """What is read of dvc.lock."""

    stages: dict[str, RecordedStage]

    def outputs(self) -> Iterator[tuple[str, Output]]:
        """Every output of every stage, with the stage's name."""
        return ((name, output) for name, stage in self.stages.items() for output in stage.outs)


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
    lock : what the stages left
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
        lock, params = files.read_as(LOCK, LockFile), flat(load_yaml(files.read(PARAMS)))
        outputs = [
            (stage, output)
            for stage, output in lock.outputs()
            if output.path.startswith((f"{METRICS}/", TABLES, IMAGES))
        ]
        found: dict[str, bytes] = {}
        for stage, output in outputs:
            found |= _as_left(files, stage, output)
        for stage in dict.fromkeys(stage for stage, _ in outputs):
            _require_params(files.name, params, stage, lock.stages[stage])

        def named(folder: str, suffix: str) -> dict[str, bytes]:
            names = (path.removeprefix(f"{folder}/") for path in found if path.startswith(f"{folder}/"))
            return {n.removesuffix(suffix): found[f"{folder}/{n}"] for n in names if n.endswith(suffix)}

        return cls(
            name=revision,
            statement="",
            command=f"git checkout {files.commit[:10]} && dvc repro" if files.commit else "dvc repro",
            commit=files.commit,
            params=params,
            judged=files.read_as(CLAIMS_FILE, ClaimsFile),
            metrics={name: json.loads(content) for name, content in named(METRICS, ".json").items()},
            tables={name: content.decode() for name, content in named(TABLES, ".csv").items()},
            images=named(IMAGES, ".png"),
            lock=lock,
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


def _require_params(revision: str, params: Mapping[str, Any], stage: str, recorded: RecordedStage) -> None:
    """Stop if a stage ran with other parameters than the revision has, of which `params` are flat."""
    for name, value in flat(recorded.params.get(PARAMS, {})).items():
        if params.get(name) != value:
            raise EdgewiseError(
                f"{revision}: {PARAMS} has {name} {params.get(name)!r}, the stage {stage} ran with {value!r}"
                f" (by {LOCK}); `dvc repro` makes it again"
            )


def _as_left(files: Revision, stage: str, output: Output) -> dict[str, bytes]:
    """The files of an output, by their paths.

    Raises
    ------
    EdgewiseError
        If they are not what the stage left.
    """
    if output.md5.endswith(".dir"):
        folder = files.read_folder(output.path)
        found, md5 = {f"{output.path}/{name}": content for name, content in folder.items()}, md5_of_folder(folder)
    else:
        found = {output.path: files.read(output.path)}
        md5 = md5_of(found[output.path])
    if md5 != output.md5:
        raise EdgewiseError(
            f"{files.name}: {output.path} is not what the stage {stage} left (by {LOCK}); `dvc repro` makes it again"
        )
    return found


def md5_of(content: bytes) -> str:
    """The MD5 of a file, by which DVC knows it."""
    return hashlib.md5(content, usedforsecurity=False).hexdigest()


def md5_of_folder(files: Mapping[str, bytes]) -> str:
    """The MD5 by which DVC knows a folder, from the content of its files by their names."""
    listed = [{"md5": md5_of(files[name]), "relpath": name} for name in sorted(files)]
    return f"{md5_of(json.dumps(listed).encode())}.dir"
