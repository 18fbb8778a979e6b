"""Go on from the state at onset: stay at the edge (baseline), leave it (exit), come back to it (enter), or flow."""

from common import checkpoints_folder, records_folder, stage
from edgewise.data.files import write_rows
from edgewise.dynamics.flow import GradientFlow
from edgewise.dynamics.loop import run
from edgewise.params import Params
from edgewise.states.optimizers import Optimizer, build_optimizer
from edgewise.states.trajectory import Journal, checkpoints, load_state
from experiment import Experiment


def main(params: Params, seed: int, branch: str) -> None:
    experiment = Experiment(params)
    onset = checkpoints(checkpoints_folder(seed, "base"))[-1]
    start = load_state(onset, experiment.initial_theta(seed))
    legs = legs_of(params, experiment, seed, branch)
    fingerprint = experiment.fingerprint("branch", onset.read_bytes(), branch, params.branch)
    journal = Journal(checkpoints_folder(seed, branch), fingerprint, start)
    for optimizer, steps in legs:
        run(
            experiment.objective,
            optimizer,
            experiment.groups,
            journal,
            last_step=start.step + steps,
            checkpoint_every=params.branch.checkpoint_every,
            label=branch,
            total=params.branch.steps,
        )
    write_rows(records_folder(seed, branch) / "steps.csv", journal.rows)
    journal.publish()


def legs_of(params: Params, experiment: Experiment, seed: int, branch: str) -> list[tuple[Optimizer, int]]:
    """The optimisers that a branch goes through, each with the number of steps since onset at which it ends."""
    optimizer = build_optimizer(params.optimizer, shuffle_seed=seed)
    slower = optimizer.with_lr(params.branch.exit_factor * optimizer.lr)
    if branch == "exit":
        return [(slower, params.branch.steps)]
    if branch == "enter":
        return [(slower, params.branch.enter_step), (optimizer, params.branch.steps)]
    if branch == "flow":
        flow = GradientFlow(
            optimizer.time_per_step,
            params.optimizer.weight_decay,
            gradient=experiment.objective.gradient,
            tolerance=params.branch.flow_tolerance,
        )
        return [(flow, params.branch.steps)]
    return [(optimizer, params.branch.steps)]


if __name__ == "__main__":
    stage(main, "seed", "branch")
