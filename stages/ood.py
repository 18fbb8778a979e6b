"""Evaluate the checkpoints of one branch on displaced and corrupted test data and on held-out groups (figure 10)."""

from tqdm import tqdm

from common import records_folder, stage
from edgewise.data.files import write_rows
from edgewise.data.pixels import PixelSpace
from edgewise.network.objective import Objective
from edgewise.params import Params
from edgewise.unseen.shifts import shifted_inputs
from experiment import Experiment
from heldout import Unseen


def main(params: Params, seed: int, branch: str) -> None:
    experiment = Experiment(params, seed)
    unseen = Unseen(experiment)
    test = unseen.test()
    pixels = PixelSpace.of(experiment.dataset, test.x)
    pairs = unseen.pairs(branch, params.ood.every)
    rows: list[dict[str, float | str]] = []

    def evaluate(shift: str, strength: float, objective: Objective) -> None:
        for pair in pairs:
            for iterate, state in enumerate(pair):
                loss, accuracy = objective.loss_and_accuracy(state.theta)
                rows.append(
                    {
                        "step": pair[0].step,
                        "time": pair[0].time,
                        "iterate": iterate,
                        "shift": shift,
                        "strength": strength,
                        "examples": len(objective),
                        "loss": loss,
                        "accuracy": accuracy,
                    }
                )

    for group, objective in unseen.heldout().items():
        evaluate(f"heldout_{group}", 0, objective)
    entropy = (params.ood.seed, seed) if params.replicate == "all" else (params.ood.seed,)
    shifted = shifted_inputs(test.x, test.y, experiment.prototypes.v_diff, pixels, params.ood, entropy)
    for one in tqdm(shifted, desc=f"ood {branch}", unit="shift", disable=None):
        evaluate(one.shift, one.strength, test.with_inputs(one.x))
    write_rows(records_folder(seed, branch) / "ood.csv", rows)


if __name__ == "__main__":
    stage(main, "seed", "branch")
