"""What is read of revisions of the repository."""

from dataclasses import dataclass, field
from typing import Any, TypeVar

from dvc.api import DVCFileSystem
from dvc.exceptions import DvcException
from pydantic import BaseModel, ValidationError
from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError
from scmrepo.exceptions import SCMError

from edgewise.errors import EdgewiseError

#: The name that DVC has for the working tree.
WORKSPACE = "workspace"

#: Where a run's parameters are, and what its stages read and left.
PARAMS, LOCK = "params.yaml", "dvc.lock"

#: Of a revision, in letters.
LONGEST_NAME = 1000

Content = TypeVar("Content", bound=BaseModel)


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
            files = DVCFileSystem(rev=None if name == WORKSPACE else name)
            files.info("/")  # only now does DVC look
        except (ValueError, RecursionError) as error:  # of a number, or a depth, that DVC does not look for
            raise EdgewiseError(f"{name}: dvc.yaml, {LOCK} or {PARAMS} is damaged ({error})") from error
        except (DvcException, SCMError, EdgewiseError, AttributeError) as error:  # the last of what is no commit
            said = f"{name[:200]}: cannot be read ({error}); `dvc exp list` names them"
            raise EdgewiseError(" ".join(said.split())) from error
        return cls(name, files)

    @property
    def commit(self) -> str:
        """The hash of the commit, empty for the working tree."""
        return "" if self.name == WORKSPACE else str(self._files.repo.get_rev())

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
        """A file of JSON, or of YAML that DVC has read, as what it must hold.

        Raises
        ------
        EdgewiseError
            If the revision has no such file, or it is damaged.
        """
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
