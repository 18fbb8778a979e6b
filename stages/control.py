"""At onset, displace the input-outliers' images coherently and at random, near and far: which align with v1?"""

from collections import defaultdict

import numpy as np
from tqdm import tqdm

from common import checkpoints_folder, records_folder, stage
from edgewise.data.displacement import DIRECTIONS, Direction, displace
from edgewise.data.files import Array, write_rows
from edgewise.dynamics.eigen import EigenTracker
from edgewise.measures.selectivity import alignment, curvature_influence, permutation_null, permutation_p_value
from edgewise.network.ranks import leads, run_in_ranks
from edgewise.params import Params
from edgewise.states.pairs import consecutive
from edgewise.states.trajectory import last_checkpoint, load_state
from experiment import Experiment

QUANTITIES = ("alignment", "curvature_influence")


def main(params: Params, seed: int) -> None:
    experiment = Experiment(params, seed)
    objective, prototypes = experiment.objective, experiment.prototypes
    onset = load_state(last_checkpoint(checkpoints_folder(seed, "base")), experiment.initial_theta())
    tracker = EigenTracker(objective, tolerance=params.hessian.tolerance)
    v_diff = prototypes.v_diff.reshape(len(prototypes.v_diff), -1).astype(np.float64)
    sources = prototypes.sources["input_outlier"]
    images = [experiment.dataset.train_x[some].reshape(len(some), -1) for some in sources]
    y = np.repeat(np.arange(len(images)), prototypes.trained)
    natural = objective.subset(experiment.natural)

    def displaced(alpha: float, direction: Direction) -> Array:
        moved = [displace(x, label, alpha, v_diff, direction, prototypes.entropy) for label, x in enumerate(images)]
        trained = np.concatenate([x[: prototypes.trained] for x in moved])
        return trained.reshape(-1, *prototypes.v_diff.shape[1:])

    alphas = sorted({*params.control.alphas, params.alpha})
    pair = consecutive(objective, experiment.optimizer, onset)
    found: dict[tuple[str, float, str], list[float]] = defaultdict(list)
    null: dict[str, list[Array]] = defaultdict(list)
    for state in tqdm(pair, desc="control", unit="iterate", disable=None):
        theta = state.theta
        v1 = tracker.measure(theta, experiment.optimizer.preconditioner(state, objective.gradient(theta))).vectors[0]
        draws = permutation_null(natural, theta, v1, size=len(y), draws=params.control.draws, seed=experiment.draw)
        for name, drawn in zip(QUANTITIES, draws, strict=True):
            null[name].append(drawn)
        for alpha in alphas:
            for direction in DIRECTIONS:
                gradient = experiment.objective_on(displaced(alpha, direction), y).gradient(theta)
                found["alignment", alpha, direction].append(alignment(gradient, v1))
                found["curvature_influence", alpha, direction].append(curvature_influence(gradient, v1))

    if not leads():
        return
    rows = []
    for iterate in (0, 1):
        for alpha in alphas:
            row: dict[str, float] = {"alpha": alpha, "iterate": iterate, "alignment_chance": 1 / objective.num_params}
            for name in QUANTITIES:
                row[f"{name}_null"] = float(np.median(null[name][iterate]))
                for direction in DIRECTIONS:
                    values = found[name, alpha, direction]
                    row[f"{name}_{direction}"] = values[iterate]
                    # Of the mean over both iterates, among the random groups' means over both.
                    row[f"{name}_{direction}_p_value"] = permutation_p_value(
                        float(np.mean(values)), np.mean(null[name], axis=0)
                    )
            rows.append(row)
    write_rows(records_folder(seed, "base") / "control.csv", rows)


if __name__ == "__main__":
    stage(main, "seed", shared=run_in_ranks)
