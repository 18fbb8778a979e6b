"""Where the groups lie: distances to the centroid, and positions along the axis between the classes."""

from collections.abc import Mapping

import numpy as np
import pandas as pd

from edgewise.data.files import Array
from edgewise.data.groups import CONTROLS, NATURAL, Examples, GroupedData
from edgewise.inference.tables import over_seeds

#: Examples of each group, and natural ones, shown in figure 1, about.
SHOWN = 400


def geometry_tables(seeds: Mapping[int, GroupedData]) -> dict[str, pd.DataFrame]:
    """The tables under plots/tables/ that show the geometry, by name; positions are of the first seed."""
    return {
        "centroid_distance": over_seeds([centroid_distances(data) for data in seeds.values()]),
        "taxonomy": taxonomy(next(iter(seeds.values()))),
    }


def centroid_distances(data: GroupedData) -> pd.DataFrame:
    """The quantile function of distances to the own centroid: one row a quantile, one column a group or control."""
    train, heldout = data.train, data.heldout
    columns = {
        name: np.concatenate([examples.distance[examples.members[name]] for examples in (train, heldout)])
        for name in (NATURAL, *data.groups)
    }
    columns |= {name: getattr(data, name).distance for name in CONTROLS}
    quantiles = np.linspace(0, 1, 101)
    table = {name: np.quantile(distances, quantiles) for name, distances in columns.items()}
    return pd.DataFrame(table, index=pd.Index(quantiles, name="quantile"))


def taxonomy(data: GroupedData) -> pd.DataFrame:
    """Positions of the groups, the controls and some natural examples, along and away from the centroids' axis."""

    def positions(examples: Examples, group: Array) -> pd.DataFrame:
        along, away = examples.position.T
        return pd.DataFrame({"group": group, "label": examples.y, "along": along, "away": away})

    def some(group: str) -> pd.DataFrame:
        members = positions(data.train, np.array(group))[data.train.members[group]]
        return members[:: max(1, len(members) // SHOWN)]

    groups = [some(group) for group in data.groups]
    controls = [positions(getattr(data, name), np.array(name)) for name in CONTROLS]
    # In the order of the training data.
    return pd.concat([some(NATURAL), pd.concat(groups).sort_index(kind="stable"), *controls]).set_index("group")
