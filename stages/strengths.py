"""The strengths of the attacks: those of params.yaml, or those that leave part of the accuracy at onset; if images."""

import json

from common import DATASET, STRENGTHS, load, stage
from edgewise.data.examples import Dataset
from edgewise.data.files import write_atomically
from edgewise.data.pixels import PixelSpace
from edgewise.params import Params
from edgewise.unseen.attacks import calibrated_strengths
from experiment import Experiment
from heldout import Unseen


def main(params: Params, seed: int) -> None:
    epsilons = params.robustness.epsilons
    if not load(DATASET, Dataset.from_bytes).of_images:
        print("robustness: does not apply, because attacks are stated in pixels and these data are no images")
        epsilons = []
    elif epsilons == "auto":
        experiment = Experiment(params, seed)
        unseen = Unseen(experiment)
        test = unseen.test(params.robustness.examples, params.robustness.seed)
        pixels = PixelSpace.of(experiment.dataset, test.x)
        epsilons = calibrated_strengths(test, unseen.onset().theta, pixels, params.robustness)
    content = {"epsilons": epsilons, "calibrated": params.robustness.epsilons == "auto"}
    write_atomically(STRENGTHS, (json.dumps(content) + "\n").encode())


if __name__ == "__main__":
    stage(main, "seed")
