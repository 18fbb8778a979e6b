"""Verdicts on intervals, and every claim on records in which the effects were planted."""

import math
from dataclasses import replace

import pytest
from synthetic import GAIN, GROUPS, INFLUENCE, by_group, records

from edgewise.inference.claims import CLAIMS, Claim, as_markdown, fading_of_the_input_outliers, judge
from edgewise.inference.intervals import Interval
from edgewise.inference.records import SeedRecords
from edgewise.params import Params, parse_params

NAN = math.nan


def seeds_of(count: int, sign: float = 1.0, **changes: object) -> dict[int, SeedRecords]:
    """Seeds that differ a little, with all gains times `sign`."""
    return {
        seed: records(sign * (1 + 0.1 * seed), jitter=0.01 * seed, **changes)  # type: ignore[arg-type]
        for seed in range(count)
    }


@pytest.fixture(autouse=True)
def few_resamples(monkeypatch):
    """The effects here are the same in all seeds, or certain; a thousand resamples would show no more."""
    monkeypatch.setattr("edgewise.inference.intervals.RESAMPLES", 60)


@pytest.fixture(scope="module")
def three() -> dict[int, SeedRecords]:
    return seeds_of(3)


@pytest.mark.parametrize(
    ("low", "high", "positive", "negative"),
    [
        (0.1, 0.2, "holds", "fails"),
        (-0.2, -0.1, "fails", "holds"),
        (-0.1, 0.2, "undecided", "undecided"),
        (0.0, 0.2, "undecided", "undecided"),  # zero itself is neither
        (-0.2, 0.0, "undecided", "undecided"),
        (NAN, NAN, "undecided", "undecided"),
        (NAN, 0.2, "undecided", "undecided"),
        (0.1, NAN, "undecided", "undecided"),
        (0.1, 0.1, "undecided", "undecided"),  # every seed has the same coarse number
    ],
)
def test_a_verdict_is_that_of_the_whole_interval(low, high, positive, negative):
    for sign, expected in ((1, positive), (-1, negative)):
        assert Claim("", "", lambda seeds: Interval(0, 0, 0), sign).verdict(Interval(0.0, low, high)) == expected


def named(claim: Claim) -> str:
    return f"{claim.figure}: {claim.statement}"


def test_every_claim_has_a_name_of_its_own():
    assert len({named(claim) for claim in CLAIMS}) == len({claim.statement for claim in CLAIMS}) == len(CLAIMS)


@pytest.mark.parametrize("claim", CLAIMS, ids=named)
def test_every_claim_has_a_finite_statistic_in_its_interval_and_is_undecided_on_one_seed(claim, three):
    interval = claim.statistic(three)
    assert math.isfinite(interval.estimate)
    assert interval.low <= interval.estimate + 1e-12
    assert interval.estimate <= interval.high + 1e-12
    alone = claim.statistic(seeds_of(1))
    assert math.isfinite(alone.estimate)
    assert claim.verdict(alone) == "undecided"


def verdicts(seeds: dict[int, SeedRecords], figure: str, text: str = "") -> dict[str, str]:
    rows = judge(Params(), seeds)
    return {row["statement"]: row["verdict"] for row in rows if row["figure"] == figure and text in row["statement"]}


@pytest.mark.parametrize("sign", [1.0, -1.0])
def test_gains_as_the_paper_has_them_hold_and_the_opposite_ones_fail(sign):
    """In the paper the outliers gain, the inlier and the boundary group lose."""
    planted = seeds_of(3, sign, gain=by_group(-0.1, -0.2, 0.3, 0.4))
    found = verdicts(planted, "4")
    assert len(found) == 2 * len(GROUPS)
    assert set(found.values()) == {"holds" if sign > 0 else "fails"}


def test_each_gain_is_judged_by_itself(three):
    """By `GAIN`, the output-outliers gain and the boundary group loses; the other two do the opposite."""
    found = verdicts(three, "4")
    for statement, verdict in found.items():
        as_in_paper = "output-outlier" in statement or "boundary" in statement
        assert verdict == ("holds" if as_in_paper else "fails"), statement


def test_gains_that_differ_in_sign_between_seeds_are_undecided():
    mixed = {seed: records((-1.0) ** seed, jitter=0.01 * seed) for seed in range(3)}
    assert set(verdicts(mixed, "4").values()) == {"undecided"}


@pytest.mark.parametrize("sign", [1.0, -1.0])
def test_the_selector_holds_where_influence_ranks_the_gains_and_fails_where_it_ranks_the_losses(sign):
    found = verdicts(seeds_of(3, sign), "selector", "rank correlation")
    assert len(found) == 2
    assert set(found.values()) == {"holds" if sign > 0 else "fails"}
    first = verdicts(seeds_of(3, sign), "selector", "the group with the largest influence")
    assert list(first.values()) == ["holds" if sign > 0 else "fails"]


def test_influence_is_said_to_rank_better_than_its_rivals_only_where_it_does():
    assert set(verdicts(seeds_of(3), "selector", "better").values()) == {"holds"}
    level_ranks_them = seeds_of(3, gain=by_group(0.1, 0.4, 0.2, 0.3), influence=by_group(1.0, 2.0, 4.0, 3.0))
    found = verdicts(level_ranks_them, "selector", "better")
    assert found["influence ranks the gains better than loss does"] == "fails"


