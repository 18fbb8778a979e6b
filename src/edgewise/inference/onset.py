"""When a seed reached the edge, by either rule, and whether it stayed there."""

from collections.abc import Mapping

import pandas as pd

from edgewise.dynamics.edge import RULE_COLUMN, Rule, first_crossing
from edgewise.inference.records import SeedRecords, Seeds
from edgewise.inference.tables import as_if_regular, second_half

#: How far from the threshold, relative to it, kappa may be late in a baseline that is at the edge.
EDGE_MARGIN = 0.05


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
    return float(_late(records, rule).mean())


def caveats(seeds: Seeds) -> list[str]:
    """What takes from every verdict: a baseline that is not at the edge, an exit branch that is at one of its own.

    A baseline is at the edge where in both halves of its later half kappa is at the threshold, within `EDGE_MARGIN`, or
    the sharpness reaches the threshold at a checkpoint.
    """
    found = []
    off = {}
    for seed, records in seeds.items():
        kappa = [float(part.mean()) for part in _halves(_late(records, "secant"))]
        largest = [float(part.max()) for part in _halves(_late(records, "sharpness"))]
        # On smooth networks kappa falls between bursts of the oscillation; then lambda_1 has been at the threshold.
        if not (max(abs(ratio - 1) for ratio in kappa) <= EDGE_MARGIN or min(largest) >= 1):
            ratios, most = (" and then ".join(dict.fromkeys(f"{x:.3f}" for x in part)) for part in (kappa, largest))
            off[seed] = f"κ is {ratios} of the threshold and the sharpness at most {most} of it"
    if off:
        found.append(f"{_which(off, seeds)} the baseline is not at the edge: late in it {'; '.join(off.values())}")
    second = {seed: step for seed, records in seeds.items() if (step := second_onset(records)) is not None}
    if second:
        found.append(
            f"{_which(second, seeds)} the exit branch reaches an edge of its own (t** at its step"
            f" {', '.join(map(str, second.values()))}): later gains compare two edges"
        )
    return found


def _which(some: Mapping[int, object], seeds: Seeds) -> str:
    """Those seeds, in words.

    >>> _which({0: 1.0, 2: 1.0}, dict.fromkeys(range(3))), _which({0: 1.0}, {0: None})
    ('in seeds 0 and 2', 'in every seed')
    """
    if len(some) == len(seeds):
        return "in every seed"
    *first, last = map(str, some)
    return f"in seeds {', '.join(first)} and {last}" if first else f"in seed {last}"


def _late(records: SeedRecords, rule: Rule) -> pd.Series:
    """What a rule compares with the threshold, relative to it, over the later half of the baseline."""
    late = second_half(as_if_regular(_measured(records, rule, "baseline")))
    return late[RULE_COLUMN[rule]] / records.setting.threshold


def _halves(late: pd.Series) -> tuple[pd.Series, pd.Series]:
    """The former and the latter half, each with the row in the middle where there is one."""
    return late.iloc[: -(-len(late) // 2)], late.iloc[len(late) // 2 :]


def _measured(records: SeedRecords, rule: Rule, run: str) -> pd.DataFrame:
    """The table of a branch that holds what a rule compares with the threshold."""
    return (records.steps if rule == "secant" else records.hessian)[run]


def _first_crossing(records: SeedRecords, table: pd.DataFrame, rule: Rule, threshold: float) -> int | None:
    measured = table[["step", RULE_COLUMN[rule]]].dropna()
    steps, values = measured.to_numpy().T
    return first_crossing(steps, values, threshold, records.setting.windows[rule])
