"""Evaluate the checkpoints of one branch on displaced and corrupted test data and on held-out groups (figure 10)."""

from tqdm import tqdm

from common import checkpoints_folder, records_folder, stage
from edgewise.data.files import write_rows
from edgewise.data.pixels import PixelSpace
from edgewise.network.objective import Objective
from edgewise.params import Params
from edgewise.unseen.shifts import shifted_inputs
from experiment import Experiment
from heldout import Unseen


def main(params: Params, seed: int, branch: str) -> None:
    experiment = Experiment(params)
    unseen = Unseen(experiment)
    test = unseen.test()
    pixels = PixelSpace.of(unseen.dataset, test.x)
    states = unseen.states(checkpoints_folder(seed, branch), params.ood.every)
    rows: list[dict[str, float | str]] = []

    def evaluate(shift: str, strength: float, objective: Objective) -> None:
        for state in states:
            loss, accuracy = objective.loss_and_accuracy(state.theta)
            rows.append(
                {
                    "step": state.step,
                    "time": state.time,
                    "shift": shift,
                    "strength": strength,
                    "examples": len(objective),
                    "loss": loss,
                    "accuracy": accuracy,
                }
            )

    for group, objective in unseen.heldout().items():
        evaluate(f"heldout_{group}", 0, objective)
    shifted = shifted_inputs(test.x, test.y, experiment.prototypes.v_diff, pixels, params.ood)
    for one in tqdm(shifted, desc=f"ood {branch}", unit="shift", disable=None):
        evaluate(one.shift, one.strength, test.with_inputs(one.x))
    write_rows(records_folder(seed, branch) / "ood.csv", rows)


if __name__ == "__main__":
    stage(main, "seed", "branch")
