"""Train one seed up to the edge of stability; keep the state at onset to branch from."""

from common import checkpoints_folder, journal_folder, records_folder, stage
from edgewise.data.files import write_rows
from edgewise.dynamics.loop import run_to_edge
from edgewise.network.ranks import leads, run_in_ranks
from edgewise.params import Params
from edgewise.states.optimizers import State
from edgewise.states.trajectory import Journal, Manifest
from experiment import Experiment


def main(params: Params, seed: int) -> None:
    experiment = Experiment(params, seed)
    fingerprint = experiment.fingerprint("base", params.edge.rule, params.edge.sharpness_every, params.hessian)
    every = params.edge.sharpness_every
    folder = journal_folder(seed, "base")
    experiment.require_room("edge.sharpness_every", every, params.edge.max_steps // every + 3, folder)
    journal = Journal(folder, fingerprint, State(experiment.initial_theta()))
    t_star = run_to_edge(
        experiment.objective,
        experiment.optimizer,
        experiment.tracked,
        journal,
        rule=params.edge.rule,
        sharpness_every=every,
        max_steps=params.edge.max_steps,
        tolerance=params.hessian.tolerance,
    )
    measured = {*range(0, t_star, every), max(0, t_star - 1), t_star}
    if leads():
        write_rows(records_folder(seed, "base") / "steps.csv", journal.rows)
    journal.publish(checkpoints_folder(seed, "base"), Manifest({"before_onset": sorted(measured)}, legs=()))
    journal.discard()


if __name__ == "__main__":
    stage(main, "seed", shared=run_in_ranks, writes=lambda seed: journal_folder(seed, "base"))
