"""Summary goes on only where the branches are known to have started from one state."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import summary
from edgewise.errors import EdgewiseError
from edgewise.params import Params

PARAMS = Params(seeds=[0], branches=["baseline", "exit"])
SOUND = {"parameters": 0.0, "losses": 0.0, "gradient_norms": 0.0, "gradient_directions": 0.0, "passed": True}


def verification(**changes: Any) -> dict[str, Any]:
    """A verification.json; the exit branch has the changes."""
    branches = {"seed-0/baseline": SOUND, "seed-0/exit": {**SOUND, **changes}}
    return {"passed": all(row["passed"] for row in branches.values()), "tolerance": 1e-4, "branches": branches}


@pytest.fixture
def check(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], str]:
    """What summary says of a verification.json; empty where nothing."""
    monkeypatch.chdir(tmp_path)
    Path("metrics").mkdir()

    def said(content: str) -> str:
        Path("metrics/verification.json").write_text(content)
        try:
            summary.require_verified_branches(PARAMS)
        except EdgewiseError as error:
            return str(error)
        return ""

    return said


def test_branches_that_started_from_one_state_pass(check):
    assert check(json.dumps(verification())) == ""


@pytest.mark.parametrize("changes", [{"parameters": 1e-3}, {"parameters": None}, {"parameters": 1e-3, "losses": 0.1}])
def test_another_state_names_the_branch(check, changes):
    said = check(json.dumps(verification(**changes, passed=False)))
    assert said.startswith("metrics/verification.json: the branches seed-0/exit did not start from the same state")
    assert "dvc repro --force" in said
    assert len(said.splitlines()) == 1


@pytest.mark.parametrize("changes", [{"losses": 0.1}, {"gradient_norms": 0.1}, {"gradient_directions": None}])
def test_other_losses_of_the_same_parameters_are_put_down_to_the_network(check, changes):
    said = check(json.dumps(verification(**changes, passed=False)))
    assert said.startswith("model.name: was 'mlp'; the network is not a function of its parameters and the example: ")
    assert "seed-0/exit" in said
    assert len(said.splitlines()) == 1


@pytest.mark.parametrize(
    ("content", "part"),
    [
        ('{"passed": "no"}', "passed"),
        ('{"passed": true', "JSON"),
        ("", "JSON"),
        ("[]", "object"),
        (json.dumps({"passed": True, "tolerance": 1e-4, "branches": {}}), "does not have seed-0/baseline, seed-0/exit"),
        (json.dumps({**verification(), "tolerance": "small"}), "tolerance"),
        (json.dumps(verification(passed="yes")), "branches.seed-0/exit.passed"),
        (json.dumps({**verification(), "passed": False}), "passed"),
    ],
)
def test_a_damaged_file_is_refused(check, content, part):
    said = check(content)
    assert said.startswith("metrics/verification.json: ")
    assert part in said
    assert "`dvc repro`" in said
    assert len(said.splitlines()) == 1
