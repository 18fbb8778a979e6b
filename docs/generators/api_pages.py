"""A page for every room of the library, whose docstrings mkdocstrings fills in, and one for the names of `edgewise`."""

import ast
from pathlib import Path

import edgewise
from declared import REPOSITORY

LIBRARY = REPOSITORY / "src/edgewise"


def pages() -> dict[str, str]:
    """The Markdown of every page, by its path on the site."""
    rooms = {room.stem: room for room in sorted(LIBRARY.iterdir()) if room.suffix == ".py" or _is_package(room)}
    found = {f"api/{name}.md": _room(f"edgewise.{name}", path) for name, path in rooms.items() if name != "__init__"}
    return {"api/index.md": _overview(rooms), **found}


def _is_package(path: Path) -> bool:
    return (path / "__init__.py").is_file()


def _room(name: str, path: Path) -> str:
    modules = [name] if path.suffix == ".py" else [f"{name}.{module.stem}" for module in sorted(path.glob("[!_]*.py"))]
    return "\n\n".join(
        [f"# {name}", *([_about(path)] if path.is_dir() else []), *(f"::: {module}" for module in modules)]
    )


def _about(path: Path) -> str:
    source = path / "__init__.py" if path.is_dir() else path
    return ast.get_docstring(ast.parse(source.read_text())) or ""


def _overview(rooms: dict[str, Path]) -> str:
    names = [f"* [`edgewise.{name}`][{home}.{name}]" for name, home in edgewise._HOMES.items()]
    every = [
        f"* [{name}]({name}.md): {_about(path).splitlines()[0]}" for name, path in rooms.items() if name != "__init__"
    ]
    return "\n\n".join(["# The library", _about(LIBRARY), "\n".join(names), "## Its rooms", "\n".join(every)])
