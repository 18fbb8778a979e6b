"""The numbers under metrics/ on records written by hand."""

import io
import json
from contextlib import redirect_stdout
from dataclasses import replace

import numpy as np
import pytest
from dvc.compare import show_metrics
from scipy import stats
from synthetic import (
    ENTER_SHARE,
    FLOW,
    FOUR,
    GAIN,
    GRADIENT_NORM,
    GROUP_DISTANCE,
    INFLUENCE,
    SHARED,
    STRATA,
    STRATUM_DISTANCE,
    STRATUM_FLOW,
    STRATUM_GAIN,
    STRATUM_GRADIENT_NORM,
    STRATUM_INFLUENCE,
    T_STAR,
    THRESHOLD,
    records,
)

from edgewise.data.examples import Dataset
from edgewise.data.groups import GROUPS, choose_prototypes, grouped_data
from edgewise.inference.claims import judge
from edgewise.inference.intervals import correlation
from edgewise.inference.metrics import (
    Score,
    advantage_over,
    control_metrics,
    edge_metrics,
    group_metrics,
    headline,
    late,
    selectivity_metrics,
    shared_in_words,
)
from edgewise.params import Params, PrototypeParams

INFLUENCE_NAME = "curvature_influence"


def t_interval(values: object) -> tuple[float, float]:
    low, high = stats.t.interval(0.95, len(values) - 1, loc=np.mean(values), scale=stats.sem(values))
    return float(low), float(high)


def test_edge_metrics_report_every_seed_and_their_interval():
    metrics = edge_metrics({3: records(), 5: records(at_onset=20.5)})
    assert metrics["seeds"]["3"]["t_star"] == 6
    assert metrics["seeds"]["3"]["t_star_secant"] == 6
    assert metrics["seeds"]["3"]["sharpness_ratio_at_t_star"] == pytest.approx(19 / 20)
    assert metrics["seeds"]["3"]["sharpness_ratio_baseline"] == pytest.approx(20 / 20)
    assert metrics["seeds"]["3"]["secant_sharpness_ratio_baseline"] == pytest.approx(1)
    assert (metrics["seeds"]["3"]["t_star_sharpness"], metrics["seeds"]["5"]["t_star_sharpness"]) == (10, 6)
    low, high = t_interval([10, 6])
    assert low < 0  # which a step cannot be
    assert metrics["summary"]["t_star_sharpness"] == {
        "mean": 8,
        "low": 0,
        "high": pytest.approx(high),
        "seeds": 2,
        "seeds_fired": "2 of 2",
    }
    assert (metrics["rule"], metrics["stability_threshold"]) == ("secant", THRESHOLD)


def test_whether_the_baseline_stays_at_the_threshold_is_told_by_its_later_half():
    summary = edge_metrics({0: records(at_onset=40.0, later=23.0), 1: records(later=27.0)})["summary"]
    low, high = t_interval([(23 + 19) / 2 / THRESHOLD, (27 + 19) / 2 / THRESHOLD])
    found = summary["sharpness_ratio_baseline"]
    assert found == {"mean": pytest.approx(1.1), "low": pytest.approx(low), "high": pytest.approx(high), "seeds": 2}
    assert summary["secant_sharpness_ratio_baseline"]["mean"] == pytest.approx(1)


def test_a_mean_over_the_seeds_in_which_a_rule_fired_says_how_many():
    seeds = {0: records(later=19.0), 1: records(), 2: records()}
    metrics = edge_metrics(seeds)
    assert metrics["seeds"]["0"]["t_star_sharpness"] is None
    found = metrics["summary"]["t_star_sharpness"]
    assert (found["mean"], found["seeds"], found["seeds_fired"]) == (10, 2, "2 of 3")
    never = edge_metrics({0: records(exit_threshold=1000.0), 1: records(exit_threshold=1000.0)})["summary"][
        "t_star_star"
    ]
    assert (never["seeds"], never["seeds_fired"]) == (0, "0 of 2")
    assert np.isnan(never["mean"])


def test_no_interval_of_a_difference_of_alignments_goes_beyond_one():
    seeds = {i: replace(records(), control=records().control.assign(alignment_coherent=i)) for i in (0, 1)}
    seeds = {i: replace(one, control=one.control.assign(alignment_random=1 - i)) for i, one in seeds.items()}
    difference = control_metrics(seeds, np.ones(3), np.ones(3))["at_onset"]["alignment"]["difference"]
    assert (difference["low"], difference["mean"], difference["high"]) == (-1, 0, 1)


