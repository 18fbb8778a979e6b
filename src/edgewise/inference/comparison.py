"""The comparison of branches over seeds: from the records of the runs to the tables that people read."""

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import pandas as pd

from edgewise.data.files import Array
from edgewise.data.groups import GROUPS
from edgewise.dynamics.edge import RULE_COLUMN, Rule, first_crossing
from edgewise.inference.tables import over_seeds, second_half, since_onset, without_alternation
from edgewise.measures.selectivity import delta_loss, delta_loss_equal_time

LOSSES = [f"loss_{group}" for group in GROUPS]

#: What a branch is compared with, as (the run at the edge, the run away from it). Each pair starts from one state.
PAIRS = {"exit": ("baseline", "exit"), "flow": ("baseline", "flow"), "enter": ("enter", "exit")}

#: What may tell who gains: curvature influence is the paper's claim, the others are its rivals.
PREDICTORS = ("curvature_influence", "gradient_norm", "loss", "centroid_distance")

CONTROL_COLUMNS = [
    f"{quantity}_{way}" for quantity in ("alignment", "curvature_influence") for way in ("coherent", "random")
]
NULL_COLUMNS = ["alignment_chance", "alignment_null", "curvature_influence_null"]

#: Share of the natural examples counted as typical (nearest to their centroid) and as atypical (farthest; figure 21).
TAIL = 0.1


@dataclass(frozen=True)
class Setting:
    """What of the parameters the comparison needs."""

    rule: Rule
    alpha: float
    windows: Mapping[Rule, int]
    time_per_step: float
    threshold: float
    exit_threshold: float
    sharpness_every: int
    enter_step: int


