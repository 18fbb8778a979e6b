"""Intervals, tests and corrections: against scipy, by hand, and on a thousand draws with a known truth."""

import itertools
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import special, stats

from edgewise.inference.intervals import (
    LOG,
    correlation,
    estimate,
    fraction,
    holm,
    mean_over_seeds,
    permutation_test,
    plain,
    spearman,
)

values = st.floats(-1e6, 1e6)
DRAWN = 1000


@given(st.lists(values, min_size=2, max_size=8).filter(lambda x: np.ptp(x) > 1e-3))
def test_the_interval_is_scipys_t_interval(sample):
    found = estimate(sample)
    for confidence in (0.9, 0.95):
        low, high = stats.t.interval(confidence, len(sample) - 1, loc=np.mean(sample), scale=stats.sem(sample))
        assert found.interval(confidence) == pytest.approx((low, high), rel=1e-9, abs=1e-6)
    assert found.value == pytest.approx(np.mean(sample), rel=1e-9, abs=1e-6)
    assert found.seeds == len(sample)


@given(st.lists(values, min_size=2, max_size=8).filter(lambda x: np.ptp(x) > 1e-3), values)
def test_the_p_values_are_scipys(sample, null):
    found = estimate(sample)
    assert found.p_above(null) == pytest.approx(stats.ttest_1samp(sample, null, alternative="greater").pvalue, abs=1e-9)
    assert found.p_below(null) == pytest.approx(stats.ttest_1samp(sample, null, alternative="less").pvalue, abs=1e-9)


def test_a_known_t_interval():
    half = 4.30265 / math.sqrt(3)  # t(0.975, 2), standard error 1 / sqrt(3)
    assert estimate([1.0, 2.0, 3.0]).interval() == pytest.approx((2 - half, 2 + half), 1e-5)


def test_one_seed_has_a_mean_and_no_interval():
    for scale in (plain(), LOG, fraction(), fraction(10), correlation(4)):
        found = estimate([0.5], scale)
        assert found.value == pytest.approx(0.5)
        assert np.isnan([*found.interval(), found.p_above(0.1), found.p_below(0.1)]).all()


def test_seeds_that_agree_have_an_interval_of_no_width_and_no_p_value():
    for same in ([0.1, 0.1, 0.1], [0.3, 0.1 + 0.2, 0.3]):  # to within rounding
        found = estimate(same)
        assert found.interval() == pytest.approx((same[0], same[0]))
        assert math.isnan(found.p_above(0))


def test_seeds_that_agree_on_a_grid_agree_to_within_its_spacing():
    """Four groups ranked right in all of three seeds are evidence, though the seeds do not differ."""
    ranked = estimate([1.0, 1.0, 1.0], correlation(4))
    low, high = ranked.interval()
    assert ranked.value == pytest.approx(1)
    assert 0.6 < low < 1 == high
    assert ranked.p_above(0) < 0.01
    # Twice that of the next value would be two spacings wide.
    spacing = np.arctanh(0.9) - np.arctanh(0.72)
    assert ranked.standard_error == pytest.approx(spacing / np.sqrt(12 * 3))


def test_a_seed_without_the_number_is_left_out_and_not_counted():
    found = estimate([1.0, math.nan, 3.0])
    assert (found.value, found.seeds) == (2, 2)
    nothing = estimate([math.nan, math.nan])
    assert nothing.seeds == 0
    assert np.isnan([nothing.value, *nothing.interval()]).all()


def test_the_mean_of_log_values_is_the_geometric_mean():
    found = estimate([1e-3, 1.0, 1e3], LOG)
    low, high = found.interval()
    assert found.value == pytest.approx(1)
    assert low > 0
    assert low * high == pytest.approx(1)
    assert LOG.name == "geometric_mean"
    assert math.isfinite(estimate([0.0, 1.0], LOG).value)


@given(st.lists(st.integers(0, 14), min_size=2, max_size=5))
def test_fractions_have_intervals_from_0_to_1(counts):
    for scale in (fraction(), fraction(14)):
        found = estimate(np.array(counts) / 14, scale)
        low, high = found.interval()
        assert 0 <= low <= found.value <= high <= 1


@given(st.lists(st.sampled_from(np.linspace(-1, 1, 11)), min_size=2, max_size=5))
def test_correlations_have_intervals_from_minus_1_to_1(rho):
    found = estimate(rho, correlation(4))
    low, high = found.interval()
    assert -1 <= low <= found.value <= high <= 1
    mirrored = estimate(-np.array(rho), correlation(4))
    assert mirrored.value == pytest.approx(-found.value)


@pytest.mark.parametrize("points", [4, 7])
def test_the_spacing_of_rank_correlations_is_that_of_all_orders(points):
    order = np.arange(points)
    every = np.unique([round(spearman(order, np.array(p)), 9) for p in itertools.permutations(order)])
    assert np.diff(every).min() == pytest.approx(correlation(points).grid)


@pytest.mark.parametrize("scale", [plain(), LOG, fraction(), fraction(20), correlation(14)])
def test_what_is_carried_there_comes_back(scale):
    value = np.linspace(0.01, 0.99, 11)
    np.testing.assert_allclose(scale.back(scale.to(value)), value)


def test_of_many_numbers_the_mean_and_interval_are_those_of_each(rng):
    table = rng.integers(1, 20, (4, 3, 2)) / 20
    table[:, 0] = [0.5, 1.0]
    table[:, 1, 0] = 0.0
    for scale in (plain(), plain(limit=2, grid=0.1), LOG, fraction(), fraction(20), correlation(9)):
        mean, low, high = mean_over_seeds(table, scale)
        for place in np.ndindex(3, 2):
            one = estimate(table[(slice(None), *place)], scale)
            assert (mean[place], low[place], high[place]) == pytest.approx((one.value, *one.interval()))


