"""Edge flow's prediction of who gains, beside what was measured.

It is started from the pair of iterates at onset and sees nothing later. Predicted is the loss along the baseline; the
loss away from the edge is measured, that of gradient flow where the branch was run, else of the exit branch.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from edgewise.data.files import Array
from edgewise.inference.gains import at_times, delta_loss, two_step_average
from edgewise.inference.intervals import LOG, correlation, estimate, plain, spearman
from edgewise.inference.metrics import as_dict
from edgewise.inference.records import SeedRecords, Seeds
from edgewise.inference.tables import over_seeds, second_half

#: The relative error up to which a prediction counts as following the run.
FOLLOWS = 0.1


def has_prediction(seeds: Seeds) -> bool:
    """Whether there is a model of the optimiser, and so a prediction."""
    return all("loss" in records.edge_flow for records in seeds.values())


def reference(records: SeedRecords) -> str:
    """The branch away from the edge that the baseline is compared with: gradient flow, or the exit branch."""
    return "flow" if "flow" in records.branches else "exit"


def loss_away(records: SeedRecords, names: Sequence[str] | None = None) -> pd.DataFrame:
    """The measured loss away from the edge at the times of the prediction, as far as it goes; one row a step.

    Here and below: of all groups, if no names of groups or strata are given.
    """
    names = records.groups if names is None else names
    away, times = records.steps[reference(records)], records.edge_flow["time"].to_numpy()
    time = two_step_average((away["time"] - away["time"].iloc[0]).to_numpy())
    losses = two_step_average(away[[f"loss_{name}" for name in names]].to_numpy())
    covered = times[times <= time[-1] * (1 + 1e-9)]
    index = pd.RangeIndex(len(covered), name="step")
    return pd.DataFrame(at_times(covered, time, losses), columns=list(names), index=index)


def predicted_loss(records: SeedRecords, names: Sequence[str] | None = None) -> pd.DataFrame:
    """The loss at the edge that edge flow predicts, indexed as `loss_away`; it may go further."""
    names = records.groups if names is None else names
    losses = records.edge_flow[[f"loss_{name}" for name in names]].to_numpy()
    return pd.DataFrame(losses, columns=list(names), index=pd.RangeIndex(len(losses), name="step"))


def predicted_delta_loss(records: SeedRecords, names: Sequence[str] | None = None) -> pd.DataFrame:
    """Delta l_k(t) at equal training time, with edge flow in place of the baseline; indexed as `gains.delta_loss`."""
    away = loss_away(records, names)
    return away - predicted_loss(records, names).loc[away.index]


def both(records: SeedRecords, names: Sequence[str] | None = None) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Delta l_k(t) at equal training time as measured and as predicted, on the times that both have."""
    measured, predicted = delta_loss(records, reference(records), "time", names), predicted_delta_loss(records, names)
    shared = measured.index.intersection(predicted.index)
    return measured.loc[shared], predicted.loc[shared]


def error_over_time(records: SeedRecords) -> pd.Series:
    """|predicted - measured| of the vector of the groups' Delta l_k at every time, over its root-mean-square length.

    Not over its length at that time, which begins near 0.
    """
    measured, predicted = both(records)
    size = np.sqrt(np.mean(np.sum(measured.to_numpy() ** 2, axis=1)))
    return pd.Series(np.linalg.norm(predicted - measured, axis=1) / size, index=measured.index)


def split_delta_loss(records: SeedRecords, names: Sequence[str] | None = None) -> pd.DataFrame:
    """Delta l_k(t) at equal training time as path - oscillation, at the baseline's checkpoints.

    delta_<name> is Delta l_k; path_<name> is the loss away from the edge less that at the centre of the oscillation:
    where the edge leads; oscillation_<name> is what the oscillation adds at the edge. Indexed by steps since onset.
    """
    names = records.groups if names is None else names
    whole = delta_loss(records, reference(records), "time", names)
    at_edge = two_step_average(records.steps["baseline"][[f"loss_{name}" for name in names]].to_numpy())
    steps = records.decomposition["step"] - records.t_star
    table = records.decomposition.set_index(pd.Index(steps, name="step"))
    table = table.loc[table.index.intersection(whole.index)]
    columns = {}
    for i, name in enumerate(names):
        away = whole.loc[table.index, name] + at_edge[table.index, i]
        columns[f"delta_{name}"] = whole.loc[table.index, name]
        columns[f"path_{name}"] = away - table[f"centre_loss_{name}"]
        columns[f"oscillation_{name}"] = table[f"oscillation_cost_{name}"]
    return pd.DataFrame(columns)


