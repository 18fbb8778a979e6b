"""The comparison of branches over seeds: from the records of the runs to the numbers and tables that people read."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from edgewise.edge import RULE_COLUMN, Rule, first_crossing
from edgewise.prototypes import GROUPS
from edgewise.selectivity import delta_loss, delta_loss_equal_time
from edgewise.statistics import Interval, clustered_spearman, mean_interval
from edgewise.tables import over_seeds, second_half, since_onset

LOSSES = [f"loss_{group}" for group in GROUPS]


@dataclass(frozen=True)
class SeedRecords:
    """What the runs of one seed left: step records and Hessian measurements of base and branches, as written."""

    base_steps: pd.DataFrame
    base_hessian: pd.DataFrame
    steps: Mapping[str, pd.DataFrame]
    hessian: Mapping[str, pd.DataFrame]

    @property
    def t_star(self) -> int:
        """Onset: the base run ends there."""
        return int(self.base_steps["step"].iloc[-1])

    def onset(self, rule: Rule, threshold: float) -> int | None:
        """Onset by either rule; from t* on it is looked for in the baseline branch, which goes on unchanged."""
        column = RULE_COLUMN[rule]
        after = (self.steps if rule == "secant" else self.hessian)["baseline"]
        path = pd.concat([self.base_steps[["step", column]], after[["step", column]]])
        return first_crossing(path["step"].to_numpy(), path[column].to_numpy(), threshold)

    def second_onset(self, branch: str, rule: Rule, threshold: float) -> int | None:
        """t**: the step at which a branch reaches its own threshold, by the same rule."""
        table = (self.steps if rule == "secant" else self.hessian)[branch]
        return first_crossing(table["step"].to_numpy(), table[RULE_COLUMN[rule]].to_numpy(), threshold)

    def with_base(self, branch: str, spacing: int) -> tuple[pd.DataFrame, pd.DataFrame]:
        """Steps and Hessian tables from initialisation through the branch, by steps since onset."""
        base = since_onset(self.base_steps, self.t_star), since_onset(self.base_hessian, self.t_star, spacing)
        own = since_onset(self.steps[branch], self.t_star), since_onset(self.hessian[branch], self.t_star)
        steps, hessian = (pd.concat([before[before.index < 0], after]) for before, after in zip(base, own, strict=True))
        return steps, hessian

    def delta_loss(self, branch: str) -> pd.DataFrame:
        """Delta l_k(t) of `branch` against the baseline at equal step, by steps since onset, one column a group."""
        values = delta_loss(*(self.steps[name][LOSSES].to_numpy() for name in ("baseline", branch)))
        return pd.DataFrame(values, columns=list(GROUPS), index=pd.RangeIndex(len(values), name="step"))

    def delta_loss_equal_time(self, branch: str, lr: float) -> pd.DataFrame:
        """The same at equal training time, by time since onset in steps of the baseline's size `lr`."""
        runs = [self.steps[name] for name in ("baseline", branch)]
        losses = [run[LOSSES].to_numpy() for run in runs]
        times = [run["time"].to_numpy() - run["time"].iloc[0] for run in runs]
        time, values = delta_loss_equal_time(losses[0], times[0], losses[1], times[1])
        index = pd.Index(np.round(time / lr - 0.5).astype(int), name="step")
        return pd.DataFrame(values, columns=list(GROUPS), index=index)

    def influence_and_delta(self, branch: str) -> tuple[np.ndarray, np.ndarray]:
        """Per group: the baseline's mean curvature influence, and Delta l over the later half of `branch`."""
        influence = [self.hessian["baseline"][f"curvature_influence_{group}"].mean() for group in GROUPS]
        return np.array(influence), second_half(self.delta_loss(branch)).mean().to_numpy()