@pytest.mark.parametrize("sign", [1.0, -1.0])
def test_with_cross_entropy_the_output_outliers_are_to_gain_and_the_influence_of_the_input_outliers_to_fade(sign):
    """By `GAIN` the output-outliers gain, and the input-outliers lose; influence was written to grow."""
    rows = judge(parse_params("loss: ce"), seeds_of(3, sign))
    verdicts = {row["statement"].split(", ")[1]: row["verdict"] for row in rows if row["figure"] == "7"}
    assert verdicts == {
        "the influence of the input-outliers fades along the baseline (log10)": "fails",
        "the output-outlier group gains from the edge": "holds" if sign > 0 else "fails",
        "the output-outliers gain more than the input-outliers": "holds" if sign > 0 else "fails",
    }


def test_fading_is_that_of_the_later_half_of_the_baseline():
    one = records()
    table = one.hessian["baseline"].assign(curvature_influence_input_outlier=[100.0, 2.0, 8.0])
    faded = replace(one, hessian={**one.hessian, "baseline": table})
    assert fading_of_the_input_outliers(faded) == pytest.approx(math.log10(100 / 5))


@pytest.mark.parametrize("claim", [claim for claim in CLAIMS if claim.figure == "6"], ids=named)
def test_the_control_holds_where_only_coherent_displacement_aligns(claim, three):
    if "gain" not in claim.statement:
        assert claim.verdict(claim.statistic(three)) == "holds"


def test_the_statistics_are_those_of_the_records(three):
    rows = {row["statement"]: row["statistic"] for row in judge(Params(), three)}
    declines = [(0.5 + j) * 0.1 * (INFLUENCE["input_outlier"] + j) * 0.75 for j in (0.0, 0.01, 0.02)]
    assert rows["alignment of the input-outliers declines along the baseline after onset"] == pytest.approx(
        sum(declines) / 3
    )
    correlation = "the correlation of alignment with centroid distance is higher at onset than during sharpening"
    assert rows[correlation] == pytest.approx((-0.2 - 0.5) - (-0.6 + 0.0))
    late = "late at the edge, the correlation of alignment with centroid distance is negative"
    assert rows[late] == pytest.approx(-0.2 + (0.0 + 0.5) / 2 + 0.01)
    assert rows["sharpness coupling follows curvature influence (rank correlation)"] == pytest.approx(1)
    gain = "the input-outlier group gains from the edge, at equal step"
    assert rows[gain] == pytest.approx(1.1 * GAIN["input_outlier"])
    # On unseen data as in training; the loss of displaced test data grows with 1 + alpha, up to 10.
    assert rows["the edge branch is more accurate under attack"] == pytest.approx(1.1 * GAIN["boundary"])
    displaced = "the edge branch has the smaller loss on far displaced test inputs"
    assert rows[displaced] == pytest.approx(11 * 1.1 * GAIN["input_outlier"])


@pytest.mark.parametrize(
    ("text", "with_gains", "with_random"),
    [("alpha: 3", True, False), ("loss: ce", False, False), ("direction: random", False, True)],
)
def test_only_claims_that_the_setting_can_test_are_judged(text, with_gains, with_random, three):
    rows = judge(parse_params(text), three)
    assert len(rows) == sum(claim.applies(parse_params(text)) for claim in CLAIMS)
    figures = {row["figure"] for row in rows}
    assert ({"4", "5"} <= figures) == with_gains
    assert figures.isdisjoint({"4", "5"}) != with_gains
    statements = {row["statement"] for row in rows}
    random = [s for s in statements if s.startswith("randomly displaced input-outliers gain")]
    assert len(random) == (2 if with_random else 0)  # at equal step, and at equal training time
    assert {"selector", "8", "20", "22"} <= figures


@pytest.mark.parametrize(("alpha", "more", "less"), [(3, True, False), (10, False, True), (5, False, False)])
def test_accuracy_under_attack_is_claimed_as_the_paper_has_it_at_its_two_displacements(alpha, more, less, three):
    statements = {row["statement"] for row in judge(parse_params(f"alpha: {alpha}"), three_at(three, alpha))}
    assert ("the edge branch is more accurate under attack" in statements) == more
    assert ("the edge branch is less accurate under attack" in statements) == less


def three_at(seeds: dict[int, SeedRecords], alpha: float) -> dict[int, SeedRecords]:
    """The seeds with a control that was made at alpha too."""
    tables = {seed: one.control.assign(alpha=[0.0, alpha, 20.0]) for seed, one in seeds.items()}
    return {
        seed: replace(one, setting=replace(one.setting, alpha=alpha), control=tables[seed])
        for seed, one in seeds.items()
    }


@pytest.mark.parametrize(("count", "heading"), [(1, "here, 1 seed |"), (3, "here, 3 seeds |")])
def test_the_table_has_one_row_a_claim_and_six_cells_a_row(count, heading):
    rows = judge(Params(), seeds_of(count))
    lines = as_markdown(rows, count).splitlines()
    assert len(lines) == 2 + len(rows)
    assert heading in lines[0]
    for line, row in zip(lines[2:], rows, strict=True):
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        assert len(cells) == 6
        assert (cells[0], cells[1], cells[5]) == (row["figure"], row["statement"], row["verdict"])
        assert float(cells[3]) == pytest.approx(row["statistic"], rel=1e-2, abs=1e-12)
        if count == 1:
            assert cells[4] == "none"
        else:
            assert cells[4] == f"[{row['low']:.3g}, {row['high']:.3g}]"
