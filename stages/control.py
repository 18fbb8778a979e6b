"""At onset, displace the input-outliers' seed images coherently and at random, near and far: which align with v1?"""

import numpy as np

from common import checkpoints_folder, records_folder, stage
from edgewise.eigen import EigenTracker
from edgewise.files import Array, write_rows
from edgewise.params import Params
from edgewise.prototypes import displace
from edgewise.selectivity import alignment, curvature_influence, permutation_null
from edgewise.statistics import permutation_p_value
from edgewise.trajectory import checkpoints, load_state
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

    def displaced(alpha: float, way: str) -> Array:
        parts = []
        for label, x in seeds.items():
            rng = np.random.default_rng([params.prototypes.seed, label, 1]) if way == "random" else None
            moved = displace(x.reshape(len(x), -1), label, alpha, v_diff.reshape(-1), rng)
            parts.append(moved.reshape(x.shape))
        return np.concatenate(parts)

    rows = []
    for alpha in sorted({*params.control.alphas, params.alpha}):
        row: dict[str, float] = {"alpha": alpha, "alignment_chance": 1 / experiment.objective.num_params}
        for way in ("coherent", "random"):
            gradient = experiment.objective_on(displaced(alpha, way), y).gradient(theta)
            found = (alignment(gradient, v1), curvature_influence(gradient, v1))
            for name, value, draws in zip(("alignment", "curvature_influence"), found, null, strict=True):
                row[f"{name}_{way}"] = value
                row[f"{name}_{way}_p_value"] = permutation_p_value(value, draws)
        for name, draws in zip(("alignment", "curvature_influence"), null, strict=True):
            row[f"{name}_null"] = float(np.median(draws))
        rows.append(row)
    write_rows(records_folder(seed, "base") / "control.csv", rows)


if __name__ == "__main__":
    stage(main, "seed")
