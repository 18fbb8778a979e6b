"""The parameters as src/edgewise/params.py declares them: type, default, and the `#:` comment that says what it means.

python docs/generators/declared.py    writes params.schema.json, from which an editor checks and completes params.yaml.
"""

import ast
import json
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import edgewise.params
from edgewise.params import Params

REPOSITORY = Path(__file__).parents[2]
SCHEMA = REPOSITORY / "params.schema.json"


@dataclass(frozen=True)
class Parameter:
    """One parameter of params.yaml."""

    name: str  # with dots, as `dvc exp run -S` takes it
    default: Any
    allowed: str
    meaning: str


def comments() -> dict[tuple[str, str], str]:
    """What the `#:` comment above each field says, by the name of the class and of the field."""
    source = Path(edgewise.params.__file__).read_text()
    lines = source.splitlines()
    found = {}
    for node in ast.parse(source).body:
        if not isinstance(node, ast.ClassDef):
            continue
        for field in node.body:
            if isinstance(field, ast.AnnAssign) and isinstance(field.target, ast.Name):
                first = field.lineno - 1
                while lines[first - 1].strip().startswith("#:"):
                    first -= 1
                text = " ".join(line.strip()[2:].strip() for line in lines[first : field.lineno - 1])
                found[node.name, field.target.id] = text
    return found


def schema() -> dict[str, Any]:
    """The JSON schema of params.yaml, with the comments as descriptions."""
    described = Params.model_json_schema()
    for (owner, field), text in comments().items():
        properties = (described if owner == "Params" else described["$defs"].get(owner, {})).get("properties", {})
        if text and field in properties:
            properties[field]["description"] = text
    dialect = "https://json-schema.org/draft/2020-12/schema"
    return {"$schema": dialect, **described, "title": "params.yaml of edgewise"}


@cache
def parameters() -> list[Parameter]:
    """All parameters, in the order of params.py."""
    described, found = schema(), []
    for name, field in described["properties"].items():
        if "$ref" not in field:
            found.append(_parameter(name, field))
            continue
        section = described["$defs"][field["$ref"].rpartition("/")[2]]
        found += [_parameter(f"{name}.{key}", inner) for key, inner in section["properties"].items()]
    return found


def _parameter(name: str, field: dict[str, Any]) -> Parameter:
    return Parameter(name, field["default"], allowed(field), field.get("description", ""))


def allowed(field: dict[str, Any]) -> str:
    """The values that a part of a JSON schema allows, in words."""
    if "anyOf" in field:
        return ", or ".join(dict.fromkeys(allowed(choice) for choice in field["anyOf"]))
    if "enum" in field:
        return ", ".join(f"`{value}`" for value in field["enum"])
    if "const" in field:
        return f"`{field['const']}`"
    if field["type"] == "array":
        bounds = _bounds(field, "minItems", "maxItems")
        return f"list{bounds and f' of length {bounds}'}: {allowed(field['items'])}"
    if field["type"] == "string":
        return "text"
    if field["type"] == "boolean":
        return "`true`, `false`"
    bounds = _bounds(field, "minimum", "maximum")
    return f"{field['type']}{bounds and f' {bounds}'}"


def _bounds(field: dict[str, Any], lowest: str, highest: str) -> str:
    limits = {"≥ ": lowest, "> ": "exclusiveMinimum", "≤ ": highest, "< ": "exclusiveMaximum"}
    return ", ".join(f"{sign}{float(field[key]):,.10g}" for sign, key in limits.items() if key in field)


def schema_text() -> str:
    """What params.schema.json holds."""
    return json.dumps(schema(), indent=2, ensure_ascii=False) + "\n"


if __name__ == "__main__":
    SCHEMA.write_text(schema_text())
