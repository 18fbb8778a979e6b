"""Attack the network at the checkpoints of one branch: accuracy on test data and on each held-out group (figure 9)."""

from tqdm import tqdm

from common import checkpoints_folder, records_folder, stage
from edgewise.data.files import write_rows
from edgewise.data.pixels import PixelSpace
from edgewise.params import Params
from edgewise.unseen.attacks import attack
from experiment import Experiment
from heldout import Unseen


def main(params: Params, seed: int, branch: str) -> None:
    unseen = Unseen(Experiment(params))
    subsets = {"test": unseen.test(params.robustness.examples), **unseen.heldout()}
    pixels = PixelSpace.of(unseen.dataset, subsets["test"].x)
    states = unseen.states(checkpoints_folder(seed, branch), params.robustness.every)
    rows: list[dict[str, float | str]] = []
    for state in tqdm(states, desc=f"robustness {branch}", unit="checkpoint", disable=None):
        for subset, objective in subsets.items():
            about: dict[str, float | str] = {
                "step": state.step,
                "time": state.time,
                "subset": subset,
                "norm": params.robustness.norm,
            }
            for attacked in attack(objective, state.theta, pixels, params.robustness):
                rows.extend({**about, **row} for row in attacked.rows())
    write_rows(records_folder(seed, branch) / "robustness.csv", rows)


if __name__ == "__main__":
    stage(main, "seed", "branch")
