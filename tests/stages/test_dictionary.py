"""The data dictionary describes all that a run leaves, and nothing else."""

import json
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from conftest import REPOSITORY, tiny
from small import up_to_base

import control
import counterfactual
import dictionary
import dose
import dose_prediction
import hessian
import ood
import prediction
import robustness
import runs
import strengths
import summary
import sweep
import verification
from branch import main as branch
from edgewise.inference.columns import columns_of
from edgewise.theory.registry import MODELS

#: Of a run, what is no table: said in prose in docs/outputs.md.
PROSE = ("metrics/claims.md", "data/parameters.txt", "data/journals/", "plots/figures/")
#: Entries that only other configurations leave: optimisers with vectors of their own, data that are no images.
ELSEWHERE = {"buffer.<buffer>", "reason"}
TYPES: dict[str, Any] = {"integer": int, "number": (int, float), "text": str, "boolean": bool}


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> Path:
    """A run with everything that leaves a file: all branches, models, doses, groups left out, and a sweep."""
    folder = tmp_path_factory.mktemp("everything")
    rows = [f"{i},yours" for i in range(0, 1437, 9)]
    (folder / "groups.csv").write_text("example,group\n" + "\n".join(rows) + "\n")
    changes = {
        "seeds": [1],
        "branches": ["baseline", "exit", "enter", "flow"],
        "branch": {"factors": [0.5]},
        "groups": {"source": "both", "file": "groups.csv", "noise": 0.1},
        "hessian": {"top_k": 2},
        "model": {"activation": "tanh"},
        "theory": {"models": list(MODELS), "left_out": ["output_outlier", "yours", "mislabelled"]},
        "sweep": {"seeds": [1], "step_sizes": [0.05], "time": 20.0, "measurements": 8},
        "robustness": {"every": 10, "epsilons": [8]},
        "ood": {"every": 10, "alphas": [0, 3], "gaussian_noise": [0.1], "contrast": [0.4], "gaussian_blur": [1]},
    }
    params = up_to_base(folder, tiny(**changes))
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        hessian.main(params, seed=1, run="base")
        control.main(params, seed=1)
        strengths.main(params, seed=1)
        for name in params.branches:
            branch(params, seed=1, branch=name)
            hessian.main(params, seed=1, run=name)
            robustness.main(params, seed=1, branch=name)
            ood.main(params, seed=1, branch=name)
        for model in params.theory.models:
            prediction.main(params, seed=1, model=model)
        dose_prediction.main(params, seed=1, run="exit", factor=str(params.branch.exit_factor))
        dose.main(params, seed=1, factor="0.5")
        dose_prediction.of_dose(params, seed=1, factor="0.5")
        for group in params.theory.left_out:
            counterfactual.main(params, seed=1, group=group)
        for name in ("flow", *params.sweep.runs):
            sweep.main(params, 1, name)
        for stage in (runs, verification, summary):
            stage.main(params)
    return folder


def compared(folder: Path) -> tuple[set[str], set[tuple[str, str]]]:
    """What the dictionary does not describe of the files in a folder, and the entries (file, name) that it used."""
    faults: set[str] = set()
    used: set[tuple[str, str]] = set()
    for path in sorted(folder.rglob("*.*")):
        name = path.relative_to(folder).as_posix()
        if not path.is_file() or not name.startswith(("data/", "metrics/", "plots/")) or name.startswith(PROSE):
            continue
        file = next((f for f in dictionary.files() for p in f.paths if re.fullmatch(dictionary.pattern(p), name)), None)
        if file is None:
            faults.add(f"{name}: no such file")
            continue
        for key, value in contents(path, file.intervals):
            entry = entry_of(file.entries, key)
            if entry:
                used.add((file.paths[0], entry.name))
                if not is_a(value, entry.kind):
                    faults.add(f"{name}: {key}: is {value!r:.60}, not {entry.kind}")
            elif not (is_empty(value) and has_below(file.entries, key)):
                faults.add(f"{name}: {key}: not described")
    return faults, used


def is_empty(value: Any) -> bool:
    return value is None or (isinstance(value, list) and not value)


def has_below(entries: Sequence[dictionary.Entry], key: str) -> bool:
    """Whether something would be there, if what is empty were not."""
    return any(one.name.startswith((f"{key}.", f"{key}[")) for one in entries)


