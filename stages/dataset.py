"""Take the classes from a data source and write it, normalised, as one self-describing file."""

from common import DATASET, stage
from edgewise.data.files import write_atomically
from edgewise.params import Params
from edgewise.sources import load_dataset


def main(params: Params) -> None:
    dataset = load_dataset(params.dataset, params.groups)
    params.require_groups(list(dataset.groups))
    write_atomically(DATASET, dataset.to_bytes())


if __name__ == "__main__":
    stage(main)
