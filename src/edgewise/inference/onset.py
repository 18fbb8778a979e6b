"""When a seed reached the edge, by either rule, and whether it stayed there."""

import pandas as pd

from edgewise.dynamics.edge import RULE_COLUMN, Rule, first_crossing
from edgewise.inference.records import SeedRecords
from edgewise.inference.tables import as_if_regular, second_half


def onset(records: SeedRecords, rule: Rule) -> int | None:
    """Onset by either rule; from t* on it is looked for in the baseline branch, which goes on unchanged."""
    column = RULE_COLUMN[rule]
    after = _measured(records, rule, "baseline")
    path = pd.concat([records.steps["base"][["step", column]], after[["step", column]]])
    return _first_crossing(records, path, rule, records.setting.threshold)


def second_onset(records: SeedRecords) -> int | None:
    """t**: the step at which the exit branch reaches its own threshold, by the chosen rule."""
    rule = records.setting.rule
    return _first_crossing(records, _measured(records, rule, "exit"), rule, records.setting.exit_threshold)


def late_ratio(records: SeedRecords, rule: Rule) -> float:
    """The mean of what a rule compares with the threshold, relative to it, over the later half of the baseline."""
    late = second_half(as_if_regular(_measured(records, rule, "baseline")))
    return float(late[RULE_COLUMN[rule]].mean() / records.setting.threshold)


def _measured(records: SeedRecords, rule: Rule, run: str) -> pd.DataFrame:
    """The table of a branch that holds what a rule compares with the threshold."""
    return (records.steps if rule == "secant" else records.hessian)[run]


def _first_crossing(records: SeedRecords, table: pd.DataFrame, rule: Rule, threshold: float) -> int | None:
    measured = table[["step", RULE_COLUMN[rule]]].dropna()
    steps, values = measured.to_numpy().T
    return first_crossing(steps, values, threshold, records.setting.windows[rule])