def edge_metrics(
    seeds: Mapping[int, SeedRecords], rule: Rule, threshold: float, exit_threshold: float
) -> dict[str, Any]:
    """When each seed reached the edge, by both rules, and how sharp it was there (metrics/edge.json)."""
    each: dict[int, dict[str, Any]] = {}
    for seed, records in seeds.items():
        each[seed] = {
            "t_star": records.t_star,
            "t_star_secant": records.onset("secant", threshold),
            "t_star_sharpness": records.onset("sharpness", threshold),
            "sharpness_ratio_at_t_star": float(records.hessian["baseline"]["sharpness"].iloc[0] / threshold),
            "t_star_star": records.second_onset("exit", rule, exit_threshold),
        }
    summary = {}
    for name in next(iter(each.values())):
        found = [values[name] for values in each.values() if values[name] is not None]
        summary[name] = {**_interval(mean_interval(found)), "seeds": len(found)} if found else None
    return {
        "rule": rule,
        "stability_threshold": threshold,
        "summary": summary,
        "seeds": {str(seed): values for seed, values in each.items()},
    }


def selectivity_metrics(seeds: Mapping[int, SeedRecords], lr: float) -> dict[str, Any]:
    """Who gains from the edge (metrics/selectivity.json); Delta is averaged over the later half of the exit branch."""
    deltas = {
        "delta_loss": [records.delta_loss("exit") for records in seeds.values()],
        "delta_loss_equal_time": [records.delta_loss_equal_time("exit", lr) for records in seeds.values()],
    }
    groups: dict[str, Any] = {}
    for group in GROUPS:
        groups[group] = {
            name: _interval(mean_interval([second_half(table)[group].mean() for table in tables]))
            for name, tables in deltas.items()
        }
        for quantity in ("curvature_influence", "alignment"):
            groups[group][quantity] = {
                branch: float(np.mean([r.hessian[branch][f"{quantity}_{group}"].mean() for r in seeds.values()]))
                for branch in ("baseline", "exit")
            }
    score = clustered_spearman({seed: records.influence_and_delta("exit") for seed, records in seeds.items()})
    return {
        "groups": groups,
        "selector_score": {"spearman": score.estimate, "low": score.low, "high": score.high},
        "intervals": "95 %: Student t over seeds; selector_score: bootstrap of whole seeds",
        "seeds": list(seeds),
    }


def plot_tables(seeds: Mapping[int, SeedRecords], lr: float, threshold: float, spacing: int) -> dict[str, pd.DataFrame]:
    """The tables under plots/, by name: one row a step since onset, columns with _low and _high."""
    branches = list(next(iter(seeds.values())).steps)
    through = {branch: [records.with_base(branch, spacing) for records in seeds.values()] for branch in branches}
    steps = {branch: [tables[0] for tables in runs] for branch, runs in through.items()}
    hessian = {branch: [tables[1] for tables in runs] for branch, runs in through.items()}

    def by_branch_and_group(tables: Mapping[str, list[pd.DataFrame]], quantity: str) -> pd.DataFrame:
        columns = {f"{quantity}_{group}": group for group in GROUPS}
        parts = [
            over_seeds(
                [table[list(columns)].rename(columns=columns).add_prefix(f"{branch}_") for table in tables[branch]]
            )
            for branch in branches
        ]
        return pd.concat(parts, axis=1).sort_index()

    def by_branch(tables: Mapping[str, list[pd.DataFrame]], quantity: str) -> pd.DataFrame:
        parts = [
            over_seeds([table[[quantity]].rename(columns={quantity: branch}) for table in tables[branch]])
            for branch in branches
        ]
        return pd.concat(parts, axis=1).sort_index().assign(stability_threshold=threshold)

    return {
        "sharpness": by_branch(hessian, "sharpness"),
        "secant_sharpness": by_branch(steps, "secant_sharpness"),
        "group_loss": by_branch_and_group(steps, "loss"),
        "alignment": by_branch_and_group(hessian, "alignment"),
        "curvature_influence": by_branch_and_group(hessian, "curvature_influence"),
        "delta_loss": over_seeds([records.delta_loss("exit") for records in seeds.values()]),
        "delta_loss_equal_time": over_seeds([r.delta_loss_equal_time("exit", lr) for r in seeds.values()]),
    }


def _interval(interval: Interval) -> dict[str, float]:
    return {"mean": interval.estimate, "low": interval.low, "high": interval.high}
