"""What was found, in three sentences made from the intervals and verdicts of one or several runs."""

from collections.abc import Mapping, Sequence
from typing import Any

from edgewise.plotting.style import in_words
from edgewise.study.claims_table import JudgedClaim, Verdict

#: By what is held equal: the name of the gain in metrics/selectivity.json.
GAINS = {"training time": "delta_loss_equal_time", "step": "delta_loss"}

VERBS = {1: "gain", -1: "lose", 0: "are undecided"}

Interval = Mapping[str, Any]


def sign_of(interval: Interval | None) -> int:
    """1 or -1 where the whole interval has that sign, else 0.

    >>> sign_of({"low": 0.1, "high": 0.3}), sign_of({"low": -0.1, "high": 0.3}), sign_of({"low": None, "high": None})
    (1, 0, 0)
    """
    if interval is None or interval["low"] is None or interval["high"] is None:
        return 0
    return int(interval["low"] > 0) - int(interval["high"] < 0)


def sentences(claims: Sequence[Sequence[JudgedClaim]], metrics: Sequence[Mapping[str, Any]]) -> list[str]:
    """Who gains, how many of the paper's claims hold, and what tells the gains beforehand.

    Parameters
    ----------
    claims : of each run
    metrics : of each run, the files of metrics/ by their names; selectivity is needed, theory may lack
    """
    return [who_gains(metrics), how_many_hold(claims), what_tells(metrics)]


def who_gains(metrics: Sequence[Mapping[str, Any]]) -> str:
    """The groups that gain and lose, at equal training time and at equal step."""
    parts = []
    for held, name in GAINS.items():
        signs: dict[str, list[int]] = {}
        for run in metrics:
            for group, found_of in run["selectivity"]["groups"].items():
                signs.setdefault(group, []).append(sign_of(found_of[name]))
        if len(metrics) == 1:
            found = [
                f"{_listed([_plural(g) for g in signs if signs[g] == [sign]])} {VERBS[sign]}"
                for sign in VERBS
                if [sign] in signs.values()
            ]
        else:
            found = [
                f"{_plural(group)} {_listed([f'{VERBS[sign]} in {of.count(sign)}' for sign in VERBS if sign in of])}"
                for group, of in signs.items()
            ]
        parts.append(f"at equal {held}, {_listed(found) if len(metrics) == 1 else '; '.join(found)}")
    text = "; ".join(parts) if len(metrics) == 1 else f"of {len(metrics)} runs, {'. Of these, '.join(parts)}"
    return f"{text[0].upper()}{text[1:]} (by 95 % intervals, before any correction)."


def how_many_hold(claims: Sequence[Sequence[JudgedClaim]]) -> str:
    """How many claims hold after Holm's correction, those for which the paper has a value apart."""
    parts = []
    for words, with_value in (("for which the paper has a value", True), ("beyond the paper", False)):
        judged = [claim for run in claims for claim in run if bool(claim.paper) == with_value]
        if judged:
            verdicts: list[Verdict] = [claim.verdict_holm or claim.verdict for claim in judged]
            counts = [verdicts.count(verdict) for verdict in ("holds", "fails", "undecided")]
            parts.append(
                f"of {len(judged)} claims {words} {counts[0]} hold, {counts[1]} fail and {counts[2]} are undecided"
            )
    over = "" if len(claims) == 1 else f", over {len(claims)} runs"
    return f"After Holm's correction{over}, {'; '.join(parts)}." if parts else "No claim could be tested."


def what_tells(metrics: Sequence[Mapping[str, Any]]) -> str:
    """How influence before onset and edge flow rank the gains of groups and strata at equal training time."""
    scores = {"curvature influence before onset": _selector, "edge flow": _edge_flow}
    parts = []
    for name, score in scores.items():
        found = [score(run) for run in metrics]
        known = [interval for interval in found if interval is not None]
        ranking = sum(sign_of(interval) > 0 for interval in known)
        if not known:
            continue
        if len(metrics) == 1:
            interval = known[0]
            ends = "" if interval["low"] is None else f" [{interval['low']:.2f}, {interval['high']:.2f}]"
            verb = {1: "ranks them", 0: "is not seen to rank them", -1: "ranks them the wrong way round"}
            parts.append(f"{name} {verb[sign_of(interval)]} ({interval['score']:.2f}{ends})".replace("-", "−"))
        else:
            parts.append(f"{name} ranks them in {ranking} of {len(known)} runs")
    return f"Who gains at equal training time, told at onset: {'; '.join(parts)}."


def _selector(run: Mapping[str, Any]) -> Interval | None:
    found = run["selectivity"]["selector"]["exit"]["curvature_influence"]["groups_and_strata"]["equal_time"]
    return {**found, "score": found["spearman"]}


def _edge_flow(run: Mapping[str, Any]) -> Interval | None:
    edge_flow = run.get("theory", {}).get("edge_flow")
    if edge_flow is None:  # not asked for, or the optimiser has no model
        return None
    found = edge_flow["rank_correlation"]
    return {**found, "score": found["mean"]}


def _plural(group: str) -> str:
    return (
        f"{in_words(group)}s"
        if group in ("inlier", "output_outlier", "input_outlier")
        else f"{in_words(group)} examples"
    )


def _listed(items: Sequence[str]) -> str:
    """Words with commas, and the last with and.

    >>> _listed(["a"]), _listed(["a", "b"]), _listed(["a", "b", "c"])
    ('a', 'a and b', 'a, b and c')
    """
    return items[0] if len(items) == 1 else f"{', '.join(items[:-1])} and {items[-1]}"
