"""Who pays for whom: what the losses of the groups at the edge would be with one group left out.

Two ways to leave a group out, from onset on. *At the centre*: it goes on to be trained on, and its gradient is taken at
the centre of the oscillation, so that it neither grows nor holds it. *Removed*: it is no longer trained on. Edge flow
predicts both, and both runs were made.

What leaving a group out does to another is by how much lower the loss of the other is at the edge. Away from the edge
nothing oscillates, and a gradient at the centre is the gradient: at the centre it is the change of the other's gain.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from edgewise.data.files import Array
from edgewise.inference.gains import two_step_average
from edgewise.inference.intervals import LOG, correlation, estimate, spearman
from edgewise.inference.metrics import as_dict
from edgewise.inference.predictions import EDGE_FLOW, has_prediction
from edgewise.inference.records import SeedRecords, Seeds, Way
from edgewise.inference.tables import over_seeds, second_half

#: The ways to leave a group out, in the order of the figure.
WAYS: tuple[Way, ...] = ("at_centre", "removed")


def has_counterfactuals(seeds: Seeds) -> bool:
    """Whether groups were left out, and edge flow predicted what that does, in every seed."""
    every = [one for records in seeds.values() for one in records.left_out.values()]
    tables = [table for one in every for table in one.predicted.values()]
    return bool(every) and has_prediction(seeds) and all("loss" in table for table in tables)


def affected(seeds: Seeds, group: str, way: Way) -> list[str]:
    """The groups and strata whose loss is known without `group` in every seed.

    Removed, it has none itself, nor has a group or stratum all of whose examples were in it.
    """
    of_runs = [records.left_out[group].measured[way].columns for records in seeds.values()]
    tracked = next(iter(seeds.values())).tracked
    return [name for name in tracked if all(f"loss_{name}" in columns for columns in of_runs)]


def lower_without(records: SeedRecords, group: str, way: Way, names: Sequence[str]) -> tuple[Array, Array]:
    """By how much lower the settled losses of the groups and strata are without `group`: (measured, predicted)."""
    without = records.left_out[group]
    runs = (_averages(records.steps["baseline"]), _averages(without.measured[way]))
    models = (records.predictions[EDGE_FLOW], without.predicted[way])
    steps = records.setting.steps
    measured, predicted = ([_settled(table, names, steps) for table in tables] for tables in (runs, models))
    return measured[0] - measured[1], predicted[0] - predicted[1]


def _settled(table: pd.DataFrame, names: Sequence[str], steps: int) -> Array:
    """The mean losses [names] of the later half of the first `steps` rows."""
    found: Array = second_half(table[[f"loss_{name}" for name in names]].iloc[:steps]).mean().to_numpy()
    return found


def _averages(table: pd.DataFrame) -> pd.DataFrame:
    """The two-step averages of a run's records."""
    return pd.DataFrame(two_step_average(table.to_numpy()), columns=table.columns)


def counterfactual_metrics(seeds: Seeds) -> dict[str, Any] | None:
    """The key `left_out` of metrics/theory.json; null where no group was left out, or there is no model.

    By way and group left out: `lower`, by how much lower the settled loss of every affected group is, measured and
    predicted; rank_correlation and linear_correlation of the two over groups and strata; relative_error, the length of
    the error over that of what was measured.
    """
    if not has_counterfactuals(seeds):
        return None
    first = next(iter(seeds.values()))
    return {way: {group: _compared(seeds, group, way) for group in first.left_out} for way in WAYS}


def _compared(seeds: Seeds, group: str, way: Way) -> dict[str, Any]:
    first = next(iter(seeds.values()))
    names = affected(seeds, group, way)
    pairs = [lower_without(records, group, way, names) for records in seeds.values()]
    measured, predicted = (np.array(side) for side in zip(*pairs, strict=True))
    error = np.linalg.norm(predicted - measured, axis=1) / np.linalg.norm(measured, axis=1)
    return {
        "lower": {
            name: {"measured": as_dict(estimate(measured[:, i])), "predicted": as_dict(estimate(predicted[:, i]))}
            for i, name in enumerate(names)
            if name in first.groups
        },
        "rank_correlation": as_dict(estimate([spearman(*pair) for pair in pairs], correlation(len(names)))),
        "linear_correlation": [float(np.corrcoef(*pair)[0, 1]) for pair in pairs],
        "relative_error": as_dict(estimate(error, LOG)),
    }


def counterfactual_tables(seeds: Seeds) -> dict[str, pd.DataFrame]:
    """The tables under plots/tables/ of who pays for whom; none where no group was left out, or there is no model.

    counterfactuals: a row a group at the centre, a column a group whose predicted gain changes. left_out: a row a seed,
    way, group left out and affected group or stratum.
    """
    if not has_counterfactuals(seeds):
        return {}
    matrices, rows = [], []
    for seed, records in seeds.items():
        matrix = {}
        for group in records.left_out:
            for way in WAYS:
                names = affected(seeds, group, way)
                measured, predicted = lower_without(records, group, way, names)
                for name, *values in zip(names, measured, predicted, strict=True):
                    kind = "group" if name in records.groups else "stratum"
                    about = {"seed": seed, "way": way, "left_out": group, "name": name, "kind": kind}
                    rows.append({**about, **dict(zip(("measured", "predicted"), values, strict=True))})
                if way == "at_centre":
                    matrix[group] = dict(zip(names, predicted, strict=True))
        table = pd.DataFrame(matrix).T[list(records.groups)]
        matrices.append(table.rename_axis("left_out"))
    return {"counterfactuals": over_seeds(matrices), "left_out": pd.DataFrame(rows).set_index("seed")}
