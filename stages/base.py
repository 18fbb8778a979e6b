"""Train one seed up to the edge of stability; keep the state at onset to branch from."""

from common import checkpoints_folder, records_folder, stage
from edgewise.data.files import write_rows
from edgewise.dynamics.loop import run_to_edge
from edgewise.params import Params
from edgewise.states.optimizers import State, build_optimizer
from edgewise.states.trajectory import Journal
from experiment import Experiment


def main(params: Params, seed: int) -> None:
    experiment = Experiment(params)
    fingerprint = experiment.fingerprint("base", seed, params.edge.rule, params.edge.sharpness_every, params.hessian)
    journal = Journal(checkpoints_folder(seed, "base"), fingerprint, State(experiment.initial_theta(seed)))
    run_to_edge(
        experiment.objective,
        build_optimizer(params.optimizer, shuffle_seed=seed),
        experiment.groups,
        journal,
        rule=params.edge.rule,
        sharpness_every=params.edge.sharpness_every,
        max_steps=params.edge.max_steps,
        tolerance=params.hessian.tolerance,
    )
    write_rows(records_folder(seed, "base") / "steps.csv", journal.rows)
    journal.publish()


if __name__ == "__main__":
    stage(main, "seed")
