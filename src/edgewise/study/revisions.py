"""What is read of revisions of the repository, and whether it is what the stages left by dvc.lock."""

import hashlib
import json
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, TypeVar

import networkx
from dvc.api import DVCFileSystem
from dvc.exceptions import DvcException
from dvc.stage import PipelineStage
from pydantic import BaseModel, ValidationError
from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError
from scmrepo.exceptions import SCMError

from edgewise.errors import EdgewiseError, in_one_line
from edgewise.params import load_yaml
from edgewise.study.plan import flat

#: The name that DVC has for the working tree.
WORKSPACE = "workspace"

#: Where a run's parameters are, and what its stages read and left.
PARAMS, LOCK = "params.yaml", "dvc.lock"

#: Of a revision, in letters.
LONGEST_NAME = 1000

Content = TypeVar("Content", bound=BaseModel)


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

    def of(self, stages: Collection[str]) -> "LockFile":
        """What is said of these stages: DVC leaves what it knew of others, of a seed that is no longer one."""
        return LockFile(stages={name: stage for name, stage in self.stages.items() if name in stages})

    def outputs(self) -> Iterator[tuple[str, Output]]:
        """Every output of every stage, with the stage's name."""
        return ((name, output) for name, stage in self.stages.items() for output in stage.outs)


@dataclass(frozen=True)
class Revision:
    """One revision of the repository around the working directory.

    Attributes
    ----------
    name : whatever git knows, the name of a DVC experiment, or `workspace`
    """

    name: str
    _files: Any = field(repr=False)

    @classmethod
    def open(cls, name: str) -> "Revision":
        """Find a revision.

        Raises
        ------
        EdgewiseError
            If the working directory is in no repository, or the revision is unknown.
        """
        try:
            if not 0 < len(name) <= LONGEST_NAME:
                raise EdgewiseError("is empty" if not name else f"has {len(name)} letters")
            if not name.isprintable():
                raise EdgewiseError("has characters that cannot be printed")
            files = DVCFileSystem(rev=None if name == WORKSPACE else name)
            files.info("/")  # only now does DVC look
        except (ValueError, TypeError, AssertionError, RecursionError) as error:  # of what DVC does not look for
            raise EdgewiseError(f"{name}: dvc.yaml, {LOCK} or {PARAMS} is damaged ({error})") from error
        except (DvcException, SCMError, EdgewiseError, AttributeError) as error:
            why = "is no commit" if isinstance(error, AttributeError) else error
            said = f"{in_one_line(name[:200])}: cannot be read ({why}); `dvc exp list` names them"
            raise EdgewiseError(" ".join(said.split())) from error
        return cls(name, files)

    @property
    def commit(self) -> str:
        """The hash of the commit, empty for the working tree."""
        return "" if self.name == WORKSPACE else str(self._files.repo.get_rev())

    @cached_property
    def lock(self) -> LockFile:
        """What the stages that the revision declares left.

        Raises
        ------
        EdgewiseError
            If it has no dvc.lock, or a damaged one.
        """
        return self._parsed(LOCK, LockFile).of(self._behind)

    @cached_property
    def _behind(self) -> dict[str, set[str]]:
        """The stages that the revision declares, each with those that it needs, directly or not."""
        graph: networkx.DiGraph[PipelineStage] = self._files.repo.index.graph
        stages = [stage for stage in graph if isinstance(stage, PipelineStage)]
        return {one.name: {other.name for other in networkx.descendants(graph, one)} for one in stages}

    @cached_property
    def params(self) -> dict[str, Any]:
        """Its params.yaml, flat."""
        return flat(load_yaml(self.read(PARAMS)))

    def read(self, path: str) -> bytes:
        """The bytes of a file.

        Raises
        ------
        EdgewiseError
            If the revision has no such file.
        """
        try:
            content: bytes = self._files.read_bytes(f"/{path}")
        except OSError as error:
            raise self._lacks(path) from error
        return content

    def read_as(self, path: str, content: type[Content]) -> Content:
        """A result of JSON as what it must hold; where there is a dvc.lock, it must be what a stage left by it.

        Raises
        ------
        EdgewiseError
            If the revision has no such file, it is damaged, or not of the parameters of the revision.
        """
        if self._files.exists(f"/{LOCK}"):
            left = [(stage, output) for stage, output in self.lock.outputs() if output.path == path]
            if not left:
                raise EdgewiseError(f"{self.name}: no stage has left {path} (by {LOCK}); `dvc repro` makes it")
            for stage, output in left:
                self.require_params(stage)
                self.read_left(stage, output)
        return self._parsed(path, content)

    def require_params(self, stage: str) -> None:
        """Stop if a stage, or one that it needs, ran with other parameters than the revision has."""
        for ran in [stage, *sorted(self._behind[stage] & self.lock.stages.keys())]:
            for name, value in flat(self.lock.stages[ran].params.get(PARAMS, {})).items():
                if self.params.get(name) != value:
                    raise EdgewiseError(
                        f"{self.name}: {PARAMS} has {name} {self.params.get(name)!r}, the stage {ran} ran with"
                        f" {value!r} (by {LOCK}); `dvc repro` makes it again"
                    )

    def read_left(self, stage: str, output: Output) -> dict[str, bytes]:
        """The files of an output of a stage, by their paths.

        Raises
        ------
        EdgewiseError
            If they are not what the stage left.
        """
        if output.md5.endswith(".dir"):
            folder = self.read_folder(output.path)
            found, md5 = {f"{output.path}/{name}": content for name, content in folder.items()}, md5_of_folder(folder)
        else:
            found = {output.path: self.read(output.path)}
            md5 = md5_of(found[output.path])
        if md5 != output.md5:
            raise EdgewiseError(
                f"{self.name}: {output.path} is not what the stage {stage} left (by {LOCK}); `dvc repro` makes it again"
            )
        return found

    def _parsed(self, path: str, content: type[Content]) -> Content:
        """A file of JSON, or of YAML that DVC has read, as what it must hold."""
        found = self.read(path)
        try:
            if path.endswith(".json"):
                return content.model_validate_json(found)
            return content.model_validate(YAML(typ="safe").load(found))
        except (ValueError, YAMLError, RecursionError) as error:
            said = str(error)
            if isinstance(error, ValidationError):
                fault = error.errors()[0]
                said = f"{'.'.join(map(str, fault['loc'])) or 'the whole'}: {fault['msg']}"
            raise EdgewiseError(
                " ".join(f"{self.name}: {path} is damaged, or of another layout ({said[:300]})".split())
            ) from error

    def read_folder(self, path: str) -> dict[str, bytes]:
        """The files of a folder, by their names, in order.

        Raises
        ------
        EdgewiseError
            If the revision has no such folder.
        """
        try:
            found = self._files.ls(f"/{path}", detail=False)
        except OSError as error:
            raise self._lacks(path) from error
        names = sorted(str(file).rpartition("/")[2] for file in found)
        return {name: self.read(f"{path}/{name}") for name in names}

    def _lacks(self, path: str) -> EdgewiseError:
        return EdgewiseError(f"{self.name}: has no {path}; `dvc repro` makes it (`dvc exp show` lists the experiments)")


def md5_of(content: bytes) -> str:
    """The MD5 of a file, by which DVC knows it."""
    return hashlib.md5(content, usedforsecurity=False).hexdigest()


def md5_of_folder(files: Mapping[str, bytes]) -> str:
    """The MD5 by which DVC knows a folder, from the content of its files by their names."""
    listed = [{"md5": md5_of(files[name]), "relpath": name} for name in sorted(files)]
    return f"{md5_of(json.dumps(listed).encode())}.dir"
