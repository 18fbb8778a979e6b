"""Who gains from the edge: differences of loss between branches, and what may predict them."""

from typing import Literal, get_args

import numpy as np
import pandas as pd

from edgewise.data.files import Array
from edgewise.data.groups import GROUPS
from edgewise.inference.records import SeedRecords
from edgewise.inference.tables import second_half
from edgewise.states.branches import PAIRS

LOSSES = [f"loss_{group}" for group in GROUPS]

#: What is held equal where branches are compared: the number of steps (the paper's way), or the training time.
Held = Literal["step", "time"]
HELD: tuple[Held, ...] = get_args(Held)

#: What may predict who gains: curvature influence is the paper's claim, the others are its rivals.
PREDICTORS = ("curvature_influence", "gradient_norm", "loss", "centroid_distance")


def compared(records: SeedRecords) -> list[str]:
    """The branches that are compared with another, in the order declared."""
    return [branch for branch in records.branches if branch in PAIRS]


def delta_loss(records: SeedRecords, branch: str, held: Held) -> pd.DataFrame:
    """Delta l_k(t), two-step averaged, one column a group; positive: the group gains from the edge (figure 4).

    Indexed by steps since branching, or by the time since then in steps of the baseline.
    """
    at_edge, away = (since_branching(records, records.steps[run], branch) for run in PAIRS[branch])
    losses = [run[LOSSES].to_numpy() for run in (at_edge, away)]
    if held == "step":
        values = difference_at_equal_step(*losses)
        index = pd.RangeIndex(len(values), name="step")
    else:
        times = [run["time"].to_numpy() - run["time"].iloc[0] for run in (at_edge, away)]
        time, values = difference_at_equal_time(losses[0], times[0], losses[1], times[1])
        index = pd.Index(np.round(time / records.setting.time_per_step - 0.5).astype(int), name="step")
    return pd.DataFrame(values, columns=list(GROUPS), index=index)


def gains(records: SeedRecords, branch: str, held: Held) -> pd.Series:
    """Delta l_k of every group, averaged over the later half of the branch."""
    return second_half(delta_loss(records, branch, held)).mean()


def predictor(records: SeedRecords, name: str, branch: str) -> Array:
    """A predictor of `PREDICTORS` of every group, averaged over the run at the edge since branching."""
    if name == "centroid_distance":
        return np.array([records.median_distance[group] for group in GROUPS])
    table = (records.steps if name == "loss" else records.hessian)[PAIRS[branch][0]]
    return since_branching(records, table, branch)[[f"{name}_{group}" for group in GROUPS]].mean().to_numpy()


def since_branching(records: SeedRecords, table: pd.DataFrame, branch: str) -> pd.DataFrame:
    """The rows of a run's table from the state on that it shares with the other of the pair."""
    return table[table["step"] >= records.t_star + (records.setting.enter_step if branch == "enter" else 0)]


def two_step_average(series: Array) -> Array:
    """(s[t] + s[t+1]) / 2 for a series [T, ...], as [T-1, ...].

    At the edge consecutive iterates sit on opposite walls of the valley; a single step's value flips with its parity.
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
    coarse = max(runs, key=lambda run: float(np.diff(run[0]).mean()))[0]
    times = coarse[(coarse >= first) & (coarse <= last)]
    on_times = [
        np.stack([np.interp(times, time, losses[:, group]) for group in range(losses.shape[1])], axis=1)
        for time, losses in runs
    ]
    return times, on_times[1] - on_times[0]
