"""Every claim on records in which the effects were planted, and the page of claims."""

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from synthetic import (
    ALPHAS,
    COST,
    GAIN,
    GROUPS,
    INFLUENCE,
    LEVEL,
    STRATA,
    STRATUM_GAIN,
    STRATUM_INFLUENCE,
    TRANSIENT,
    by_group,
    records,
)

from edgewise.inference.claims import CLAIMS, correlation_change, fading_of_the_input_outliers, judge
from edgewise.inference.claims_page import as_markdown, in_short
from edgewise.inference.intervals import spearman
from edgewise.inference.metrics import selectivity_metrics
from edgewise.inference.records import SeedRecords
from edgewise.inference.verdicts import Claim, table_of
from edgewise.params import Params, parse_params


def seeds_of(count: int, sign: float = 1.0, **changes: object) -> dict[int, SeedRecords]:
    """Seeds that differ a little, with all gains times `sign`."""
    return {
        seed: records(sign * (1 + 0.1 * seed), jitter=0.01 * seed, **changes)  # type: ignore[arg-type]
        for seed in range(count)
    }


#: The share of the exit branch's gain at further factors on the step size.
DOSES = {0.1: 1.5, 0.5: 0.6, 0.9: 0.1}


@pytest.fixture(scope="module")
def three() -> dict[int, SeedRecords]:
    return seeds_of(3, doses=DOSES)


def named(claim: Claim) -> str:
    return f"{claim.figure}: {claim.statement}"


def test_every_claim_has_a_name_of_its_own():
    assert len({named(claim) for claim in CLAIMS}) == len({claim.statement for claim in CLAIMS}) == len(CLAIMS)


@pytest.mark.parametrize("claim", CLAIMS, ids=named)
def test_every_claim_has_a_finite_statistic_in_its_interval_and_is_undecided_on_one_seed(claim, three):
    found = claim.judge(claim.statistic.settled(three))
    assert math.isfinite(found["statistic"])
    assert found["low"] - 1e-12 <= found["statistic"] <= found["high"] + 1e-12
    assert found["seeds"] == 3
    alone = claim.judge(claim.statistic.settled(seeds_of(1, doses=DOSES)))
    assert math.isfinite(alone["statistic"])
    assert alone["verdict"] == "undecided"


@pytest.mark.parametrize("claim", CLAIMS, ids=named)
def test_every_claim_about_a_gain_says_what_is_held_equal_and_has_a_transient(claim, three):
    about_gains = any(word in claim.statement for word in ("gain", "loses by", "neither"))
    # Of the settled gains alone: in the transient the prediction still knows its start, of the path there are too few
    # checkpoints, and a dose has no transient of its own.
    if claim.figure in ("theory", "dose") or "by the path" in claim.statement:
        assert claim.statistic.transient is None
        assert "at equal training time" in claim.statement
        return
    assert (claim.statistic.transient is not None) == about_gains
    of_branches = ("edge branch", "advantage", "off the edge", "the edge makes no difference")
    compared = about_gains or any(word in claim.statement for word in of_branches)
    assert ("at equal step" in claim.statement or "at equal training time" in claim.statement) == compared
    if about_gains:
        assert math.isfinite(claim.statistic.transient(three).value)


def rows_of(seeds: dict[int, SeedRecords], figure: str, text: str = "", setting: str = "") -> list[dict[str, Any]]:
    """The rows of some claims that a setting can test, as `judge` has them but for the correction over all."""
    params = parse_params(setting) if setting else Params()
    some = [c for c in CLAIMS if c.applies(params) and c.figure == figure and text in c.statement]
    return table_of(some, seeds)


def verdicts(seeds: dict[int, SeedRecords], figure: str, text: str = "") -> dict[str, str]:
    return {row["statement"]: row["verdict"] for row in rows_of(seeds, figure, text)}


@pytest.mark.parametrize("sign", [1.0, -1.0])
def test_gains_as_the_paper_has_them_hold_and_the_opposite_ones_fail(sign):
    """In the paper the outliers gain, the inlier and the boundary group lose."""
    planted = seeds_of(3, sign, gain=by_group(-0.1, -0.2, 0.3, 0.4))
    found = verdicts(planted, "4")
    assert len(found) == 3 * len(GROUPS)  # at equal step, at equal training time, and by the path alone
    assert set(found.values()) == {"holds" if sign > 0 else "fails"}


