"""The numbers under metrics/: when each seed reached the edge, who gains, and what the controls say.

Every mean is over seeds and says over how many. Its 95 % interval is Student's t: of fractions on the scale of
log-odds, of positive quantities with heavy tails on the logarithmic one (the mean is then called geometric_mean), of
rank correlations on Fisher's; of all else, differences above all, on no other scale.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from scipy import stats

from edgewise.data.displacement import DIRECTIONS
from edgewise.data.files import Array
from edgewise.data.groups import GROUPS, GroupedData, Prototypes
from edgewise.inference.gains import HELD, PREDICTORS, Held, Part, When, compared, gains, predictor
from edgewise.inference.intervals import (
    BETWEEN_FRACTIONS,
    LOG,
    Estimate,
    Scale,
    correlation,
    estimate,
    fraction,
    permutation_test,
    plain,
    spearman,
)
from edgewise.inference.onset import late_ratio, onset, second_onset
from edgewise.inference.records import SeedRecords, Seeds
from edgewise.inference.tables import as_if_regular

#: Pairs of groups that are named where they share images.
PAIRS_NAMED = 10

#: The scale of what is averaged over seeds; see the module's head.
SCALES: Mapping[str, Scale] = {"alignment": fraction(), "curvature_influence": LOG}


def edge_metrics(seeds: Seeds) -> dict[str, Any]:
    """When each seed reached the edge, by both rules, and how sharp it was there and after (metrics/edge.json).

    Ratios are to the stability threshold; those of the baseline are means over its later half. Those at the centre
    are of lambda_1 and of the curvature along the step, between the last two iterates measured. A mean of steps at
    which a rule fired is over the seeds in which it did, which `seeds_fired` counts.
    """
    setting = next(iter(seeds.values())).setting
    fired: dict[int, dict[str, Any]] = {}
    ratios: dict[int, dict[str, Any]] = {}
    for seed, records in seeds.items():
        fired[seed] = {
            "t_star": records.t_star,
            "t_star_secant": onset(records, "secant"),
            "t_star_sharpness": onset(records, "sharpness"),
            "t_star_star": second_onset(records),
        }
        at_centre = kink_ratios(records).iloc[0]
        ratios[seed] = {
            "sharpness_ratio_at_t_star": float(records.hessian["baseline"]["sharpness"].iloc[0] / setting.threshold),
            "sharpness_ratio_baseline": late_ratio(records, "sharpness"),
            "secant_sharpness_ratio_baseline": late_ratio(records, "secant"),
            "sharpness_ratio_at_centre": at_centre["sharpness_ratio_centre"],
            "curvature_ratio_at_centre": at_centre["curvature_ratio"],
        }
    summary: dict[str, Any] = {}
    for name in next(iter(fired.values())):
        found = [values[name] for values in fired.values() if values[name] is not None]
        summary[name] = {**as_dict(estimate(found, plain(least=0))), "seeds_fired": f"{len(found)} of {len(seeds)}"}
    for name in next(iter(ratios.values())):
        summary[name] = as_dict(estimate([values[name] for values in ratios.values()]))
    return {
        "rule": setting.rule,
        "stability_threshold": setting.threshold,
        "summary": summary,
        "seeds": {str(seed): fired[seed] | ratios[seed] for seed in seeds},
    }


def kink_ratios(records: SeedRecords) -> pd.DataFrame:
    """Sharpness and curvature over a finite step late in the baseline, over the threshold; by length in half-steps."""
    columns = {
        "sharpness_iterates": "sharpness_ratio_iterates",
        "sharpness_centre": "sharpness_ratio_centre",
        "curvature": "curvature_ratio",
    }
    table = records.kinks.set_index("relative_length")[list(columns)]
    return table.rename(columns=columns) / records.setting.threshold


def group_metrics(
    seeds: Seeds, prototypes: Mapping[int, Prototypes], data: Mapping[int, GroupedData]
) -> dict[str, Any]:
    """How large groups and strata are, how far from the centroids, and what they share (metrics/groups.json).

    Sizes that are not by seed are of the first.
    """
    first = next(iter(seeds))
    strata = seeds[first].strata
    distances = {
        name: {str(seed): records.median_distance[name] for seed, records in seeds.items()}
        for name in seeds[first].tracked
    }
    shared = {
        pair: {str(seed): records.shared[pair] for seed, records in seeds.items()} for pair in seeds[first].shared
    }
    return {
        "groups": {
            group: {
                "trained": int(data[first].train.members[group].sum()),
                "trained_by_seed": {str(seed): int(one.train.members[group].sum()) for seed, one in data.items()},
                "held_out": int(data[first].heldout.members[group].sum()),
                "median_centroid_distance": distances[group],
            }
            for group in seeds[first].groups
        },
        "strata": {
            name: {
                "examples": int((prototypes[first].stratum == i).sum()),
                "median_centroid_distance": distances[name],
            }
            for i, name in enumerate(strata)
        },
        "shared_trained_images": {
            pair: {"seeds": counts, "range": [min(counts.values()), max(counts.values())]}
            for pair, counts in shared.items()
        },
    }


def group_table(groups: Mapping[str, Any]) -> pd.DataFrame:
    """How many examples of each group are trained on and held out, from metrics/groups.json; one row a group."""
    table = pd.DataFrame.from_dict(groups["groups"], orient="index")
    return table[["trained", "held_out"]].rename_axis("group")


def shared_in_words(groups: Mapping[str, Any]) -> str:
    """How large the groups are and which share trained images, from metrics/groups.json; empty where nothing is to say.

    Of groups of one size it is said only where some share images.
    """
    sizes = {name: list(of_group["trained_by_seed"].values()) for name, of_group in groups["groups"].items()}
    by_range: dict[tuple[int, int], list[str]] = {}
    for pair, counts in groups["shared_trained_images"].items():
        fewest, most = counts["range"]
        if most:
            by_range.setdefault((fewest, most), []).append(pair.replace(" & ", " and ").replace("_", "-"))
    parts = [f"{', '.join(pairs)} {_range_in_words(counts)}" for counts, pairs in by_range.items()]
    sharing = sum(len(pairs) for pairs in by_range.values())
    if sharing > PAIRS_NAMED:
        parts = [f"{sharing} of {len(groups['shared_trained_images'])} pairs, see metrics/groups.json"]
    together = "The gains of groups that share images are not facts apart."
    shared = f"these share: {'; '.join(parts)}. {together}" if parts else "none are shared."
    different = {size for of_group in sizes.values() for size in of_group}
    if len(different) == 1:
        return f"Of {different.pop()} trained images a group, {shared}" if parts else ""
    in_words = ", ".join(f"{name.replace('_', '-')} {_range_in_words(counts)}" for name, counts in sizes.items())
    return f"Of the trained images of the groups ({in_words}), {shared}"


def _range_in_words(counts: Sequence[int]) -> str:
    """Counts, one a seed, as their range."""
    fewest, most = min(counts), max(counts)
    return f"{fewest}" if fewest == most else f"{fewest} to {most}"


@dataclass(frozen=True)
class Score:
    """How well a predictor ranks the gains: the rank correlation within a seed, over seeds.

    Attributes
    ----------
    seeds, branch, predictor, held, when, part : what is ranked by what, see `gains` and `predictor` of gains.py
    groups_alone : without the strata of natural examples
    """

    seeds: Seeds
    branch: str
    predictor: str
    held: Held
    when: When = "before_onset"
    part: Part = "settled"
    groups_alone: bool = False

    def pairs(self) -> list[tuple[Array, Array]]:
        """The predictor and the gains of every group and stratum, one pair a seed."""
        return [
            (
                predictor(records, self.predictor, self.branch, names, self.when),
                gains(records, self.branch, self.held, names, self.part).to_numpy(),
            )
            for records in self.seeds.values()
            for names in [self._names(records)]
        ]

    def estimate(self) -> Estimate:
        """The mean over seeds, on Fisher's scale."""
        return estimate([spearman(*pair) for pair in self.pairs()], correlation(self.points))

    @property
    def points(self) -> int:
        """How many groups and strata a seed has."""
        return len(self._names(next(iter(self.seeds.values()))))

    def _names(self, records: SeedRecords) -> Sequence[str]:
        return records.groups if self.groups_alone else records.tracked

    def as_dict(self) -> dict[str, Any]:
        """The score as it stands in the metrics."""
        return {
            **as_dict(self.estimate(), "spearman"),
            "points": self.points,
            "permutation_p_value": permutation_test(self.pairs()),
        }


