"""The metrics of a revision of the repository around the working directory, and a row of a Markdown table."""

from typing import TypeVar

from dvc.api import DVCFileSystem
from dvc.exceptions import DvcException
from pydantic import BaseModel, ValidationError
from scmrepo.exceptions import SCMError

from edgewise.errors import EdgewiseError

Content = TypeVar("Content", bound=BaseModel)

#: The name that DVC has for the working tree.
WORKSPACE = "workspace"


def read_metrics(revision: str, path: str, layout: type[Content]) -> Content:
    """What a file of metrics holds in one revision.

    Parameters
    ----------
    revision : whatever git knows, the name of a DVC experiment, or `workspace`
    path : of the file, from the repository's root

    Raises
    ------
    EdgewiseError
        If the revision is unknown, or its file is missing or damaged.
    """
    try:
        files = DVCFileSystem(rev=None if revision == WORKSPACE else revision)
        content = files.read_bytes(f"/{path}")
    except FileNotFoundError as error:
        raise EdgewiseError(
            f"{revision}: has no {path}; `dvc repro` makes it (`dvc exp show` lists the experiments)"
        ) from error
    except (DvcException, SCMError) as error:
        raise EdgewiseError(f"{revision}: cannot be read ({_one_line(error)}); `dvc exp list` names them") from error
    try:
        return layout.model_validate_json(content)
    except ValidationError as error:
        fault = error.errors()[0]
        place = ".".join(map(str, fault["loc"])) or "the whole"
        raise EdgewiseError(f"{revision}: {path} is damaged, or of another layout ({place}: {fault['msg']})") from error


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())


def as_row(*cells: str) -> str:
    """A row of a Markdown table."""
    escaped = (cell.replace("|", "\\|") for cell in cells)
    return f"| {' | '.join(escaped)} |"
