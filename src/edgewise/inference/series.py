"""The tables under plots/tables/: one row a step since onset, means over seeds with their intervals."""

from collections.abc import Mapping, Sequence
from typing import Literal

import numpy as np
import pandas as pd

from edgewise.data.displacement import DIRECTIONS
from edgewise.inference.gains import (
    COUPLINGS,
    HELD,
    PREDICTORS,
    Held,
    compared,
    delta_loss,
    gains,
    predictor,
    transient,
)
from edgewise.inference.generalisation import dominance, informative_strengths
from edgewise.inference.intervals import LOG, Scale, fraction, plain
from edgewise.inference.metrics import kink_ratios
from edgewise.inference.onset import second_onset
from edgewise.inference.records import SeedRecords, Seeds, at_equal_step
from edgewise.inference.tables import on_grid, over_seeds, since_onset

#: The records of a run: of every step, or of its checkpoints.
Kind = Literal["steps", "hessian"]

CONTROL_COLUMNS = [
    f"{quantity}_{direction}" for quantity in ("alignment", "curvature_influence") for direction in DIRECTIONS
]
NULL_COLUMNS = ["alignment_chance", "alignment_null", "curvature_influence_null"]

#: Share of the natural examples counted as typical (nearest to their centroid) and as atypical (farthest; figure 21).
TAIL = 0.1

#: What the names of the tables over training time end with.
EQUAL_TIME = "_equal_time"


def series_tables(seeds: Seeds) -> dict[str, pd.DataFrame]:
    """The tables under plots/, by name: one row a step since onset, columns with _low and _high.

    Tables by step end at `steps`. Those named <name>_equal_time cover the whole of every branch; their column step is
    the training time since onset in steps of the baseline.
    """
    records = list(seeds.values())

    def by_branch(kind: Kind, columns: Mapping[str, str], held: Held = "step") -> pd.DataFrame:
        """The named columns of every branch, renamed; "" as a new name stands for the branch alone."""
        parts = []
        for branch in records[0].branches:
            names = {old: f"{branch}_{new}" if new else branch for old, new in columns.items()}
            runs = [with_base(r, kind, branch, held)[list(columns)].rename(columns=names) for r in records]
            scales = {new: scale_of(old) for old, new in names.items()}
            parts.append(over_seeds(runs, scales.__getitem__))
        return pd.concat(parts, axis=1).sort_index()

    def by_group(kind: Kind, quantity: str, of_subspace: str = "", held: Held = "step") -> pd.DataFrame:
        """A quantity of every branch and group; beside it that of the leading eigenvectors' span, where measured."""
        columns = {f"{quantity}_{group}": group for group in records[0].groups}
        spans = {f"{of_subspace}_{group}": f"{group}_subspace" for group in records[0].groups}
        measured = getattr(records[0], kind)["baseline"].columns
        return by_branch(kind, columns | {old: new for old, new in spans.items() if old in measured}, held)

    def deltas(held: Held, names: Sequence[str]) -> pd.DataFrame:
        """The exit branch's columns are the groups'; those of other branches begin with their names."""
        parts = []
        for branch in compared(records[0]):
            parts.append(over_seeds([delta_loss(r, branch, held, names).add_prefix(prefix(branch)) for r in records]))
        return pd.concat(parts, axis=1).sort_index()

    setting = records[0].setting
    thresholds = {"stability_threshold": setting.threshold, "exit_stability_threshold": setting.exit_threshold}
    tables: dict[str, pd.DataFrame] = {}
    for held in HELD:
        suffix = "" if held == "step" else EQUAL_TIME
        tables |= {
            f"sharpness{suffix}": by_branch("hessian", {"sharpness": ""}, held).assign(**thresholds),
            f"secant_sharpness{suffix}": by_branch("steps", {"secant_sharpness": ""}, held).assign(**thresholds),
            f"alignment{suffix}": by_group("hessian", "alignment", "subspace_alignment", held),
            f"curvature_influence{suffix}": by_group("hessian", "curvature_influence", "subspace_influence", held),
            f"delta_loss{suffix}": deltas(held, records[0].groups),
        }
    return tables | {
        "group_loss": by_group("steps", "loss"),
        "gradient_norm": by_group("hessian", "gradient_norm"),
        "label_probability": by_group("hessian", "label_probability"),
        "delta_loss_strata": deltas("time", records[0].strata),
        "moments": moments(seeds),
        "selector": pd.concat(selector(seed, r) for seed, r in seeds.items()).set_index("seed"),
        "strata": strata(seeds),
        "shared_images": pd.concat(shared_images(seed, r) for seed, r in seeds.items()).set_index("groups"),
        "centroid_correlation": by_branch("hessian", {"centroid_correlation": ""}),
        "example_alignment": over_seeds([typical_and_atypical(r) for r in records], lambda column: fraction()),
        "examples": examples_at_moments(records[0]),
        "control": over_seeds([control_along_baseline(r) for r in records], scale_of),
        "control_alpha": over_seeds(
            [r.control.set_index("alpha")[[*CONTROL_COLUMNS, *NULL_COLUMNS]] for r in records], scale_of
        ),
        "dominance": dominance_table(seeds),
        "kinks": over_seeds([kink_ratios(r) for r in records]),
        "coupling": pd.concat(coupling(seed, r) for seed, r in seeds.items()).set_index("group"),
    }


