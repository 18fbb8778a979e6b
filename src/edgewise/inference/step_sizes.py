"""The sweep: runs of several optimisers and step sizes from one initialisation, beside gradient flow.

All runs of a seed cover the same training time from the initialisation. At regular times two consecutive iterates are
measured, from the first at or after that time on, and averaged: at the edge they are on opposite sides of the valley.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from edgewise.data.files import Array
from edgewise.dynamics.edge import first_crossing
from edgewise.inference.intervals import Estimate, estimate
from edgewise.inference.metrics import as_dict
from edgewise.inference.tables import over_seeds, second_half
from edgewise.states.pairs import first_at

#: A run counts as having parted from gradient flow where it goes away from it at this share of the flow's own speed.
#: Below the edge the distance grows too, for a finite step follows a slightly other flow, but at under a tenth of it.
PARTED = 0.125

#: The run of the sweep that every other is put beside.
FLOW = "flow"


@dataclass(frozen=True)
class SweepRun:
    """One run of the sweep.

    Attributes
    ----------
    optimizer, lr : its optimiser and step size; of gradient flow `FLOW` and nan
    threshold : its stability threshold; infinite for gradient flow
    times : [T], the regular times of measurement
    steps : by seed, its records of every step; what is measured at regular times is nan at the others
    """

    optimizer: str
    lr: float
    threshold: float
    times: Array
    steps: Mapping[int, pd.DataFrame]

    def measured(self, seed: int) -> pd.DataFrame:
        """What was measured at `times`, averages over two consecutive iterates, indexed by time.

        Gradient flow has no iterates: of it, what was measured at the time itself.
        """
        steps = self.steps[seed]
        first = first_at(self.times, steps["time"].iloc[1] - steps["time"].iloc[0])
        second = first if self.optimizer == FLOW else first + 1
        columns = steps[["loss", "secant_sharpness", "sharpness", "flow_distance", "flow_travelled"]]
        averaged = (columns.iloc[first].to_numpy() + columns.iloc[second].to_numpy()) / 2
        table = pd.DataFrame(averaged, columns=columns.columns, index=pd.Index(self.times, name="time"))
        return table.assign(parting_rate=table["flow_distance"].diff() / table["flow_travelled"].diff())

    def moments(self, seed: int) -> dict[str, float]:
        """When the run came to its edge and parted from gradient flow, in training time, and how sharp it then was.

        * onset_secant: the first step at which kappa reaches the threshold from below, as in the base run;
        * onset_sharpness: the first measured time at which lambda_1 does;
        * parting: the first measured time up to which the distance from gradient flow has grown, since the one before
          it, by `PARTED` of the way that the flow has come meanwhile, and before that by less;
        * sharpness_ratio, secant_sharpness_ratio: over the threshold, means over the later half of the time after onset

        nan means never.
        """
        steps, table = self.steps[seed], self.measured(seed)
        onset = _crossing(steps["time"], steps["secant_sharpness"], self.threshold)
        late = {
            name: second_half(rows[time >= onset])[name].mean() / self.threshold
            for name, rows, time in (("sharpness", table, table.index), ("secant_sharpness", steps, steps["time"]))
        }
        return {
            "onset_secant": onset,
            "onset_sharpness": _crossing(table.index, table["sharpness"], self.threshold),
            "parting": _crossing(table.index, table["parting_rate"], PARTED),
            **{f"{name}_ratio": float(ratio) for name, ratio in late.items()},
        }


Sweep = Mapping[str, SweepRun]


def sweep_moments(sweep: Sweep) -> dict[str, dict[str, Estimate]]:
    """The means over seeds of `SweepRun.moments`, by run but for gradient flow; each over the seeds that have it."""
    found: dict[str, dict[str, Estimate]] = {}
    for name, run in sweep.items():
        if name != FLOW:
            by_seed = pd.DataFrame([run.moments(seed) for seed in run.steps])
            found[name] = {str(key): estimate(by_seed[key].to_numpy()) for key in by_seed}
    return found


def sweep_metrics(sweep: Sweep) -> dict[str, Any] | None:
    """When each run of the sweep came to its edge and parted from gradient flow; null where there is no sweep."""
    return {
        name: {
            "stability_threshold": sweep[name].threshold,
            **{key: as_dict(mean) for key, mean in means.items()},
        }
        for name, means in sweep_moments(sweep).items()
    } or None


def sweep_tables(sweep: Sweep) -> dict[str, pd.DataFrame]:
    """The tables under plots/tables/ that show the sweep, indexed by run; none where there is no sweep.

    sweep has a row a run and measured time, sweep_moments a row a run; means over seeds, with _low and _high.
    """
    if not sweep:
        return {}
    over_time = [
        over_seeds([run.measured(seed) for seed in run.steps]).reset_index().assign(run=name, **_about(run))
        for name, run in sweep.items()
    ]
    rows = []
    for name, means in sweep_moments(sweep).items():
        row: dict[str, Any] = {"run": name, **_about(sweep[name])}
        for key, mean in means.items():
            row[key] = mean.value
            row[f"{key}_low"], row[f"{key}_high"] = mean.interval()
        rows.append(row)
    return {"sweep": pd.concat(over_time).set_index("run"), "sweep_moments": pd.DataFrame(rows).set_index("run")}


def _about(run: SweepRun) -> dict[str, Any]:
    return {"optimizer": run.optimizer, "step_size": run.lr, "stability_threshold": run.threshold}


def _crossing(times: pd.Series | pd.Index, values: pd.Series, threshold: float) -> float:
    """The first of `times` at which a measured value reaches the threshold from below; nan if never."""
    found = np.asarray(values, dtype=float)
    known = np.isfinite(found)
    place = first_crossing(np.flatnonzero(known), found[known], threshold)
    return math.nan if place is None else float(times.to_numpy()[place])
