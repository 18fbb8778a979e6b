"""Go on from the state at onset: at the same step size (baseline), or at a smaller one that leaves the edge (exit)."""

from common import checkpoints_folder, records_folder, stage
from edgewise.files import write_rows
from edgewise.optimizers import build_optimizer
from edgewise.params import Params
from edgewise.training import run
from edgewise.trajectory import Journal, checkpoints, load_state
from experiment import Experiment


def main(params: Params, seed: int, branch: str) -> None:
    experiment = Experiment(params)
    optimizer = build_optimizer(params.optimizer)
    if branch == "exit":
        optimizer = optimizer.with_lr(params.branch.exit_factor * optimizer.lr)
    onset = checkpoints(checkpoints_folder(seed, "base"))[-1]
    start = load_state(onset, experiment.initial_theta(seed))
    fingerprint = experiment.fingerprint(onset.read_bytes(), optimizer, params.branch)
    journal = Journal(checkpoints_folder(seed, branch), fingerprint, start)
    run(
        experiment.objective,
        optimizer,
        experiment.groups,
        journal,
        last_step=start.step + params.branch.steps,
        checkpoint_every=params.branch.checkpoint_every,
        label=branch,
    )
    write_rows(records_folder(seed, branch) / "steps.csv", journal.rows)
    journal.publish()


if __name__ == "__main__":
    stage(main, "seed", "branch")
