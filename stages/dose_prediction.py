"""Predict the losses of a run that leaves the edge at onset: edge flow at a smaller step size."""

import math

from common import checkpoints_folder, dose, records_folder, stage
from edgewise.data.files import write_rows
from edgewise.params import Params
from edgewise.states.branches import Leg, covering
from edgewise.states.pairs import consecutive
from edgewise.states.trajectory import last_checkpoint, load_state
from edgewise.theory.edge_flow import predicted_records
from experiment import Experiment


def main(params: Params, seed: int, run: str, factor: str) -> None:
    experiment = Experiment(params, seed)
    objective, leg = experiment.objective, Leg(covering(float(factor), params.branch), float(factor))
    onset = load_state(last_checkpoint(checkpoints_folder(seed, "base")), experiment.initial_theta())
    optimizer = experiment.optimizer_of(leg)
    pair = consecutive(objective, optimizer, onset)
    # As fine in training time as the prediction of the baseline, or finer.
    substeps = math.ceil(params.theory.substeps * leg.lr_factor)
    rows = predicted_records(objective, optimizer, pair, experiment.tracked, leg.end, substeps, run)
    write_rows(records_folder(seed, run) / "edge_flow.csv", rows)


def of_dose(params: Params, seed: int, factor: str) -> None:
    main(params, seed, dose(float(factor)), factor)


if __name__ == "__main__":
    stage(of_dose, "seed", "factor")