def drawn_ranks(rng: np.random.Generator, shape: tuple[int, ...], rho: float, points: int) -> np.ndarray:
    """Rank correlations of pairs drawn from a normal distribution with correlation rho."""
    x = rng.standard_normal((*shape, points))
    y = rho * x + math.sqrt(1 - rho**2) * rng.standard_normal((*shape, points))
    ranks = [np.argsort(np.argsort(side, axis=-1), axis=-1) - (points - 1) / 2 for side in (x, y)]
    return (ranks[0] * ranks[1]).sum(axis=-1) / (points * (points**2 - 1) / 12)


SAMPLERS = {
    "mean": (plain(), lambda rng, shape: rng.normal(0.3, 1, shape)),
    "log": (LOG, lambda rng, shape: np.exp(rng.normal(-3, 2, shape))),
    "fraction": (fraction(), lambda rng, shape: special.expit(rng.normal(2, 1, shape))),
    "counted fraction": (
        fraction(100),
        lambda rng, shape: rng.binomial(100, special.expit(rng.normal(2, 0.5, shape))) / 100,
    ),
    "correlation": (correlation(14), lambda rng, shape: drawn_ranks(rng, shape, 0.5, 14)),
}


@pytest.mark.parametrize("count", [3, 5])
@pytest.mark.parametrize("name", SAMPLERS)
def test_intervals_cover_the_truth_as_often_as_they_say(name, count, rng):
    """The truth is the mean on the scale, of so many seeds that nothing is left to chance."""
    scale, draw = SAMPLERS[name]
    truth = scale.back(scale.to(draw(rng, (200_000,))).mean())
    _, low, high = mean_over_seeds(draw(rng, (count, DRAWN)), scale)
    assert np.mean((low <= truth) & (truth <= high)) >= 0.93


@pytest.mark.parametrize("count", [3, 5])
@pytest.mark.parametrize("points", [4, 14])
def test_scores_of_seeds_without_a_correlation_are_seldom_said_to_have_one(points, count, rng):
    """Also with four points, of which the correlation is so coarse that seeds often agree."""
    drawn = drawn_ranks(rng, (DRAWN, count), 0.0, points)
    p_values = np.array(
        [2 * min(e.p_above(0), e.p_below(0)) for e in (estimate(d, correlation(points)) for d in drawn)]
    )
    assert np.mean(p_values < 0.05) <= 0.07


def test_corrected_p_values_are_those_of_the_textbook():
    assert holm([]) == []
    assert holm([0.02]) == [0.02]
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.5, 0.6, math.nan]) == pytest.approx([1, 1, 1])


@given(st.lists(st.floats(0, 1), min_size=1, max_size=10))
def test_correction_never_lowers_a_p_value_and_keeps_their_order(p_values):
    found = holm(p_values)
    assert all(one <= other <= 1 for one, other in zip(p_values, found, strict=True))
    assert sorted(range(len(found)), key=lambda i: (found[i], p_values[i])) == sorted(
        range(len(found)), key=lambda i: p_values[i]
    )
    # Between no correction and Bonferroni's.
    assert all(found[i] <= min(1, len(found) * p_values[i]) + 1e-12 for i in range(len(found)))


def test_rank_correlations_are_scipys(rng):
    x, y = rng.standard_normal((2, 9))
    assert spearman(x, y) == pytest.approx(stats.spearmanr(x, y).statistic)
    assert math.isnan(spearman(np.ones(4), x[:4]))
    assert math.isnan(spearman(x[:1], y[:1]))


def test_the_permutation_test_of_few_points_goes_through_all_orders(rng):
    """Two seeds with four points each, one with equal values: all 24^2 arrangements, one by one."""
    pairs = [(np.array([1.0, 2, 3, 4]), rng.standard_normal(4)), (np.array([1.0, 1, 3, 2]), rng.standard_normal(4))]
    observed = abs(sum(spearman(x, y) for x, y in pairs))
    (one, y_one), (other, y_other) = pairs
    every = [
        abs(spearman(np.array(a), y_one) + spearman(np.array(b), y_other))
        for a in itertools.permutations(one)
        for b in itertools.permutations(other)
    ]
    assert permutation_test(pairs) == pytest.approx(np.mean(np.array(every) >= observed - 1e-9))


def test_the_smallest_p_value_of_three_seeds_with_four_points_is_two_in_all_their_orders():
    x = np.arange(4.0)
    assert permutation_test([(x, x**3)] * 3) == pytest.approx(2 / 24**3)
    assert permutation_test([(x, -x)] * 3) == pytest.approx(2 / 24**3)
    assert permutation_test([(x, x)] * 8) == pytest.approx(2 / 24**8)
    assert math.isnan(permutation_test([(x, np.ones(4))]))


def test_the_permutation_test_of_many_points_is_near_that_of_all_orders_and_the_same_every_time(rng):
    x, y = rng.standard_normal((2, 14))
    found = permutation_test([(x, y)])
    assert found == permutation_test([(x, y)])
    assert found == pytest.approx(stats.spearmanr(x, y).pvalue, abs=0.03)
    assert permutation_test([(x, x)] * 3) == pytest.approx(1 / 10_000)


def test_permutation_p_values_of_the_null_are_no_smaller_than_uniform(rng):
    """Nor much larger, but for the steps between the few values that the mean correlation can have."""
    p = np.array([permutation_test([tuple(rng.standard_normal((2, 4))) for _ in range(3)]) for _ in range(500)])
    for level in (0.05, 0.25, 0.5):
        assert level - 0.15 <= (p <= level).mean() <= level + 0.03