@dataclass(frozen=True)
class SeedRecords:
    """What the runs of one seed left, as written; runs are named base, baseline, exit, ...

    Attributes
    ----------
    setting : the parameters of the comparison
    steps, hessian : the step records and the measurements at checkpoints, by run
    examples : per-example arrays by run: step [T], influence [T, n], alignment [T, n] of the natural examples
    distance : [n], centroid distance of the natural examples
    group_distance : median centroid distance by group
    control : at onset, by displacement
    dominance : who dominates v1 and who is at an advantage on unseen data (`evaluation.dominance_pairs`)
    """

    setting: Setting
    steps: Mapping[str, pd.DataFrame]
    hessian: Mapping[str, pd.DataFrame]
    examples: Mapping[str, Mapping[str, Array]]
    distance: Array
    group_distance: Mapping[str, float]
    control: pd.DataFrame
    dominance: pd.DataFrame = field(default_factory=pd.DataFrame)

    @property
    def t_star(self) -> int:
        """Onset: the base run ends there."""
        return int(self.steps["base"]["step"].iloc[-1])

    @property
    def branches(self) -> list[str]:
        """The branches, in the order declared."""
        return [run for run in self.steps if run != "base"]

    def onset(self, rule: Rule) -> int | None:
        """Onset by either rule; from t* on it is looked for in the baseline branch, which goes on unchanged."""
        column = RULE_COLUMN[rule]
        after = self._measured(rule, "baseline")
        path = pd.concat([self.steps["base"][["step", column]], after[["step", column]]])
        return self._first_crossing(path, rule, self.setting.threshold)

    def second_onset(self) -> int | None:
        """t**: the step at which the exit branch reaches its own threshold, by the chosen rule."""
        rule = self.setting.rule
        return self._first_crossing(self._measured(rule, "exit"), rule, self.setting.exit_threshold)

    def late_ratio(self, rule: Rule) -> float:
        """What a rule looks at, relative to the threshold, over the later half of the baseline: does it stay there?"""
        late = second_half(self._measured(rule, "baseline"))
        return float(late[RULE_COLUMN[rule]].mean() / self.setting.threshold)

    def _measured(self, rule: Rule, run: str) -> pd.DataFrame:
        """The table of a branch that holds what a rule looks at."""
        return (self.steps if rule == "secant" else self.hessian)[run]

    def _first_crossing(self, table: pd.DataFrame, rule: Rule, threshold: float) -> int | None:
        measured = table[["step", RULE_COLUMN[rule]]].dropna()
        steps, values = measured.to_numpy().T
        return first_crossing(steps, values, threshold, self.setting.windows[rule])

    def at_alpha(self, column: str) -> float:
        """A column of the control at onset, for the displacement of this run."""
        return float(self.control.loc[self.control["alpha"] == self.setting.alpha, column].iloc[0])

    def with_base(self, kind: str, run: str) -> pd.DataFrame:
        """A table, "steps" or "hessian", from initialisation through a branch, by steps since onset."""
        if kind == "hessian":
            return self.at_checkpoints(self.hessian["base"], self.hessian[run])
        return self._joined(self.steps["base"], self.steps[run], spacing=1)

    def at_checkpoints(self, base: pd.DataFrame, branch: pd.DataFrame) -> pd.DataFrame:
        """What was measured now and then along base and branch, by steps since onset, free of the step's parity."""
        return without_alternation(self._joined(base, branch, self.setting.sharpness_every))

    def _joined(self, base: pd.DataFrame, branch: pd.DataFrame, spacing: int) -> pd.DataFrame:
        """Base, measured at multiples of `spacing`, and the branch that goes on from it, by steps since onset."""
        before = since_onset(base, self.t_star, spacing)
        return pd.concat([before[before.index < 0], since_onset(branch, self.t_star)])

    def since_branching(self, table: pd.DataFrame, branch: str) -> pd.DataFrame:
        """The rows of a run's table from the state on that it shares with the other of the pair."""
        return table[table["step"] >= self.t_star + (self.setting.enter_step if branch == "enter" else 0)]

    def pair(self, branch: str) -> tuple[pd.DataFrame, pd.DataFrame]:
        """The step records of the run at the edge and of the run away from it, from the state that they share."""
        at_edge, away = (self.since_branching(self.steps[run], branch) for run in PAIRS[branch])
        return at_edge, away

    def delta_loss(self, branch: str) -> pd.DataFrame:
        """Delta l_k(t) at equal step, by steps since branching, one column a group; positive: the edge helps."""
        values = delta_loss(*(run[LOSSES].to_numpy() for run in self.pair(branch)))
        return pd.DataFrame(values, columns=list(GROUPS), index=pd.RangeIndex(len(values), name="step"))

    def delta_loss_equal_time(self, branch: str) -> pd.DataFrame:
        """The same at equal training time, by time since branching in steps of the baseline."""
        at_edge, away = self.pair(branch)
        times = [run["time"].to_numpy() - run["time"].iloc[0] for run in (at_edge, away)]
        time, values = delta_loss_equal_time(at_edge[LOSSES].to_numpy(), times[0], away[LOSSES].to_numpy(), times[1])
        index = pd.Index(np.round(time / self.setting.time_per_step - 0.5).astype(int), name="step")
        return pd.DataFrame(values, columns=list(GROUPS), index=index)

    def gains(self, branch: str, *, equal_time: bool = False) -> pd.Series:
        """Delta l_k of every group, averaged over the later half of the branch."""
        table = self.delta_loss_equal_time(branch) if equal_time else self.delta_loss(branch)
        return second_half(table).mean()

    def predictor(self, name: str, branch: str) -> Array:
        """A predictor of `PREDICTORS` of every group, averaged over the run at the edge since branching."""
        if name == "centroid_distance":
            return np.array([self.group_distance[group] for group in GROUPS])
        table = (self.steps if name == "loss" else self.hessian)[PAIRS[branch][0]]
        return self.since_branching(table, branch)[[f"{name}_{group}" for group in GROUPS]].mean().to_numpy()


Seeds = Mapping[int, SeedRecords]


