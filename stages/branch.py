"""Go on from the state at onset: stay at the edge (baseline), leave it (exit), come back to it (enter), or flow."""

from common import checkpoints_folder, journal_folder, locked, records_folder, stage
from edgewise.data.files import write_rows
from edgewise.dynamics.loop import run
from edgewise.params import Params
from edgewise.states.branches import kept_steps, legs, length, measured_steps
from edgewise.states.trajectory import Journal, Manifest, last_checkpoint, load_state
from experiment import Experiment

#: The parameters of the section `branch` that the states of a branch depend on, whatever its length.
OPTIONS = {
    "baseline": ["checkpoint_every"],
    "exit": ["checkpoint_every", "exit_factor"],
    "enter": ["checkpoint_every", "exit_factor", "enter_step"],
    "flow": ["checkpoint_every", "flow_tolerance"],
}


def main(params: Params, seed: int, branch: str) -> None:
    folder = journal_folder(seed, branch)
    with locked(folder):
        experiment = Experiment(params, seed)
        onset = last_checkpoint(checkpoints_folder(seed, "base"))
        start = load_state(onset, experiment.initial_theta())
        last = length(branch, params.branch)
        kept = kept_steps(branch, params.branch, last)
        experiment.require_room("branch.checkpoint_every", params.branch.checkpoint_every, len(kept), folder)
        options = {name: getattr(params.branch, name) for name in OPTIONS[branch]}
        fingerprint = experiment.fingerprint("branch", onset.read_bytes(), branch, options)
        journal = Journal(folder, fingerprint, start)
        journal.go_back_to(start.step + last)
        parts = legs(branch, params.branch)
        for leg in parts:
            run(
                experiment.objective,
                experiment.optimizer_of(leg),
                experiment.tracked,
                journal,
                last_step=start.step + leg.end,
                due=kept.__contains__,
                label=branch,
                total=last,
            )
        equal_step, equal_time = measured_steps(branch, params.branch)
        steps = {"equal_step": equal_step, "equal_time": equal_time}
        since_start = {held: [start.step + step for step in some] for held, some in steps.items()}
        write_rows(records_folder(seed, branch) / "steps.csv", journal.rows)
        journal.publish(checkpoints_folder(seed, branch), Manifest(since_start, parts))


if __name__ == "__main__":
    stage(main, "seed", "branch")
