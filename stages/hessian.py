"""Measure sharpness, groups, strata and single examples at both iterates of every checkpoint of one run."""

from collections import defaultdict

import numpy as np
from tqdm import tqdm

from common import checkpoints_folder, records_folder, stage
from edgewise.data.files import pack, write_atomically, write_rows
from edgewise.dynamics.edge import measure_sharpness
from edgewise.dynamics.eigen import EigenTracker
from edgewise.measures.decomposition import decompose
from edgewise.measures.kinks import curvature_by_length
from edgewise.measures.selectivity import measure_examples, measure_groups, rank_correlation
from edgewise.network.ranks import leads, run_in_ranks
from edgewise.params import Params
from edgewise.states.trajectory import manifest_of
from experiment import Experiment


def main(params: Params, seed: int, run: str) -> None:
    experiment = Experiment(params, seed)
    objective = experiment.objective
    objectives = {name: objective.subset(members) for name, members in experiment.tracked.items()}
    for name in ("control_coherent", "control_random"):
        control = getattr(experiment.data, name)
        objectives[name] = experiment.objective_on(control.x, control.y)
    natural = objective.subset(experiment.natural)
    distance = experiment.data.train.distance[: len(natural)]
    tracker = EigenTracker(objective, params.hessian.top_k, tolerance=params.hessian.tolerance)

    rows, splits = [], []
    examples = defaultdict(list)
    steps = manifest_of(checkpoints_folder(seed, run)).all_steps()
    for step in tqdm(steps, desc=f"hessian {run}", unit="pair", disable=None):
        optimizer, pair = experiment.pair(run, step)
        first, second = (state.theta for state in pair)
        splits.append({"step": step, "time": pair[0].time, **decompose(objective, first, second, experiment.tracked)})
        half_step = (second - first).norm().item() / 2
        for iterate, at in enumerate(pair):
            pairs = tracker.measure(at.theta, optimizer.preconditioner(at, objective.gradient(at.theta)))
            sharpness = measure_sharpness(objective, optimizer, at, pairs)
            v1 = pairs.vectors[0]
            couplings = {
                "coupling": objective.sharpness_gradient(at.theta, v1),
                "coupling_over_step": objective.sharpness_gradient_over(at.theta, v1, half_step),
            }
            influence, alignment = measure_examples(natural, at.theta, v1)
            correlation, low, high = rank_correlation(distance, alignment)
            rows.append(
                {
                    "step": step,
                    "time": pair[0].time,
                    "iterate": iterate,
                    "sharpness": sharpness.value,
                    "sharpness_standard_error": sharpness.standard_error,
                    "largest_eigenvalue": pairs.values[0].item(),
                    **{f"eigenvalue_{i}": value.item() for i, value in enumerate(pairs.values[1:], start=2)},
                    **measure_groups(objectives, at.theta, pairs.vectors, couplings),
                    "centroid_correlation": correlation,
                    "centroid_correlation_low": low,
                    "centroid_correlation_high": high,
                }
            )
            examples["influence"].append(influence)
            examples["alignment"].append(alignment)
    # Of the last pair, where the run has settled.
    preconditioner = optimizer.preconditioner(pair[0], objective.gradient(first))
    around = {
        "step": step,
        "time": pair[0].time,
        "sharpness_iterates": sum(row["largest_eigenvalue"] for row in rows[-2:]) / 2,
        "sharpness_centre": tracker.measure((first + second) / 2, preconditioner).values[0].item(),
    }
    kinks = [around | row for row in curvature_by_length(objective, first, second, preconditioner)]
    for name in ("step", "iterate"):
        examples[name] = [row[name] for row in rows]
    if not leads():
        return
    records = records_folder(seed, run)
    write_rows(records / "hessian.csv", rows)
    write_rows(records / "decomposition.csv", splits)
    write_rows(records / "kinks.csv", kinks)
    write_atomically(records / "examples.npz", pack({k: np.array(v) for k, v in examples.items()}, {"run": run}))


if __name__ == "__main__":
    stage(main, "seed", "run", shared=run_in_ranks)
