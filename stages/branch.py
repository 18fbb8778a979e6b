"""Go on from the state at onset: stay at the edge (baseline), leave it (exit), come back to it (enter), or flow."""

from collections.abc import Mapping

from common import checkpoints_folder, journal_folder, records_folder, stage
from edgewise.data.files import write_rows
from edgewise.dynamics.loop import run
from edgewise.errors import DivergenceError, ParameterError
from edgewise.network.ranks import leads, run_in_ranks
from edgewise.params import Params
from edgewise.states.branches import Leg, kept_steps, legs, length, measured_steps, shared_steps
from edgewise.states.trajectory import Journal, Manifest, last_checkpoint, load_state
from experiment import Experiment

#: The parameters of the section `branch` that a branch depends on, beside its length and where its checkpoints are.
OPTIONS: Mapping[str, list[str]] = {
    "baseline": [],
    "exit": ["exit_factor"],
    "enter": ["exit_factor", "enter_step"],
    "flow": ["flow_tolerance"],
}


def main(params: Params, seed: int, branch: str) -> None:
    experiment = Experiment(params, seed)
    options = {name: getattr(params.branch, name) for name in OPTIONS[branch]}
    parts, last = legs(branch, params.branch), length(branch, params.branch)
    try:
        journal = from_onset(experiment, "branch", branch, parts, kept_steps(branch, params.branch, last), options)
    except DivergenceError as error:
        if branch != "flow":
            raise
        allowed = f"must be larger, or `branches` without flow: {error}"
        raise ParameterError("branch.flow_tolerance", params.branch.flow_tolerance, allowed) from error
    equal_step, equal_time = measured_steps(branch, params.branch)
    steps = {"equal_step": equal_step, "equal_time": equal_time}
    onset = int(journal.rows[0]["step"])
    since_start = {held: [onset + step for step in some] for held, some in steps.items()}
    shared = {onset + step for step in shared_steps(branch, params.branch)}
    only = shared if params.branch.keep == "measurements" else None
    journal.publish(checkpoints_folder(seed, branch), Manifest(since_start, parts), only)


def from_onset(
    experiment: Experiment, stage: str, name: str, parts: list[Leg], kept: set[int], options: Mapping[str, float]
) -> Journal:
    """Train a run from the state at onset to the end of its parts, and write its step records.

    Parameters
    ----------
    stage, name : of dvc.yaml, whose code the run depends on; and of the run
    kept : steps since onset whose states are kept, to go on from
    options : what the run depends on beside its length and where its checkpoints are
    """
    onset = last_checkpoint(checkpoints_folder(experiment.seed, "base"))
    start = load_state(onset, experiment.initial_theta())
    folder, section = journal_folder(experiment.seed, name), experiment.params.branch
    every, per_doubling = section.checkpoint_every, section.per_doubling
    fingerprint = experiment.fingerprint(stage, onset.read_bytes(), name, every, per_doubling, options)
    experiment.require_room("branch.checkpoint_every", every, len(kept), folder, cached=section.keep == "checkpoints")
    journal = Journal(folder, fingerprint, start)
    last = parts[-1].end
    journal.go_back_to(start.step + last)
    for leg in parts:
        run(
            experiment.objective,
            experiment.optimizer_of(leg),
            experiment.tracked,
            journal,
            last_step=start.step + leg.end,
            due=kept.__contains__,
            snapshot_every=every,
            label=name,
            total=last,
        )
    if leads():
        write_rows(records_folder(experiment.seed, name) / "steps.csv", journal.rows)
    return journal


if __name__ == "__main__":
    stage(main, "seed", "branch", shared=run_in_ranks, writes=lambda seed, branch: journal_folder(seed, branch))
