"""Intervals over seeds and rank correlations; scipy underneath."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from scipy import stats

from edgewise.data.files import Array

CONFIDENCE = 0.95
RESAMPLES = 1000


@dataclass(frozen=True)
class Interval:
    """An estimate with its 95 % confidence interval; low and high are nan where one cannot be had."""

    estimate: float
    low: float
    high: float

    def within(self, limit: float) -> "Interval":
        """The part of the interval that the quantity can reach: from -limit to limit."""
        return Interval(self.estimate, max(self.low, -limit), min(self.high, limit))


def mean_over_seeds(values: Array) -> tuple[Array, Array, Array]:
    """Mean over the first axis, and its 95 % Student-t interval: (mean, low, high), each of the remaining shape.

    The seeds are few and independent, so the interval is the t interval. With one seed it is nan, not zero.
    """
    values = np.asarray(values, dtype=float)
    count, mean = len(values), values.mean(axis=0)
    if count < 2:
        unknown = np.full_like(mean, np.nan)
        return mean, unknown, unknown
    low, high = _t_quantiles(count)
    standard_error = stats.sem(values, axis=0)
    return mean, mean + low * standard_error, mean + high * standard_error


def _t_quantiles(count: int) -> tuple[float, float]:
    """How many standard errors from the mean of `count` values its interval begins and ends."""
    low, high = stats.t.interval(CONFIDENCE, count - 1)
    return float(low), float(high)


def mean_interval(values: Sequence[float] | Array) -> Interval:
    """`mean_over_seeds` of one number a seed."""
    mean, low, high = mean_over_seeds(np.asarray(values, dtype=float))
    return Interval(float(mean), float(low), float(high))


def spearman(x: Array, y: Array) -> float:
    """Spearman's rank correlation; nan where one of the two is constant or there are fewer than two pairs."""
    if len(x) < 2 or np.ptp(x) == 0 or np.ptp(y) == 0:
        return float("nan")
    return float(stats.spearmanr(x, y).statistic)


def permutation_p_value(value: float, null: Array) -> float:
    """One-sided p-value of `value` among draws [m] from its null distribution; the value itself counts as a draw."""
    return float((1 + np.count_nonzero(null >= value)) / (1 + len(null)))


def clustered_spearman(by_seed: Mapping[int, tuple[Array, Array]]) -> Interval:
    """Rank correlation of the pairs of all seeds, with an interval that resamples whole seeds.

    The pairs of one seed are not independent of each other, so the seeds are the units of the bootstrap. With one
    seed the interval is nan.
    """
    return bootstrap_over_seeds(by_seed, lambda chosen: pooled_spearman(by_seed, chosen)).within(1)


def pooled_spearman(by_seed: Mapping[int, tuple[Array, Array]], seeds: Sequence[int]) -> float:
    """Rank correlation of the pairs of these seeds together; a seed named twice counts twice."""
    return spearman(*(np.concatenate([by_seed[seed][side] for seed in seeds]) for side in (0, 1)))


def bootstrap_over_seeds(seeds: Iterable[int], score: Callable[[Sequence[int]], float]) -> Interval:
    """`score` of the seeds, with a t interval whose standard error is that of resampled seeds; nan with one seed.

    For a score that is a mean this is `mean_interval`, but for the draws. The percentiles of the resamples would not
    do: they reach no further than the n seeds themselves, which lie all on one side of the truth 1 time in 2^(n-1).
    """
    ordered = sorted(seeds)
    count, estimate = len(ordered), score(ordered)
    if count < 2:
        return Interval(estimate, float("nan"), float("nan"))
    rng = np.random.default_rng(0)
    drawn = [tuple(sorted(rng.choice(ordered, count).tolist())) for _ in range(RESAMPLES)]
    # Few seeds have few different resamples, and a score may be slow.
    scores = {chosen: score(list(chosen)) for chosen in sorted(set(drawn))}
    standard_error = float(np.nanstd([scores[chosen] for chosen in drawn]) * np.sqrt(count / (count - 1)))
    low, high = _t_quantiles(count)
    return Interval(estimate, estimate + low * standard_error, estimate + high * standard_error)
