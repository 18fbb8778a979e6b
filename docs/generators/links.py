"""Pages of the repository, made pages of the site: their links, and the items of their lists.

A page links to other files as they lie in the repository, so that the link works there. On the site docs/ is the root,
the README is the front page, and every other file that a page links to lies in repository/.
"""

import re
from collections.abc import Iterator
from pathlib import Path
from posixpath import join, normpath, relpath

#: Where the site has files from outside docs/.
COPIES = "repository"
LINK = re.compile(r"(?<=\]\()(?![a-z]+:|#)([^)#\s]+)")


def origin(page: str) -> str:
    """The path in the repository of a page of the site."""
    if page == "index.md":
        return "README.md"
    return page.removeprefix(f"{COPIES}/") if page.startswith(f"{COPIES}/") else f"docs/{page}"


def place(file: str) -> str:
    """The path on the site of a file of the repository."""
    if file == "README.md":
        return "index.md"
    return file.removeprefix("docs/") if file.startswith("docs/") else f"{COPIES}/{file}"


def _target(link: str, page: str) -> str:
    return normpath(join(origin(page), "..", link))


def outside(markdown: str, page: str) -> Iterator[str]:
    """The files outside docs/ that a page links to, by their paths in the repository."""
    targets = (_target(match[1], page) for match in LINK.finditer(markdown))
    return (target for target in targets if place(target).startswith(f"{COPIES}/"))


def indented(markdown: str) -> str:
    """A page's Markdown with lists as MkDocs wants them.

    What belongs to an item has four spaces before it, not two, and an empty line comes after an item that has one.
    """
    lines: list[str] = []
    in_item = in_code = has_gap = False
    for line in markdown.split("\n"):
        in_code ^= line.startswith("```")
        begins = not in_code and line.startswith(("* ", "- "))
        if begins and has_gap and lines[-1]:
            lines.append("")
        in_item = begins or (in_item and (not line or line.startswith("  ")))
        has_gap = in_item and not begins and (has_gap or not line)
        lines.append(f"  {line}" if in_item and line.startswith("  ") else line)
    return "\n".join(lines)


def in_the_site(markdown: str, page: str) -> str:
    """A page's Markdown with its links as the site needs them."""
    return LINK.sub(lambda match: relpath(place(_target(match[1], page)), str(Path(page).parent)), markdown)
