"""No verdict hangs on the step at which the branches begin: the default run again, with onset a step later.

Ten minutes: run by hand, with --slow.
"""

import json
import shutil
from pathlib import Path

import pandas as pd
import pytest

import base
import branch
import control
import dataset
import dose_prediction
import hessian
import ood
import prediction
import prototypes
import robustness
import runs
import strengths
import summary
import verification
from common import checkpoints_folder, journal_folder, records_folder
from edgewise.dynamics.loop import run
from edgewise.params import Params, parse_params
from edgewise.states.trajectory import Journal, Manifest, checkpoint_at, load_state, manifest_of
from experiment import Experiment


def begin_a_step_later(params: Params, seed: int) -> None:
    """Let the base run of a seed, which is complete, end one step later."""
    experiment = Experiment(params, seed)
    folder, records = checkpoints_folder(seed, "base"), records_folder(seed, "base") / "steps.csv"
    *before, t_star = manifest_of(folder).all_steps()
    onset = load_state(checkpoint_at(folder, t_star), experiment.initial_theta())
    journal = Journal(journal_folder(seed, "later"), "later", onset)
    optimizer, tracked = experiment.optimizer, experiment.tracked
    run(experiment.objective, optimizer, tracked, journal, last_step=t_star + 1, due=lambda steps: True)
    for step in before[:-1]:  # the last one was a step before onset, where now nothing is
        shutil.copy(checkpoint_at(folder, step), journal.folder)
    journal.publish(folder, Manifest({"before_onset": [*before[:-1], t_star, t_star + 1]}, legs=()))
    journal.discard()
    longer = pd.concat([pd.read_csv(records), pd.DataFrame(journal.rows[1:])])
    longer.to_csv(records, index=False)


def verdicts(params: Params) -> dict[str, str]:
    """What the pipeline says of every claim, from the base runs that there are."""
    for seed in params.seeds:
        for name in params.branches:
            branch.main(params, seed, name)
        for name in ("base", *params.branches):
            hessian.main(params, seed, name)
        control.main(params, seed)
        prediction.main(params, seed, "edge_flow")
        dose_prediction.main(params, seed, "exit", str(params.branch.exit_factor))
    strengths.main(params, params.seeds[0])
    for seed in params.seeds:
        for name in params.branches:
            robustness.main(params, seed, name)
            ood.main(params, seed, name)
    runs.main(params)
    verification.main(params)
    summary.main(params)
    rows = json.loads(Path("metrics/claims.json").read_text())["claims"]
    return {f"{row['figure']}: {row['statement']}": row["verdict"] for row in rows}


@pytest.mark.slow
def test_shifting_onset_by_a_step_changes_no_verdict_of_the_default_run(repository, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    params = parse_params((repository / "params.yaml").read_text())
    dataset.main(params)
    for seed in params.seeds:
        prototypes.main(params, seed)
        base.main(params, seed)
    at_onset = verdicts(params)
    for seed in params.seeds:
        begin_a_step_later(params, seed)
    later = verdicts(params)
    assert at_onset.keys() == later.keys()
    changed = {name: (at_onset[name], later[name]) for name in at_onset if at_onset[name] != later[name]}
    assert changed == {}
