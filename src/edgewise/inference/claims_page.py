"""The claims as a page, metrics/claims.md."""

from collections.abc import Mapping, Sequence
from typing import Any, get_args

from edgewise.inference.intervals import CONFIDENCE
from edgewise.inference.verdicts import Verdict

#: What the columns of metrics/claims.md mean.
LEGEND = """\
A gain is the loss off the edge less that at the edge, in the later half of the branch; positive: the group gains from
the edge. A claim holds where the whole 95 % interval, Student's t over seeds, has the sign that the claim says, and
fails where it has the opposite one; a claim with a margin (±) holds where the 90 % interval lies within the margin,
and fails where the 95 % interval lies outside. *after Holm*: the verdict after Holm's correction for the number of
claims, of those for which the paper has a value and of the others apart. *in the transient*: the same statistic of
gains, from onset until the oscillation has grown to 80 %, and at least over a tenth of the branch, with its own
verdict; where that is another, what is said of the gain is true of its window alone. Correlations are averaged on
Fisher's scale. The least effect of figure 8's rise, 0.1, was set after the default run had been seen. What the
statistic of each claim is: [docs/outputs.md](../docs/outputs.md#the-statistic-of-each-claim)."""


#: How branches are compared, by the gains' names in metrics/selectivity.json.
GAINS = {"delta_loss": "equal step", "delta_loss_equal_time": "equal training time"}


def as_markdown(
    rows: Sequence[Mapping[str, Any]],
    headline: str,
    seeds: int,
    groups: Mapping[str, Mapping[str, Any]],
    note: str = "",
) -> str:
    """The gains and the claims as Markdown tables, under a headline and over what they mean (metrics/claims.md).

    Parameters
    ----------
    rows : the claims, as `judge` gives them
    groups : metrics/selectivity.json's, by name
    """
    over = f"{seeds} seed{'s' if seeds != 1 else ''}"
    lines = [
        headline,
        "",
        f"| group | {' | '.join(f'gain at {held}' for held in GAINS.values())} |",
        "|---|---|---|",
        *(f"| {name} | {' | '.join(_in_words(group[gain]) for gain in GAINS)} |" for name, group in groups.items()),
        "",
        f"| figure | claim | paper | here, {over} | interval | p | verdict | after Holm | in the transient |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for row in rows:
        counted = "" if row["seeds"] == seeds else f" ({row['seeds']} of the seeds)"
        cells = (
            row["figure"],
            row["statement"],
            row["paper"],
            f"{row['statistic']:.3g}{counted}",
            _interval(row),
            f"{row['p_value']:.2g}" if row["p_value"] == row["p_value"] else "none",
            row["verdict"],
            row["verdict_holm"],
            _transient_in_words(row),
        )
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join([*lines, "", LEGEND, *(["", note] if note else [])]) + "\n"


def _in_words(mean: Mapping[str, float]) -> str:
    return f"{mean['mean']:.3g} {_interval(mean)}"


def _interval(mean: Mapping[str, float]) -> str:
    """The interval of a mean or of a claim, with its level where that is not the usual one."""
    if mean["low"] != mean["low"]:
        return "none"
    confidence = mean.get("confidence", CONFIDENCE)
    level = "" if confidence == CONFIDENCE else f" ({100 * confidence:.0f} %)"
    return f"[{mean['low']:.3g}, {mean['high']:.3g}]{level}"


def _transient_in_words(row: Mapping[str, Any]) -> str:
    if row["transient"] is None:
        return ""
    flag = "the window decides: " if row["window"] == "decides" else ""
    return f"{flag}{row['transient']['statistic']:.3g}, {row['transient']['verdict']}"


def in_short(rows: Sequence[Mapping[str, Any]], caveats: Sequence[str] = ()) -> str:
    """How many claims there are of each verdict, each by itself and after the correction, and what takes from them.

    Examples
    --------
    >>> in_short([{"verdict": "holds", "verdict_holm": "undecided"}, {"verdict": "fails", "verdict_holm": "fails"}])
    "2 claims: 1 hold, 1 fail, 0 undecided; after Holm's correction 0 hold, 1 fail, 1 undecided"
    """

    def counted(column: str) -> str:
        verdicts = [row[column] for row in rows]
        holding, failing, undecided = (verdicts.count(verdict) for verdict in get_args(Verdict))
        return f"{holding} hold, {failing} fail, {undecided} undecided"

    counts = f"{len(rows)} claims: {counted('verdict')}; after Holm's correction {counted('verdict_holm')}"
    return ". But ".join([counts, *caveats])