def test_selectivity_metrics_average_over_seeds():
    metrics = selectivity_metrics({0: records(), 1: records(scale=3.0, jitter=0.5)})
    for group in GROUPS:
        low, high = t_interval([GAIN[group], 3 * GAIN[group]])
        for name in ("delta_loss", "delta_loss_equal_time"):
            found = metrics["groups"][group][name]
            assert found["mean"] == pytest.approx(2 * GAIN[group])
            assert (found["low"], found["high"]) == pytest.approx((low, high))
            assert found["seeds"] == 2
    one, other = records(), records(jitter=0.5)
    for run in ("baseline", "exit"):
        pair = [late(seed, run, f"{INFLUENCE_NAME}_inlier") for seed in (one, other)]
        found = metrics["groups"]["inlier"][INFLUENCE_NAME][run]
        assert found["geometric_mean"] == pytest.approx(stats.gmean(pair))
        assert 0 < found["low"] < found["high"]
        assert found["seeds"] == 2
        found = metrics["groups"]["inlier"]["alignment"][run]
        assert 0 < found["low"] <= found["mean"] <= found["high"] < 1
    assert metrics["seeds"] == [0, 1]


def test_late_is_the_later_half_of_the_training_time_whatever_the_checkpoints():
    """The exit branch has the checkpoints of the comparison at equal step beside those at equal time."""
    one = records()
    table = one.hessian["exit"]
    time = table["time"] - table["time"].iloc[0]
    assert (time < time.iloc[-1] / 2).sum() > 2
    column = "alignment_inlier"
    marked = table.assign(**{column: np.where(time >= time.iloc[-1] / 2 - 1e-9, 3.0, 1e9)})
    changed = replace(one, hessian={**one.hessian, "exit": marked})
    assert late(changed, "exit", column) == pytest.approx(3.0)


def test_selectivity_is_that_of_the_exit_branch_in_whatever_order_the_branches_are_declared():
    orders = (FOUR, ("flow", "enter", "baseline", "exit"))
    first, second = (
        selectivity_metrics({seed: records(seed + 1.0, branches=order, exit_factor=0.5) for seed in (0, 1)})
        for order in orders
    )
    assert first == {**second, **{key: first[key] for key in ("selector", "advantage", "concurrent")}}
    for key in ("selector", "advantage", "concurrent"):
        assert set(first[key]) == {"exit", "flow", "enter"}
        for branch, found in first[key].items():
            assert found == second[key][branch]
    assert set(first["advantage"]["exit"]) == {"gradient_norm", "loss", "centroid_distance"}
    assert first["groups"]["boundary"]["delta_loss"]["mean"] == pytest.approx(1.5 * GAIN["boundary"])


@pytest.mark.parametrize("branch", ["exit", "flow", "enter"])
@pytest.mark.parametrize("held", ["step", "time"])
@pytest.mark.parametrize("groups_alone", [True, False])
def test_scores_of_every_branch_and_predictor_are_scipys(branch, held, groups_alone):
    gains = {
        "exit": GAIN | STRATUM_GAIN,
        "flow": FLOW | STRATUM_FLOW,
        "enter": {name: (1 - ENTER_SHARE) * gain for name, gain in (GAIN | STRATUM_GAIN).items()},
    }[branch]
    known = {
        INFLUENCE_NAME: INFLUENCE | STRATUM_INFLUENCE,
        "gradient_norm": GRADIENT_NORM | STRATUM_GRADIENT_NORM,
        "centroid_distance": GROUP_DISTANCE | STRATUM_DISTANCE,
    }
    names = GROUPS if groups_alone else (*GROUPS, *STRATA)
    one = {0: records(branches=FOUR, exit_factor=0.5)}
    rho = {
        name: stats.spearmanr([values[k] for k in names], [gains[k] for k in names]).statistic
        for name, values in known.items()
    }
    ours = Score(one, branch, INFLUENCE_NAME, held, groups_alone=groups_alone)
    for name, expected in rho.items():
        score = Score(one, branch, name, held, groups_alone=groups_alone)
        assert score.points == len(names)
        found = score.estimate()
        assert found.value == pytest.approx(expected)
        assert np.isnan(found.interval()).all()
        assert advantage_over(score, ours).value == pytest.approx(rho[INFLUENCE_NAME] - expected)


def test_the_score_is_the_mean_of_the_seeds_own_correlations_on_fishers_scale():
    """Not that of all pairs together: a seed in which all is larger does not tell anything."""
    swapped = {**GAIN, "inlier": GAIN["output_outlier"], "output_outlier": GAIN["inlier"]}
    seeds = {0: records(), 1: records(100.0), 2: records(gain=swapped)}
    found = Score(seeds, "exit", INFLUENCE_NAME, "step", groups_alone=True)
    shrunk = 1 - correlation(4).grid / 2
    expected = np.tanh(np.mean(np.arctanh(shrunk * np.array([1, 1, 0.8])))) / shrunk
    assert found.estimate().value == pytest.approx(expected)
    entry = found.as_dict()
    assert (entry["points"], entry["seeds"]) == (4, 3)
    assert entry["permutation_p_value"] < 0.01
    assert entry["low"] < entry["spearman"] < entry["high"]


