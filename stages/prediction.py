"""Predict who gains: edge flow, from the pair of iterates at onset."""

from common import checkpoints_folder, records_folder, stage
from edgewise.data.files import write_rows
from edgewise.params import Params
from edgewise.states.trajectory import manifest_of
from edgewise.theory.edge_flow import predict
from experiment import Experiment


def main(params: Params, seed: int) -> None:
    experiment = Experiment(params, seed)
    t_star = manifest_of(checkpoints_folder(seed, "base")).all_steps()[-1]
    optimizer, pair = experiment.pair("base", t_star)
    rows = predict(
        experiment.objective, optimizer, pair, experiment.tracked, params.branch.steps, params.theory.substeps
    )
    write_rows(records_folder(seed, "base") / "edge_flow.csv", rows)


if __name__ == "__main__":
    stage(main, "seed")