def plot_tables(seeds: Seeds) -> dict[str, pd.DataFrame]:
    """The tables under plots/, by name: one row a step since onset, columns with _low and _high."""
    records = list(seeds.values())
    compared = [branch for branch in records[0].branches if branch in PAIRS]

    def by_branch(kind: str, columns: Mapping[str, str]) -> pd.DataFrame:
        """The named columns of every branch, renamed; "" as a new name stands for the branch alone."""
        parts = []
        for branch in records[0].branches:
            names = {old: f"{branch}_{new}" if new else branch for old, new in columns.items()}
            parts.append(over_seeds([r.with_base(kind, branch)[list(columns)].rename(columns=names) for r in records]))
        return pd.concat(parts, axis=1).sort_index()

    def by_group(kind: str, quantity: str, of_subspace: str = "") -> pd.DataFrame:
        """A quantity of every branch and group; beside it that of the leading eigenvectors' span, where measured."""
        columns = {f"{quantity}_{group}": group for group in GROUPS}
        spans = {f"{of_subspace}_{group}": f"{group}_subspace" for group in GROUPS}
        measured = getattr(records[0], kind)["baseline"].columns
        return by_branch(kind, columns | {old: new for old, new in spans.items() if old in measured})

    def deltas(tables: Mapping[str, list[pd.DataFrame]]) -> pd.DataFrame:
        """The exit branch's columns are the groups'; those of other branches begin with their names."""
        named = [[t if b == "exit" else t.add_prefix(f"{b}_") for t in each] for b, each in tables.items()]
        return pd.concat([over_seeds(each) for each in named], axis=1).sort_index()

    setting = records[0].setting
    thresholds = {"stability_threshold": setting.threshold, "exit_stability_threshold": setting.exit_threshold}
    return {
        "sharpness": by_branch("hessian", {"sharpness": ""}).assign(**thresholds),
        "secant_sharpness": by_branch("steps", {"secant_sharpness": ""}).assign(**thresholds),
        "group_loss": by_group("steps", "loss"),
        "alignment": by_group("hessian", "alignment", "subspace_alignment"),
        "curvature_influence": by_group("hessian", "curvature_influence", "subspace_influence"),
        "gradient_norm": by_group("hessian", "gradient_norm"),
        "label_probability": by_group("hessian", "label_probability"),
        "delta_loss": deltas({b: [r.delta_loss(b) for r in records] for b in compared}),
        "delta_loss_equal_time": deltas({b: [r.delta_loss_equal_time(b) for r in records] for b in compared}),
        "centroid_correlation": by_branch("hessian", {"centroid_correlation": ""}),
        "example_alignment": over_seeds([typical_and_atypical(r) for r in records]),
        "examples": examples_at_moments(records[0]),
        "control": over_seeds([control_along_baseline(r) for r in records]),
        "control_alpha": over_seeds([r.control.set_index("alpha")[[*CONTROL_COLUMNS, *NULL_COLUMNS]] for r in records]),
        "dominance": dominance_table(seeds),
        "coupling": pd.concat(coupling(seed, r) for seed, r in seeds.items()).set_index("group"),
    }


def dominance_table(seeds: Seeds) -> pd.DataFrame:
    """Who dominates v1 and who is at an advantage on unseen data, over all seeds."""
    return pd.concat([records.dominance for records in seeds.values()]).set_index("seed")


def control_along_baseline(records: SeedRecords) -> pd.DataFrame:
    """Alignment and influence of the seed images displaced in either way, from initialisation along the baseline."""
    table = records.with_base("hessian", "baseline")
    return table.rename(columns=lambda name: name.replace("_control_", "_"))[CONTROL_COLUMNS]


def coupling(seed: int, records: SeedRecords) -> pd.DataFrame:
    """Q_k^2 and C_k of every group at every checkpoint of base and baseline (figure 22)."""
    table = pd.concat([records.hessian["base"].iloc[:-1], records.hessian["baseline"]])
    parts = [
        pd.DataFrame(
            {
                "group": group,
                "seed": seed,
                "step": table["step"] - records.t_star,
                "curvature_influence": table[f"curvature_influence_{group}"],
                "sharpness_coupling": table[f"sharpness_coupling_{group}"],
            }
        )
        for group in GROUPS
    ]
    return pd.concat(parts)


def typical_and_atypical(records: SeedRecords) -> pd.DataFrame:
    """Mean alignment of the natural examples nearest to, and farthest from, their centroid (figure 21)."""
    order = np.argsort(records.distance, kind="stable")
    count = max(1, round(TAIL * len(order)))
    members = {"typical": order[:count], "atypical": order[-count:], "all": order}
    base, baseline = (
        pd.DataFrame({name: run["alignment"][:, chosen].mean(axis=1) for name, chosen in members.items()}).assign(
            step=run["step"]
        )
        for run in (records.examples["base"], records.examples["baseline"])
    )
    return records.at_checkpoints(base, baseline)


def examples_at_moments(records: SeedRecords, shown: int = 1000) -> pd.DataFrame:
    """Distance and alignment of single natural examples during sharpening, at onset and late (figures 8 and 20)."""
    base, baseline = records.examples["base"], records.examples["baseline"]
    halfway = int(np.argmin(np.abs(base["step"] - records.t_star / 2)))
    moments = {
        "sharpening": base["alignment"][halfway],
        "onset": baseline["alignment"][0],
        "late": baseline["alignment"][-1],
    }
    every = max(1, len(records.distance) // shown)
    parts = [
        pd.DataFrame(
            {"moment": moment, "centroid_distance": records.distance[::every], "alignment": alignment[::every]}
        )
        for moment, alignment in moments.items()
    ]
    return pd.concat(parts).set_index("moment")
