"""The numbers under metrics/: when each seed reached the edge, who gains, and what the controls say."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from scipy import stats

from edgewise.data.displacement import DIRECTIONS
from edgewise.data.files import Array
from edgewise.data.groups import GROUPS
from edgewise.inference.gains import HELD, PREDICTORS, Held, compared, gains, predictor
from edgewise.inference.intervals import (
    Interval,
    bootstrap_over_seeds,
    clustered_spearman,
    mean_interval,
    pooled_spearman,
)
from edgewise.inference.onset import late_ratio, onset, second_onset
from edgewise.inference.records import Seeds


def edge_metrics(seeds: Seeds) -> dict[str, Any]:
    """When each seed reached the edge, by both rules, and how sharp it was there and after (metrics/edge.json).

    Ratios are to the stability threshold; those of the baseline are means over its later half.
    """
    setting = next(iter(seeds.values())).setting
    each: dict[int, dict[str, Any]] = {}
    for seed, records in seeds.items():
        each[seed] = {
            "t_star": records.t_star,
            "t_star_secant": onset(records, "secant"),
            "t_star_sharpness": onset(records, "sharpness"),
            "sharpness_ratio_at_t_star": float(records.hessian["baseline"]["sharpness"].iloc[0] / setting.threshold),
            "sharpness_ratio_baseline": late_ratio(records, "sharpness"),
            "secant_sharpness_ratio_baseline": late_ratio(records, "secant"),
            "t_star_star": second_onset(records),
        }
    summary: dict[str, Any] = {}
    for name in next(iter(each.values())):
        found = [values[name] for values in each.values() if values[name] is not None]
        summary[name] = {**as_dict(mean_interval(found)), "seeds": len(found)} if found else None
    return {
        "rule": setting.rule,
        "stability_threshold": setting.threshold,
        "summary": summary,
        "seeds": {str(seed): values for seed, values in each.items()},
    }


def selectivity_metrics(seeds: Seeds) -> dict[str, Any]:
    """Who gains from the edge, and what tells (metrics/selectivity.json).

    Delta is averaged over the later half of the branch, influence and alignment over all of its checkpoints. `groups`
    and `selector_score` are about the exit branch; `branches` has the scores of every branch, for curvature influence
    and for its rivals, at equal step and at equal training time.
    """
    groups: dict[str, Any] = {}
    for group in GROUPS:
        groups[group] = {
            "delta_loss": delta_interval(seeds, "exit", group, "step"),
            "delta_loss_equal_time": delta_interval(seeds, "exit", group, "time"),
        }
        for quantity in ("curvature_influence", "alignment"):
            groups[group][quantity] = {
                branch: float(np.mean([r.hessian[branch][f"{quantity}_{group}"].mean() for r in seeds.values()]))
                for branch in ("baseline", "exit")
            }
    return {
        "groups": {
            group: {name: as_dict(v) if isinstance(v, Interval) else v for name, v in values.items()}
            for group, values in groups.items()
        },
        "selector_score": as_dict(selector_score(seeds, "exit", "curvature_influence", "step"), "spearman"),
        "branches": {
            branch: {
                name: {f"equal_{h}": as_dict(selector_score(seeds, branch, name, h), "spearman") for h in HELD}
                for name in PREDICTORS
            }
            for branch in compared(next(iter(seeds.values())))
        },
        "intervals": "95 %: Student t over seeds; the standard error of a score by a bootstrap of whole seeds",
        "seeds": list(seeds),
    }


def delta_interval(seeds: Seeds, branch: str, group: str, held: Held) -> Interval:
    """Delta l_k of one group, averaged over the later half of a branch, over seeds."""
    return mean_interval([gains(records, branch, held)[group] for records in seeds.values()])


def selector_score(seeds: Seeds, branch: str, name: str, held: Held) -> Interval:
    """Rank correlation over (seed, group) of a predictor at the edge with Delta l_k."""
    return clustered_spearman(_predicted_and_found(seeds, branch, name, held))


def selector_advantage(seeds: Seeds, branch: str, rival: str) -> Interval:
    """How much better curvature influence ranks the groups than a rival does: the difference of their scores."""
    ours, theirs = (_predicted_and_found(seeds, branch, name, "step") for name in ("curvature_influence", rival))

    def advantage(chosen: Sequence[int]) -> float:
        return pooled_spearman(ours, chosen) - pooled_spearman(theirs, chosen)

    return bootstrap_over_seeds(seeds, advantage).within(2)


def _predicted_and_found(seeds: Seeds, branch: str, name: str, held: Held) -> dict[int, tuple[Array, Array]]:
    return {
        seed: (predictor(records, name, branch), gains(records, branch, held).to_numpy())
        for seed, records in seeds.items()
    }


def headline(metrics: Mapping[str, Any]) -> dict[str, Any]:
    """The few numbers that `dvc metrics show` and `dvc exp show` print (metrics/summary.json), from the other metrics.

    Gains are at equal step.
    """
    verdicts = [claim["verdict"] for claim in metrics["claims"]["claims"]]
    return {
        "t_star": metrics["edge"]["summary"]["t_star"]["mean"],
        **{f"gain_{group}": metrics["selectivity"]["groups"][group]["delta_loss"]["mean"] for group in GROUPS},
        "selector": metrics["selectivity"]["selector_score"]["spearman"],
        "claims_hold": verdicts.count("holds"),
    }


def control_metrics(seeds: Seeds, coherent_distance: Array, random_distance: Array) -> dict[str, Any]:
    """Does alignment come from the direction or from the distance (metrics/control.json; paper, figures 6 and 19)?

    Parameters
    ----------
    coherent_distance, random_distance : [m], centroid distances of the input-outliers under each displacement
    """
    first = next(iter(seeds.values()))
    at_onset: dict[str, Any] = {}
    for quantity in ("alignment", "curvature_influence"):
        values = {d: np.array([r.at_alpha(f"{quantity}_{d}") for r in seeds.values()]) for d in DIRECTIONS}
        at_onset[quantity] = {
            **{str(d): as_dict(mean_interval(values[d])) for d in DIRECTIONS},
            "difference": as_dict(mean_interval(values["coherent"] - values["random"])),
            "permutation_null_median": float(np.mean([r.at_alpha(f"{quantity}_null") for r in seeds.values()])),
            "p_value": {
                str(d): {str(seed): r.at_alpha(f"{quantity}_{d}_p_value") for seed, r in seeds.items()}
                for d in DIRECTIONS
            },
        }
    return {
        "alignment_chance_level": first.at_alpha("alignment_chance"),
        "at_onset": at_onset,
        "centroid_distance": {
            "median_coherent": float(np.median(coherent_distance)),
            "median_random": float(np.median(random_distance)),
            "ks_p_value": float(stats.ks_2samp(coherent_distance, random_distance).pvalue),
        },
    }


def as_dict(interval: Interval, name: str = "mean") -> dict[str, float]:
    """An interval as it stands in the metrics."""
    return {name: interval.estimate, "low": interval.low, "high": interval.high}