def advantage_over(rival: Score, ours: Score) -> Estimate:
    """How much better one predictor ranks the gains than a rival: the difference of their correlations, by seed."""
    pairs = zip(ours.pairs(), rival.pairs(), strict=True)
    scale = plain(limit=2, grid=correlation(ours.points).grid)
    return estimate([spearman(*one) - spearman(*other) for one, other in pairs], scale)


#: Over what a predictor is to rank the gains, and whether that is without the strata.
RANKED = {"groups_and_strata": False, "groups": True}


def selectivity_metrics(seeds: Seeds) -> dict[str, Any]:
    """Who gains from the edge, and what tells beforehand (metrics/selectivity.json).

    * groups: Delta l_k of the exit branch in its settled part; influence and alignment there, at equal training time;
    * selector: how well what was measured before onset ranks the gains, by branch and predictor; with the two-sided
      p-value of permutations within seeds, of the mean over seeds;
    * advantage: by how much curvature influence ranks them better than its rivals do;
    * concurrent: the correlation with what was measured along the branch. It has seen the outcome: a description.
    """
    first = next(iter(seeds.values()))
    branches = compared(first)
    groups: dict[str, Any] = {}
    for group in first.groups:
        groups[group] = {
            "delta_loss": as_dict(delta_loss_over_seeds(seeds, "exit", group, "step")),
            "delta_loss_equal_time": as_dict(delta_loss_over_seeds(seeds, "exit", group, "time")),
        }
        for quantity, scale in SCALES.items():
            groups[group][quantity] = {
                run: as_dict(estimate([late(r, run, f"{quantity}_{group}") for r in seeds.values()], scale))
                for run in ("baseline", "exit")
            }

    # Two groups alone have no ranks to speak of.
    ranked = {points: alone for points, alone in RANKED.items() if not alone or len(first.groups) > 2}

    def scores(branch: str, name: str, when: When) -> dict[str, Any]:
        return {
            points: {f"equal_{h}": Score(seeds, branch, name, h, when, groups_alone=alone).as_dict() for h in HELD}
            for points, alone in ranked.items()
        }

    def advantages(branch: str, rival: str) -> dict[str, Any]:
        found: dict[str, Any] = {}
        for points, alone in ranked.items():
            for held in HELD:
                ours, other = (Score(seeds, branch, name, held, groups_alone=alone) for name in (PREDICTORS[0], rival))
                found.setdefault(points, {})[f"equal_{held}"] = as_dict(advantage_over(other, ours))
        return found

    return {
        "groups": groups,
        "selector": {b: {name: scores(b, name, "before_onset") for name in PREDICTORS} for b in branches},
        "advantage": {b: {rival: advantages(b, rival) for rival in PREDICTORS[1:]} for b in branches},
        "concurrent": {b: {name: scores(b, name, "along_branch") for name in PREDICTORS} for b in branches},
        "intervals": "95 %, Student t over seeds; of spearman on Fisher's scale, of alignment on that of log-odds",
        "seeds": list(seeds),
    }


