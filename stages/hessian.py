"""Measure sharpness, groups and single examples at every checkpoint of one run."""

from collections import defaultdict

import numpy as np
from tqdm import tqdm

from common import checkpoints_folder, records_folder, stage
from edgewise.data.files import pack, write_atomically, write_rows
from edgewise.data.groups import NATURAL
from edgewise.dynamics.edge import measure_sharpness
from edgewise.dynamics.eigen import EigenTracker
from edgewise.measures.selectivity import measure_examples, measure_groups, rank_correlation
from edgewise.params import Params
from edgewise.states.optimizers import build_optimizer
from edgewise.states.trajectory import checkpoints, load_state
from experiment import Experiment


def main(params: Params, seed: int, run: str) -> None:
    experiment = Experiment(params)
    objective, prototypes = experiment.objective, experiment.prototypes
    objectives = {name: objective.subset(members) for name, members in experiment.groups.items()}
    for name in ("control_coherent", "control_random"):
        control = getattr(prototypes, name)
        objectives[name] = experiment.objective_on(control.x, control.y)
    natural = objective.subset(experiment.natural)
    distance = prototypes.train.distance[prototypes.train.group == NATURAL]
    optimizer = build_optimizer(params.optimizer, shuffle_seed=seed)
    tracker = EigenTracker(objective, params.hessian.top_k, tolerance=params.hessian.tolerance)
    like = experiment.initial_theta(seed)

    rows = []
    examples = defaultdict(list)
    for path in tqdm(checkpoints(checkpoints_folder(seed, run)), desc=f"hessian {run}", disable=None):
        state = load_state(path, like)
        pairs = tracker.measure(state.theta, optimizer.preconditioner(state, objective.gradient(state.theta)))
        sharpness = measure_sharpness(objective, optimizer, state, pairs)
        v1 = pairs.vectors[0]
        influence, alignment = measure_examples(natural, state.theta, v1)
        correlation, low, high = rank_correlation(distance, alignment)
        rows.append(
            {
                "step": state.step,
                "time": state.time,
                "sharpness": sharpness.value,
                "sharpness_standard_error": sharpness.standard_error,
                "largest_eigenvalue": pairs.values[0].item(),
                **{f"eigenvalue_{i}": value.item() for i, value in enumerate(pairs.values[1:], start=2)},
                **measure_groups(objectives, state.theta, pairs.vectors, objective.sharpness_gradient(state.theta, v1)),
                "centroid_correlation": correlation,
                "centroid_correlation_low": low,
                "centroid_correlation_high": high,
            }
        )
        for name, values in (("step", state.step), ("influence", influence), ("alignment", alignment)):
            examples[name].append(values)
    records = records_folder(seed, run)
    write_rows(records / "hessian.csv", rows)
    write_atomically(records / "examples.npz", pack({k: np.array(v) for k, v in examples.items()}, {"run": run}))


if __name__ == "__main__":
    stage(main, "seed", "run")
