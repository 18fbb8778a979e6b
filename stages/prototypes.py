"""Choose a seed's training images and the images of its groups (figures 1 and 15)."""

from common import DATASET, load, prototypes_file, stage
from edgewise.data.examples import Dataset
from edgewise.data.files import write_atomically
from edgewise.data.groups import choose_prototypes
from edgewise.params import Params


def main(params: Params, seed: int) -> None:
    dataset = load(DATASET, Dataset.from_bytes)
    prototypes = choose_prototypes(
        dataset,
        params.prototypes,
        params.dataset.n,
        params.alpha,
        params.direction,
        seed=seed,
        replicate=params.replicate,
        groups=params.groups,
    )
    write_atomically(prototypes_file(seed), prototypes.to_bytes())


if __name__ == "__main__":
    stage(main, "seed")
