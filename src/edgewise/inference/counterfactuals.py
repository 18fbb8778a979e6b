"""Who pays for whom: what the gains of the groups would be with one group left out.

Two ways to leave a group out. *At the centre*: it goes on to be trained on, and its gradient is taken at the centre of
the oscillation, so that it neither grows nor holds it; there is no such training, and only edge flow can say what would
be. *Removed* from the training data: edge flow predicts that too, and the run was made.

What leaving a group out does to another is the change of its predicted gain. The loss away from the edge stays what it
is, so that is the loss at the edge with all groups less that without the one.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from edgewise.data.files import Array
from edgewise.inference.gains import two_step_average
from edgewise.inference.intervals import correlation, estimate, spearman
from edgewise.inference.metrics import as_dict
from edgewise.inference.predictions import EDGE_FLOW, has_prediction
from edgewise.inference.records import SeedRecords, Seeds
from edgewise.inference.tables import over_seeds, second_half


def has_counterfactuals(seeds: Seeds) -> bool:
    """Whether groups were left out, and edge flow predicted what that does, in every seed."""
    every = [one for records in seeds.values() for one in records.left_out.values()]
    return (
        bool(every)
        and has_prediction(seeds)
        and all("loss" in table for one in every for table in (one.at_centre, one.removed_predicted))
    )


def _settled(table: pd.DataFrame, names: Sequence[str], steps: int) -> Array:
    """The mean losses [names] of the later half of the first `steps` rows."""
    found: Array = second_half(table[[f"loss_{name}" for name in names]].iloc[:steps]).mean().to_numpy()
    return found


def _averages(table: pd.DataFrame) -> pd.DataFrame:
    """The two-step averages of a run's records."""
    return pd.DataFrame(two_step_average(table.to_numpy()), columns=table.columns)


def at_the_centre(records: SeedRecords, group: str, names: Sequence[str] | None = None) -> Array:
    """The change of the predicted settled gains [names], or of all groups, if `group` is kept at the centre."""
    tables = (records.predictions[EDGE_FLOW], records.left_out[group].at_centre)
    with_all, without = (_settled(table, names or records.groups, records.setting.steps) for table in tables)
    return with_all - without


def others(records: SeedRecords, group: str) -> list[str]:
    """The other groups, and the strata."""
    return [name for name in records.tracked if name != group]


def removed(records: SeedRecords, group: str) -> tuple[Array, Array]:
    """The change of the settled gains of all `others` where `group` is removed: (measured, predicted)."""
    steps, names, without = records.setting.steps, others(records, group), records.left_out[group]
    runs = (_averages(records.steps["baseline"]), _averages(without.removed))
    measured = [_settled(run, names, steps) for run in runs]
    predicted = [_settled(table, names, steps) for table in (records.predictions[EDGE_FLOW], without.removed_predicted)]
    return measured[0] - measured[1], predicted[0] - predicted[1]


def counterfactual_metrics(seeds: Seeds) -> dict[str, Any] | None:
    """The key `left_out` of metrics/theory.json; null where no group was left out, or there is no model.

    * at_centre: by group left out, the change of the predicted settled gain of every group;
    * removed: by group removed, the same measured and predicted, of every other group, with rank_correlation and
      linear_correlation over the other groups and the strata, and relative_error, the length of the error over that of
      what was measured.
    """
    if not has_counterfactuals(seeds):
        return None
    records = list(seeds.values())
    changes: dict[str, Any] = {}
    checked: dict[str, Any] = {}
    for group in records[0].left_out:
        change = np.array([at_the_centre(r, group) for r in records])
        changes[group] = {name: as_dict(estimate(change[:, i])) for i, name in enumerate(records[0].groups)}
        pairs = [removed(r, group) for r in records]
        measured, predicted = (np.array(side) for side in zip(*pairs, strict=True))
        error = np.linalg.norm(predicted - measured, axis=1) / np.linalg.norm(measured, axis=1)
        names = others(records[0], group)
        checked[group] = {
            "groups": {
                name: {"measured": as_dict(estimate(measured[:, i])), "predicted": as_dict(estimate(predicted[:, i]))}
                for i, name in enumerate(names)
                if name in records[0].groups
            },
            "rank_correlation": as_dict(estimate([spearman(*pair) for pair in pairs], correlation(len(names)))),
            "linear_correlation": [float(np.corrcoef(*pair)[0, 1]) for pair in pairs],
            "relative_error": as_dict(estimate(error)),
        }
    return {"at_centre": changes, "removed": checked}


def counterfactual_tables(seeds: Seeds) -> dict[str, pd.DataFrame]:
    """The tables under plots/tables/ of who pays for whom; none where no group was left out, or there is no model.

    counterfactuals: a row a group left out, a column a group whose predicted gain changes. removed: a row a seed, group
    removed and other group or stratum.
    """
    if not has_counterfactuals(seeds):
        return {}
    changes, rows = [], []
    for seed, records in seeds.items():
        index = pd.Index(list(records.left_out), name="left_out")
        values = [at_the_centre(records, group) for group in records.left_out]
        changes.append(pd.DataFrame(values, columns=list(records.groups), index=index))
        for group in records.left_out:
            for name, measured, predicted in zip(others(records, group), *removed(records, group), strict=True):
                kind = "group" if name in records.groups else "stratum"
                row = {"seed": seed, "removed": group, "name": name, "kind": kind}
                rows.append({**row, "measured": measured, "predicted": predicted})
    return {"counterfactuals": over_seeds(changes), "removed": pd.DataFrame(rows).set_index("seed")}
