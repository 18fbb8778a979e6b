"""Tables of Markdown on the site."""

from collections.abc import Iterable

from edgewise.study import markdown


def table(header: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> str:
    """A table of Markdown, in which what looks like a tag is none."""
    return markdown.table(header, ([_without_tags(cell) for cell in row] for row in rows))


def _without_tags(text: str) -> str:
    parts = text.split("`")
    parts[::2] = [part.replace("<", "&lt;") for part in parts[::2]]
    return "`".join(parts)
