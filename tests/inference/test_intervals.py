"""Intervals and correlations against scipy and by hand."""

import itertools
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from edgewise.inference.intervals import (
    Interval,
    bootstrap_over_seeds,
    clustered_spearman,
    mean_interval,
    mean_over_seeds,
    permutation_p_value,
    spearman,
)

values = st.floats(-1e6, 1e6)


@given(st.lists(values, min_size=2, max_size=8).filter(lambda x: np.ptp(x) > 1e-3))
def test_the_interval_is_scipys_t_interval(sample):
    interval = mean_interval(sample)
    low, high = stats.t.interval(0.95, len(sample) - 1, loc=np.mean(sample), scale=stats.sem(sample))
    assert interval.estimate == pytest.approx(np.mean(sample), rel=1e-9, abs=1e-6)
    assert (interval.low, interval.high) == pytest.approx((low, high), rel=1e-9, abs=1e-6)


def test_a_known_t_interval():
    interval = mean_interval([1.0, 2.0, 3.0])  # t(0.975, 2) = 4.30265, standard error 1 / sqrt(3)
    assert (interval.low, interval.high) == pytest.approx(
        (2 - 4.30265 / math.sqrt(3), 2 + 4.30265 / math.sqrt(3)), 1e-5
    )


def test_one_seed_has_a_mean_and_no_interval():
    interval = mean_interval([7.0])
    assert interval.estimate == 7
    assert math.isnan(interval.low)
    assert math.isnan(interval.high)


def test_equal_seeds_have_an_interval_of_no_width():
    assert mean_interval([2.0, 2.0, 2.0]) == mean_interval([2.0, 2.0]) == Interval(2.0, 2.0, 2.0)


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("shape", [(1,), (1, 3), (2,), (3, 2), (3, 0)])
def test_one_seed_equal_seeds_and_empty_tables_pass_without_a_warning(shape):
    mean, low, high = mean_over_seeds(np.ones(shape))
    assert mean.shape == low.shape == high.shape == shape[1:]
    expected = np.full(shape[1:], math.nan if shape[0] == 1 else 1.0)
    np.testing.assert_array_equal(low, expected)
    np.testing.assert_array_equal(high, expected)


def test_arrays_are_averaged_over_their_first_axis_entry_by_entry(rng):
    sample = rng.standard_normal((4, 3, 2))
    mean, low, high = mean_over_seeds(sample)
    assert mean.shape == low.shape == high.shape == (3, 2)
    for i in range(3):
        for j in range(2):
            expected = stats.t.interval(0.95, 3, loc=sample[:, i, j].mean(), scale=stats.sem(sample[:, i, j]))
            assert (low[i, j], high[i, j]) == pytest.approx(expected)


def test_spearman_is_scipys_and_nan_where_it_is_not_defined(rng):
    x, y = rng.standard_normal(20), rng.integers(0, 4, 20).astype(float)
    assert spearman(x, y) == pytest.approx(stats.spearmanr(x, y).statistic)
    assert spearman(np.array([1.0, 2.0, 3.0]), np.array([5.0, 60.0, 700.0])) == pytest.approx(1)
    assert math.isnan(spearman(np.ones(5), x[:5]))
    assert math.isnan(spearman(x[:5], np.ones(5)))
    assert math.isnan(spearman(x[:1], y[:1]))


@pytest.mark.parametrize("sign", [1, -1])
def test_perfect_correlation_in_every_seed_is_certain(sign, rng):
    x = {seed: rng.standard_normal(6) for seed in range(4)}
    interval = clustered_spearman({seed: (v, sign * v**3) for seed, v in x.items()})
    assert (interval.estimate, interval.low, interval.high) == pytest.approx((sign, sign, sign))


def test_the_estimate_pools_the_pairs_of_all_seeds(rng):
    pairs = {seed: (rng.standard_normal(5), rng.standard_normal(5)) for seed in (3, 1, 2)}
    x, y = (np.concatenate([pairs[seed][side] for seed in pairs]) for side in (0, 1))
    interval = clustered_spearman(pairs)
    assert interval.estimate == pytest.approx(stats.spearmanr(x, y).statistic)
    assert interval.low <= interval.estimate <= interval.high


def test_whole_seeds_are_resampled_not_pairs(rng):
    """Against the exact bootstrap: all 4^4 resamples of four seeds, which differ in their correlation."""
    pairs = {}
    for seed, slope in enumerate((0.0, 0.3, 0.6, 0.9)):
        x, noise = rng.standard_normal((2, 30))
        pairs[seed] = (x, slope * x + math.sqrt(1 - slope**2) * noise)
    every = [
        spearman(*(np.concatenate([pairs[seed][side] for seed in chosen]) for side in (0, 1)))
        for chosen in itertools.product(pairs, repeat=4)
    ]
    half = stats.t.ppf(0.975, 3) * np.std(every) * math.sqrt(4 / 3)
    interval = clustered_spearman(pairs)
    assert (interval.estimate - interval.low) == pytest.approx(half, rel=0.05)


