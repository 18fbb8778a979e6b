"""The three sentences, from intervals and verdicts that are given."""

from edgewise.study.claims_table import JudgedClaim
from edgewise.study.findings import how_many_hold, what_tells, who_gains

UP, DOWN, OPEN = ({"mean": (a + b) / 2, "low": a, "high": b} for a, b in ((1, 2), (-2, -1), (-1, 1)))


def metrics(signs, selector=OPEN, edge_flow=UP):
    """Metrics in which the groups have these intervals at equal time, and are open at equal step."""
    groups = dict(zip(("inlier", "boundary", "output_outlier", "input_outlier"), signs, strict=True))
    score = {"groups_and_strata": {"equal_time": {"spearman": selector["mean"], **selector}}}
    found = {
        "selectivity": {
            "groups": {g: {"delta_loss_equal_time": i, "delta_loss": OPEN} for g, i in groups.items()},
            "selector": {"exit": {"curvature_influence": score}},
        }
    }
    return found | ({"theory": {"edge_flow": {"rank_correlation": edge_flow}}} if edge_flow else {})


def claim(paper, verdict, holm=None):
    return JudgedClaim(
        figure="4", statement="s", paper=paper, statistic=1, low=0, high=2, verdict=verdict, verdict_holm=holm
    )


def test_one_run_names_who_gains_and_who_loses():
    said = who_gains([metrics([UP, DOWN, DOWN, OPEN])])
    assert said.startswith(
        "At equal training time, inliers gain, boundary examples and output-outliers lose and input-outliers are"
        " undecided; at equal step, "
    )


def test_several_runs_are_counted():
    said = who_gains([metrics([UP, DOWN, DOWN, OPEN]), metrics([UP, UP, DOWN, OPEN])])
    assert said.startswith("Of 2 runs, at equal training time, inliers gain in 2; boundary examples gain in 1 and lose")
    assert "input-outliers are undecided in 2. Of these, at equal step, " in said


def test_verdicts_are_counted_after_the_correction_and_the_paper_s_apart():
    said = how_many_hold([[claim("> 0", "holds", "undecided"), claim("> 0", "fails", "fails"), claim("", "holds")]])
    assert "of 2 claims for which the paper has a value 0 hold, 1 fail and 1 are undecided" in said
    assert "of 1 claims beyond the paper 1 hold, 0 fail and 0 are undecided" in said


def test_what_tells_beforehand_has_its_score_and_a_minus_sign():
    said = what_tells([metrics([OPEN] * 4, selector=DOWN)])
    assert "curvature influence before onset ranks them the wrong way round (−1.50 [−2.00, −1.00])" in said
    assert "edge flow ranks them (1.50" in said


def test_a_run_without_edge_flow_does_not_speak_of_it():
    assert "edge flow" not in what_tells([metrics([OPEN] * 4, edge_flow=None)])
    of_sgd = metrics([OPEN] * 4) | {"theory": {"edge_flow": None}}
    assert "edge flow" not in what_tells([of_sgd])


def test_one_seed_has_no_interval_and_decides_nothing():
    one = {"mean": 0.5, "low": None, "high": None}
    said = what_tells([metrics([one] * 4, selector=one, edge_flow=None)])
    assert "is not seen to rank them (0.50)" in said
    assert "are undecided" in who_gains([metrics([one] * 4)])
