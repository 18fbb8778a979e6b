"""Measure sharpness, and each group's alignment and curvature influence, at every checkpoint of one run."""

from tqdm import tqdm

from common import checkpoints_folder, records_folder, stage
from edgewise.eigen import EigenTracker
from edgewise.files import write_rows
from edgewise.params import Params
from edgewise.selectivity import measure_groups
from edgewise.trajectory import checkpoints, load_state
from experiment import Experiment


def main(params: Params, seed: int, run: str) -> None:
    experiment = Experiment(params)
    like = experiment.initial_theta(seed)
    tracker = EigenTracker(experiment.objective, tolerance=params.hessian.tolerance)
    objectives = experiment.group_objectives()
    rows = []
    for path in tqdm(checkpoints(checkpoints_folder(seed, run)), desc=f"hessian {run}", disable=None):
        state = load_state(path, like)
        pairs = tracker.measure(state.theta)
        rows.append(
            {
                "step": state.step,
                "time": state.time,
                "sharpness": pairs.values[0].item(),
                **measure_groups(objectives, state.theta, pairs.vectors[0]),
            }
        )
    write_rows(records_folder(seed, run) / "hessian.csv", rows)


if __name__ == "__main__":
    stage(main, "seed", "run")