def follows_until(records: SeedRecords) -> int:
    """The first step at which the error is above `FOLLOWS`; the horizon if it never is."""
    error = error_over_time(records)
    beyond = error.index[error.to_numpy() > FOLLOWS]
    return int(beyond[0]) if len(beyond) else int(error.index[-1]) + 1


def settled(records: SeedRecords, names: Sequence[str]) -> tuple[Array, Array]:
    """Measured and predicted gains [names] of the settled part."""
    measured, predicted = both(records, names)
    return second_half(measured).mean().to_numpy(), second_half(predicted).mean().to_numpy()


def theory_metrics(seeds: Seeds) -> dict[str, Any]:
    """How well edge flow predicts who gains (metrics/theory.json), at equal training time.

    * groups: settled gains measured and predicted, and the mean error of the settled part relative to the mean size of
      the gain there;
    * rank_correlation, linear_correlation: over groups and strata, within a seed;
    * follows_until: the first step at which the error of the groups' gains together is above 10 % of their size;
    * sharpness_ratio: the curvature along the predicted oscillation in the settled part, over the threshold.
    """
    if not has_prediction(seeds):
        reason = (
            "edge flow is a model of gradient descent (optimizer.name gd) alone, or it diverged in one of the seeds"
        )
        return {"edge_flow": None, "reason": reason}
    records = list(seeds.values())
    groups: dict[str, Any] = {}
    pairs = [both(r) for r in records]
    for group in records[0].groups:
        late = [(second_half(measured)[group], second_half(predicted)[group]) for measured, predicted in pairs]
        groups[group] = {
            "measured": as_dict(estimate([float(m.mean()) for m, _ in late])),
            "predicted": as_dict(estimate([float(p.mean()) for _, p in late])),
            "relative_error": as_dict(estimate([float((p - m).abs().mean() / m.abs().mean()) for m, p in late])),
        }
    points = [settled(r, r.tracked) for r in records]
    count = len(points[0][0])
    return {
        "edge_flow": {
            "reference": reference(records[0]),
            "groups": groups,
            "rank_correlation": as_dict(estimate([spearman(m, p) for m, p in points], correlation(count))),
            "linear_correlation": [float(np.corrcoef(m, p)[0, 1]) for m, p in points],
            "follows_until": as_dict(estimate([float(follows_until(r)) for r in records])),
            "sharpness_ratio": as_dict(
                estimate([float(second_half(r.edge_flow)["sharpness"].mean() / r.setting.threshold) for r in records])
            ),
        },
        "seeds": list(seeds),
    }


def settled_path(records: SeedRecords, names: Sequence[str] | None = None) -> Array:
    """The path term of `split_delta_loss` [names], averaged over the checkpoints of the settled part."""
    names = records.groups if names is None else names
    split = split_delta_loss(records, names)
    late = split[split.index >= records.setting.steps / 2]
    path: Array = late[[f"path_{name}" for name in names]].mean().to_numpy()
    return path


def gain_if_the_edge_stood_still(records: SeedRecords, names: Sequence[str]) -> Array:
    """Settled gains [names], had the losses at the edge stayed what they were at onset: the loss away from it alone."""
    away = second_half(loss_away(records, names)).mean()
    found: Array = (away - predicted_loss(records, names).iloc[0]).to_numpy()
    return found


def prediction_tables(seeds: Seeds) -> dict[str, pd.DataFrame]:
    """The tables under plots/tables/ that show the prediction: over time, and a row a seed and group or stratum.

    Where there is no model there is the split of the measured Delta l_k alone.
    """
    records = list(seeds.values())
    tables = {"decomposition": over_seeds([split_delta_loss(r) for r in records])}
    if not has_prediction(seeds):
        return tables
    over_time = []
    for r in records:
        measured, predicted = both(r)
        table = pd.concat([measured.add_prefix("measured_"), predicted.add_prefix("predicted_")], axis=1)
        over_time.append(table.assign(error=error_over_time(r)))
    rows = []
    for seed, r in seeds.items():
        names = r.tracked
        for name, measured, predicted in zip(names, *settled(r, names), strict=True):
            kind = "group" if name in r.groups else "stratum"
            rows.append({"seed": seed, "name": name, "kind": kind, "measured": measured, "predicted": predicted})
    return tables | {
        "prediction": over_seeds(over_time, lambda column: LOG if column == "error" else plain()),
        "predicted_gains": pd.DataFrame(rows).set_index("seed"),
    }
