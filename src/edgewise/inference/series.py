"""The tables under plots/tables/: one row a step since onset, means over seeds with their intervals."""

from collections.abc import Mapping

import numpy as np
import pandas as pd

from edgewise.data.displacement import DIRECTIONS
from edgewise.data.groups import GROUPS
from edgewise.inference.gains import HELD, Held, compared, delta_loss
from edgewise.inference.generalisation import dominance
from edgewise.inference.records import SeedRecords, Seeds
from edgewise.inference.tables import over_seeds, since_onset, without_alternation

CONTROL_COLUMNS = [
    f"{quantity}_{direction}" for quantity in ("alignment", "curvature_influence") for direction in DIRECTIONS
]
NULL_COLUMNS = ["alignment_chance", "alignment_null", "curvature_influence_null"]

#: Share of the natural examples counted as typical (nearest to their centroid) and as atypical (farthest; figure 21).
TAIL = 0.1

#: The table of Delta l_k, by what is held equal.
DELTA_TABLES = {"step": "delta_loss", "time": "delta_loss_equal_time"}


def series_tables(seeds: Seeds) -> dict[str, pd.DataFrame]:
    """The tables under plots/, by name: one row a step since onset, columns with _low and _high."""
    records = list(seeds.values())

    def by_branch(kind: str, columns: Mapping[str, str]) -> pd.DataFrame:
        """The named columns of every branch, renamed; "" as a new name stands for the branch alone."""
        parts = []
        for branch in records[0].branches:
            names = {old: f"{branch}_{new}" if new else branch for old, new in columns.items()}
            parts.append(over_seeds([with_base(r, kind, branch)[list(columns)].rename(columns=names) for r in records]))
        return pd.concat(parts, axis=1).sort_index()

    def by_group(kind: str, quantity: str, of_subspace: str = "") -> pd.DataFrame:
        """A quantity of every branch and group; beside it that of the leading eigenvectors' span, where measured."""
        columns = {f"{quantity}_{group}": group for group in GROUPS}
        spans = {f"{of_subspace}_{group}": f"{group}_subspace" for group in GROUPS}
        measured = getattr(records[0], kind)["baseline"].columns
        return by_branch(kind, columns | {old: new for old, new in spans.items() if old in measured})

    def deltas(held: Held) -> pd.DataFrame:
        """The exit branch's columns are the groups'; those of other branches begin with their names."""
        parts = []
        for branch in compared(records[0]):
            prefix = "" if branch == "exit" else f"{branch}_"
            parts.append(over_seeds([delta_loss(r, branch, held).add_prefix(prefix) for r in records]))
        return pd.concat(parts, axis=1).sort_index()

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
        **{DELTA_TABLES[held]: deltas(held) for held in HELD},
        "centroid_correlation": by_branch("hessian", {"centroid_correlation": ""}),
        "example_alignment": over_seeds([typical_and_atypical(r) for r in records]),
        "examples": examples_at_moments(records[0]),
        "control": over_seeds([control_along_baseline(r) for r in records]),
        "control_alpha": over_seeds([r.control.set_index("alpha")[[*CONTROL_COLUMNS, *NULL_COLUMNS]] for r in records]),
        "dominance": pd.concat(dominance(seed, r) for seed, r in seeds.items()).set_index("seed"),
        "coupling": pd.concat(coupling(seed, r) for seed, r in seeds.items()).set_index("group"),
    }


def with_base(records: SeedRecords, kind: str, run: str) -> pd.DataFrame:
    """A table, "steps" or "hessian", from initialisation through a branch, by steps since onset."""
    if kind == "hessian":
        return at_checkpoints(records, records.hessian["base"], records.hessian[run])
    return _joined(records, records.steps["base"], records.steps[run], spacing=1)


def at_checkpoints(records: SeedRecords, base: pd.DataFrame, branch: pd.DataFrame) -> pd.DataFrame:
    """What was measured now and then along base and branch, by steps since onset, free of the step's parity."""
    return without_alternation(_joined(records, base, branch, records.setting.sharpness_every))


def _joined(records: SeedRecords, base: pd.DataFrame, branch: pd.DataFrame, spacing: int) -> pd.DataFrame:
    """Base, measured at multiples of `spacing`, and the branch that goes on from it, by steps since onset."""
    before = since_onset(base, records.t_star, spacing)
    return pd.concat([before[before.index < 0], since_onset(branch, records.t_star)])


def control_along_baseline(records: SeedRecords) -> pd.DataFrame:
    """Alignment and influence of the seed images under both displacements, up to onset and along the baseline."""
    table = with_base(records, "hessian", "baseline")
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
    return at_checkpoints(records, base, baseline)


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