def late(records: SeedRecords, run: str, column: str) -> float:
    """Mean of what was measured at the checkpoints of the later half of a run's training time."""
    table, baseline = (records.hessian[one] for one in (run, "baseline"))
    time = (table["time"] - table["time"].iloc[0]).to_numpy()
    spacing = baseline["time"].iloc[1] - baseline["time"].iloc[0]
    return float(as_if_regular(table, time, spacing, since=time[-1] / 2)[column].mean())


def delta_loss_over_seeds(seeds: Seeds, branch: str, group: str, held: Held) -> Estimate:
    """Delta l_k of one group in the settled part of a branch."""
    return estimate([gains(records, branch, held)[group] for records in seeds.values()])


def headline(metrics: Mapping[str, Any]) -> dict[str, Any]:
    """The few numbers that `dvc metrics show` and `dvc exp show` print (metrics/summary.json), from the other metrics.

    Gains, and the selector of groups and strata, are at equal training time; claims are those that hold after Holm's
    correction. Printed, they are one line of 120 columns: short names, and no digits that say nothing.
    """
    verdicts = [claim["verdict_holm"] for claim in metrics["claims"]["claims"]]
    selectivity = metrics["selectivity"]
    selector = selectivity["selector"]["exit"][PREDICTORS[0]]["groups_and_strata"]["equal_time"]
    short = {group: group.removesuffix("_outlier") for group in GROUPS}
    return {
        "t_star": metrics["edge"]["summary"]["t_star"]["mean"],
        **{
            f"gain_{short.get(group, group)}": of_group["delta_loss_equal_time"]["mean"]
            for group, of_group in selectivity["groups"].items()
        },
        "selector": round(selector["spearman"], 3),
        "claims_hold": verdicts.count("holds"),
    }


def control_metrics(seeds: Seeds, coherent_distance: Array, random_distance: Array) -> dict[str, Any]:
    """Does alignment come from the direction or from the distance (metrics/control.json; paper, figures 6 and 19)?

    Parameters
    ----------
    coherent_distance, random_distance : [m], centroid distances of the input-outliers under each displacement
    """

    def values(column: str) -> Array:
        return np.array([records.at_alpha(column) for records in seeds.values()])

    at_onset: dict[str, Any] = {}
    for quantity, scale in SCALES.items():
        difference = BETWEEN_FRACTIONS if quantity == "alignment" else plain()
        at_onset[quantity] = {
            **{str(d): as_dict(estimate(values(f"{quantity}_{d}"), scale)) for d in DIRECTIONS},
            "difference": as_dict(estimate(values(f"{quantity}_coherent") - values(f"{quantity}_random"), difference)),
            "permutation_null_median": as_dict(estimate(values(f"{quantity}_null"), scale)),
            "p_value": {
                str(d): dict(zip(map(str, seeds), values(f"{quantity}_{d}_p_value").tolist(), strict=True))
                for d in DIRECTIONS
            },
        }
    return {
        "alignment_chance_level": next(iter(seeds.values())).at_alpha("alignment_chance"),
        "at_onset": at_onset,
        "centroid_distance": {
            "median_coherent": float(np.median(coherent_distance)),
            "median_random": float(np.median(random_distance)),
            "ks_p_value": float(stats.ks_2samp(coherent_distance, random_distance).pvalue),
        },
    }


def as_dict(mean: Estimate, name: str = "") -> dict[str, Any]:
    """A mean over seeds as it stands in the metrics; under the name of its scale's mean, or another."""
    low, high = mean.interval()
    return {name or mean.scale.name: mean.value, "low": low, "high": high, "seeds": mean.seeds}