def test_what_was_measured_along_the_branch_is_kept_apart_from_what_was_known_before():
    """Along the baseline influence is written to rank the groups as it did not before onset."""
    one = records()
    columns = {f"{INFLUENCE_NAME}_{group}": -GAIN[group] for group in GROUPS}
    base = one.hessian["base"].assign(**columns)
    changed = {0: replace(one, hessian={**one.hessian, "base": base})}
    metrics = selectivity_metrics(changed)
    for held in ("equal_step", "equal_time"):
        before, along = (metrics[key]["exit"][INFLUENCE_NAME]["groups"][held] for key in ("selector", "concurrent"))
        assert (before["spearman"], along["spearman"]) == pytest.approx((-1, 1))


def test_the_control_compares_the_displacements_at_the_runs_own_alpha(rng):
    jitters = {3: 0.0, 5: 0.02}
    coherent, random = rng.normal(70, 5, 40), rng.normal(70, 5, 40)
    metrics = control_metrics({seed: records(jitter=j) for seed, j in jitters.items()}, coherent, random)
    for quantity, scale in (("alignment", 1.0), ("curvature_influence", 50.0)):
        found = metrics["at_onset"][quantity]
        near, far = ([scale * f(j) for j in jitters.values()] for f in (lambda j: 0.4 + 4 * j, lambda j: 0.01 + j / 10))
        low, high = t_interval(np.subtract(near, far))
        expected = {"mean": np.mean(np.subtract(near, far)), "low": low, "high": high, "seeds": 2}
        assert found["difference"] == pytest.approx(expected)
        for name, values in (("coherent", near), ("random", far)):
            if quantity == "alignment":
                low, high = (1 / (1 + np.exp(-end)) for end in t_interval(np.log(values) - np.log1p(-np.array(values))))
                assert (found[name]["low"], found[name]["high"]) == pytest.approx((low, high))
                assert 0 < low < found[name]["mean"] < high < 1
            else:
                assert found[name]["geometric_mean"] == pytest.approx(stats.gmean(values))
                assert (found[name]["low"], found[name]["high"]) == pytest.approx(np.exp(t_interval(np.log(values))))
            assert found[name]["seeds"] == 2
        null = found["permutation_null_median"]
        assert null.get("mean", null.get("geometric_mean")) == pytest.approx(0.02 * scale)
        assert found["p_value"]["coherent"] == pytest.approx({"3": 0.008, "5": 0.008})
        assert found["p_value"]["random"] == pytest.approx({"3": 0.603, "5": 0.603})
    assert metrics["alignment_chance_level"] == pytest.approx(1e-4)
    distance = metrics["centroid_distance"]
    assert (distance["median_coherent"], distance["median_random"]) == (np.median(coherent), np.median(random))
    assert distance["ks_p_value"] == pytest.approx(stats.ks_2samp(coherent, random).pvalue)
    assert control_metrics({0: records()}, coherent, coherent + 30)["centroid_distance"]["ks_p_value"] < 1e-6


def test_group_metrics_count_images_and_say_what_groups_share(digits: Dataset):
    """Two seeds of real groups, and shares as of records in which they differ."""
    params = PrototypeParams(candidates=10, trained=5, strata=2)
    prototypes = {s: choose_prototypes(digits, params, 100, 3.0, "coherent", seed=s) for s in (0, 1)}
    data = {seed: grouped_data(digits, chosen) for seed, chosen in prototypes.items()}
    shares = (
        {"inlier & boundary": 2, "inlier & output_outlier": 10},
        {"inlier & boundary": 4, "inlier & output_outlier": 10},
    )
    seeds = {seed: replace(records(), shared=shared) for seed, shared in enumerate(shares)}
    metrics = group_metrics(seeds, prototypes, data)
    for group in GROUPS:
        assert (metrics["groups"][group]["trained"], metrics["groups"][group]["held_out"]) == (10, 10)
        assert metrics["groups"][group]["trained_by_seed"] == {"0": 10, "1": 10}
        assert metrics["groups"][group]["median_centroid_distance"] == dict.fromkeys(("0", "1"), GROUP_DISTANCE[group])
    assert {name: row["examples"] for name, row in metrics["strata"].items()} == dict.fromkeys(STRATA, 25)
    assert metrics["shared_trained_images"]["inlier & boundary"] == {"seeds": {"0": 2, "1": 4}, "range": [2, 4]}
    assert (
        shared_in_words(metrics)
        == "Of 10 trained images a group, these share: inlier and boundary 2 to 4; inlier and output-outlier 10."
        " The gains of groups that share images are not facts apart."
    )
    disjoint = {seed: replace(records(), shared=dict.fromkeys(SHARED, 0)) for seed in (0, 1)}
    assert shared_in_words(group_metrics(disjoint, prototypes, data)) == ""


