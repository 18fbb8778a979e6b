"""Make the four groups, add them to the training data, and write where they lie (figures 1 and 15)."""

import numpy as np
import pandas as pd

from common import DATASET, PROTOTYPES, load, stage, write_plot
from edgewise.data.examples import Dataset
from edgewise.data.files import Array, write_atomically
from edgewise.data.groups import GROUPS, NATURAL, Examples, Prototypes, build_prototypes
from edgewise.params import Params

CONTROLS = ("control_coherent", "control_random")
#: Natural examples shown in figure 1.
SHOWN = 400


def main(params: Params) -> None:
    dataset = load(DATASET, Dataset.from_bytes)
    prototypes = build_prototypes(dataset, params.prototypes, params.alpha, params.direction)
    write_atomically(PROTOTYPES, prototypes.to_bytes())
    write_plot("centroid_distance", centroid_distances(prototypes))
    write_plot("taxonomy", taxonomy(prototypes))


def centroid_distances(prototypes: Prototypes) -> pd.DataFrame:
    """The quantile function of distances to the own centroid: one row a quantile, one column a group or control."""
    train, heldout = prototypes.train, prototypes.heldout
    distance, group = (np.concatenate([getattr(e, name) for e in (train, heldout)]) for name in ("distance", "group"))
    columns = {name: distance[group == name] for name in (NATURAL, *GROUPS)}
    columns |= {name: getattr(prototypes, name).distance for name in CONTROLS}
    quantiles = np.linspace(0, 1, 101)
    table = {name: np.quantile(distances, quantiles) for name, distances in columns.items()}
    return pd.DataFrame(table, index=pd.Index(quantiles, name="quantile"))


def taxonomy(prototypes: Prototypes) -> pd.DataFrame:
    """Positions of the groups, the controls and some natural examples, along and away from the centroids' axis."""

    def positions(examples: Examples, group: Array) -> pd.DataFrame:
        along, away = examples.position.T
        return pd.DataFrame({"group": group, "label": examples.y, "along": along, "away": away})

    train = positions(prototypes.train, prototypes.train.group)
    natural = train[train.group == NATURAL]
    controls = [positions(getattr(prototypes, name), np.array(name)) for name in CONTROLS]
    shown = [natural[:: max(1, len(natural) // SHOWN)], train[train.group != NATURAL], *controls]
    return pd.concat(shown).set_index("group")


if __name__ == "__main__":
    stage(main)
