"""Make the four groups and add them to the training data (figures 1 and 15)."""

from common import DATASET, PROTOTYPES, load, stage
from edgewise.data.examples import Dataset
from edgewise.data.files import write_atomically
from edgewise.data.groups import build_prototypes
from edgewise.params import Params


def main(params: Params) -> None:
    dataset = load(DATASET, Dataset.from_bytes)
    write_atomically(
        PROTOTYPES, build_prototypes(dataset, params.prototypes, params.alpha, params.direction).to_bytes()
    )


if __name__ == "__main__":
    stage(main)