def test_sizes_in_words_are_those_of_all_seeds():
    """Of groups of a file every seed draws its own images."""

    def in_words(rare: list[int], common: list[int]) -> str:
        by_seed = {"rare": rare, "very_common": common}
        sizes = {name: {"trained": n[0], "trained_by_seed": dict(enumerate(n))} for name, n in by_seed.items()}
        shares = {"rare & very_common": {"range": [2, 3]}}
        return shared_in_words({"groups": sizes, "shared_trained_images": shares})

    share = "these share: rare and very-common 2 to 3. The gains of groups that share images are not facts apart."
    assert in_words([15, 12], [150, 150]) == (
        f"Of the trained images of the groups (rare 12 to 15, very-common 150), {share}"
    )
    assert in_words([15, 12], [15, 12]) == (
        f"Of the trained images of the groups (rare 12 to 15, very-common 12 to 15), {share}"
    )
    assert in_words([15, 15], [15, 14]) == (
        f"Of the trained images of the groups (rare 15, very-common 14 to 15), {share}"
    )
    assert in_words([15, 15], [15, 15]) == f"Of 15 trained images a group, {share}"


def test_the_headline_is_a_few_numbers_and_those_of_the_other_metrics():
    seeds = {seed: records(1.0 + seed, jitter=0.01 * seed) for seed in range(3)}
    claims = judge(Params(), seeds)
    lost = next(claim for claim in claims if claim["verdict"] == "holds")
    lost["verdict_holm"] = "undecided"  # what holds after the correction is counted
    metrics = {"edge": edge_metrics(seeds), "selectivity": selectivity_metrics(seeds), "claims": {"claims": claims}}
    found = headline(metrics)
    groups = metrics["selectivity"]["groups"]
    holding = [claim for claim in claims if claim["verdict_holm"] == "holds"]
    assert 0 < len(holding) < len([claim for claim in claims if claim["verdict"] == "holds"])
    selector = metrics["selectivity"]["selector"]["exit"][INFLUENCE_NAME]["groups_and_strata"]["equal_time"]
    assert found == {
        "t_star": metrics["edge"]["summary"]["t_star"]["mean"],
        "selector": round(selector["spearman"], 3),
        "claims_hold": len(holding),
        **{f"gain_{g.removesuffix('_outlier')}": groups[g]["delta_loss_equal_time"]["mean"] for g in GROUPS},
    }
    assert found["t_star"] == T_STAR
    assert found["gain_output"] == pytest.approx(2 * GAIN["output_outlier"])
    assert len(found) <= 20
    assert all(type(value) in (int, float) for value in found.values())
    assert json.loads(json.dumps(found)) == found


def test_only_the_names_of_the_papers_groups_are_shortened_in_the_headline():
    seeds = {seed: records(1.0 + seed, jitter=0.01 * seed) for seed in range(2)}
    selectivity = selectivity_metrics(seeds)
    mean = {"rare": 1.0, "rare_outlier": 2.0, "input_outlier": 3.0}
    groups = {name: {"delta_loss_equal_time": {"mean": value}} for name, value in mean.items()}
    metrics = {"edge": edge_metrics(seeds), "selectivity": {**selectivity, "groups": groups}, "claims": {"claims": []}}
    found = {name: value for name, value in headline(metrics).items() if name.startswith("gain_")}
    assert found == {"gain_rare": 1.0, "gain_rare_outlier": 2.0, "gain_input": 3.0}


def test_the_headline_is_printed_on_one_line_of_120_columns():
    """As `dvc metrics show` prints it, with numbers as long as five digits can be."""
    seeds = {seed: records(1.0 + seed, jitter=0.01 * seed) for seed in range(2)}
    metrics = {
        "edge": edge_metrics(seeds),
        "selectivity": selectivity_metrics(seeds),
        "claims": {"claims": judge(Params(), seeds)},
    }
    found = headline(metrics)
    longest = {"t_star": 12345.678, "selector": -0.123, "claims_hold": 36}
    shown = {name: longest.get(name, -0.000123456789) for name in found}
    out = io.StringIO()
    with redirect_stdout(out):
        show_metrics({"workspace": {"data": {"metrics/summary.json": {"data": shown}}}}, precision=5)
    lines = out.getvalue().splitlines()
    assert len(lines) == 2
    assert "-0.00012346" in lines[1]
    assert max(len(line.rstrip()) for line in lines) <= 120
