"""A page for every stage of dvc.yaml: its command, inputs, outputs and parameters, and what its script says."""

import ast
import json
import re
from collections.abc import Iterable, Iterator
from functools import cache
from typing import Any

import yaml

from declared import REPOSITORY, Parameter, parameters
from dictionary import NAME, anchors_below
from markdown_tables import table

PLACEHOLDER = re.compile(r"\$\{item\.(\w+)\}")


@cache
def stages() -> dict[str, dict[str, Any]]:
    """The stages of dvc.yaml, in its order."""
    found: dict[str, dict[str, Any]] = yaml.safe_load((REPOSITORY / "dvc.yaml").read_text())["stages"]
    return found


def pages() -> dict[str, str]:
    """The Markdown of every page, by its path on the site."""
    found = {f"stages/{name}.md": _page(name, stage) for name, stage in stages().items()}
    return {"stages/index.md": _overview(), **found}


def _overview() -> str:
    rows = [(f"[{name}]({name}.md)", stage["desc"]) for name, stage in stages().items()]
    return "\n\n".join(
        [
            "# The stages",
            "One page a stage of `dvc.yaml`, made from it, from its script in `stages/` and from"
            " `src/edgewise/params.py`. A stage runs again when an input, a parameter or its code has changed"
            " ([what runs again](../dvc.md#what-runs-again)).",
            table(("stage", "what it does"), rows),
        ]
    )


def _page(name: str, stage: dict[str, Any]) -> str:
    script = re.search(r"stages/\w+\.py", stage["cmd"])[0]  # type: ignore[index]
    about = ast.get_docstring(ast.parse((REPOSITORY / script).read_text())) or ""
    matrix = stage.get("matrix", {})
    each = f"Once for each {' and '.join(matrix)}. " if matrix else ""
    parts = [f"# {name}", f"{stage['desc']}.", *([about] if name in script else [])]
    parts += [f"{each}By hand: `{_command(stage)}`."]
    deps = [PLACEHOLDER.sub(r"<\1>", dep) for dep in stage["deps"]]
    code = [dep for dep in deps if dep.startswith(("src/", "stages/"))]
    inputs = [dep for dep in deps if dep not in code]
    if inputs:
        parts += ["## Inputs", table(("file or folder", "made by"), _inputs(inputs))]
    parts += ["## Outputs", _bullets(_file(out) for out in outputs(stage))]
    if stage.get("params"):
        rows = [_row(one) for one in parameters() if _is_read(one.name, stage["params"])]
        parts += ["## Parameters", table(("parameter", "default", "allowed", "what it means"), rows)]
    parts += ["## Code", "A change of it runs the stage again: " + ", ".join(f"`{path}`" for path in code) + "."]
    return "\n\n".join(parts)


def outputs(stage: dict[str, Any]) -> list[str]:
    """What a stage writes, with <seed> and the like in the place of what its matrix goes over."""
    outs = [*stage.get("metrics", []), *stage["outs"]]
    return [PLACEHOLDER.sub(r"<\1>", out if isinstance(out, str) else next(iter(out))) for out in outs]


def _command(stage: dict[str, Any]) -> str:
    options = [f"--{name} <{name}>" for name in stage.get("matrix", {})]
    return stage["cmd"].replace("${item}", " ".join(options))


def _inputs(inputs: Iterable[str]) -> Iterator[tuple[str, str]]:
    for path in inputs:
        fixed = path.replace("${seeds[0]}", "<seed>")
        yield _file(fixed), ", ".join(f"[{name}]({name}.md)" for name in _makers(fixed)) or "you"


def _makers(path: str) -> list[str]:
    """The stages that write a file, or into a folder; one that writes just that before one that may."""
    written = {name: [NAME.sub("<>", out) for out in outputs(stage)] for name, stage in stages().items()}
    wanted = NAME.sub("<>", path)
    exact = [name for name, outs in written.items() if wanted in outs]
    patterns = {name: [re.escape(out).replace("<>", "[^/]+") for out in outs] for name, outs in written.items()}
    within = [name for name, outs in patterns.items() if any(re.fullmatch(out, wanted) for out in outs)]
    below = [name for name, outs in written.items() if any(out.startswith(f"{wanted}/") for out in outs)]
    return exact or within or below


def _file(path: str) -> str:
    if path.startswith("${"):
        return f"what `{path[2:-1]}` names"
    if anchors := anchors_below(path):
        return f"[`{path}`](../dictionary.md#{anchors[0]})"
    return f"`{path}`"


def _is_read(name: str, names: Iterable[str]) -> bool:
    return any(name == one or name.startswith(f"{one}.") for one in names)


def _row(one: Parameter) -> tuple[str, ...]:
    return f"`{one.name}`", f"`{json.dumps(one.default)}`", one.allowed, one.meaning


def _bullets(items: Iterable[str]) -> str:
    return "\n".join(f"* {item}" for item in items)