def test_a_group_that_loses_by_the_oscillation_alone_does_not_lose_by_the_path():
    planted = seeds_of(3, gain={**GAIN, "boundary": -COST["boundary"] / 2})
    found = rows_of(planted, "4", "boundary")
    assert [row["verdict"] for row in found] == ["holds", "holds", "fails"]
    mean = [1.1 * -COST["boundary"] / 2] * 2 + [COST["boundary"] * (1 - 1.1 / 2)]
    assert [row["statistic"] for row in found] == pytest.approx(mean)


@pytest.mark.parametrize("sign", [1.0, -1.0])
def test_influence_is_said_to_rank_the_path_where_it_does(sign):
    much_more_than_the_oscillation_costs = ranked_by_influence(10 * sign)
    (row,) = rows_of(much_more_than_the_oscillation_costs, "selector", "who gains by the path")
    assert row["verdict"] == ("holds" if sign > 0 else "fails")
    assert np.sign(row["statistic"]) == sign


def test_each_gain_is_judged_by_itself(three):
    """By `GAIN`, the output-outliers gain and the boundary group loses; the other two do the opposite."""
    found = verdicts(three, "4")
    for statement, verdict in found.items():
        as_in_paper = "output-outlier" in statement or "boundary" in statement
        assert verdict == ("holds" if as_in_paper else "fails"), statement


def test_gains_that_differ_in_sign_between_seeds_are_undecided():
    mixed = {seed: records((-1.0) ** seed, jitter=0.01 * seed) for seed in range(3)}
    assert set(verdicts(mixed, "4").values()) == {"undecided"}


#: Influence ranks all of the first, and all but one pair of the others.
RANKED = (GAIN, by_group(0.3, -0.2, 0.1, -0.4), by_group(0.1, -0.4, 0.3, -0.2))


def ranked_by_influence(sign: float = 1.0) -> dict[int, SeedRecords]:
    return {
        seed: records(sign * (1 + 0.1 * seed), jitter=0.01 * seed, gain=gain)  # type: ignore[arg-type]
        for seed, gain in enumerate(RANKED)
    }


@pytest.mark.parametrize("sign", [1.0, -1.0])
def test_the_selector_holds_where_influence_ranks_the_gains_and_fails_where_it_ranks_the_losses(sign):
    found = verdicts(ranked_by_influence(sign), "selector", "who gains is who")
    assert len(found) == 4  # of the groups with and without the strata, at equal step and at equal training time
    assert set(found.values()) == {"holds" if sign > 0 else "fails"}
    first = verdicts(seeds_of(3, sign), "selector", "the largest influence")
    assert list(first.values()) == ["holds" if sign > 0 else "fails"] * 2


def test_influence_is_said_to_rank_better_than_its_rivals_only_where_it_does():
    assert set(verdicts(seeds_of(3), "selector", "better").values()) == {"holds"}
    reversed_by_influence = verdicts(seeds_of(3, -1.0), "selector", "better than centroid distance")
    assert list(reversed_by_influence.values()) == ["fails"] * 2


@pytest.mark.parametrize("sign", [1.0, -1.0])
def test_the_signed_coupling_ranks_the_gains_as_it_was_planted(sign):
    """The coupling is the root of the influence, up to a factor, with the sign of the gain as it is in `GAIN`."""
    planted, influence = GAIN | STRATUM_GAIN, INFLUENCE | STRATUM_INFLUENCE
    coupling = np.array([np.sign(gain) * influence[name] for name, gain in planted.items()])
    expected = spearman(coupling, np.array(list(planted.values())))
    assert 0.5 < expected < 1
    rows = rows_of(seeds_of(3, sign), "22", "the signed coupling")
    assert len(rows) == 4  # by derivative and over a step, at equal step and at equal training time
    for row in rows:
        assert row["verdict"] == ("holds" if sign > 0 else "fails")
        assert row["statistic"] == pytest.approx(sign * expected)
        assert -1 <= row["low"] <= row["high"] <= 1
    mixed = {seed: records((-1.0) ** seed, jitter=0.01 * seed) for seed in range(3)}
    assert set(verdicts(mixed, "22", "the signed coupling").values()) == {"undecided"}


