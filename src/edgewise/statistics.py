"""Intervals over seeds and rank correlations; scipy underneath."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from scipy import stats

from edgewise.files import Array

CONFIDENCE = 0.95
RESAMPLES = 2000


@dataclass(frozen=True)
class Interval:
    """An estimate with its 95 % confidence interval; low and high are nan where one cannot be had."""

    estimate: float
    low: float
    high: float


def mean_over_seeds(values: Array) -> tuple[Array, Array, Array]:
    """Mean over the first axis, and its 95 % Student-t interval: (mean, low, high), each of the remaining shape.

    The seeds are few and independent, so the interval is the t interval. With one seed it is nan, not zero.
    """
    values = np.asarray(values, dtype=float)
    count, mean = len(values), values.mean(axis=0)
    if count < 2:
        unknown = np.full_like(mean, np.nan)
        return mean, unknown, unknown
    half = stats.t.ppf((1 + CONFIDENCE) / 2, count - 1) * values.std(axis=0, ddof=1) / np.sqrt(count)
    return mean, mean - half, mean + half


def mean_interval(values: Sequence[float] | Array) -> Interval:
    """`mean_over_seeds` of one number a seed."""
    mean, low, high = mean_over_seeds(np.asarray(values, dtype=float))
    return Interval(float(mean), float(low), float(high))


def spearman(x: Array, y: Array) -> float:
    """Spearman's rank correlation; nan where one of the two is constant or there are fewer than two pairs."""
    if len(x) < 2 or np.ptp(x) == 0 or np.ptp(y) == 0:
        return float("nan")
    return float(stats.spearmanr(x, y).statistic)


def clustered_spearman(by_seed: Mapping[int, tuple[Array, Array]]) -> Interval:
    """Rank correlation of the pairs of all seeds, with a percentile interval that resamples whole seeds.

    The pairs of one seed are not independent of each other, so the seeds are the units of the bootstrap. With one
    seed the interval is nan.
    """
    seeds = sorted(by_seed)

    def score(chosen: Sequence[int]) -> float:
        return spearman(*(np.concatenate([by_seed[seed][side] for seed in chosen]) for side in (0, 1)))

    estimate = score(seeds)
    if len(seeds) < 2:
        return Interval(estimate, float("nan"), float("nan"))
    rng = np.random.default_rng(0)
    scores = [score(rng.choice(seeds, len(seeds)).tolist()) for _ in range(RESAMPLES)]
    low, high = np.nanquantile(scores, [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2])
    return Interval(estimate, float(low), float(high))
