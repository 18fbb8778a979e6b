"""Who gains from the edge: differences of loss between branches, and what may predict them.

Two comparisons: at equal step, within the first `steps` steps of each branch, and at equal training time, over all of
it. In each, the branch is *settled* in the later half. The *transient* lasts until the oscillation has grown, and at
least a tenth of the time (`transient`): what the edge does to a group takes longer to build up than the oscillation.
"""

from collections.abc import Sequence
from typing import Literal, get_args

import numpy as np
import pandas as pd

from edgewise.data.files import Array
from edgewise.inference.records import SeedRecords
from edgewise.inference.tables import as_if_regular, second_half
from edgewise.states.branches import PAIRS

#: What is held equal where branches are compared: the number of steps (the paper's way), or the training time.
Held = Literal["step", "time"]
HELD: tuple[Held, ...] = get_args(Held)

#: The parts of a branch over which a difference is averaged.
Part = Literal["settled", "transient"]

#: What may tell who gains: curvature influence is the paper's claim, the others are its rivals.
PREDICTORS = ("curvature_influence", "gradient_norm", "loss", "centroid_distance")

#: The couplings of a group to the sharpness, and how the gradient of the sharpness is taken, in words.
COUPLINGS = {"coupling": "by derivative", "coupling_over_step": "over a step's length"}

#: The part of its later mean from which on the amplitude of the oscillation counts as grown.
GROWN = 0.8

#: When a predictor is measured: at the last pair of iterates before onset, when no branch has begun; or as the mean
#: along the run at the edge, which has seen the outcome and only describes.
When = Literal["before_onset", "along_branch"]


def compared(records: SeedRecords) -> list[str]:
    """The branches that are compared with another, in the order declared."""
    return [branch for branch in records.branches if branch in PAIRS]


def delta_loss(records: SeedRecords, branch: str, held: Held, names: Sequence[str] | None = None) -> pd.DataFrame:
    """Delta l_k(t), two-step averaged, one column a group or stratum; positive: it gains from the edge (figure 4).

    Without names, of all groups. Indexed by steps since branching, or by the time since then in steps of the baseline:
    of the first of the two steps.
    """
    at_edge, away = (since_branching(records, records.steps[run], branch) for run in PAIRS[branch])
    names = records.groups if names is None else names
    columns = [f"loss_{name}" for name in names]
    losses = [run[columns].to_numpy() for run in (at_edge, away)]
    if held == "step":
        shared = min(records.setting.steps + 1, *map(len, losses))
        values = difference_at_equal_step(losses[0][:shared], losses[1][:shared])
        index = pd.RangeIndex(len(values), name="step")
    else:
        times = [run["time"].to_numpy() - run["time"].iloc[0] for run in (at_edge, away)]
        time, values = difference_at_equal_time(losses[0], times[0], losses[1], times[1])
        index = pd.Index(np.round(time / records.setting.time_per_step - 0.5).astype(int), name="step")
    return pd.DataFrame(values, columns=list(names), index=index)


def transient(records: SeedRecords) -> int:
    """Steps from onset to the end of the transient.

    It ends where the amplitude of the baseline's oscillation first has `GROWN` of its mean over the later half, but not
    before a tenth of the steps.
    """
    amplitude = records.steps["baseline"]["oscillation"].to_numpy()[1:]
    half = len(amplitude) // 2
    grown = np.flatnonzero(amplitude[:half] >= GROWN * amplitude[half:].mean())
    return max(int(grown[0]) + 1 if len(grown) else half, len(amplitude) // 10)


def gains(
    records: SeedRecords, branch: str, held: Held, names: Sequence[str] | None = None, part: Part = "settled"
) -> pd.Series:
    """Delta l_k of groups or strata (without names: of all groups), averaged over the settled part or the transient."""
    table = delta_loss(records, branch, held, names)
    if part == "settled":
        return second_half(table).mean()
    early = table[table.index < transient(records)]
    return early.mean() if len(early) else table.iloc[0]


def predictor(
    records: SeedRecords, name: str, branch: str, names: Sequence[str] | None = None, when: When = "before_onset"
) -> Array:
    """A predictor of `PREDICTORS` or `COUPLINGS`, of groups or strata; without names, of all groups."""
    names = records.groups if names is None else names
    if name == "centroid_distance":
        return np.array([records.median_distance[each] for each in names])
    columns = [f"{name}_{each}" for each in names]
    kind = "steps" if name == "loss" else "hessian"
    if when == "along_branch":
        along = since_branching(records, getattr(records, kind)[PAIRS[branch][0]], branch)
        measured = as_if_regular(along)[columns].mean()
    else:
        base: pd.DataFrame = getattr(records, kind)["base"].set_index("step")[columns]
        # Of losses the mean over the pair, as of all that is measured at a checkpoint.
        pair = base.loc[records.t_star - 1 : records.t_star]
        measured = pair.mean() if kind == "steps" else base.loc[: records.t_star - 1].iloc[-1]
    found: Array = measured.to_numpy()
    return found


def since_branching(records: SeedRecords, table: pd.DataFrame, branch: str) -> pd.DataFrame:
    """The rows of a run's table from the state on that it shares with the other of the pair."""
    return table[table["step"] >= records.t_star + (records.setting.enter_step if branch == "enter" else 0)]


def two_step_average(series: Array) -> Array:
    """(s[t] + s[t+1]) / 2 for a series [T, ...], as [T-1, ...].

    At the edge consecutive iterates lie on opposite sides of the valley; a single step's value depends on its parity.
    """
    return (series[:-1] + series[1:]) / 2


def difference_at_equal_step(baseline: Array, branch: Array) -> Array:
    """Two-step averaged loss of the branch less the baseline's, [T-1, groups], from losses [T, groups] of each."""
    return two_step_average(branch) - two_step_average(baseline)


def difference_at_equal_time(
    baseline: Array, baseline_time: Array, branch: Array, branch_time: Array
) -> tuple[Array, Array]:
    """Two-step averaged loss of the branch less that of the baseline, on the times of the run with the larger steps.

    Parameters
    ----------
    baseline, branch : [T, groups] and [U, groups], losses by step
    baseline_time, branch_time : [T] and [U], training time since branching

    Returns
    -------
    (time [S], difference [S, groups]): the finer run is interpolated linearly, up to the end of the shorter run
    """
    runs = [
        (two_step_average(time), two_step_average(losses))
        for time, losses in ((baseline_time, baseline), (branch_time, branch))
    ]
    first = max(time[0] for time, _ in runs)
    last = min(time[-1] for time, _ in runs)
    # The times are sums of rounded steps.
    rounding = 1e-9 * max(abs(last), 1.0)
    coarse = max(runs, key=lambda run: float(np.diff(run[0]).mean()))[0]
    times = coarse[(coarse >= first - rounding) & (coarse <= last + rounding)]
    on_times = [at_times(times, time, losses) for time, losses in runs]
    return times, on_times[1] - on_times[0]


def at_times(times: Array, time: Array, losses: Array) -> Array:
    """Losses [T, groups] known at `time` [T], interpolated linearly at `times` [S]: [S, groups]."""
    return np.stack([np.interp(times, time, losses[:, group]) for group in range(losses.shape[1])], axis=1)
