"""Attack the network at the checkpoints of one branch: accuracy on test data and on each held-out group (figure 9)."""

import json

from tqdm import tqdm

from common import STRENGTHS, load, records_folder, stage
from edgewise.data.files import write_rows
from edgewise.data.pixels import PixelSpace
from edgewise.errors import EdgewiseError
from edgewise.params import Params, RobustnessParams
from edgewise.unseen.attacks import attack
from experiment import Experiment
from heldout import Unseen


def main(params: Params, seed: int, branch: str) -> None:
    experiment = Experiment(params, seed)
    unseen = Unseen(experiment)
    most = params.robustness.examples
    subsets = {"test": unseen.test(most, params.robustness.seed), **unseen.heldout(most)}
    pixels = PixelSpace.of(experiment.dataset, subsets["test"].x)
    epsilons = load(STRENGTHS, strengths) if experiment.dataset.of_images else []  # attacks are stated in pixels
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


def strengths(content: bytes) -> list[float]:
    """The strengths that the stage of that name wrote: such as params.yaml could name."""
    try:
        epsilons = RobustnessParams(epsilons=json.loads(content)["epsilons"]).epsilons
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise EdgewiseError("not a file of edgewise, or a damaged one") from error
    if isinstance(epsilons, str):
        raise EdgewiseError("not a file of edgewise, or a damaged one")
    return epsilons


if __name__ == "__main__":
    stage(main, "seed", "branch")
