"""The claims of the paper that a run can test, each with its statistic, its interval and a verdict.

A claim is declared in `CLAIMS`: the figure, the statement, the statistic over the seeds, and which sign would bear it
out. The verdict is `holds` where the whole 95 % interval has that sign, `fails` where the whole interval has the
opposite one, and `undecided` where it covers zero, or where the seeds give no interval: one seed has none, and one of
no width, from a quantity so coarse that every seed has the same, says nothing of the spread.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal, get_args

import numpy as np
import pandas as pd

from edgewise.data.groups import GROUPS
from edgewise.inference.gains import HELD, Held, gains, predictor
from edgewise.inference.generalisation import advantages, dominance
from edgewise.inference.intervals import Interval, clustered_spearman, mean_interval, spearman
from edgewise.inference.metrics import delta_interval, selector_advantage, selector_score
from edgewise.inference.records import SeedRecords, Seeds
from edgewise.inference.tables import second_half
from edgewise.params import Params

Verdict = Literal["holds", "fails", "undecided"]


@dataclass(frozen=True)
class Claim:
    """A statement of the paper and what it takes to test it.

    Attributes
    ----------
    figure : of the paper
    statement : in words
    paper : the paper's value, where it gives one
    statistic : what is computed from the seeds
    sign : of the statistic if the statement is true
    applies : whether a configuration can test it
    """

    figure: str
    statement: str
    statistic: Callable[[Seeds], Interval]
    sign: Literal[1, -1] = 1
    paper: str = ""
    applies: Callable[[Params], bool] = lambda params: True

    def verdict(self, interval: Interval) -> Verdict:
        """What the interval says of the statement."""
        if not interval.low < interval.high:
            return "undecided"
        ends = (self.sign * interval.low, self.sign * interval.high)
        if all(end > 0 for end in ends):
            return "holds"
        return "fails" if all(end < 0 for end in ends) else "undecided"


def per_seed(value: Callable[[SeedRecords], float], limit: float = np.inf) -> Callable[[Seeds], Interval]:
    """The statistic that is the mean over seeds of one number a seed, from -limit to limit."""
    return lambda seeds: mean_interval([value(records) for records in seeds.values()]).within(limit)


def late(table: pd.DataFrame, column: str) -> float:
    """Mean of a column over the later half of a run."""
    return float(second_half(table)[column].mean())


def gain(group: str, held: Held) -> Callable[[Seeds], Interval]:
    """Delta l_k of a group on the exit branch."""
    return lambda seeds: delta_interval(seeds, "exit", group, held)


def gain_of_the_most_influential(records: SeedRecords) -> float:
    """Delta l_k of the group with the largest influence, less the mean of the others."""
    found = gains(records, "exit", "step").to_numpy()
    first = int(np.argmax(predictor(records, "curvature_influence", "exit")))
    return float(found[first] - np.delete(found, first).mean())


def output_less_input_outliers(records: SeedRecords) -> float:
    """Delta l_k of the output-outliers, less that of the input-outliers."""
    found = gains(records, "exit", "step")
    return float(found["output_outlier"] - found["input_outlier"])


def fading_of_the_input_outliers(records: SeedRecords) -> float:
    """log10 of the input-outliers' mean influence over the earlier half of the baseline, over that of the later half.

    Not of that at onset, when the oscillation along v1 has yet to grow.
    """
    baseline, column = records.hessian["baseline"], "curvature_influence_input_outlier"
    return float(np.log10(baseline[column].iloc[: len(baseline) // 2].mean() / late(baseline, column)))


def correlation_change(records: SeedRecords) -> float:
    """Correlation of alignment with centroid distance at onset, less that halfway to it."""
    base, at_edge = records.hessian["base"], records.hessian["baseline"]
    halfway = int(np.argmin(np.abs(base["step"].to_numpy() - records.t_star / 2)))
    return float(at_edge["centroid_correlation"].iloc[0] - base["centroid_correlation"].iloc[halfway])


def coupling_correlation(records: SeedRecords) -> float:
    """Rank correlation of Q_k^2 with C_k over groups and checkpoints."""
    table = pd.concat([records.hessian["base"].iloc[:-1], records.hessian["baseline"]])
    sides = [table[[f"{quantity}_{group}" for group in GROUPS]].to_numpy().ravel() for quantity in COUPLED]
    return spearman(*sides)


def advantage(evaluation: str, group: str) -> Callable[[Seeds], Interval]:
    """Advantage of the edge branch over the exit branch in one evaluation on unseen data; positive: it is better."""
    return per_seed(lambda r: advantages(r, "late")[evaluation, group])


def dominance_correlation(seeds: Seeds) -> Interval:
    """Rank correlation, over (seed, evaluation), of the evaluated group's share of influence with the advantage."""
    tables = {seed: dominance(seed, records) for seed, records in seeds.items()}
    return clustered_spearman(
        {seed: (t["influence_share"].to_numpy(), t["advantage"].to_numpy()) for seed, t in tables.items()}
    )


