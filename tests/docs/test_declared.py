"""params.schema.json is what params.py says, and takes what edgewise takes."""

import pytest
import yaml
from conftest import TINY

import declared
from edgewise.errors import EdgewiseError
from edgewise.params import parse_params


def test_the_schema_is_up_to_date():
    assert declared.SCHEMA.read_text() == declared.schema_text(), "run python docs/generators/declared.py"


def test_every_parameter_says_what_it_means():
    assert [one.name for one in declared.parameters() if not one.meaning] == []


def test_params_yaml_and_the_declarations_name_the_same_parameters(repository):
    content = yaml.safe_load((repository / "params.yaml").read_text())
    named = set()
    for name, value in content.items():
        named |= {f"{name}.{key}" for key in value} if isinstance(value, dict) else {name}
    assert {one.name for one in declared.parameters()} == named


@pytest.mark.parametrize(
    ("changes", "sound"),
    [
        ({}, True),
        ({"dataset": {"classes": "all"}}, True),
        ({"robustness": {"epsilons": [1, 2.5]}}, True),
        ({"alpha": -1}, False),
        ({"branch": {"steps": 1.5}}, False),
        ({"model": {"depht": 3}}, False),
        ({"loss": "hinge"}, False),
        ({"seeds": []}, False),
    ],
)
def test_an_editor_finds_the_faults_that_edgewise_finds(changes, sound):
    validation = pytest.importorskip("jsonschema")
    content = {**TINY, **changes}
    assert validation.Draft202012Validator(declared.schema()).is_valid(content) is sound
    if sound:
        parse_params(yaml.safe_dump(content))
    else:
        with pytest.raises(EdgewiseError, match=next(iter(changes))):
            parse_params(yaml.safe_dump(content))


def test_ranges_are_said_in_words():
    allowed = {one.name: one.allowed for one in declared.parameters()}
    assert allowed["branch.exit_factor"] == "number ≥ 1e-06, < 1"
    assert allowed["dataset.classes"] == "`all`, or list of length ≥ 2: integer, or text"
    assert allowed["robustness.norm"] == "`linf`, `l2`"
