"""What a claim is, and when it holds.

* Most say that the statistic lies above `null`, or below it with `sign` -1. Such a claim *holds* where the two-sided t
  test over seeds rejects `null` at 5 % and the statistic lies on the side claimed, and *fails* where it lies on the
  other: the whole 95 % interval does.
* A claim with a `margin` says that the statistic is about 0. It holds where two one-sided tests at 5 % say that it lies
  within the margin (the whole 90 % interval does), and fails where the two-sided test says that it lies outside.

All else is *undecided*, and so is a claim on one seed, which has no interval, and one whose statistic is the same in
every seed, which says nothing of the spread (but for statistics on a grid, `Scale.grid`). A second verdict takes the
p-values after Holm's correction, over the claims of the paper and over the others apart. A statistic of gains is that
of the settled part of the branch; where its verdict is another in the transient, the window decides.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from edgewise.data.files import Array
from edgewise.inference.gains import Part
from edgewise.inference.intervals import CONFIDENCE, Estimate, Scale, correlation, estimate, holm, spearman
from edgewise.inference.records import SeedRecords, Seeds
from edgewise.params import Params

Verdict = Literal["holds", "fails", "undecided"]

#: Whether the verdict on the transient is the same as that on the settled part.
Window = Literal["same", "decides"]


@dataclass(frozen=True)
class Statistic:
    """A number over the seeds that a claim is about.

    Attributes
    ----------
    settled : of the seeds; of gains, in the settled part of the branch
    transient : the same of the transient, for a statistic of gains
    """

    settled: Callable[[Seeds], Estimate]
    transient: Callable[[Seeds], Estimate] | None = None


@dataclass(frozen=True)
class Claim:
    """A statement of the paper and what it takes to test it.

    Attributes
    ----------
    figure : of the paper
    statement : in words
    paper : the paper's value, where it gives one
    statistic : what is computed from the seeds
    sign : of the statistic's difference from `null` if the statement is true
    null : what the statistic is compared with
    margin : the statement is that the statistic lies between -margin and margin; `sign` and `null` have no meaning then
    applies : whether a configuration can test it
    needs : whether what the runs recorded can
    """

    figure: str
    statement: str
    statistic: Statistic
    sign: Literal[1, -1] = 1
    paper: str = ""
    null: float = 0.0
    margin: float | None = None
    applies: Callable[[Params], bool] = lambda params: True
    needs: Callable[[Seeds], bool] = lambda seeds: True

    @property
    def confidence(self) -> float:
        """Of the interval that tells the verdict: that of two one-sided tests is narrower."""
        return CONFIDENCE if self.margin is None else 2 * CONFIDENCE - 1

    def p_value(self, found: Estimate) -> tuple[float, Verdict]:
        """The p-value, and the verdict that it is for if it is small enough; nan where there is no spread."""
        if self.margin is None:
            above, below = found.p_above(self.null), found.p_below(self.null)
            return 2 * min(above, below), "holds" if (above < below) == (self.sign > 0) else "fails"
        within = max(found.p_above(-self.margin), found.p_below(self.margin))
        outside = 2 * min(found.p_above(self.margin), found.p_below(-self.margin))  # either side counts
        return (within, "holds") if within < outside else (outside, "fails")

    def judge(self, found: Estimate) -> dict[str, Any]:
        """What an estimate says of the statement."""
        low, high = found.interval(self.confidence)
        p_value, verdict = self.p_value(found)
        return {
            "statistic": found.value,
            "low": low,
            "high": high,
            "seeds": found.seeds,
            "p_value": p_value,
            "verdict": at_level(p_value, verdict),
        }


def at_level(p_value: float, verdict: Verdict) -> Verdict:
    """The verdict where the p-value is small enough for it."""
    return verdict if p_value < 1 - CONFIDENCE else "undecided"


def per_seed(value: Callable[[SeedRecords], float], scale: Scale | None = None) -> Statistic:
    """The mean over seeds of one number a seed."""
    return Statistic(lambda seeds: estimate([value(records) for records in seeds.values()], scale))


def in_both_parts(found: Callable[[Seeds, Part], Estimate]) -> Statistic:
    """A statistic of gains, from its value in a part of the branch."""
    return Statistic(lambda seeds: found(seeds, "settled"), lambda seeds: found(seeds, "transient"))


def of_gains(value: Callable[[SeedRecords, Part], float]) -> Statistic:
    """The mean over seeds of one number a seed and part of the branch."""
    return in_both_parts(lambda seeds, part: estimate([value(records, part) for records in seeds.values()]))


def ranked(pairs: Callable[[Seeds], Sequence[tuple[Array, Array]]]) -> Statistic:
    """The mean over seeds of the rank correlation of x [n] and y [n], of which there is a pair a seed."""

    def found(seeds: Seeds) -> Estimate:
        each = pairs(seeds)
        return estimate([spearman(*pair) for pair in each], correlation(min(len(x) for x, _ in each)))

    return Statistic(found)


def table_of(claims: Sequence[Claim], seeds: Seeds) -> list[dict[str, Any]]:
    """Every claim with its statistic, its interval and its verdicts, as in metrics/claims.json."""
    return corrected([row_of(claim, seeds) for claim in claims])


def row_of(claim: Claim, seeds: Seeds) -> dict[str, Any]:
    """One claim of the table, but for the correction over it."""
    settled = claim.judge(claim.statistic.settled(seeds))
    transient = claim.statistic.transient and claim.judge(claim.statistic.transient(seeds))
    window: Window | None = None
    if transient:
        window = "same" if transient["verdict"] == settled["verdict"] else "decides"
    return {
        "figure": claim.figure,
        "statement": claim.statement,
        "paper": claim.paper,
        **settled,
        "confidence": claim.confidence,
        "transient": transient,
        "window": window,
    }


def corrected(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The rows with their p-values after Holm's correction, and the verdicts by those.

    There are two families: the claims for which the paper has a value, and our own. Each is corrected by itself.
    """
    families = [[row for row in rows if bool(row["paper"]) == of_the_paper] for of_the_paper in (True, False)]
    p_values = {
        id(row): p_value
        for family in families
        for row, p_value in zip(family, holm([row["p_value"] for row in family]), strict=True)
    }
    return [
        {**row, "p_holm": p_values[id(row)], "verdict_holm": at_level(p_values[id(row)], row["verdict"])}
        for row in rows
    ]