#: What is held equal, in words.
IN_WORDS: Mapping[Held, str] = {"step": "step", "time": "training time"}

COUPLED = ("curvature_influence", "sharpness_coupling")


def coherent(params: Params) -> bool:
    """Whether the trained input-outliers are displaced along v_diff."""
    return params.direction == "coherent"


def mse(params: Params) -> bool:
    """Whether the setting is that of figures 4 and 5."""
    return coherent(params) and params.loss == "mse"


def ce(params: Params) -> bool:
    """Whether the setting is that of figure 7."""
    return coherent(params) and params.loss == "ce"


def _figure_4() -> list[Claim]:
    claims = []
    for held in HELD:
        for group, sign in (("input_outlier", 1), ("output_outlier", 1), ("inlier", -1), ("boundary", -1)):
            verb = "gains from" if sign > 0 else "loses by"
            statement = f"the {group.replace('_', '-')} group {verb} the edge, at equal {IN_WORDS[held]}"
            paper = "" if held == "time" else ("> 0" if sign > 0 else "< 0")
            claims.append(Claim("4", statement, gain(group, held), 1 if sign > 0 else -1, paper, mse))
    return claims


CLAIMS = [
    *_figure_4(),
    Claim(
        "5",
        "alignment of the input-outliers declines along the baseline after onset",
        per_seed(
            lambda r: (
                r.hessian["baseline"]["alignment_input_outlier"].iloc[0]
                - late(r.hessian["baseline"], "alignment_input_outlier")
            )
        ),
        paper="> 0",
        applies=mse,
    ),
    Claim(
        "5",
        "alignment of the input-outliers stays higher off the edge than on it",
        per_seed(
            lambda r: (
                late(r.hessian["exit"], "alignment_input_outlier")
                - late(r.hessian["baseline"], "alignment_input_outlier")
            )
        ),
        paper="> 0",
        applies=mse,
    ),
    Claim(
        "6",
        "at onset, coherent displacement aligns more with v1 than random displacement of the same length",
        per_seed(lambda r: float(r.at_alpha("alignment_coherent") - r.at_alpha("alignment_random"))),
        paper="> 0",
    ),
    Claim(
        "6",
        "at onset, coherent displacement has more influence than random displacement of the same length",
        per_seed(
            lambda r: float(r.at_alpha("curvature_influence_coherent") - r.at_alpha("curvature_influence_random"))
        ),
        paper="> 0",
    ),
    Claim(
        "6",
        "at onset, random displacement aligns no more with v1 than random groups of natural examples do",
        per_seed(lambda r: float(r.at_alpha("alignment_null") - r.at_alpha("alignment_random"))),
        paper="> 0 (all but vanishes)",
    ),
    *(
        Claim(
            "6",
            f"randomly displaced input-outliers gain from the edge, at equal {IN_WORDS[held]}",
            gain("input_outlier", held),
            paper="" if held == "time" else "about 0",
            applies=lambda params: params.direction == "random",
        )
        for held in HELD
    ),
    Claim(
        "7",
        "with cross-entropy, the influence of the input-outliers fades along the baseline (log10)",
        per_seed(fading_of_the_input_outliers),
        paper="> 0",
        applies=ce,
    ),
    Claim(
        "7",
        "with cross-entropy, the output-outlier group gains from the edge",
        gain("output_outlier", "step"),
        paper="> 0",
        applies=ce,
    ),
    Claim(
        "7",
        "with cross-entropy, the output-outliers gain more than the input-outliers",
        per_seed(output_less_input_outliers),
        paper="> 0",
        applies=ce,
    ),
    Claim(
        "8",
        "the correlation of alignment with centroid distance is higher at onset than during sharpening",
        per_seed(correlation_change),
        paper="0.39 - (-0.11)",
    ),
    Claim(
        "20",
        "late at the edge, the correlation of alignment with centroid distance is negative",
        per_seed(lambda r: float(r.hessian["baseline"]["centroid_correlation"].iloc[-2:].mean())),
        -1,
        paper="< 0",
    ),
    Claim(
        "9",
        "the edge branch is more accurate under attack",
        advantage("adversarial_test", "boundary"),
        paper="> 0 after t**",
        applies=lambda params: mse(params) and params.alpha == 3,
    ),
    Claim(
        "9",
        "the edge branch is less accurate under attack",
        advantage("adversarial_test", "boundary"),
        -1,
        paper="< 0",
        applies=lambda params: mse(params) and params.alpha == 10,
    ),
    Claim(
        "10",
        "the edge branch has the smaller loss on far displaced test inputs",
        advantage("displaced_test", "input_outlier"),
        paper="about 0 at alpha = 3, > 0 at alpha = 10",
        applies=mse,
    ),
    Claim(
        "9, 10",
        "the edge branch is at an advantage on unseen data where their group dominates v1 (rank correlation)",
        dominance_correlation,
        paper="> 0",
    ),
    Claim(
        "22",
        "sharpness coupling follows curvature influence (rank correlation)",
        per_seed(coupling_correlation, limit=1),
        paper="> 0",
    ),
    Claim(
        "selector",
        "who gains is who has curvature influence (rank correlation), at equal step",
        lambda seeds: selector_score(seeds, "exit", "curvature_influence", "step"),
        paper="> 0",
    ),
    Claim(
        "selector",
        "who gains is who has curvature influence (rank correlation), at equal training time",
        lambda seeds: selector_score(seeds, "exit", "curvature_influence", "time"),
    ),
    Claim(
        "selector",
        "the group with the largest influence gains more than the others",
        per_seed(gain_of_the_most_influential),
        paper="> 0",
    ),
    *(
        Claim(
            "selector",
            f"influence ranks the gains better than {rival.replace('_', ' ')} does",
            lambda seeds, rival=rival: selector_advantage(seeds, "exit", rival),  # type: ignore[misc]
        )
        for rival in ("gradient_norm", "loss", "centroid_distance")
    ),
]