def test_the_bootstrap_is_the_same_every_time_and_in_every_order(rng):
    pairs = {seed: (rng.standard_normal(5), rng.standard_normal(5)) for seed in range(3)}
    first = clustered_spearman(pairs)
    assert first == clustered_spearman(pairs) == clustered_spearman(dict(reversed(pairs.items())))
    assert first.low < first.high


def test_one_seed_has_a_correlation_and_no_interval(rng):
    x = rng.standard_normal(6)
    interval = clustered_spearman({0: (x, x)})
    assert interval.estimate == pytest.approx(1)
    assert math.isnan(interval.low)
    assert math.isnan(interval.high)


def test_the_t_interval_covers_the_truth_as_often_as_it_says(rng):
    _, low, high = mean_over_seeds(rng.standard_normal((3, 4000)))
    assert ((low < 0) & (high > 0)).mean() == pytest.approx(0.95, abs=0.015)


@pytest.mark.parametrize(("value", "expected"), [(5.0, 1 / 5), (3.0, 3 / 5), (2.5, 3 / 5), (0.0, 1.0)])
def test_the_p_value_counts_the_draws_at_least_as_large_and_the_value_itself(value, expected):
    assert permutation_p_value(value, np.array([1.0, 2.0, 3.0, 4.0])) == pytest.approx(expected)


def test_p_values_of_the_null_itself_are_uniform(rng):
    p = np.array([permutation_p_value(value, rng.standard_normal(99)) for value in rng.standard_normal(2000)])
    assert p.min() >= 0.01
    for level in (0.05, 0.25, 0.5, 0.9):
        assert (p <= level + 1e-12).mean() == pytest.approx(level, abs=0.035)


def test_the_bootstrap_over_seeds_resamples_seeds_as_many_as_there_are_and_of_a_mean_is_the_t_interval(rng):
    value = dict(zip((11, 12, 13, 14), rng.standard_normal(4), strict=True))
    drawn = []

    def mean(chosen):
        drawn.append(tuple(chosen))
        return float(np.mean([value[seed] for seed in chosen]))

    interval = bootstrap_over_seeds(list(value), mean)
    exact = mean_interval(list(value.values()))
    assert interval.estimate == pytest.approx(exact.estimate)
    assert all(len(chosen) == 4 and set(chosen) <= set(value) for chosen in drawn)
    width = exact.high - exact.low
    assert (interval.low, interval.high) == pytest.approx((exact.low, exact.high), abs=0.05 * width)


@pytest.mark.parametrize("count", [2, 3])
def test_the_bootstrap_over_few_seeds_covers_the_truth_as_often_as_it_says(count, rng):
    """Percentiles of the resamples would cover it in half of the cases with 2 seeds, in three quarters with 3."""
    covered = 0
    for _ in range(300):
        value = rng.standard_normal(count)
        interval = bootstrap_over_seeds(range(count), lambda chosen, value=value: float(value[chosen].mean()))
        covered += interval.low < 0 < interval.high
    assert covered / 300 == pytest.approx(0.95, abs=0.03)


def test_the_bootstrap_over_seeds_does_not_depend_on_their_order(rng):
    value = rng.standard_normal(3)
    first, other = (bootstrap_over_seeds(order, lambda c: float(np.mean(value[c]))) for order in ([0, 1, 2], [2, 0, 1]))
    assert (first.low, first.high) == (other.low, other.high)


def test_an_interval_reaches_no_further_than_its_quantity_can():
    assert Interval(0.9, 0.7, 1.1).within(1) == Interval(0.9, 0.7, 1)
    assert Interval(-0.9, -1.1, 0.7).within(1) == Interval(-0.9, -1, 0.7)
    unknown = Interval(0.5, math.nan, math.nan).within(1)
    assert np.isnan([unknown.low, unknown.high]).all()


def test_one_seed_gives_the_score_and_no_interval_and_undefined_scores_are_left_out():
    alone = bootstrap_over_seeds([4], lambda chosen: 2.0)
    assert alone.estimate == 2
    assert np.isnan([alone.low, alone.high]).all()
    interval = bootstrap_over_seeds([0, 1], lambda chosen: math.nan if chosen == [0, 0] else float(sum(chosen)))
    assert interval.estimate == 1
    assert 0 < 1 - interval.low == pytest.approx(interval.high - 1)
