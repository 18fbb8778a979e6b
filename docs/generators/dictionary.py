"""The data dictionary: dictionary.yaml as patterns to compare a run with, and as a page of the site."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import yaml

from markdown_tables import table

NAME = re.compile(r"<(\w+)>")


@cache
def content() -> dict[str, Any]:
    """What dictionary.yaml holds."""
    found: dict[str, Any] = yaml.safe_load(Path(__file__).with_suffix(".yaml").read_text())
    return found


@dataclass(frozen=True)
class Entry:
    """A column, key or array of a file."""

    name: str
    kind: str
    meaning: str


@dataclass(frozen=True)
class File:
    """A kind of file, all at the same paths but for names such as <seed>."""

    paths: tuple[str, ...]
    about: str
    intervals: bool
    entries: tuple[Entry, ...]


def pattern(template: str) -> str:
    """The regular expression that a template with names stands for."""
    parts = NAME.split(template)
    return "".join(_named(part) if i % 2 else re.escape(part) for i, part in enumerate(parts))


def _named(name: str) -> str:
    named = content()["names"][name]
    choices = [_choice(value) for value in named.get("values", ())] or [named["like"]]
    return f"(?:{'|'.join(choices)})"


def _choice(value: str) -> str:
    """A value, which may be a regular expression with names in it."""
    return NAME.sub(lambda match: _named(match[1]), value)


def entries(described: dict[str, str]) -> tuple[Entry, ...]:
    """The entries of a part of dictionary.yaml in the form name: "type, meaning"."""
    return tuple(Entry(name, *_split(text)) for name, text in described.items())


def _split(text: str) -> tuple[str, str]:
    """An array's type has commas in its brackets."""
    kind, meaning = re.fullmatch(r"(.*?(?:\[.*?\])?), (.*)", text).groups()  # type: ignore[union-attr]
    return kind, meaning


@cache
def files() -> tuple[File, ...]:
    """All files of the dictionary, in its order."""
    return tuple(
        File((path, *file.get("also", ())), file["about"], file.get("intervals", False), entries(file["keys"]))
        for path, file in content()["files"].items()
    )


def structures() -> dict[str, tuple[Entry, ...]]:
    """The keys of what recurs in the JSON files."""
    return {name: entries(keys) for name, keys in content()["structures"].items()}


def anchor(path: str) -> str:
    """Where the page tells of a file."""
    return re.sub(r"[^\w.]+", "-", path).strip("-")


def anchors_below(path: str) -> list[str]:
    """Where the page tells of the files at a path, or in a folder of it."""
    return [anchor(file.paths[0]) for file in files() for own in file.paths if _covers(path, own)]


def _covers(path: str, own: str) -> bool:
    """Whether a path of dvc.yaml, with names of its own, is that of a file or of a folder above it."""
    parts, others = path.split("/"), own.split("/")
    return len(parts) <= len(others) and all(
        re.fullmatch(pattern(other), NAME.sub("0", part)) or NAME.sub("<>", part) == NAME.sub("<>", other)
        for part, other in zip(parts, others, strict=False)
    )


def page() -> str:
    """The page of the dictionary."""
    return "\n\n".join(_parts()) + "\n"


def _parts() -> Iterator[str]:
    yield "# Every file, every column"
    yield (
        "What a run leaves, file by file; [what a run leaves](outputs.md) says it in fewer words. A number that does"
        " not exist is null in JSON and an empty field in CSV. A table with intervals has for every column of numbers"
        " `x`, but its index, also `x_low` and `x_high`. A test compares this page with a run."
    )
    yield "## Names"
    named = content()["names"].items()
    yield table(("name", "stands for"), [(f"`<{name}>`", one["meaning"]) for name, one in named])
    yield "## Recurring parts of the JSON files"
    for name, keys in structures().items():
        yield f"An *{name}* has:" if name[0] in "aeiou" else f"A *{name}* has:"
        yield _table(keys)
    folder = ""
    for file in files():
        if folder != (folder := _room(file.paths[0])):
            yield f"## {folder}"
        heading, *others = (f"`{path}`" for path in file.paths)
        yield f"### {heading} {{ #{anchor(file.paths[0])} }}"
        also = f"Also {', '.join(others)}. " if others else ""
        yield also + file.about + (" With intervals." if file.intervals else "")
        yield _table(file.entries)


def _room(path: str) -> str:
    first, second, *_ = path.split("/")
    return f"{first}/{second}" if first == "plots" else first


def _table(keys: tuple[Entry, ...]) -> str:
    return table(("name", "type", "meaning"), [(f"`{one.name}`", one.kind, one.meaning) for one in keys])
