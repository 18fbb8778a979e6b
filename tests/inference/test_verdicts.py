"""Verdicts on estimates whose truth is known: tests, equivalence, the correction over a table, the window."""

import math

import numpy as np
import pytest
from scipy import stats

from edgewise.inference.intervals import estimate, holm
from edgewise.inference.verdicts import Claim, Statistic, corrected, in_both_parts, per_seed, table_of

NAN = math.nan
DRAWN, TABLE = 1000, 25


def claim(sign: int = 1, margin: float | None = None, null: float = 0.0) -> Claim:
    return Claim("", "", Statistic(lambda seeds: estimate([])), sign, null=null, margin=margin)  # type: ignore[arg-type]


def verdict(values, **about) -> str:
    return claim(**about).judge(estimate(values))["verdict"]


@pytest.mark.parametrize(
    ("values", "positive", "negative"),
    [
        ([0.1, 0.11, 0.12], "holds", "fails"),
        ([-0.1, -0.11, -0.12], "fails", "holds"),
        ([-0.1, 0.2, 0.1], "undecided", "undecided"),
        ([0.1], "undecided", "undecided"),
        ([], "undecided", "undecided"),
        ([0.1, NAN, NAN], "undecided", "undecided"),
        ([0.1, 0.1, 0.1], "undecided", "undecided"),  # nothing is known of the spread
    ],
)
def test_a_verdict_is_that_of_the_whole_interval(values, positive, negative):
    assert (verdict(values, sign=1), verdict(values, sign=-1)) == (positive, negative)


def test_the_verdict_and_the_interval_agree(rng):
    for values in rng.normal(0.5, 1, (200, 3)):
        row = claim(null=0.2).judge(estimate(values))
        expected = "holds" if row["low"] > 0.2 else "fails" if row["high"] < 0.2 else "undecided"
        assert row["verdict"] == expected


def test_about_nothing_holds_where_the_narrower_interval_is_within_the_margin(rng):
    seen = set()
    for values in rng.normal(0.5, 0.3, (200, 3)):
        row = claim(margin=0.6).judge(estimate(values))
        inside = row["low"] > -0.6 and row["high"] < 0.6
        low, high = estimate(values).interval()  # outside is on either side, so that takes the interval of 95 %
        outside = low > 0.6 or high < -0.6
        assert row["verdict"] == ("holds" if inside else "fails" if outside else "undecided")
        assert (row["low"], row["high"]) == estimate(values).interval(0.9)
        seen.add(row["verdict"])
    assert seen == {"holds", "fails", "undecided"}


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([0.001, -0.002, 0.001], "holds"),  # not told from 0, and small
        ([0.004, 0.005, 0.006], "holds"),  # told from 0, and small
        ([0.03, 0.031, 0.032], "fails"),
        ([-0.03, -0.031, -0.032], "fails"),
        ([0.05, -0.05, 0.01], "undecided"),  # not told from 0, for want of evidence
        ([0.001, 0.001, 0.001], "undecided"),
        ([0.001], "undecided"),
    ],
)
def test_what_is_not_told_from_nothing_is_not_therefore_nothing(values, expected):
    assert verdict(values, margin=0.01) == expected


@pytest.mark.parametrize("count", [3, 5])
@pytest.mark.parametrize("side", [1, -1])
def test_at_the_margin_equivalence_is_claimed_in_one_case_of_twenty(count, side, rng):
    drawn = rng.normal(side * 1.0, 0.2, (DRAWN, count))
    holding = sum(verdict(values, margin=1.0) == "holds" for values in drawn)
    assert holding / DRAWN <= 0.05 + 2 * math.sqrt(0.05 * 0.95 / DRAWN)
    # Just within the margin, that it is outside is said no more often.
    failing = sum(verdict(values, margin=1.0) == "fails" for values in drawn)
    assert failing / DRAWN <= 0.05 + 2 * math.sqrt(0.05 * 0.95 / DRAWN)


@pytest.mark.parametrize("count", [3, 5])
@pytest.mark.parametrize("mean", [-1.0, 0.0, 1.0])
@pytest.mark.parametrize("spread", [0.2, 20.0, 2000.0])
def test_what_is_within_the_margin_is_said_to_lie_outside_in_one_case_of_twenty_however_wide_the_spread(
    count, mean, spread, rng
):
    """Far wider than the margin, either side is reached: by one-sided tests at 5 % it would be one case of ten."""
    drawn = rng.normal(mean, spread, (DRAWN, count))
    failing = sum(verdict(values, margin=1.0) == "fails" for values in drawn)
    assert failing / DRAWN <= 0.05 + 2 * math.sqrt(0.05 * 0.95 / DRAWN)