def entry_of(entries: Sequence[dictionary.Entry], key: str) -> dictionary.Entry | None:
    return next((one for one in entries if re.fullmatch(dictionary.pattern(one.name), key)), None)


def contents(path: Path, intervals: bool) -> Iterator[tuple[str, Any]]:
    """The keys and values of a JSON file; columns of a table, its intervals left out; arrays."""
    if path.suffix == ".npz":
        with np.load(path) as file:
            yield from file.items()
    elif path.suffix == ".csv":
        table = pd.read_csv(path)
        bands = {f"{name}{end}" for name in table for end in ("_low", "_high")} if intervals else set()
        yield from ((name, column) for name, column in table.items() if name not in bands)
    else:
        yield from leaves(json.loads(path.read_text()))


def leaves(value: Any, key: str = "") -> Iterator[tuple[str, Any]]:
    """The values of a JSON file by their keys, with dots; what recurs is a leaf."""
    if isinstance(value, dict) and not any(is_a(value, name) for name in dictionary.structures()):
        for name, inner in value.items():
            yield from leaves(inner, f"{key}.{name}" if key else name)
    elif isinstance(value, list) and value and isinstance(value[0], dict):
        for inner in value:
            yield from leaves(inner, f"{key}[]")
    else:
        yield key, value


def is_a(value: Any, kind: str) -> bool:
    """Whether a value is of a type of the dictionary; what does not exist is of any."""
    if isinstance(value, np.ndarray):
        dtype, _, shape = kind.partition(" ")
        return str(value.dtype) == dtype and value.ndim == len(shape.split(",")) if shape else value.ndim == 0
    if isinstance(value, pd.Series):
        allowed = {"integer": "i", "number": "if", "boolean": "b"}.get(kind)
        known = value.dropna()
        return known.dtype.kind in allowed if allowed and len(known) else all(type(one) is str for one in known)
    if value is None:
        return True
    if kind.startswith("list of "):
        return isinstance(value, list) and all(is_a(one, kind.removeprefix("list of ")) for one in value)
    if kind in dictionary.structures():
        entries = dictionary.structures()[kind]
        described = isinstance(value, dict) and {key: entry_of(entries, key) for key in value}
        return bool(described) and all(entry and is_a(value[key], entry.kind) for key, entry in described.items())
    return isinstance(value, TYPES[kind]) and (kind == "boolean" or not isinstance(value, bool))


def test_the_dictionary_describes_all_that_a_run_leaves(run):
    faults, _ = compared(run)
    assert faults == set()


def test_the_dictionary_describes_nothing_that_no_run_leaves(run):
    used = compared(run)[1] | compared(REPOSITORY)[1]
    described = {(file.paths[0], entry.name) for file in dictionary.files() for entry in file.entries}
    assert {(file, name) for file, name in described - used if name not in ELSEWHERE} == set()


def test_the_dictionary_describes_the_committed_run():
    faults, _ = compared(REPOSITORY)
    assert faults == set()


def test_the_dictionary_has_the_columns_that_records_must_have():
    names = ["inlier", "class0_q1"]
    for file in dictionary.files():
        for path in file.paths:
            match = re.fullmatch(r"data/records/seed-<seed>/(.*)/(\w+)\.csv", path)
            if match:
                table = "sweep" if match[1].startswith("sweep") else match[2]
                for column in columns_of("base", table, names):
                    assert entry_of(file.entries, column), (path, column)


@pytest.mark.parametrize(
    ("value", "kind", "sound"),
    [
        (1, "integer", True),
        (1.5, "integer", False),
        (True, "number", False),
        (None, "number", True),
        ([1, 2], "list of integer", True),
        (["a"], "list of number", False),
        ({"mean": 1, "low": None, "high": 2, "seeds": 1}, "interval", True),
        ({"mean": 1, "new": 2}, "interval", False),
        ({"baseline": {"mean": 1}, "baseline_minus_exit": {"mean": 1}}, "comparison", True),
        (np.zeros((2, 3), np.float32), "float32 [n, d]", True),
        (np.zeros(2), "float32 [n]", False),
        (pd.Series([1.0, np.nan]), "number", True),
        (pd.Series(["a"]), "number", False),
    ],
)
def test_types_are_told_apart(value, kind, sound):
    assert is_a(value, kind) is sound
