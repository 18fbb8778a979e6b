"""Means over seeds with their intervals, tests, and corrections for many tests; rank correlations; scipy underneath.

The seeds are few and independent, so intervals and tests are Student's t over seeds. A quantity that has bounds or
heavy tails is averaged on a scale without them (`Scale`); the mean and the interval are then carried back.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import permutations

import numpy as np
from scipy import special, stats

from edgewise.data.files import Array

CONFIDENCE = 0.95

#: On the logarithmic scale, smaller values than this count as it.
FLOOR = 1e-30

#: Draws of a permutation test, and the number of arrangements up to which all of them are gone through instead.
DRAWS, EXACT_UP_TO = 9999, 5040


@dataclass(frozen=True)
class Scale:
    """The scale on which the values of seeds are averaged.

    Attributes
    ----------
    name : of the mean, as in the metrics
    to, back : from values to the scale, and from there to values
    grid : the spacing of the values that the quantity can have, of one with few
    """

    name: str
    to: Callable[[Array], Array]
    back: Callable[[Array], Array]
    grid: float = 0.0


def plain(limit: float = np.inf, grid: float = 0.0, least: float | None = None) -> Scale:
    """No other scale, for quantities from `least`, by default -limit, to `limit`; intervals end there."""
    low = -limit if least is None else least
    return Scale("mean", np.asarray, lambda mean: np.clip(mean, low, limit), grid)


#: For differences of two quantities from 0 to 1, as alignments are.
BETWEEN_FRACTIONS = plain(limit=1)

#: For positive quantities with heavy tails: the mean is the geometric one.
LOG = Scale("geometric_mean", lambda values: np.log(np.maximum(values, FLOOR)), np.exp)


def fraction(count: int | None = None) -> Scale:
    """Log-odds, for quantities from 0 to 1; the mean is that of the log-odds, carried back.

    0 and 1 have none. A fraction k / count is moved to (k + 1/2) / (count + 1), which is undone on the way back;
    without a count values are moved to the nearest from 1e-9 to 1 - 1e-9.
    """
    if count is None:
        return Scale("mean", lambda values: special.logit(np.clip(values, 1e-9, 1 - 1e-9)), special.expit)
    return Scale(
        "mean",
        lambda values: special.logit((count * np.asarray(values) + 0.5) / (count + 1)),
        lambda mean: np.clip(((count + 1) * special.expit(mean) - 0.5) / count, 0, 1),
        1 / count,
    )


def correlation(points: int) -> Scale:
    """Fisher's z, for rank correlations of so many points.

    1 and -1 have none. Correlations are first multiplied by 1 - h/2, which is undone on the way back; h is the spacing
    of the values that the correlation can have, 12 / (n^3 - n). Of fewer than three points nothing is left of it: nan.
    """
    spacing = 12 / (points**3 - points) if points > 2 else np.nan
    shrunk = 1 - spacing / 2
    return Scale(
        "mean",
        lambda values: np.arctanh(shrunk * np.asarray(values)),
        lambda mean: np.clip(np.tanh(mean) / shrunk, -1, 1),
        spacing,
    )


@dataclass(frozen=True)
class Estimate:
    """A mean over seeds.

    Attributes
    ----------
    center, standard_error : on the scale; nan where there are too few seeds, or no spread to tell it from
    seeds : over how many seeds
    scale : see `Scale`
    """

    center: float
    standard_error: float
    seeds: int
    scale: Scale

    @property
    def value(self) -> float:
        """The mean."""
        return float(self.scale.back(np.asarray(self.center)))

    def interval(self, confidence: float = CONFIDENCE) -> tuple[float, float]:
        """Student's t interval over seeds: (low, high); nan with one seed, without width where all seeds agree."""
        half = _quantile(confidence, self.seeds) * self.standard_error
        low, high = self.scale.back(np.array([self.center - half, self.center + half]))
        return float(low), float(high)

    def p_above(self, null: float) -> float:
        """One-sided p-value for the mean being above `null`; nan without an interval, or with one of no width."""
        return self._tail(null, 1)

    def p_below(self, null: float) -> float:
        """The same for the mean being below `null`."""
        return self._tail(null, -1)

    def _tail(self, null: float, sign: int) -> float:
        if not self.standard_error > 0:
            return float("nan")
        standard = (self.center - float(self.scale.to(np.asarray(null)))) / self.standard_error
        return float(special.stdtr(self.seeds - 1, -sign * standard))


def estimate(values: Sequence[float] | Array, scale: Scale | None = None) -> Estimate:
    """The mean of one number a seed. Seeds without the number (nan) are left out, and not counted."""
    scale = scale or plain()
    known = np.asarray(values, dtype=float)
    known = known[~np.isnan(known)]
    count = len(known)
    if not count:
        return Estimate(float("nan"), float("nan"), 0, scale)
    center, error = _center_and_error(known, scale)
    return Estimate(float(center), float(error), count, scale)


