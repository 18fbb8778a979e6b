"""The numbers under metrics/ on records written by hand."""

import json

import pytest
from scipy import stats
from synthetic import GAIN, INFLUENCE, STEPS, T_STAR, THRESHOLD, records

from edgewise.metrics import edge_metrics, selectivity_metrics
from edgewise.prototypes import GROUPS


def test_edge_metrics_report_every_seed_and_their_interval():
    metrics = edge_metrics({3: records(), 5: records(at_onset=20.5)})
    assert metrics["seeds"]["3"] == {
        "t_star": 6,
        "t_star_secant": 6,
        "t_star_sharpness": 10,
        "sharpness_ratio_at_t_star": pytest.approx(19 / 20),
        "t_star_star": T_STAR + STEPS,
    }
    assert metrics["seeds"]["5"]["t_star_sharpness"] == 6
    low, high = stats.t.interval(0.95, 1, loc=8, scale=stats.sem([10, 6]))
    summary = metrics["summary"]["t_star_sharpness"]
    assert summary == {"mean": 8, "low": pytest.approx(low), "high": pytest.approx(high), "seeds": 2}
    assert (metrics["rule"], metrics["stability_threshold"]) == ("secant", THRESHOLD)


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
