"""What is read of several revisions of the repository, and written side by side."""

from typing import TypeVar

from dvc.api import DVCFileSystem
from dvc.exceptions import DvcException
from pydantic import BaseModel, ValidationError
from scmrepo.exceptions import SCMError

from edgewise.errors import EdgewiseError

#: The name that DVC has for the working tree.
WORKSPACE = "workspace"

Content = TypeVar("Content", bound=BaseModel)


def read_metrics(revision: str, path: str, content: type[Content]) -> Content:
    """A file of metrics in one revision of the repository around the working directory.

    Parameters
    ----------
    revision : whatever git knows, the name of a DVC experiment, or `workspace`
    path : of the file, from the repository's root
    content : what the file must hold

    Raises
    ------
    EdgewiseError
        If the revision is unknown, or its file is missing or damaged.
    """
    try:
        files = DVCFileSystem(rev=None if revision == WORKSPACE else revision)
        found = files.read_bytes(f"/{path}")
    except FileNotFoundError as error:
        raise EdgewiseError(
            f"{revision}: has no {path}; `dvc repro` makes it (`dvc exp show` lists the experiments)"
        ) from error
    except (DvcException, SCMError) as error:
        said = " ".join(str(error).split())
        raise EdgewiseError(f"{revision}: cannot be read ({said}); `dvc exp list` names them") from error
    try:
        return content.model_validate_json(found)
    except ValidationError as error:
        fault = error.errors()[0]
        place = ".".join(map(str, fault["loc"])) or "the whole"
        raise EdgewiseError(f"{revision}: {path} is damaged, or of another layout ({place}: {fault['msg']})") from error


def markdown_row(*cells: str) -> str:
    r"""A row of a Markdown table.

    >>> markdown_row("a", "b|c")
    '| a | b\\\\|c |'
    """
    escaped = (cell.replace("|", "\\|") for cell in cells)
    return f"| {' | '.join(escaped)} |"