def scale_of(column: str) -> Scale:
    """The scale on which a measurement is averaged over seeds, by the name that it has in the records."""
    if column.startswith(("alignment_", "subspace_alignment_", "label_probability_")):
        return fraction()
    if column.startswith(("curvature_influence_", "subspace_influence_", "gradient_norm_")):
        return LOG
    return plain()


def prefix(branch: str) -> str:
    """How the columns of a comparison begin: those of the exit branch have no prefix."""
    return "" if branch == "exit" else f"{branch}_"


def with_base(records: SeedRecords, kind: Kind, run: str, held: Held = "step") -> pd.DataFrame:
    """The records of a kind from initialisation through a branch, by steps, or training time, since onset.

    By step, the checkpoints of a branch are those that the baseline has too, so all branches have the same rows.
    """
    tables = getattr(records, kind)
    branch = tables[run] if held == "time" else at_equal_step(records, tables[run], tables["baseline"])
    return joined(records, tables["base"], branch, 1 if kind == "steps" else records.setting.sharpness_every, held)


def joined(
    records: SeedRecords, base: pd.DataFrame, branch: pd.DataFrame, spacing: int, held: Held = "step"
) -> pd.DataFrame:
    """Base, measured at multiples of `spacing`, and the branch that goes on from it, by steps or time since onset."""
    before = since_onset(base, records.t_star, spacing)
    if held == "time":
        time = branch["time"].to_numpy(float)
        after = on_grid(branch.drop(columns="step"), (time - time[0]) / records.setting.time_per_step)
    else:
        after = since_onset(branch, records.t_star)
    # What is measured along a step is known at onset from the step that led there, which is one of the base run.
    after = after.fillna(before.loc[[0]])
    return pd.concat([before[before.index < 0], after])


def moments(seeds: Seeds) -> pd.DataFrame:
    """When each seed was where: onset, the end of the transient, and t** in steps and in training time.

    Returns
    -------
    One row a seed, columns:

    t_star : steps from initialisation
    transient : steps from onset to the end of the transient (`gains.transient`)
    t_star_star : steps from onset until the exit branch reaches its own threshold; empty if it never does
    t_star_star_equal_time : the same as training time, in steps of the baseline
    """
    rows = []
    for seed, records in seeds.items():
        second = second_onset(records)
        time = records.steps["exit"].set_index("step")["time"]
        since = np.nan if second is None else (time[second] - time[records.t_star]) / records.setting.time_per_step
        rows.append(
            {
                "seed": seed,
                "t_star": records.t_star,
                "transient": transient(records),
                "t_star_star": np.nan if second is None else second - records.t_star,
                "t_star_star_equal_time": since,
            }
        )
    return pd.DataFrame(rows).set_index("seed")


