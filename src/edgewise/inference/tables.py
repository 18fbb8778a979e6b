"""Tables of several seeds as one: aligned at onset, averaged, with intervals."""

from collections.abc import Sequence

import numpy as np
import pandas as pd

from edgewise.inference.intervals import mean_over_seeds


def since_onset(table: pd.DataFrame, t_star: int, spacing: int = 1) -> pd.DataFrame:
    """Index a run's records by steps since onset, in multiples of `spacing`.

    Measurements before onset were made at multiples of `spacing` since initialisation, which are not the same distance
    from t* in every seed; each is put at the nearest multiple (the later one of two as near, so that only the last one
    can meet another: onset itself, which is kept).
    """
    relative = (table["step"] - t_star).to_numpy()
    index = pd.Index((np.floor(relative / spacing + 0.5) * spacing).astype(int), name="step")
    placed = table.drop(columns="step").set_index(index)
    return placed[~placed.index.duplicated(keep="last")]


def without_alternation(table: pd.DataFrame) -> pd.DataFrame:
    """Each row averaged with its neighbours, (m_before + 2 m + m_after) / 4: the two-step average of a sparse table.

    At the edge the iterates sit on opposite walls of the valley by turns, and so do checkpoints an odd number of steps
    apart. The average takes out what alternates from row to row and leaves a straight line as it was. The first row,
    initialisation, is as measured; the last is averaged with the one before it.
    """
    before, after = table.shift(1), table.shift(-1)
    after.iloc[-1:] = before.iloc[-1:]
    averaged = (before + 2 * table + after) / 4
    averaged.iloc[:1] = table.iloc[:1]
    return averaged


def over_seeds(tables: Sequence[pd.DataFrame]) -> pd.DataFrame:
    """Mean and 95 % t interval of equal tables of several seeds, on the rows that all of them have.

    Returns
    -------
    For every column c: c, c_low, c_high; the last two are empty with one seed
    """
    shared = tables[0].index
    for table in tables[1:]:
        shared = shared.intersection(table.index)
    mean, low, high = mean_over_seeds(np.stack([table.loc[shared].to_numpy(float) for table in tables]))
    columns: dict[str, np.ndarray] = {}
    for i, name in enumerate(tables[0].columns):
        columns |= {str(name): mean[:, i], f"{name}_low": low[:, i], f"{name}_high": high[:, i]}
    return pd.DataFrame(columns, index=shared).sort_index()


def second_half(table: pd.DataFrame) -> pd.DataFrame:
    """The later half of the rows: where a branch is summarised."""
    return table.iloc[len(table) // 2 :]
