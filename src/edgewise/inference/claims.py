"""The claims of the paper that a run can test, and their statistics; what a verdict is: verdicts.py.

A claim is declared in `CLAIMS`: the figure, the statement, the statistic over the seeds, and what would bear it out.
"""

from collections.abc import Callable, Mapping
from typing import Any, Literal

import numpy as np
import pandas as pd

from edgewise.data.files import Array
from edgewise.data.groups import GROUPS
from edgewise.inference.doses import both_sides_predicted, factors, has_predicted_doses, has_response, response
from edgewise.inference.gains import COUPLINGS, HELD, PREDICTORS, Held, Part, gains, predictor
from edgewise.inference.generalisation import Phase, advantages, attacked, dominance, informative_strengths
from edgewise.inference.intervals import BETWEEN_FRACTIONS, Estimate, correlation, estimate, plain, spearman
from edgewise.inference.metrics import Score, advantage_over, late
from edgewise.inference.predictions import (
    gain_if_the_edge_stood_still,
    has_prediction,
    reference,
    settled,
    settled_path,
)
from edgewise.inference.records import SeedRecords, Seeds
from edgewise.inference.tables import as_if_regular
from edgewise.inference.verdicts import Claim, Statistic, in_both_parts, of_gains, per_seed, ranked, table_of
from edgewise.params import Params


def gain(group: str, held: Held) -> Statistic:
    """Delta l_k of a group on the exit branch."""
    return of_gains(lambda r, part: gains(r, "exit", held, part=part)[group])


def relative_gain(group: str, held: Held) -> Statistic:
    """The same as a share of the group's loss at onset, averaged over the pair of iterates."""

    def value(records: SeedRecords, part: Part) -> float:
        at_onset = float(records.steps["base"][f"loss_{group}"].iloc[-2:].mean())
        return float(gains(records, "exit", held, part=part)[group]) / at_onset

    return of_gains(value)


def gain_of_the_most_influential(held: Held) -> Statistic:
    """Delta l_k of the group that had the largest influence before onset, less the mean of the others."""

    def value(records: SeedRecords, part: Part) -> float:
        found = gains(records, "exit", held, part=part).to_numpy()
        first = int(np.argmax(predictor(records, "curvature_influence", "exit")))
        return float(found[first] - np.delete(found, first).mean())

    return of_gains(value)


def output_less_input_outliers(records: SeedRecords, part: Part) -> float:
    """Delta l_k of the output-outliers, less that of the input-outliers."""
    found = gains(records, "exit", "step", part=part)
    return float(found["output_outlier"] - found["input_outlier"])


def selector(held: Held, groups_alone: bool) -> Statistic:
    """How well curvature influence before onset ranks the gains."""
    return in_both_parts(
        lambda seeds, part: Score(
            seeds, "exit", "curvature_influence", held, part=part, groups_alone=groups_alone
        ).estimate()
    )


def better_than(rival: str, held: Held) -> Statistic:
    """How much better curvature influence ranks the gains than a rival, over groups and strata."""

    def found(seeds: Seeds, part: Part) -> Estimate:
        ours, other = (Score(seeds, "exit", name, held, part=part) for name in ("curvature_influence", rival))
        return advantage_over(other, ours)

    return in_both_parts(found)


def ranked_by(name: str, held: Held) -> Statistic:
    """How well a predictor measured before onset ranks the gains of groups and strata."""
    return in_both_parts(lambda seeds, part: Score(seeds, "exit", name, held, part=part).estimate())


def path(group: str) -> Statistic:
    """The settled gain of a group by the path alone, without what the oscillation costs."""
    return per_seed(lambda records: float(settled_path(records, [group])[0]))


def influence_and_path(seeds: Seeds) -> list[tuple[Array, Array]]:
    """C_k before onset and the gain by the path, of groups and strata; one pair a seed."""
    return [
        (predictor(r, "curvature_influence", "exit", names), settled_path(r, names))
        for r in seeds.values()
        for names in [r.tracked]
    ]