def judge(params: Params, seeds: Seeds) -> list[dict[str, Any]]:
    """Every claim that the configuration can test, with its statistic, interval and verdict (metrics/claims.json)."""
    rows = []
    for claim in CLAIMS:
        if claim.applies(params):
            interval = claim.statistic(seeds)
            rows.append(
                {
                    "figure": claim.figure,
                    "statement": claim.statement,
                    "paper": claim.paper,
                    "statistic": interval.estimate,
                    "low": interval.low,
                    "high": interval.high,
                    "verdict": claim.verdict(interval),
                }
            )
    return rows


def as_markdown(rows: list[dict[str, Any]], seeds: int) -> str:
    """The claims as a Markdown table."""
    lines = [
        f"| figure | claim | paper | here, {seeds} seed{'s' if seeds != 1 else ''} | 95 % interval | verdict |",
        "|---|---|---|---|---|---|",
    ]
    for row in rows:
        interval = f"[{row['low']:.3g}, {row['high']:.3g}]" if row["low"] == row["low"] else "none"
        cells = (row["figure"], row["statement"], row["paper"], f"{row['statistic']:.3g}", interval, row["verdict"])
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def in_short(rows: list[dict[str, Any]]) -> str:
    """How many claims there are of each verdict.

    Examples
    --------
    >>> in_short([{"verdict": "holds"}, {"verdict": "undecided"}, {"verdict": "holds"}])
    '3 claims: 2 hold, 0 fail, 1 undecided'
    """
    verdicts = [row["verdict"] for row in rows]
    holding, failing, undecided = (verdicts.count(verdict) for verdict in get_args(Verdict))
    return f"{len(rows)} claims: {holding} hold, {failing} fail, {undecided} undecided"