def selector(seed: int, records: SeedRecords) -> pd.DataFrame:
    """What may tell who gains, measured before onset, beside the gains: one row a group or stratum.

    Returns
    -------
    Columns:

    seed, name, kind : kind is group or stratum
    curvature_influence, gradient_norm, loss, centroid_distance, coupling, coupling_over_step : before onset
    gain_step, gain_time : Delta l_k against the exit branch, settled, at equal step and at equal training time; of
        other branches with their names before
    """
    names = records.tracked
    kinds = ["group"] * len(records.groups) + ["stratum"] * len(records.strata)
    table = {"seed": seed, "name": list(names), "kind": kinds}
    for predicting in (*PREDICTORS, *COUPLINGS):
        table[predicting] = predictor(records, predicting, "exit", names)
    for branch in compared(records):
        for held in HELD:
            table[f"{prefix(branch)}gain_{held}"] = gains(records, branch, held, names).to_numpy()
    return pd.DataFrame(table)


def strata(seeds: Seeds) -> pd.DataFrame:
    """The rows of `selector` that are strata, as means over seeds with their intervals: one row a stratum.

    Columns label and quantile say which; quantile 1 is nearest to the centroid.
    """
    names = next(iter(seeds.values())).strata
    tables = []
    for seed, records in seeds.items():
        table = selector(seed, records)
        of_strata = table[table["kind"] == "stratum"].drop(columns=["seed", "name", "kind"])
        tables.append(of_strata.reset_index(drop=True))
    found = over_seeds(tables)
    label, quantile = zip(*(name.removeprefix("class").split("_q") for name in names), strict=True)
    found.insert(0, "label", np.array(label, dtype=int))
    found.insert(1, "quantile", np.array(quantile, dtype=int))
    return found.set_axis(pd.Index(names, name="stratum"))


def shared_images(seed: int, records: SeedRecords) -> pd.DataFrame:
    """How many trained images the groups of a pair have in common."""
    pairs = {"groups": list(records.shared), "images": list(records.shared.values())}
    return pd.DataFrame({"seed": seed, **pairs})


def dominance_table(seeds: Seeds) -> pd.DataFrame:
    """`dominance` of all seeds, of the attacks that tell something."""
    strengths = informative_strengths(seeds)
    return pd.concat(dominance(seed, r, strengths) for seed, r in seeds.items()).set_index("seed")


def control_along_baseline(records: SeedRecords) -> pd.DataFrame:
    """Alignment and influence of the source images under both displacements, up to onset and along the baseline."""
    table = with_base(records, "hessian", "baseline")
    return table.rename(columns=lambda name: name.replace("_control_", "_"))[CONTROL_COLUMNS]


def coupling(seed: int, records: SeedRecords) -> pd.DataFrame:
    """Q_k and C_k of every group at every checkpoint of base and baseline (figure 22).

    coupling is <grad l_k, grad S>, the mean over both iterates, coupling_over_step the same over the length of half a
    step; sharpness_coupling, Q_k^2, and sharpness_coupling_over_step are their squares.
    """
    table = pd.concat([records.hessian["base"].iloc[:-1], records.hessian["baseline"]])
    parts = []
    for group in records.groups:
        columns = {"step": table["step"] - records.t_star}
        columns |= {name: table[f"{name}_{group}"] for name in ("curvature_influence", *COUPLINGS)}
        columns |= {f"sharpness_{name}": columns[name] ** 2 for name in COUPLINGS}
        parts.append(pd.DataFrame({"group": group, "seed": seed, **columns}))
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
    return joined(records, base, baseline, records.setting.sharpness_every)


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
