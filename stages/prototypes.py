"""Make the four groups, add them to the training data, and write where they lie (figures 1 and 15)."""

import numpy as np
import pandas as pd

from common import DATASET, PROTOTYPES, read, stage, write_plot
from edgewise.datasets import Dataset
from edgewise.files import write_atomically
from edgewise.params import Params
from edgewise.prototypes import GROUPS, NATURAL, Prototypes, build_prototypes

#: Natural examples shown in figure 1.
SHOWN = 400


def main(params: Params) -> None:
    dataset = Dataset.from_bytes(read(DATASET))
    prototypes = build_prototypes(dataset, params.prototypes, params.alpha, params.direction)
    write_atomically(PROTOTYPES, prototypes.to_bytes())
    write_plot("centroid_distance", centroid_distances(prototypes))
    write_plot("taxonomy", taxonomy(prototypes))


def centroid_distances(prototypes: Prototypes) -> pd.DataFrame:
    """The quantile function of each group's distances to its own centroid: one row a quantile, one column a group."""
    distance = np.concatenate([prototypes.train_distance, prototypes.heldout_distance])
    group = np.concatenate([prototypes.train_group, prototypes.heldout_group])
    quantiles = np.linspace(0, 1, 101)
    columns = {name: np.quantile(distance[group == name], quantiles) for name in (NATURAL, *GROUPS)}
    return pd.DataFrame(columns, index=pd.Index(quantiles, name="quantile"))


def taxonomy(prototypes: Prototypes) -> pd.DataFrame:
    """Position of every trained group example and of some natural ones, along and away from the centroids' axis."""
    natural = np.flatnonzero(prototypes.train_group == NATURAL)
    shown = natural[:: max(1, len(natural) // SHOWN)]
    members = np.concatenate([shown, np.flatnonzero(prototypes.train_group != NATURAL)])
    columns = {
        "group": prototypes.train_group[members],
        "label": prototypes.train_y[members],
        "along": prototypes.train_position[members, 0],
        "away": prototypes.train_position[members, 1],
    }
    return pd.DataFrame(columns).set_index("group")


if __name__ == "__main__":
    stage(main)
