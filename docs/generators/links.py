"""Links of the repository's pages, made links of the site.

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


def in_the_site(markdown: str, page: str) -> str:
    """A page's Markdown with its links as the site needs them."""
    return LINK.sub(lambda match: relpath(place(_target(match[1], page)), str(Path(page).parent)), markdown)
