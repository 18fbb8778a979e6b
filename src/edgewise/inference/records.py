"""What the runs of one seed recorded, as tables and arrays; nothing is computed here but where a run began."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import pandas as pd

from edgewise.data.files import Array
from edgewise.dynamics.edge import Rule
from edgewise.errors import EdgewiseError


@dataclass(frozen=True)
class Setting:
    """What of the parameters the comparison of branches needs.

    Attributes
    ----------
    rule, windows : the onset rule that t* is by, and the steps over which each rule averages
    steps : of the baseline; all branches cover the training time of so many of its steps
    alpha : displacement of the input-outliers
    time_per_step : training time of a step of the baseline
    threshold, exit_threshold : stability thresholds of the baseline and of the exit branch
    exit_factor : on the step size of the exit branch
    optimizer, has_model : its name, and whether edge flow is a model of it
    sharpness_every : steps between measurements before onset
    enter_step : step after onset at which the enter branch leaves the exit branch
    """

    rule: Rule
    steps: int
    alpha: float
    windows: Mapping[Rule, int]
    time_per_step: float
    threshold: float
    exit_threshold: float
    exit_factor: float
    optimizer: str
    has_model: bool
    sharpness_every: int
    enter_step: int


@dataclass(frozen=True)
class SeedRecords:
    """What the runs of one seed recorded; runs are named base, baseline, exit, ...

    What was measured at a checkpoint is the mean over its two iterates (`over_iterates`).

    Attributes
    ----------
    setting : the parameters of the comparison
    steps, hessian : the step records and the measurements at checkpoints, by run
    examples : per-example arrays by run: step [T], influence [T, n], alignment [T, n] of the natural examples
    distance : [n], centroid distance of the natural examples
    groups : the names of the groups
    strata : the names of the strata of natural examples, tracked beside the groups
    median_distance : median centroid distance by group and stratum
    shared : trained images in common, by pair of groups
    decomposition : of the baseline's two-step averages at its checkpoints, see measures/decomposition.py
    kinks : of the baseline, the curvature over a finite step at its last checkpoint, see measures/kinks.py
    predictions : by model, what it predicts along the baseline; no losses where there is no model
    doses : the step records of the runs that leave the edge by further factors of the step size, by factor
    edge_flow_away : the losses that edge flow predicts along those and along the exit branch, by factor
    left_out : by group, what edge flow predicts and what was recorded without it, see `LeftOut`
    control : at onset, by displacement
    robustness : by branch, columns step, time, subset, norm, attack, epsilon, examples, accuracy
    ood : by branch, columns step, time, shift, strength, examples, loss, accuracy
    """

    setting: Setting
    steps: Mapping[str, pd.DataFrame]
    hessian: Mapping[str, pd.DataFrame]
    examples: Mapping[str, Mapping[str, Array]]
    distance: Array
    groups: tuple[str, ...]
    strata: tuple[str, ...]
    median_distance: Mapping[str, float]
    shared: Mapping[str, int]
    decomposition: pd.DataFrame
    kinks: pd.DataFrame
    predictions: Mapping[str, pd.DataFrame]
    doses: Mapping[float, pd.DataFrame]
    edge_flow_away: Mapping[float, pd.DataFrame]
    left_out: Mapping[str, "LeftOut"]
    control: pd.DataFrame
    robustness: Mapping[str, pd.DataFrame]
    ood: Mapping[str, pd.DataFrame]

    @property
    def t_star(self) -> int:
        """Onset: the base run ends there."""
        return int(self.steps["base"]["step"].iloc[-1])

    @property
    def tracked(self) -> tuple[str, ...]:
        """The names of groups and strata."""
        return (*self.groups, *self.strata)

    @property
    def branches(self) -> list[str]:
        """The branches, in the order declared."""
        return [run for run in self.steps if run != "base"]

    def at_alpha(self, column: str) -> float:
        """A column of the control at onset, for the displacement of this run."""
        return float(self.control.loc[self.control["alpha"] == self.setting.alpha, column].iloc[0])


#: How a group is left out: its gradient is taken at the centre of the oscillation, or it is not trained on.
Way = Literal["at_centre", "removed"]


@dataclass(frozen=True)
class LeftOut:
    """The baseline without one group, by the way in which it is left out.

    Attributes
    ----------
    measured : the step records of the run
    predicted : what edge flow predicts of it
    """

    measured: Mapping[Way, pd.DataFrame]
    predicted: Mapping[Way, pd.DataFrame]


def require_steps(table: pd.DataFrame, steps: Sequence[int]) -> pd.DataFrame:
    """A table with a row for each of `steps`, in their order, as it is.

    Raises
    ------
    EdgewiseError
        If a step is missing or doubled.
    """
    if table["step"].tolist() != list(steps):
        raise EdgewiseError(f"rows are missing or doubled: must have one for each of {len(steps)} steps")
    return table


def over_iterates(table: pd.DataFrame, keys: list[str], expected: Collection[float]) -> pd.DataFrame:
    """The measurements of a table averaged over both iterates of each checkpoint, one row for each value of `keys`.

    At the edge consecutive iterates lie on opposite sides of the valley: the average does not depend on the parity of
    the checkpoint's step.

    Parameters
    ----------
    expected : the values of the first key, each with the same values of the others

    Raises
    ------
    EdgewiseError
        If one of the expected values is missing, or one of its rows, or a checkpoint lacks one of its iterates.
    """
    iterates = table.groupby(keys, sort=False)["iterate"].agg(["nunique", "size"])
    if not (iterates == 2).all(axis=None):
        raise EdgewiseError("rows are missing or doubled: not both iterates of every checkpoint are there")
    rows = table.groupby(keys[0]).size()
    if set(rows.index) != set(expected) or (rows != rows.iloc[0]).any():
        raise EdgewiseError(f"rows are missing: must have as many for each {keys[0]}, of {len(expected)}")
    return table.drop(columns="iterate").copy().groupby(keys, sort=False, as_index=False).mean()


def at_equal_step(records: SeedRecords, branch: pd.DataFrame, baseline: pd.DataFrame) -> pd.DataFrame:
    """The rows of a branch at the steps of the baseline, and none beyond `steps`."""
    last = records.t_star + records.setting.steps
    return branch[branch["step"].isin(baseline["step"]) & (branch["step"] <= last)]


Seeds = Mapping[int, SeedRecords]
