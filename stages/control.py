"""At onset, displace the input-outliers' seed images coherently and at random, near and far: which align with v1?"""

import numpy as np

from common import checkpoints_folder, records_folder, stage
from edgewise.data.displacement import DIRECTIONS, Direction, displace
from edgewise.data.files import Array, write_rows
from edgewise.dynamics.eigen import EigenTracker
from edgewise.inference.intervals import permutation_p_value
from edgewise.measures.selectivity import alignment, curvature_influence, permutation_null
from edgewise.params import Params
from edgewise.states.trajectory import checkpoints, load_state
from experiment import Experiment


def main(params: Params, seed: int) -> None:
    experiment = Experiment(params)
    onset = checkpoints(checkpoints_folder(seed, "base"))[-1]
    theta = load_state(onset, experiment.initial_theta(seed)).theta
    v1 = EigenTracker(experiment.objective, tolerance=params.hessian.tolerance).measure(theta).vectors[0]

    train, v_diff = experiment.prototypes.train, experiment.prototypes.v_diff
    seeds = {label: train.x[(train.group == "inlier") & (train.y == label)] for label in (0, 1)}
    y = np.concatenate([np.full(len(x), label) for label, x in seeds.items()])
    natural = experiment.objective.subset(experiment.natural)
    null = permutation_null(natural, theta, v1, size=len(y), draws=params.control.draws, seed=seed)

    def displaced(alpha: float, direction: Direction) -> Array:
        parts = [
            displace(x.reshape(len(x), -1), label, alpha, v_diff.reshape(-1), direction, params.prototypes.seed)
            for label, x in seeds.items()
        ]
        return np.concatenate(parts).reshape(-1, *v_diff.shape)

    rows = []
    for alpha in sorted({*params.control.alphas, params.alpha}):
        row: dict[str, float] = {"alpha": alpha, "alignment_chance": 1 / experiment.objective.num_params}
        for direction in DIRECTIONS:
            gradient = experiment.objective_on(displaced(alpha, direction), y).gradient(theta)
            found = (alignment(gradient, v1), curvature_influence(gradient, v1))
            for name, value, draws in zip(("alignment", "curvature_influence"), found, null, strict=True):
                row[f"{name}_{direction}"] = value
                row[f"{name}_{direction}_p_value"] = permutation_p_value(value, draws)
        for name, draws in zip(("alignment", "curvature_influence"), null, strict=True):
            row[f"{name}_null"] = float(np.median(draws))
        rows.append(row)
    write_rows(records_folder(seed, "base") / "control.csv", rows)


if __name__ == "__main__":
    stage(main, "seed")
