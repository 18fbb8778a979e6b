"""Tables of several seeds as one: aligned at onset, averaged, with intervals."""

from collections.abc import Callable, Sequence

import numpy as np
import pandas as pd

from edgewise.data.files import Array
from edgewise.inference.intervals import Scale, mean_over_seeds, plain


def since_onset(table: pd.DataFrame, t_star: int, spacing: int = 1) -> pd.DataFrame:
    """Index a run's records by steps since onset, in multiples of `spacing`.

    Measurements before onset were made at multiples of `spacing` since initialisation, which are not the same distance
    from t* in every seed; each is put at the nearest multiple.
    """
    return on_grid(table.drop(columns="step"), (table["step"] - t_star).to_numpy(float), spacing)


def on_grid(table: pd.DataFrame, position: Array, spacing: float = 1) -> pd.DataFrame:
    """Index a table by the multiples of `spacing` that are nearest to the rows' positions [n].

    Of two as near it is the larger. Where several rows would have one multiple, the one nearest to it is kept, so none
    displaces another that is in its place.
    """
    place = np.floor(position / spacing + 0.5 + 1e-9) * spacing
    placed = table.set_axis(pd.Index(place.astype(int), name="step"))
    nearest_first = placed.iloc[np.argsort(np.abs(position - place), kind="stable")]
    return nearest_first[~nearest_first.index.duplicated()].sort_index()


def over_seeds(tables: Sequence[pd.DataFrame], scale: Callable[[str], Scale] = lambda column: plain()) -> pd.DataFrame:
    """Mean and 95 % t interval of equal tables of several seeds, on the rows that all of them have.

    Parameters
    ----------
    scale : on which a column is averaged, by its name

    Returns
    -------
    For every column c: c, c_low, c_high; the last two are empty with one seed
    """
    shared = tables[0].index
    for table in tables[1:]:
        shared = shared.intersection(table.index)
    columns: dict[str, Array] = {}
    for name in tables[0].columns:
        values = np.stack([table.loc[shared, name].to_numpy(float) for table in tables])
        mean, low, high = mean_over_seeds(values, scale(str(name)))
        columns |= {str(name): mean, f"{name}_low": low, f"{name}_high": high}
    return pd.DataFrame(columns, index=shared).sort_index()


def stands_for(position: Array, spacing: float | None = None, since: float = -np.inf) -> Array:
    """How many checkpoints `spacing` apart each of those at `position` [n] stands for, at least 1: [n].

    Each stands for those after the one before it, and none before `since`. `spacing` is by default that of the first
    two. Where checkpoints are regular, but for a last one that comes early, all stand for themselves.

    >>> stands_for(np.array([0, 10, 20, 40, 60, 100, 110]))
    array([1, 1, 1, 2, 2, 4, 1])
    """
    spacing = spacing or float(np.ptp(position[:2])) or 1.0
    gaps = np.diff(np.maximum(position, since - spacing))
    counts: Array = np.maximum(1, np.rint(gaps / spacing)).astype(int)
    return np.concatenate([[1], counts])


def as_if_regular(
    table: pd.DataFrame, position: Array | None = None, spacing: float | None = None, since: float = -np.inf
) -> pd.DataFrame:
    """What was measured along a run from `since` on, each checkpoint as often as it `stands_for` regular ones.

    So a mean over the rows is one over training time, and half of the rows are half of it. `position` [n] is by default
    the column time.
    """
    position = table["time"].to_numpy() if position is None else position
    counts = stands_for(position, spacing, since) * (position * (1 + 1e-9) >= since)
    return table.iloc[np.repeat(np.arange(len(table)), counts)]


def second_half(table: pd.DataFrame) -> pd.DataFrame:
    """The later half of the rows: where a branch is summarised."""
    return table.iloc[len(table) // 2 :]