def test_a_coupling_of_one_sign_everywhere_says_nothing_by_that_sign():
    """Where all gain, a constant has every sign right; it ranks nothing."""
    seeds = {}
    for seed, one in seeds_of(3, gain=by_group(0.1, 0.2, 0.3, 0.4)).items():
        columns = [name for name in one.hessian["base"] if name.startswith("coupling_")]
        constant = one.hessian["base"].assign(**dict.fromkeys(columns, 1.0))
        seeds[seed] = replace(one, hessian={**one.hessian, "base": constant})
    for row in rows_of(seeds, "22", "the signed coupling"):
        assert row["seeds"] == 0
        assert row["verdict"] == "undecided"


def test_at_equal_training_time_a_gain_that_reverses_after_the_transient_is_said_to_depend_on_the_window():
    """The exit branch loses 0.5 more than it gains later, until the oscillation has grown."""
    planted = {}
    for seed, one in seeds_of(3).items():
        table = one.steps["exit"].copy()
        early = table["time"] < table["time"].iloc[0] + (TRANSIENT + 0.5) * one.setting.time_per_step
        table.loc[early, "loss_output_outlier"] -= 1.0
        planted[seed] = replace(one, steps={**one.steps, "exit": table})
    rows = rows_of(planted, "4", "output-outlier group gains from the edge, at equal training time")
    (row,) = rows
    assert (row["verdict"], row["transient"]["verdict"], row["window"]) == ("holds", "fails", "decides")
    assert row["statistic"] > 0 > row["transient"]["statistic"]
    assert "| the window decides: -" in as_markdown(rows, in_short(rows), 3, {})


