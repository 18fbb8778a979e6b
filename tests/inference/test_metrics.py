"""The numbers under metrics/ on records written by hand."""

import json

import numpy as np
import pytest
from scipy import stats
from synthetic import (
    ENTER_SHARE,
    FLOW,
    FOUR,
    GAIN,
    GRADIENT_NORM,
    INFLUENCE,
    STEPS,
    T_STAR,
    THRESHOLD,
    records,
)
from synthetic import GROUP_DISTANCE as DISTANCE

from edgewise.data.groups import GROUPS
from edgewise.inference.claims import judge
from edgewise.inference.metrics import (
    control_metrics,
    edge_metrics,
    headline,
    selectivity_metrics,
    selector_advantage,
    selector_score,
)
from edgewise.params import Params

INFLUENCE_NAME = "curvature_influence"


def test_edge_metrics_report_every_seed_and_their_interval():
    metrics = edge_metrics({3: records(), 5: records(at_onset=20.5)})
    assert metrics["seeds"]["3"] == {
        "t_star": 6,
        "t_star_secant": 6,
        "t_star_sharpness": 10,
        "sharpness_ratio_at_t_star": pytest.approx(19 / 20),
        "sharpness_ratio_baseline": pytest.approx(20 / 20),
        "secant_sharpness_ratio_baseline": pytest.approx(1),
        "t_star_star": T_STAR + STEPS,
    }
    assert metrics["seeds"]["5"]["t_star_sharpness"] == 6
    low, high = stats.t.interval(0.95, 1, loc=8, scale=stats.sem([10, 6]))
    summary = metrics["summary"]["t_star_sharpness"]
    assert summary == {"mean": 8, "low": pytest.approx(low), "high": pytest.approx(high), "seeds": 2}
    assert (metrics["rule"], metrics["stability_threshold"]) == ("secant", THRESHOLD)


def test_whether_the_baseline_stays_at_the_threshold_is_told_by_its_later_half():
    summary = edge_metrics({0: records(at_onset=40.0, later=23.0), 1: records(later=27.0)})["summary"]
    ratios = [(23 + 19) / 2 / THRESHOLD, (27 + 19) / 2 / THRESHOLD]
    low, high = stats.t.interval(0.95, 1, loc=np.mean(ratios), scale=stats.sem(ratios))
    found = summary["sharpness_ratio_baseline"]
    assert found == {"mean": pytest.approx(1.1), "low": pytest.approx(low), "high": pytest.approx(high), "seeds": 2}
    assert summary["secant_sharpness_ratio_baseline"]["mean"] == pytest.approx(1)


def test_what_no_seed_reached_is_null_and_what_some_reached_says_how_many():
    metrics = edge_metrics({0: records(later=19.0, rule="sharpness"), 1: records(rule="sharpness")})
    assert metrics["summary"]["t_star_star"] is None
    assert metrics["seeds"]["0"]["t_star_sharpness"] is None
    assert metrics["summary"]["t_star_sharpness"]["seeds"] == 1
    json.dumps(metrics)


def test_selectivity_metrics_average_over_seeds():
    metrics = selectivity_metrics({0: records(), 1: records(scale=3.0)})
    for group in GROUPS:
        low, high = stats.t.interval(0.95, 1, loc=2 * GAIN[group], scale=stats.sem([GAIN[group], 3 * GAIN[group]]))
        for name in ("delta_loss", "delta_loss_equal_time"):
            found = metrics["groups"][group][name]
            assert found["mean"] == pytest.approx(2 * GAIN[group])
            assert (found["low"], found["high"]) == pytest.approx((low, high))
        for branch in ("baseline", "exit"):
            assert metrics["groups"][group]["curvature_influence"][branch] == pytest.approx(INFLUENCE[group])
            assert metrics["groups"][group]["alignment"][branch] == pytest.approx(0.1 * INFLUENCE[group])
    assert metrics["seeds"] == [0, 1]


def test_the_selector_score_is_the_rank_correlation_of_influence_and_gain():
    score = selectivity_metrics({0: records(), 1: records()})["selector_score"]
    expected = stats.spearmanr(list(INFLUENCE.values()), list(GAIN.values())).statistic
    assert score["spearman"] == pytest.approx(expected)
    assert expected == pytest.approx(1.0)  # influence and gain were written in the same order
    assert (score["low"], score["high"]) == pytest.approx((1, 1))


