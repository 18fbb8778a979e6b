"""Where the groups lie: distances to the centroid, and positions along the axis between the classes."""

from collections.abc import Mapping

import numpy as np
import pandas as pd

from edgewise.data.displacement import DIRECTIONS
from edgewise.data.files import Array
from edgewise.data.groups import GROUPS, NATURAL, Examples, GroupedData
from edgewise.inference.tables import over_seeds

CONTROLS = tuple(f"control_{direction}" for direction in DIRECTIONS)
#: Natural examples shown in figure 1.
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
    distance, group = (np.concatenate([getattr(e, name) for e in (train, heldout)]) for name in ("distance", "group"))
    columns = {name: distance[group == name] for name in (NATURAL, *GROUPS)}
    columns |= {name: getattr(data, name).distance for name in CONTROLS}
    quantiles = np.linspace(0, 1, 101)
    table = {name: np.quantile(distances, quantiles) for name, distances in columns.items()}
    return pd.DataFrame(table, index=pd.Index(quantiles, name="quantile"))


def taxonomy(data: GroupedData) -> pd.DataFrame:
    """Positions of the groups, the controls and some natural examples, along and away from the centroids' axis."""

    def positions(examples: Examples, group: Array) -> pd.DataFrame:
        along, away = examples.position.T
        return pd.DataFrame({"group": group, "label": examples.y, "along": along, "away": away})

    train = positions(data.train, data.train.group)
    natural = train[train.group == NATURAL]
    controls = [positions(getattr(data, name), np.array(name)) for name in CONTROLS]
    shown = [natural[:: max(1, len(natural) // SHOWN)], train[train.group != NATURAL], *controls]
    return pd.concat(shown).set_index("group")
