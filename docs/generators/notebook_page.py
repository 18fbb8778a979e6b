"""The notebook as a page: its text, its code, and what its cells printed and drew when it was last run."""

from functools import cache

from nbconvert import MarkdownExporter

from declared import REPOSITORY

NOTEBOOK = REPOSITORY / "docs/notebook.ipynb"


@cache
def page() -> tuple[str, dict[str, bytes]]:
    """The Markdown, and its images by name."""
    markdown, resources = MarkdownExporter().from_filename(str(NOTEBOOK))
    return markdown, resources["outputs"]
