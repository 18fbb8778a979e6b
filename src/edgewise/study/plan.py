"""What a study is: named variants of the parameters, read from a page of YAML and checked before anything runs."""

import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, get_args

import yaml
from pydantic import BaseModel, ConfigDict, Field, JsonValue, ValidationError

from edgewise.errors import EdgewiseError
from edgewise.params import Params, load_yaml, parse_params

Size = Literal["quick", "full"]
SIZES: tuple[Size, ...] = get_args(Size)

#: Parameters by their dotted names, as `dvc exp run -S` takes them, or in sections, as params.yaml has them.
Settings = dict[str, JsonValue]

#: What names of studies and variants are made of: they become parts of names of git's refs.
NAME = re.compile(r"[a-z0-9]+(-[a-z0-9]+)*")


class Part(BaseModel):
    """A part of the page: unknown keys are errors."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Variant(Part):
    """One set of parameters.

    Attributes
    ----------
    statement : what it is for
    figures : of the paper that it is about; in the report it is shown beside these first
    settings : what differs from params.yaml, at every size
    quick, full : what differs further at that size
    """

    statement: Annotated[str, Field(min_length=1)]
    figures: tuple[str, ...] = ()
    settings: Settings = {}
    quick: Settings = {}
    full: Settings = {}


class Study(Part):
    """A page of YAML.

    Attributes
    ----------
    statement : the question
    quick, full : what differs from params.yaml in all variants of that size
    variants : by name
    """

    statement: Annotated[str, Field(min_length=1)]
    quick: Settings = {}
    full: Settings = {}
    variants: Annotated[dict[str, Variant], Field(min_length=1, max_length=100)]

    def settings(self, name: str, size: Size) -> Settings:
        """What a variant sets; the more particular wins."""
        variant = self.variants[name]
        of_all, own = (self.quick, variant.quick) if size == "quick" else (self.full, variant.full)
        return flat(of_all) | flat(variant.settings) | flat(own)


def read_study(path: Path) -> Study:
    """Read a study.

    Raises
    ------
    EdgewiseError
        If the file cannot be read, or is no study: one line for each fault.
    """
    try:
        return Study.model_validate(load_yaml(path.read_bytes(), str(path)))
    except OSError as error:
        raise EdgewiseError(f"{path}: cannot be read ({error.strerror})") from error
    except ValidationError as error:
        raise EdgewiseError("\n".join(map(_in_one_line, error.errors()))) from error


def _in_one_line(fault: Mapping[str, Any]) -> str:
    name = ".".join(map(str, fault["loc"])) or "the study"
    if fault["type"] == "extra_forbidden":
        return f"{name}: is not part of a study; see docs/studies.md"
    if fault["type"] == "missing":
        return f"{name}: is missing"
    return f"{name}: was {fault['input']!r}; {fault['msg'].replace('Input should', 'must')}"


def check(study: Study, name: str, params: str | bytes) -> dict[Size, dict[str, Params]]:
    """The parameters of every variant at every size.

    Parameters
    ----------
    name : of the study
    params : the content of params.yaml, from which the variants start

    Raises
    ------
    EdgewiseError
        One line for each fault in any of the variants: a parameter that does not exist, a value out of range, two
        variants that are the same.
    """
    faults = [
        f"{what}: was {text!r}; must be small letters and digits, words joined by hyphens"
        for what, text in (("the study's name", name), *(("variants", variant) for variant in study.variants))
        if not NAME.fullmatch(text)
    ]
    found: dict[Size, dict[str, Params]] = {size: {} for size in SIZES}
    for size in SIZES:
        for variant in study.variants:
            try:
                found[size][variant] = parse_params(yaml.safe_dump(_with(params, study.settings(variant, size))))
            except EdgewiseError as error:
                faults += [f"variants.{variant} ({size}): {line}" for line in str(error).splitlines()]
        faults += [f"variants.{b} ({size}): is the same as {a}" for a, b in _equal(found[size])]
    if faults:
        raise EdgewiseError("\n".join(dict.fromkeys(faults)))
    return found


def _with(params: str | bytes, settings: Settings) -> dict[str, Any]:
    content: dict[str, Any] = load_yaml(params)
    for name, value in settings.items():
        *sections, last = name.split(".")
        place = content
        for section in sections:
            if not isinstance(place.get(section), dict):
                place[section] = {}  # a value is no section: what is checked then says so
            place = place[section]
        place[last] = value
    return content


def _equal(variants: Mapping[str, Params]) -> Iterator[tuple[str, str]]:
    """Pairs of variants with the same parameters, the earlier first."""
    first: dict[str, str] = {}
    for name, params in variants.items():
        earlier = first.setdefault(params.model_dump_json(), name)
        if earlier != name:
            yield earlier, name


def experiment_name(study: str, size: Size, variant: str) -> str:
    """The name of the DVC experiment of a variant."""
    return f"{study}-{size}-{variant}"


def as_options(settings: Settings) -> list[str]:
    """Settings as `dvc exp run` takes them; what Hydra would read otherwise stands in quotes.

    >>> as_options({"alpha": 10, "seeds": [0, 1], "model.name": "cnn", "dataset.root": "/my images (2)"})
    ['-S', 'alpha=10', '-S', 'seeds=[0,1]', '-S', 'model.name=cnn', '-S', 'dataset.root="/my images (2)"']
    """

    def written(value: JsonValue) -> str:
        plain = isinstance(value, str) and re.fullmatch(r"[A-Za-z_/][\w./-]*", value, re.ASCII)
        is_word = plain and isinstance(yaml.safe_load(str(value)), str)  # and not true, null, ...
        return str(value) if is_word else json.dumps(value, separators=(",", ":"), ensure_ascii=False)

    return [part for name, value in settings.items() for part in ("-S", f"{name}={written(value)}")]


def flat(params: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Parameters by their dotted names.

    >>> flat({"alpha": 3, "model": {"name": "mlp"}})
    {'alpha': 3, 'model.name': 'mlp'}
    """
    found: dict[str, Any] = {}
    for name, value in params.items():
        found |= flat(value, f"{prefix}{name}.") if isinstance(value, Mapping) else {f"{prefix}{name}": value}
    return found