def edge_flow_and_gains(seeds: Seeds) -> list[tuple[Array, Array]]:
    """Predicted and measured settled gains of groups and strata; one pair a seed."""
    return [settled(r, r.tracked) for r in seeds.values()]


def edge_flow_better_than(rival: str) -> Statistic:
    """How much better edge flow ranks the gains of groups and strata than a rival; both are given the loss away."""

    def found(seeds: Seeds) -> Estimate:
        differences, points = [], 0
        for records in seeds.values():
            names = records.tracked
            measured, predicted = settled(records, names)
            if rival == STANDING_STILL:
                other = gain_if_the_edge_stood_still(records, names)
            else:
                other = predictor(records, rival, reference(records), names)
            differences.append(spearman(measured, predicted) - spearman(measured, other))
            points = len(names)
        return estimate(differences, plain(limit=2, grid=correlation(points).grid))

    return Statistic(found)


def responding(group: str) -> Statistic:
    """How the size of a group's gain goes with the dose: the rank correlation over the factors of a seed."""

    def found(seeds: Seeds) -> Estimate:
        doses = len(factors(next(iter(seeds.values()))))
        return estimate([response(records, group) for records in seeds.values()], correlation(doses))

    return Statistic(found)


def fading_of_the_input_outliers(records: SeedRecords) -> float:
    """log10 of the input-outliers' mean influence over the earlier half of the baseline, over that of the later half.

    Not of that at onset, when the oscillation along v1 has yet to grow.
    """
    baseline, column = as_if_regular(records.hessian["baseline"]), "curvature_influence_input_outlier"
    return float(np.log10(baseline[column].iloc[: len(baseline) // 2].mean() / late(records, "baseline", column)))


def correlation_change(records: SeedRecords) -> float:
    """Correlation of alignment with centroid distance at onset, less its mean over the checkpoints before it."""
    base = records.hessian["base"].set_index("step")["centroid_correlation"]
    before = base[(base.index > 0) & (base.index < records.t_star - 1)]
    return float(records.hessian["baseline"]["centroid_correlation"].iloc[0] - before.mean())


def correlation_at_onset(seeds: Seeds) -> Estimate:
    """Correlation of alignment with centroid distance at onset."""
    found = [records.hessian["baseline"]["centroid_correlation"].iloc[0] for records in seeds.values()]
    return estimate(found, correlation(min(len(records.distance) for records in seeds.values())))


def late_correlation(seeds: Seeds) -> Estimate:
    """Correlation of alignment with centroid distance at the last two checkpoints of the baseline."""
    found = [records.hessian["baseline"]["centroid_correlation"].iloc[-2:].mean() for records in seeds.values()]
    return estimate(found, correlation(min(len(records.distance) for records in seeds.values())))


def squares_and_influence(name: str) -> Callable[[Seeds], list[tuple[Array, Array]]]:
    """The squares of a coupling and C_k, by group and checkpoint of base and baseline; one pair a seed."""

    def values(records: SeedRecords, quantity: str) -> Array:
        table = pd.concat([records.hessian["base"].iloc[:-1], as_if_regular(records.hessian["baseline"])])
        return table[[f"{quantity}_{group}" for group in records.groups]].to_numpy().ravel()

    return lambda seeds: [(values(r, name) ** 2, values(r, "curvature_influence")) for r in seeds.values()]


def advantage(evaluation: str, group: str, held: Held) -> Statistic:
    """Advantage of the edge branch over the exit branch in one evaluation on unseen data; positive: it is better."""

    def found(seeds: Seeds) -> Estimate:
        strengths = informative_strengths(seeds)
        return estimate([advantages(r, PHASE[held], strengths)[evaluation, group] for r in seeds.values()])

    return Statistic(found)


def relative_advantage_far_out(held: Held) -> Statistic:
    """The advantage on the farthest displaced test inputs, as a share of their loss at onset."""

    def value(records: SeedRecords) -> float:
        ood = records.ood["baseline"]
        at_onset = ood[(ood["shift"] == "coherent") & (ood["step"] == records.t_star)]
        farthest = float(at_onset.sort_values("strength")["loss"].iloc[-1])
        return advantages(records, PHASE[held])["displaced_test", "input_outlier"] / farthest

    return per_seed(value)


def dominance_and_advantage(seeds: Seeds) -> list[tuple[Array, Array]]:
    """The evaluated group's share of influence, and the advantage, by evaluation; one pair a seed."""
    strengths = informative_strengths(seeds)
    tables = [dominance(seed, records, strengths) for seed, records in seeds.items()]
    return [(table["influence_share"].to_numpy(), table["advantage"].to_numpy()) for table in tables]


#: What is held equal, in words.
IN_WORDS: Mapping[Held, str] = {"step": "step", "time": "training time"}

#: In which phase it is, on unseen data.
PHASE: Mapping[Held, Phase] = {"step": "late", "time": "equal_time"}

#: "About 0" means less than this share of the loss at onset.
MARGIN = 0.01
#: The least rise of a correlation that counts as one: small by the convention of Cohen (1988). Figure 8 shows 0.5.
SMALL = 0.1

#: The groups that the paper says gain (1) and lose (-1).
GAINING: Mapping[str, Literal[1, -1]] = {"input_outlier": 1, "output_outlier": 1, "inlier": -1, "boundary": -1}

#: What the paper says of the edge branch under attack, by displacement: in words, the sign of its advantage, the value.
UNDER_ATTACK: Mapping[float, tuple[str, Literal[1, -1], str]] = {
    3: ("more", 1, "> 0 after t**"),
    10: ("less", -1, "< 0"),
}

#: What edge flow is compared with, in words; the first is the loss away from the edge, which it is given, alone.
STANDING_STILL = "standing_still"
RIVALS_OF_EDGE_FLOW = {
    STANDING_STILL: "that loss alone does",
    **{name: f"{name.replace('_', ' ')} before onset does" for name in PREDICTORS[:3]},
}


def at_least(points: int, groups_alone: bool = True) -> Callable[[Seeds], bool]:
    """Whether there are so many groups, or groups and strata."""
    return lambda seeds: all(len(r.groups if groups_alone else r.tracked) >= points for r in seeds.values())


def four_groups(params: Params) -> bool:
    """Whether the groups are the four of the paper."""
    return params.groups.source == "prototypes" and not params.groups.noise


def with_prototypes(params: Params) -> bool:
    """Whether the four of the paper are among the groups."""
    return params.groups.has_prototypes


def at_random(params: Params) -> bool:
    """Whether the trained input-outliers are displaced in random directions."""
    return with_prototypes(params) and params.direction == "random"


def coherent(params: Params) -> bool:
    """Whether the trained input-outliers are displaced along v_diff."""
    return with_prototypes(params) and params.direction == "coherent"


def mse(params: Params) -> bool:
    """Whether the setting is that of figures 4 and 5."""
    return coherent(params) and params.loss == "mse"


def ce(params: Params) -> bool:
    """Whether the setting is that of figure 7."""
    return coherent(params) and params.loss == "ce"


def mse_at(alpha: float) -> Callable[[Params], bool]:
    """Whether the setting is that of figures 9 and 10, at one of their two displacements."""
    return lambda params: mse(params) and params.alpha == alpha


def _figure_4() -> list[Claim]:
    claims = []
    for held in HELD:
        for group, sign in GAINING.items():
            verb = "gains from" if sign > 0 else "loses by"
            statement = f"the {group.replace('_', '-')} group {verb} the edge, at equal {IN_WORDS[held]}"
            paper = "" if held == "time" else ("> 0" if sign > 0 else "< 0")
            claims.append(Claim("4", statement, gain(group, held), sign, paper, applies=mse))
    return claims


CLAIMS = [
    *_figure_4(),
    Claim(
        "5",
        "alignment of the input-outliers declines along the baseline after onset",
        per_seed(
            lambda r: (
                r.hessian["baseline"]["alignment_input_outlier"].iloc[0]
                - late(r, "baseline", "alignment_input_outlier")
            ),
            BETWEEN_FRACTIONS,
        ),
        paper="> 0",
        applies=mse,
    ),
    Claim(
        "5",
        "alignment of the input-outliers stays higher off the edge than on it, at equal training time",
        per_seed(
            lambda r: late(r, "exit", "alignment_input_outlier") - late(r, "baseline", "alignment_input_outlier"),
            BETWEEN_FRACTIONS,
        ),
        paper="> 0",
        applies=mse,
    ),
    Claim(
        "6",
        "at onset, coherent displacement aligns more with v1 than random displacement of the same length",
        per_seed(lambda r: r.at_alpha("alignment_coherent") - r.at_alpha("alignment_random"), BETWEEN_FRACTIONS),
        paper="> 0",
        applies=with_prototypes,
    ),
    Claim(
        "6",
        "at onset, coherent displacement has more influence than random displacement of the same length",
        per_seed(lambda r: r.at_alpha("curvature_influence_coherent") - r.at_alpha("curvature_influence_random")),
        paper="> 0",
        applies=with_prototypes,
    ),
    Claim(
        "6",
        "at onset, random displacement aligns no more with v1 than random groups of natural examples do",
        per_seed(lambda r: r.at_alpha("alignment_null") - r.at_alpha("alignment_random"), BETWEEN_FRACTIONS),
        paper="> 0 (all but vanishes)",
        applies=with_prototypes,
    ),
    *(
        Claim(
            "6",
            f"randomly displaced input-outliers neither gain nor lose, within ±{100 * MARGIN:g} % of their loss at"
            f" onset, at equal {IN_WORDS[held]}",
            relative_gain("input_outlier", held),
            paper="" if held == "time" else "about 0",
            margin=MARGIN,
            applies=at_random,
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
        "with cross-entropy, the output-outlier group gains from the edge, at equal step",
        gain("output_outlier", "step"),
        paper="> 0",
        applies=ce,
    ),
    Claim(
        "7",
        "with cross-entropy, the output-outliers gain more than the input-outliers, at equal step",
        of_gains(output_less_input_outliers),
        paper="> 0",
        applies=ce,
    ),
    Claim(
        "8",
        f"the correlation of alignment with centroid distance is higher at onset by {SMALL:g} than on the way there"
        " (mean)",
        per_seed(correlation_change, plain(limit=2)),
        paper="0.39 - (-0.11)",
        null=SMALL,
    ),
    Claim(
        "8",
        "the correlation of alignment with centroid distance is positive at onset",
        Statistic(correlation_at_onset),
        paper="0.39",
    ),
    Claim(
        "20",
        "late at the edge, the correlation of alignment with centroid distance is negative",
        Statistic(late_correlation),
        -1,
        paper="< 0",
    ),
    *(
        Claim(
            "9",
            f"the edge branch is {more_or_less} accurate under attack, at equal {IN_WORDS[held]}",
            advantage("adversarial_test", "boundary", held),
            sign,
            paper="" if held == "time" else paper,
            applies=mse_at(alpha),
            needs=attacked,
        )
        for alpha, (more_or_less, sign, paper) in UNDER_ATTACK.items()
        for held in HELD
    ),
    *(
        Claim(
            "10",
            f"on far displaced test inputs the edge makes no difference, within ±{100 * MARGIN:g} % of their loss at"
            f" onset, at equal {IN_WORDS[held]}",
            relative_advantage_far_out(held),
            paper="" if held == "time" else "about 0",
            margin=MARGIN,
            applies=mse_at(3),
        )
        for held in HELD
    ),
    *(
        Claim(
            "10",
            f"the edge branch has the smaller loss on far displaced test inputs, at equal {IN_WORDS[held]}",
            advantage("displaced_test", "input_outlier", held),
            paper="" if held == "time" else "> 0",
            applies=mse_at(10),
        )
        for held in HELD
    ),
    Claim(
        "9, 10",
        "the edge branch is at an advantage on unseen data where their group dominates v1 (rank correlation), at equal"
        " step",
        ranked(dominance_and_advantage),
        paper="> 0",
        applies=with_prototypes,
    ),
    *(
        Claim(
            "22",
            f"the square of the coupling {in_words} follows curvature influence (rank correlation)",
            ranked(squares_and_influence(name)),
            paper="> 0" if name == "coupling" else "",
        )
        for name, in_words in COUPLINGS.items()
    ),
    *(
        Claim(
            "22",
            f"the signed coupling {in_words}, before onset, ranks the gains (rank correlation of groups and strata), at"
            f" equal {IN_WORDS[held]}",
            ranked_by(name, held),
        )
        for name, in_words in COUPLINGS.items()
        for held in HELD
    ),
    *(
        Claim(
            "selector",
            f"who gains is who had curvature influence before onset (rank correlation of {ranked_ones}), at equal"
            f" {IN_WORDS[held]}",
            selector(held, groups_alone),
            paper="> 0" if held == "step" and ranked_ones == "the four groups" else "",
            applies=applies,
            needs=at_least(3, groups_alone),
        )
        for ranked_ones, groups_alone, applies in (
            ("groups and strata", False, lambda params: True),
            ("the four groups", True, four_groups),
            ("the groups", True, lambda params: not four_groups(params)),
        )
        for held in HELD
    ),
    *(
        Claim(
            "selector",
            "the group that had the largest influence before onset gains more than the others, at equal"
            f" {IN_WORDS[held]}",
            gain_of_the_most_influential(held),
            paper="" if held == "time" else "> 0",
            needs=at_least(2),
        )
        for held in HELD
    ),
    *(
        Claim(
            "selector",
            f"influence before onset ranks the gains better than {rival.replace('_', ' ')} does, at equal"
            f" {IN_WORDS[held]}",
            better_than(rival, held),
        )
        for rival in PREDICTORS[1:]
        for held in HELD
    ),
    *(
        Claim(
            "4",
            f"the {group.replace('_', '-')} group {'gains' if sign > 0 else 'loses'} by the path that the edge leads,"
            " without the cost of the oscillation, at equal training time",
            path(group),
            sign,
            applies=mse,
        )
        for group, sign in GAINING.items()
    ),
    Claim(
        "selector",
        "who gains by the path is who had curvature influence before onset (rank correlation of groups and strata), at"
        " equal training time",
        ranked(influence_and_path),
    ),
    Claim(
        "theory",
        "edge flow, given the loss away from the edge, ranks the gains (rank correlation of groups and strata), at"
        " equal training time",
        ranked(edge_flow_and_gains),
        needs=has_prediction,
    ),
    *(
        Claim(
            "theory",
            f"edge flow, given the loss away from the edge, ranks the gains better than {in_words}, at equal training"
            " time",
            edge_flow_better_than(rival),
            needs=has_prediction,
        )
        for rival, in_words in RIVALS_OF_EDGE_FLOW.items()
    ),
    Claim(
        "theory",
        "edge flow at both step sizes, from the state at onset alone, ranks the gains (rank correlation of groups"
        " and strata), at equal training time",
        ranked(lambda seeds: [both_sides_predicted(r) for r in seeds.values()]),
        needs=has_predicted_doses,
    ),
    *(
        Claim(
            "dose",
            f"more of the cause does more to the {group.replace('_', '-')} group: the size of its gain or loss grows"
            " with the distance of the factor on the step size from 1 (rank correlation over factors), at equal"
            " training time",
            responding(group),
            applies=with_prototypes,
            needs=has_response,
        )
        for group in GROUPS
    ),
]


def judge(params: Params, seeds: Seeds) -> list[dict[str, Any]]:
    """Every claim that the configuration can test, with its statistic, interval and verdicts (metrics/claims.json)."""
    return table_of([claim for claim in CLAIMS if claim.applies(params) and claim.needs(seeds)], seeds)
