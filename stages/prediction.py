"""Predict who gains: edge flow, from the pair of iterates at onset."""

from contextlib import suppress
from itertools import islice

from tqdm import tqdm

from common import checkpoints_folder, records_folder, stage
from edgewise.data.files import write_rows
from edgewise.errors import DivergenceError
from edgewise.network.ranks import leads
from edgewise.params import Params
from edgewise.states.trajectory import manifest_of
from edgewise.theory.edge_flow import Oscillation, edge_flow
from experiment import Experiment


def main(params: Params, seed: int) -> None:
    experiment = Experiment(params, seed)
    t_star = manifest_of(checkpoints_folder(seed, "base")).all_steps()[-1]
    rows = [{"step": t_star, "time": 0.0}]
    if params.optimizer.name == "gd":
        _, (first, second) = experiment.pair("base", t_star)
        lr, decay = params.optimizer.lr, params.optimizer.weight_decay
        start = Oscillation.of(first.theta, second.theta)
        predicted = edge_flow(experiment.objective, lr, start, experiment.tracked, params.theory.substeps, decay)
        steps = tqdm(islice(predicted, params.branch.steps), desc="edge flow", total=params.branch.steps, disable=None)
        # The prediction begins between the two iterates. Where it diverges there is none, and what was measured stands.
        with suppress(DivergenceError):
            rows = [{"step": t_star + i, "time": (i + 0.5) * lr, **row} for i, (_, row) in enumerate(steps)]
    if leads():
        write_rows(records_folder(seed, "base") / "edge_flow.csv", rows)


if __name__ == "__main__":
    stage(main, "seed", shared=True)
