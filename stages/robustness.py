"""Attack the network at the checkpoints of one branch: accuracy on test data and on each held-out group (figure 9)."""

import json

from tqdm import tqdm

from common import STRENGTHS, read, records_folder, stage
from edgewise.data.files import write_rows
from edgewise.data.pixels import PixelSpace
from edgewise.params import Params
from edgewise.unseen.attacks import attack
from experiment import Experiment
from heldout import Unseen


def main(params: Params, seed: int, branch: str) -> None:
    experiment = Experiment(params, seed)
    unseen = Unseen(experiment)
    subsets = {"test": unseen.test(params.robustness.examples, params.robustness.seed), **unseen.heldout()}
    pixels = PixelSpace.of(experiment.dataset, subsets["test"].x)
    epsilons = json.loads(read(STRENGTHS))["epsilons"]
    rows: list[dict[str, float | str]] = []
    pairs = unseen.pairs(branch, params.robustness.every)
    for pair in tqdm(pairs, desc=f"robustness {branch}", unit="checkpoint", disable=None):
        for iterate, state in enumerate(pair):
            for subset, objective in subsets.items():
                about: dict[str, float | str] = {
                    "step": pair[0].step,
                    "time": pair[0].time,
                    "iterate": iterate,
                    "subset": subset,
                    "norm": params.robustness.norm,
                }
                for attacked in attack(objective, state.theta, pixels, params.robustness, epsilons):
                    rows.extend({**about, **row} for row in attacked.rows())
    write_rows(records_folder(seed, branch) / "robustness.csv", rows)


if __name__ == "__main__":
    stage(main, "seed", "branch")
