"""A tiny run whose checkpoints grow apart, beside one whose checkpoints are regular."""

import json
import shutil
from pathlib import Path

import pandas as pd
import pytest
from small import SEED, Killed, configuration, evaluations, records_of, states_of, whole_run, with_branch

import branch
from edgewise.params import Params, parse_params
from edgewise.states.branches import spaced

BRANCHES = ("baseline", "exit")
#: Of every second step there would be 18 up to step 36.
SPARSE = {"steps": 36, "checkpoint_every": 2, "per_doubling": 4}


@pytest.fixture(scope="module")
def finished(tmp_path_factory) -> Path:
    """The folder of a whole run, attacked and evaluated at every second checkpoint."""
    folder = tmp_path_factory.mktemp("sparse")
    every = {"every": 2}
    whole_run(folder, configuration(branches=list(BRANCHES), branch=SPARSE, ood=every, robustness=every))
    return folder


@pytest.fixture
def params(finished, monkeypatch) -> Params:
    monkeypatch.chdir(finished)
    return parse_params(Path("params.yaml").read_text())


def test_the_tables_have_the_checkpoints_that_there_are_and_the_gains_are_of_every_step(finished, params):
    kept = spaced(SPARSE["steps"], params.branch)
    assert kept == [0, 2, 4, 6, 8, 10, 12, 14, 16, 20, 24, 28, 32]
    tables = {file.stem: pd.read_csv(file) for file in (finished / "plots/tables").glob("*.csv")}
    for name in ("sharpness", "sharpness_equal_time", "alignment", "alignment_equal_time", "example_alignment"):
        after = tables[name].query("step >= 0")
        along = [name for name in after if name.startswith(("baseline", "typical")) and f"{name}_low" in after]
        assert along
        assert after.loc[after[along].notna().all(axis=1), "step"].tolist() == kept
    assert tables["robustness"]["step"].tolist() == kept[::2]
    assert tables["delta_loss"]["step"].tolist() == list(range(SPARSE["steps"]))
    assert len(list((finished / "plots/figures").glob("*.png"))) > 15
    robustness = json.loads((finished / "metrics/robustness.json").read_text())
    assert all(phases["equal_time"] for strengths in robustness["accuracy"].values() for phases in strengths.values())


@pytest.fixture
def untrained(finished, params, tmp_path, monkeypatch) -> Params:
    """The parameters, in a copy of the run that has its base alone."""
    for folder in ("data/prototypes", *(f"data/{kind}/seed-{SEED}/base" for kind in ("checkpoints", "records"))):
        shutil.copytree(finished / folder, tmp_path / folder)
    shutil.copy(finished / "data/dataset.npz", tmp_path / "data")
    monkeypatch.chdir(tmp_path)
    return params


def test_the_run_is_the_same_and_the_checkpoints_are_some_of_the_regular_ones(finished, untrained):
    for name in BRANCHES:
        branch.main(with_branch(untrained, per_doubling="all"), seed=SEED, branch=name)
        steps, expected = (records_of(name, folder) / "steps.csv" for folder in (Path(), finished))
        assert steps.read_bytes() == expected.read_bytes()
        assert states_of(name, finished).items() < states_of(name).items()


def test_a_run_that_is_killed_far_from_a_checkpoint_goes_on_from_nearby(finished, untrained):
    with evaluations(killed_at=24), pytest.raises(Killed):  # at step 23; the last checkpoint is that of step 20
        branch.main(untrained, seed=SEED, branch="baseline")
    with evaluations() as count:
        branch.main(untrained, seed=SEED, branch="baseline")
    assert count() == 1 + SPARSE["steps"] - 22
    assert states_of("baseline") == states_of("baseline", finished)