def mean_over_seeds(values: Array, scale: Scale | None = None) -> tuple[Array, Array, Array]:
    """Mean over the first axis, and its 95 % Student-t interval: (mean, low, high), each of the remaining shape.

    With one seed the interval is nan, not zero.
    """
    scale = scale or plain()
    center, error = _center_and_error(np.asarray(values, dtype=float), scale)
    half = _quantile(CONFIDENCE, len(values)) * error
    mean, low, high = (scale.back(end) for end in (center, center - half, center + half))
    return mean, low, high


def _quantile(confidence: float, count: int) -> float:
    """How many standard errors from the mean of `count` values its interval ends; nan for fewer than two."""
    return float(special.stdtrit(count - 1, (1 + confidence) / 2)) if count > 1 else float("nan")


def _center_and_error(values: Array, scale: Scale) -> tuple[Array, Array]:
    """Mean over the first axis, and its standard error, nan with one seed; both on the scale, of the remaining shape.

    Where all seeds agree nothing is known of the spread, but that on a grid it is less than the spacing.
    """
    on_scale, count = scale.to(values), len(values)
    center = np.asarray(on_scale.mean(axis=0))
    if count < 2:
        return center, np.full_like(center, np.nan)
    error = np.asarray(on_scale.std(axis=0, ddof=1) / np.sqrt(count))
    agree = np.ptp(values, axis=0) <= 1e-12 * np.abs(values).max(axis=0)
    inwards = values[0][agree] - np.copysign(scale.grid, center[agree])
    error[agree] = np.abs(center[agree] - scale.to(inwards)) / np.sqrt(12 * count) if scale.grid else 0.0
    return center, error


def holm(p_values: Sequence[float]) -> list[float]:
    """p-values corrected for their number by Holm's method (1979); nan counts as 1.

    The probability that any true null hypothesis of the table has a corrected p-value of at most 5 % is at most 5 %,
    however the tests depend on each other.

    Examples
    --------
    >>> holm([0.01, 0.04, 0.03, 0.005])
    [0.03, 0.06, 0.06, 0.02]
    """
    known = np.nan_to_num(np.asarray(p_values, dtype=float), nan=1.0)
    order = np.argsort(known, kind="stable")
    stepped = np.maximum.accumulate(known[order] * np.arange(len(known), 0, -1))
    corrected = np.empty(len(known))
    corrected[order] = np.minimum(stepped, 1.0)
    return [float(value) for value in corrected]


def spearman(x: Array, y: Array) -> float:
    """Spearman's rank correlation; nan where one of the two is constant or there are fewer than two pairs."""
    if len(x) < 2 or np.ptp(x) == 0 or np.ptp(y) == 0:
        return float("nan")
    return float(stats.spearmanr(x, y).statistic)


def permutation_test(pairs: Sequence[tuple[Array, Array]]) -> float:
    """Two-sided p-value of the mean over seeds of the rank correlation of x [n] and y [n], pairs one a seed.

    Under the null hypothesis the x of a seed stand in any order, independently in every seed. Where a seed has few
    orders, all are gone through and the p-value is exact; else `DRAWS` are drawn, always the same, and the value itself
    counts as one. nan where a seed has no correlation.
    """
    ranks = [tuple(_standard_ranks(side) for side in pair) for pair in pairs]
    observed = abs(sum(float(x @ y) for x, y in ranks))
    if np.isnan(observed):
        return float("nan")
    reached = observed - 1e-9
    if all(special.factorial(len(x)) <= EXACT_UP_TO for x, _ in ranks):
        sums: Array = np.zeros(1)
        weight: Array = np.ones(1)
        for x, y in ranks:
            correlations = np.array(list(permutations(x))) @ y
            weight = np.repeat(weight / len(correlations), len(correlations))
            # Few sums differ: equal ones are kept once, with their weight.
            sums, place = np.unique(np.add.outer(sums, correlations).ravel().round(9), return_inverse=True)
            weight = np.bincount(place, weight)
        return float(weight[np.abs(sums) >= reached].sum())
    rng = np.random.default_rng(0)
    drawn = sum(rng.permuted(np.tile(x, (DRAWS, 1)), axis=1) @ y for x, y in ranks)
    return float((1 + np.count_nonzero(np.abs(drawn) >= reached)) / (1 + DRAWS))


def _standard_ranks(values: Array) -> Array:
    """Ranks [n] with mean 0 and length 1, so that products of two are rank correlations; nan for equal values."""
    centred = stats.rankdata(values) - (len(values) + 1) / 2
    length = np.linalg.norm(centred)
    standard: Array = centred / length if length > 0 else np.full(len(centred), np.nan)
    return standard
