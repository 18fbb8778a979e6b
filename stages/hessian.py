"""Measure sharpness, and each group's alignment and curvature influence, at every checkpoint of one run."""

from tqdm import tqdm

from common import checkpoints_folder, records_folder, stage
from edgewise.edge import measure_sharpness
from edgewise.eigen import EigenTracker
from edgewise.files import write_rows
from edgewise.optimizers import build_optimizer
from edgewise.params import Params
from edgewise.selectivity import measure_groups
from edgewise.trajectory import checkpoints, load_state
from experiment import Experiment


def main(params: Params, seed: int, run: str) -> None:
    experiment = Experiment(params)
    like = experiment.initial_theta(seed)
    objective, optimizer = experiment.objective, build_optimizer(params.optimizer, shuffle_seed=seed)
    tracker = EigenTracker(objective, tolerance=params.hessian.tolerance)
    objectives = experiment.group_objectives()
    rows = []
    for path in tqdm(checkpoints(checkpoints_folder(seed, run)), desc=f"hessian {run}", disable=None):
        state = load_state(path, like)
        gradient = objective.evaluate(state.theta).gradient
        pairs = tracker.measure(state.theta, optimizer.preconditioner(state, gradient))
        sharpness = measure_sharpness(objective, optimizer, state, pairs)
        rows.append(
            {
                "step": state.step,
                "time": state.time,
                "sharpness": sharpness.value,
                "sharpness_standard_error": sharpness.standard_error,
                "largest_eigenvalue": pairs.values[0].item(),
                **measure_groups(objectives, state.theta, pairs.vectors[0]),
            }
        )
    write_rows(records_folder(seed, run) / "hessian.csv", rows)


if __name__ == "__main__":
    stage(main, "seed", "run")