def test_selectivity_is_that_of_the_exit_branch_in_whatever_order_the_branches_are_declared(monkeypatch):
    monkeypatch.setattr("edgewise.inference.intervals.RESAMPLES", 50)
    orders = (FOUR, ("flow", "enter", "baseline", "exit"))
    first, second = (
        selectivity_metrics({seed: records(seed + 1.0, branches=order, exit_factor=0.5) for seed in (0, 1)})
        for order in orders
    )
    assert first["groups"] == second["groups"]
    assert (
        first["selector_score"] == second["selector_score"] == first["branches"]["exit"][INFLUENCE_NAME]["equal_step"]
    )
    for branch in ("exit", "flow", "enter"):
        for name, scores in first["branches"][branch].items():
            assert scores == second["branches"][branch][name]
    assert first["groups"]["boundary"]["delta_loss"]["mean"] == pytest.approx(1.5 * GAIN["boundary"])


@pytest.mark.parametrize("branch", ["exit", "flow", "enter"])
@pytest.mark.parametrize("held", ["step", "time"])
def test_scores_of_every_branch_and_predictor_are_scipys(branch, held):
    gains = {
        "exit": GAIN,
        "flow": FLOW,
        "enter": {group: (1 - ENTER_SHARE) * gain for group, gain in GAIN.items()},
    }[branch]
    one = {0: records(branches=FOUR, exit_factor=0.5)}
    for name, known in ((INFLUENCE_NAME, INFLUENCE), ("gradient_norm", GRADIENT_NORM), ("centroid_distance", DISTANCE)):
        expected = stats.spearmanr(list(known.values()), list(gains.values())).statistic
        score = selector_score(one, branch, name, held)
        assert score.estimate == pytest.approx(expected)
        assert np.isnan([score.low, score.high]).all()
        if held == "step":
            ours = stats.spearmanr(list(INFLUENCE.values()), list(gains.values())).statistic
            assert selector_advantage(one, branch, name).estimate == pytest.approx(ours - expected)


def test_the_control_compares_the_displacements_at_the_runs_own_alpha(rng):
    jitters = {3: 0.0, 5: 0.02}
    coherent, random = rng.normal(70, 5, 40), rng.normal(70, 5, 40)
    metrics = control_metrics({seed: records(jitter=j) for seed, j in jitters.items()}, coherent, random)
    for quantity, scale in (("alignment", 1.0), ("curvature_influence", 50.0)):
        found = metrics["at_onset"][quantity]
        near, far = ([scale * f(j) for j in jitters.values()] for f in (lambda j: 0.4 + 4 * j, lambda j: 0.01 + j / 10))
        for name, values in (("coherent", near), ("random", far), ("difference", np.subtract(near, far))):
            low, high = stats.t.interval(0.95, 1, loc=np.mean(values), scale=stats.sem(values))
            assert found[name] == pytest.approx({"mean": np.mean(values), "low": low, "high": high})
        assert found["permutation_null_median"] == pytest.approx(0.02 * scale)
        assert found["p_value"]["coherent"] == pytest.approx({"3": 0.008, "5": 0.008})
        assert found["p_value"]["random"] == pytest.approx({"3": 0.603, "5": 0.603})
    assert metrics["alignment_chance_level"] == pytest.approx(1e-4)
    distance = metrics["centroid_distance"]
    assert (distance["median_coherent"], distance["median_random"]) == (np.median(coherent), np.median(random))
    assert distance["ks_p_value"] == pytest.approx(stats.ks_2samp(coherent, random).pvalue)
    assert control_metrics({0: records()}, coherent, coherent + 30)["centroid_distance"]["ks_p_value"] < 1e-6


def test_the_headline_is_a_few_numbers_and_those_of_the_other_metrics(monkeypatch):
    monkeypatch.setattr("edgewise.inference.intervals.RESAMPLES", 60)
    seeds = {seed: records(1.0 + seed, jitter=0.01 * seed) for seed in range(3)}
    claims = judge(Params(), seeds)
    metrics = {"edge": edge_metrics(seeds), "selectivity": selectivity_metrics(seeds), "claims": {"claims": claims}}
    found = headline(metrics)
    groups = metrics["selectivity"]["groups"]
    holding = [claim for claim in claims if claim["verdict"] == "holds"]
    assert 0 < len(holding) < len(claims)
    assert found == {
        "t_star": metrics["edge"]["summary"]["t_star"]["mean"],
        "selector": metrics["selectivity"]["selector_score"]["spearman"],
        "claims_hold": len(holding),
        **{f"gain_{group}": groups[group]["delta_loss"]["mean"] for group in GROUPS},
    }
    assert found["t_star"] == T_STAR
    assert found["gain_output_outlier"] == pytest.approx(2 * GAIN["output_outlier"])
    assert len(found) <= 20
    assert all(type(value) in (int, float) for value in found.values())
    assert json.loads(json.dumps(found)) == found
