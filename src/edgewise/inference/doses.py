"""Dose and response: the gain from the edge against the factor on the step size of the run that leaves it.

The exit branch is one dose; the others are further runs from the same state at onset. The gains are at equal training
time. Predicted gains are of edge flow alone, at the step size of the baseline and at that of the dose, both from the
state at onset: nothing that was measured after onset is in them.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd

from edgewise.data.files import Array
from edgewise.inference.gains import at_times, gains
from edgewise.inference.intervals import correlation, estimate, spearman
from edgewise.inference.metrics import as_dict
from edgewise.inference.predictions import EDGE_FLOW, has_prediction, predicted_loss
from edgewise.inference.records import SeedRecords, Seeds
from edgewise.inference.tables import over_seeds, second_half


def factors(records: SeedRecords) -> list[float]:
    """The factors on the step size, that of the exit branch among them, in order."""
    return sorted([records.setting.exit_factor, *records.doses])


def has_doses(seeds: Seeds) -> bool:
    """Whether there are runs at further factors beside the exit branch."""
    return all(records.doses for records in seeds.values())


def has_response(seeds: Seeds) -> bool:
    """Whether there are three factors: of two the rank correlation is 1 or -1, and tells nothing."""
    return all(len(factors(records)) >= 3 for records in seeds.values())


def has_predicted_doses(seeds: Seeds) -> bool:
    """Whether edge flow predicted the baseline and the run of every factor, in every seed."""
    away = [table for records in seeds.values() for table in records.edge_flow_away.values()]
    return has_prediction(seeds) and all("loss" in table for table in away)


def measured_gains(records: SeedRecords, factor: float, names: Sequence[str] | None = None) -> Array:
    """Settled gains [names] at equal training time, against the run at a factor of the step size; or of all groups."""
    away = records.doses.get(factor, records.steps["exit"])
    found = gains(replace(records, steps={**records.steps, "exit": away}), "exit", "time", names)
    values: Array = found.to_numpy()
    return values


def predicted_gains(records: SeedRecords, factor: float, names: Sequence[str] | None = None) -> Array:
    """The same of edge flow at both step sizes."""
    names = records.groups if names is None else names
    away = records.edge_flow_away[factor]
    losses = away[[f"loss_{name}" for name in names]].to_numpy()
    away_from_edge = at_times(records.predictions[EDGE_FLOW]["time"].to_numpy(), away["time"].to_numpy(), losses)
    above = predicted_loss(records, names) - away_from_edge
    found: Array = -second_half(above).mean().to_numpy()
    return found


def response(records: SeedRecords, group: str) -> float:
    """The rank correlation of the size of a group's gain with the distance of the factor from 1, over the factors."""
    doses = factors(records)
    sizes = [abs(measured_gains(records, factor, [group])[0]) for factor in doses]
    return spearman(1 - np.array(doses), np.array(sizes))


def both_sides_predicted(records: SeedRecords) -> tuple[Array, Array]:
    """Measured and predicted gains of groups and strata, against the exit branch."""
    names, factor = records.tracked, records.setting.exit_factor
    return measured_gains(records, factor, names), predicted_gains(records, factor, names)


def dose_metrics(seeds: Seeds) -> dict[str, Any]:
    """The key `dose` of metrics/theory.json.

    * gains: by factor, of every group the settled gain measured and, where there is a model, predicted;
    * rank_correlation: of predicted and measured gains over groups and strata, within a seed, by factor;
    * response: of every group the rank correlation of the size of its gain with the distance of the factor from 1;
      nan without three factors.
    """
    records, predicted = list(seeds.values()), has_predicted_doses(seeds)
    names = records[0].tracked
    by_factor: dict[str, Any] = {}
    ranked: dict[str, Any] = {}
    for factor in factors(records[0]):
        values = {"measured": np.array([measured_gains(r, factor, names) for r in records])}
        if predicted:
            values["predicted"] = np.array([predicted_gains(r, factor, names) for r in records])
            pairs = zip(values["measured"], values["predicted"], strict=True)
            ranked[f"{factor:g}"] = as_dict(estimate([spearman(*pair) for pair in pairs], correlation(len(names))))
        by_factor[f"{factor:g}"] = {
            group: {kind: as_dict(estimate(found[:, i])) for kind, found in values.items()}
            for i, group in enumerate(records[0].groups)
        }
    found: dict[str, Any] = {"gains": by_factor, "rank_correlation": ranked or None}
    if has_doses(seeds):
        scale = correlation(len(by_factor))
        found["response"] = {
            group: as_dict(estimate([response(r, group) for r in records], scale)) for group in records[0].groups
        }
    return found


def dose_tables(seeds: Seeds) -> dict[str, pd.DataFrame]:
    """The table plots/tables/dose.csv, of every group's settled gain by factor; none without further doses."""
    if not has_doses(seeds):
        return {}
    kinds = {"measured": measured_gains} | ({"predicted": predicted_gains} if has_predicted_doses(seeds) else {})

    def table(records: SeedRecords) -> pd.DataFrame:
        doses = factors(records)
        columns = {
            f"{kind}_{group}": [gains_of(records, factor, [group])[0] for factor in doses]
            for kind, gains_of in kinds.items()
            for group in records.groups
        }
        return pd.DataFrame(columns, index=pd.Index(doses, name="factor"))

    return {"dose": over_seeds([table(records) for records in seeds.values()])}