def test_a_table_of_claims_about_nothing_has_a_verdict_in_one_case_of_twenty_after_the_correction(rng):
    """Without the correction most tables have one. The statistics of one table depend on each other."""
    drawn = 0.5 * rng.standard_normal((DRAWN, 1, 3)) + rng.standard_normal((DRAWN, TABLE, 3))
    p_values = stats.ttest_1samp(drawn, 0, axis=-1).pvalue
    assert claim().p_value(estimate(drawn[0, 0]))[0] == pytest.approx(p_values[0, 0])
    assert np.mean(p_values.min(axis=1) < 0.05) > 0.5
    assert np.mean([min(holm(table)) < 0.05 for table in p_values]) <= 0.05 + 2 * math.sqrt(0.05 * 0.95 / DRAWN)


def test_the_table_has_both_verdicts(rng):
    sure = per_seed(lambda value: 10 + value)
    unsure = per_seed(lambda value: 0.5 + value)
    seeds = dict(enumerate([0.0, 0.1, -0.1]))
    claims = [Claim("1", "sure", sure), *(Claim("2", f"unsure {i}", unsure) for i in range(4))]
    rows = table_of(claims, seeds)  # type: ignore[arg-type]
    assert [row["verdict"] for row in rows] == ["holds"] * 5
    assert [row["verdict_holm"] for row in rows] == ["holds"] + ["undecided"] * 4
    assert [row["p_holm"] for row in rows] == holm([row["p_value"] for row in rows])
    assert {row["seeds"] for row in rows} == {3}


def test_claims_of_the_paper_and_our_own_are_corrected_apart():
    """By hand: 2 x 0.012 and 1 x 0.04 of the paper; 3 x 0.02, then 2 x 0.03 and 1 x 0.05, raised to it, of our own."""
    given = [("", 0.05), ("> 0", 0.04), ("", 0.02), ("about 0", 0.012), ("", 0.03)]
    rows = corrected([{"paper": paper, "p_value": p_value, "verdict": "holds"} for paper, p_value in given])
    assert [(row["paper"], row["p_value"]) for row in rows] == given
    assert [row["p_holm"] for row in rows] == pytest.approx([0.06, 0.04, 0.06, 0.024, 0.06])
    assert [row["verdict_holm"] for row in rows] == ["undecided", "holds", "undecided", "holds", "undecided"]
    # All five in one family would leave none.
    assert [row["p_holm"] for row in corrected([{**row, "paper": ""} for row in rows])] == pytest.approx(
        [0.09, 0.09, 0.08, 0.06, 0.09]
    )


@pytest.mark.parametrize("paper", ["", "> 0"])
def test_more_claims_of_one_family_leave_the_other_as_it_is(paper):
    other = "" if paper else "> 0"
    rows = [{"paper": paper, "p_value": p_value, "verdict": "fails"} for p_value in (0.02, 0.03, math.nan)]
    more = [{"paper": other, "p_value": 0.5, "verdict": "holds"} for _ in range(20)]
    alone, among = corrected(rows), corrected([*more, *rows])[20:]
    assert [row["p_holm"] for row in among[:2]] == [row["p_holm"] for row in alone[:2]]
    assert [row["verdict_holm"] for row in among] == [row["verdict_holm"] for row in alone]
    assert alone[2]["verdict_holm"] == "undecided"


@pytest.mark.parametrize(
    ("early", "window", "verdict_there"),
    [(1.0, "same", "holds"), (-1.0, "decides", "fails"), (0.0, "decides", "undecided")],
)
def test_where_the_transient_says_otherwise_the_window_decides(early, window, verdict_there):
    seeds = dict(enumerate([0.01, 0.0, -0.01]))
    statistic = in_both_parts(
        lambda seeds, part: estimate([value + (1.0 if part == "settled" else early) for value in seeds.values()])
    )
    row = table_of([Claim("4", "gains", statistic)], seeds)[0]  # type: ignore[arg-type]
    assert (row["verdict"], row["window"], row["transient"]["verdict"]) == ("holds", window, verdict_there)
    assert row["statistic"] == pytest.approx(1)
    assert row["transient"]["statistic"] == pytest.approx(early)
    alone = table_of([Claim("5", "no gain", Statistic(statistic.settled))], seeds)[0]  # type: ignore[arg-type]
    assert (alone["window"], alone["transient"]) == (None, None)
    assert alone["verdict"] == "holds"


def test_the_truth_is_contradicted_by_few_verdicts(rng):
    """Claims that are true, and false: either way the wrong verdict is given in one case of forty."""
    drawn = rng.normal(0.1, 1, (DRAWN, 3))
    assert np.mean([verdict(values) == "fails" for values in drawn]) <= 0.035
    assert np.mean([verdict(values, sign=-1) == "holds" for values in drawn]) <= 0.035