@pytest.mark.parametrize("sign", [1.0, -1.0])
def test_with_cross_entropy_the_output_outliers_are_to_gain_and_the_influence_of_the_input_outliers_to_fade(sign):
    """By `GAIN` the output-outliers gain, and the input-outliers lose; influence was written to grow."""
    rows = rows_of(seeds_of(3, sign), "7", setting="loss: ce")
    found = {row["statement"].split(", ")[1]: row["verdict"] for row in rows}
    assert found == {
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
    if claim.margin is None:
        assert claim.judge(claim.statistic.settled(three))["verdict"] == "holds"


def test_the_statistics_are_those_of_the_records(three):
    rows = {row["statement"]: row["statistic"] for row in judge(Params(), three)}
    declines = [(0.5 + j) * 0.1 * (INFLUENCE["input_outlier"] + j) * 0.75 for j in (0.0, 0.01, 0.02)]
    assert rows["alignment of the input-outliers declines along the baseline after onset"] == pytest.approx(
        sum(declines) / 3
    )
    correlation = "the correlation of alignment with centroid distance is"
    assert rows[f"{correlation} higher at onset by 0.1 than on the way there (mean)"] == pytest.approx(-0.7 - -0.6)
    assert rows[f"{correlation} positive at onset"] == pytest.approx(-0.7 + 0.01, abs=1e-3)  # on Fisher's scale
    late = "late at the edge, the correlation of alignment with centroid distance is negative"
    assert rows[late] == pytest.approx(-0.2 + (0.0 + 0.5) / 2 + 0.01, abs=1e-4)  # averaged on Fisher's scale
    for in_words in ("by derivative", "over a step's length"):
        follows = f"the square of the coupling {in_words} follows curvature influence (rank correlation)"
        assert rows[follows] == pytest.approx(1)
    gain = "the input-outlier group gains from the edge, at equal step"
    assert rows[gain] == pytest.approx(1.1 * GAIN["input_outlier"])
    # On unseen data as in training; the loss of displaced test data grows with 1 + alpha, up to 10, from 0.2 at 0.
    assert rows["the edge branch is more accurate under attack, at equal step"] == pytest.approx(1.1 * GAIN["boundary"])
    displaced = next(statement for statement in rows if "far displaced test inputs" in statement)
    assert rows[displaced] == pytest.approx(1.1 * GAIN["input_outlier"] / 0.2)
    assert len(STRATA) == 4


@pytest.mark.parametrize(
    ("steps", "on_the_way"),
    [([0, 4, 5, 6], [-0.6]), ([1, 4, 5, 6], [-0.9, -0.6]), ([0, 1, 3, 6], [-0.6, 0.2])],
)
def test_the_correlation_at_onset_is_compared_with_its_mean_between_the_initialisation_and_the_last_pair(
    steps, on_the_way
):
    """Onset is at step 6, and its pair of iterates begins at step 5."""
    one = records()
    base = one.hessian["base"].assign(step=steps, centroid_correlation=[-0.9, -0.6, 0.2, 0.5])
    one = replace(one, hessian={**one.hessian, "base": base})
    assert correlation_change(one) == pytest.approx(-0.7 - sum(on_the_way) / len(on_the_way))


@pytest.mark.parametrize(("at_onset", "verdict"), [(0.4, "holds"), (-0.4, "fails")])
def test_a_correlation_at_onset_is_judged_by_its_sign(at_onset, verdict):
    seeds = {}
    for seed, one in seeds_of(3).items():
        found = [at_onset + 0.01 * seed, *one.hessian["baseline"]["centroid_correlation"].iloc[1:]]
        table = one.hessian["baseline"].assign(centroid_correlation=found)
        seeds[seed] = replace(one, hessian={**one.hessian, "baseline": table})
    (row,) = rows_of(seeds, "8", "positive at onset")
    assert (row["verdict"], row["statistic"]) == (verdict, pytest.approx(at_onset + 0.01, abs=1e-3))


def test_what_is_about_nothing_in_the_paper_is_a_share_of_the_loss_at_onset(three):
    neither = "neither gain nor lose, within ±1 % of their loss at onset"
    about = rows_of(three, "6", neither, setting="direction: random")
    assert len(about) == 2
    for row in about:
        assert row["statistic"] == pytest.approx(1.1 * GAIN["input_outlier"] / LEVEL["input_outlier"])
        assert (row["verdict"], row["confidence"]) == ("fails", pytest.approx(0.9))
    small = seeds_of(3, gain=by_group(0.1, -0.2, 0.3, 0.002))
    assert [row["verdict"] for row in rows_of(small, "6", neither, setting="direction: random")] == ["holds"] * 2


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
    random = [s for s in statements if s.startswith("randomly displaced input-outliers neither gain")]
    assert len(random) == (2 if with_random else 0)  # at equal step, and at equal training time
    assert {"selector", "8", "20", "22"} <= figures


@pytest.mark.parametrize(("alpha", "more", "less"), [(3, True, False), (10, False, True), (5, False, False)])
def test_accuracy_under_attack_is_claimed_as_the_paper_has_it_at_its_two_displacements(alpha, more, less, three):
    statements = {row["statement"] for row in judge(parse_params(f"alpha: {alpha}"), three_at(three, alpha))}
    for held in ("step", "training time"):
        for word, claimed in (("more", more), ("less", less)):
            assert (f"the edge branch is {word} accurate under attack, at equal {held}" in statements) == claimed
        about_nothing = "on far displaced test inputs the edge makes no difference, within ±1 % of their loss at onset"
        assert (f"{about_nothing}, at equal {held}" in statements) == more
        smaller = "the edge branch has the smaller loss on far displaced test inputs"
        assert (f"{smaller}, at equal {held}" in statements) == less


def worse_after_the_comparison_at_equal_step(one: SeedRecords) -> SeedRecords:
    """The exit branch loses 0.1 of its accuracy, and its loss grows by 0.5."""
    last = one.t_star + one.setting.steps
    attacked, displaced = one.robustness["exit"], one.ood["exit"]
    attacked = attacked.assign(accuracy=attacked["accuracy"] - 0.1 * (attacked["step"] > last))
    displaced = displaced.assign(loss=displaced["loss"] + 0.5 * (displaced["step"] > last))
    return replace(one, robustness={**one.robustness, "exit": attacked}, ood={**one.ood, "exit": displaced})


@pytest.mark.parametrize("alpha", [3, 10])
def test_unseen_data_are_compared_at_equal_training_time_too_of_which_the_paper_has_no_value(alpha, three):
    worse = {seed: worse_after_the_comparison_at_equal_step(one) for seed, one in three_at(three, alpha).items()}
    rows = [row for row in judge(parse_params(f"alpha: {alpha}"), worse) if row["figure"] in ("9", "10")]
    assert len(rows) == 4
    for by_step, over_time in (rows[:2], rows[2:]):
        beginning = by_step["statement"].removesuffix("step")
        assert over_time["statement"] == f"{beginning}training time"
        assert (bool(by_step["paper"]), over_time["paper"]) == (True, "")
        apart = 0.1 if by_step["figure"] == "9" else 0.5
        # The loss of displaced test data at onset is 0.2.
        at_onset = 0.2 * (1 + max(ALPHAS)) if "makes no difference" in beginning else 1
        assert over_time["statistic"] - by_step["statistic"] == pytest.approx(apart / at_onset)


def three_at(seeds: dict[int, SeedRecords], alpha: float) -> dict[int, SeedRecords]:
    """The seeds with a control that was made at alpha too."""
    tables = {seed: one.control.assign(alpha=[0.0, alpha, 20.0]) for seed, one in seeds.items()}
    return {
        seed: replace(one, setting=replace(one.setting, alpha=alpha), control=tables[seed])
        for seed, one in seeds.items()
    }


@pytest.mark.parametrize(("count", "heading"), [(1, "here, 1 seed |"), (3, "here, 3 seeds |")])
def test_the_page_counts_the_verdicts_and_has_a_row_a_claim(count, heading):
    rows = judge(Params(), seeds_of(count))
    groups = selectivity_metrics(seeds_of(count))["groups"]
    page = as_markdown(rows, in_short(rows, ["it rains"]), count, groups, "Groups share images.").splitlines()
    assert page[0].startswith(f"{len(rows)} claims: ")
    assert "; after Holm's correction " in page[0]
    assert page[0].endswith(" undecided. But it rains")
    assert page[1:4] == ["", "| group | gain at equal step | gain at equal training time |", "|---|---|---|"]
    for line, (name, group) in zip(page[4:], groups.items(), strict=False):
        step, time = (f"{group[held]['mean']:.3g} [" for held in ("delta_loss", "delta_loss_equal_time"))
        assert line.startswith(f"| {name} | {step}" if count > 1 else f"| {name} | {step[:-1]}none | {time[:-1]}none |")
        assert count == 1 or f" | {time}" in line
    lines = page[3 + len(groups) :]
    assert lines[1] == ""
    assert heading in lines[2]
    assert lines[4 + len(rows)] == ""
    assert "95 % interval" in "".join(lines[5 + len(rows) :])
    assert lines[-1] == "Groups share images."
    for line, row in zip(lines[4 : 4 + len(rows)], rows, strict=True):
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        assert len(cells) == 9
        assert (cells[0], cells[1], cells[6], cells[7]) == (
            row["figure"],
            row["statement"],
            row["verdict"],
            row["verdict_holm"],
        )
        assert float(cells[3]) == pytest.approx(row["statistic"], rel=1e-2, abs=1e-12)
        if count == 1:
            assert (cells[4], cells[5]) == ("none", "none")
        else:
            level = "" if row["confidence"] == 0.95 else " (90 %)"
            assert cells[4] == f"[{row['low']:.3g}, {row['high']:.3g}]{level}"


def test_a_statistic_that_some_seeds_do_not_have_says_how_many_have_it(three):
    """Where influence is the same everywhere it ranks nothing."""
    first = three[0]
    columns = [name for name in first.hessian["base"] if name.startswith("curvature_influence_")]
    flat = replace(
        first, hessian={**first.hessian, "base": first.hessian["base"].assign(**dict.fromkeys(columns, 1.0))}
    )
    rows = rows_of({**three, 0: flat}, "selector", "who gains is who")
    assert {row["seeds"] for row in rows} == {2}
    assert " (2 of the seeds) |" in as_markdown(rows, in_short(rows), 3, {})
