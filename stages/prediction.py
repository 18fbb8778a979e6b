"""Predict who gains: a model of the edge, started before the edge or from the pair of iterates at onset."""

import math
import sys
from collections.abc import Iterator
from itertools import islice

from torch import Tensor
from tqdm import tqdm

from common import checkpoints_folder, records_folder, stage
from edgewise.data.files import Row, write_rows
from edgewise.errors import DivergenceError
from edgewise.network.ranks import leads, run_in_ranks
from edgewise.params import Params
from edgewise.states.trajectory import manifest_of
from edgewise.theory.edge_flow import Oscillation
from edgewise.theory.problem import Metered, Problem
from edgewise.theory.registry import MODELS, predict
from edgewise.theory.start import below_the_threshold
from experiment import Experiment


def main(params: Params, seed: int, model: str) -> None:
    experiment = Experiment(params, seed)
    steps = manifest_of(checkpoints_folder(seed, "base")).all_steps()
    rows: list[Row] = [{"step": steps[-1], "time": 0.0}]
    # Where the optimiser has no such model, or the model diverges, there is no prediction: what was measured stands.
    if model != "edge_flow" or experiment.optimizer.two_walls:
        try:
            rows = list(predicted(experiment, model, steps))
        except DivergenceError as error:
            print(f"{model}: no prediction ({error})", file=sys.stderr)
    if leads():
        write_rows(records_folder(seed, model) / "prediction.csv", rows)


def predicted(experiment: Experiment, model: str, steps: list[int]) -> Iterator[Row]:
    """The records of a model from onset on; `steps` are those of the base run's checkpoints."""
    params, optimizer, t_star = experiment.params, experiment.optimizer, steps[-1]
    if MODELS[model].from_onset:
        first, start = t_star, oscillation(experiment, "base", t_star)
    else:
        states = (experiment.pair("base", step)[1][0] for step in reversed(steps))
        tolerance = params.hessian.tolerance
        first, start = below_the_threshold(experiment.objective, optimizer, states, t_star, tolerance)
    problem = Problem(
        Metered(experiment.objective),
        optimizer,
        start,
        experiment.tracked,
        params.theory.substeps,
        params.hessian.tolerance,
        params.branch.flow_tolerance,
    )
    before, last = t_star - first, t_star - first + params.branch.steps
    found = tqdm(islice(predict(model, problem), last), desc=model, total=last, unit="step", disable=None)
    measured = set(manifest_of(checkpoints_folder(experiment.seed, "baseline")).all_steps())
    at_onset = oscillation(experiment, "baseline", t_star).centre
    for step, (centre, row) in enumerate(islice(found, before, None), start=t_star):
        # The prediction begins between the two iterates at onset.
        time = (step - t_star + 0.5) * optimizer.time_per_step
        distance = covered = math.nan
        if step in measured:
            run = oscillation(experiment, "baseline", step).centre
            distance, covered = length(centre - run), length(run - at_onset)
        yield {"step": step, "time": time, **row, "distance": distance, "covered": covered}


def oscillation(experiment: Experiment, run: str, step: int) -> Oscillation:
    """Between both iterates of a run's checkpoint."""
    _, (one, other) = experiment.pair(run, step)
    return Oscillation.of(one, other)


def length(vector: Tensor) -> float:
    """|vector|, of [P]."""
    return float(vector.norm())


if __name__ == "__main__":
    stage(main, "seed", "model", shared=run_in_ranks)
