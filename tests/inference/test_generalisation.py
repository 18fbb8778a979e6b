"""From the records of robustness and ood to metrics and plot tables: on made-up records with known answers."""

import json
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from synthetic import ALPHAS, EPSILONS, EXIT_THRESHOLD, SEVERITIES, ood_table, records, robustness_table

from edgewise.data.groups import GROUPS
from edgewise.inference.generalisation import (
    advantages,
    common_times,
    compare_branches,
    dominance,
    evaluation_tables,
    informative_strengths,
    on_times,
    ood_metrics,
    robustness_metrics,
    summarise,
)
from edgewise.inference.records import SeedRecords

#: Checkpoints since onset; the later half is the last two. The exit branch has them again at equal time.
SINCE_ONSET = (0, 10, 20, 30)


def evaluated(onset: int, gain: float, t_star_star: int | None = None, exit_factor: float = 0.1) -> SeedRecords:
    """The baseline is better than the exit branch by `gain`, in accuracy and in loss, from its first step on."""
    one = records()
    last = round(SINCE_ONSET[-1] / exit_factor)
    since = {
        "baseline": SINCE_ONSET,
        "exit": tuple(sorted({*SINCE_ONSET, *(round(step / exit_factor) for step in SINCE_ONSET)})),
    }
    step = np.arange(onset, onset + last + 1)
    reached = np.zeros(len(step), bool) if t_star_star is None else step >= t_star_star
    sides = {"baseline": (0.1, dict.fromkeys(GROUPS, 0.0)), "exit": (0.1 * exit_factor, dict.fromkeys(GROUPS, gain))}
    secant = {"baseline": 20.0, "exit": np.where(reached, EXIT_THRESHOLD, 30.0)}
    return replace(
        one,
        setting=replace(one.setting, steps=SINCE_ONSET[-1]),
        steps={
            "base": pd.DataFrame({"step": [0, onset], "secant_sharpness": [5.0, 20.0]}),
            **{
                branch: pd.DataFrame({"step": step, "time": lr * (step - onset), "secant_sharpness": secant[branch]})
                for branch, (lr, _) in sides.items()
            },
        },
        robustness={branch: robustness_table(onset, since[branch], *side) for branch, side in sides.items()},
        ood={branch: ood_table(onset, since[branch], *side) for branch, side in sides.items()},
    )


@pytest.fixture
def seeds() -> dict[int, SeedRecords]:
    return {0: evaluated(100, 0.1), 1: evaluated(200, 0.3)}


def test_robustness_metrics(seeds):
    metrics = robustness_metrics(seeds)
    assert metrics["norm"] == "linf"
    assert metrics["attack"] == "pgd"
    assert metrics["seeds"] == [0, 1]
    assert list(metrics["accuracy"]) == ["test", *GROUPS]
    assert list(metrics["accuracy"]["test"]) == ["0", "8", "16"]
    at_8 = metrics["accuracy"]["test"]["8"]
    assert at_8["late"]["baseline"]["mean"] == pytest.approx(0.8 - 0.08 + 0.025)
    difference = at_8["late"]["baseline_minus_exit"]
    # Two seeds: t(0.975, 1) = 12.706, and the standard error of (0.1, 0.3) is 0.1.
    assert difference["mean"] == pytest.approx(0.2)
    assert difference["high"] - difference["mean"] == pytest.approx(1.2706, rel=1e-3)
    assert at_8["after_t_star_star"] is None
    json.dumps(metrics)


def test_only_seeds_with_a_second_onset_count_after_it_and_at_equal_time():
    """At 150 steps, far beyond the comparison at equal step, the exit branch is as old as the baseline at 15."""
    seeds = {0: evaluated(100, 0.1, t_star_star=250), 1: evaluated(200, 0.3)}
    metrics = robustness_metrics(seeds)
    assert metrics["seeds_after_t_star_star"] == [0]
    after = metrics["accuracy"]["test"]["0"]["after_t_star_star"]
    assert after["baseline"]["mean"] == pytest.approx(0.8 + 0.025)  # at 20 and 30 steps
    assert after["exit"]["mean"] == pytest.approx(0.7 + 0.25)  # at 200 and 300
    assert after["baseline_minus_exit"]["mean"] == pytest.approx(0.1 - 0.225)
    assert np.isnan(after["exit"]["low"])


def test_second_onset_at_the_last_checkpoint():
    only = compare_branches(evaluated(100, 0.1, t_star_star=400), "after_t_star_star", "robustness", "accuracy")
    assert only is not None
    assert only.loc[("test", "pgd", 0.0), "exit"] == pytest.approx(0.7 + 0.3)


def test_late_at_equal_step_is_the_later_half_of_the_baselines_checkpoints_in_both_branches():
    """The exit branch is evaluated at 100, 200 and 300 steps too, which have no counterpart."""
    late = compare_branches(evaluated(100, 0.1), "late", "robustness", "accuracy")
    assert late is not None
    assert late.loc[("test", "pgd", 0.0)].to_dict() == pytest.approx(
        {"baseline": 0.8 + 0.025, "exit": 0.7 + 0.025, "baseline_minus_exit": 0.1}
    )


def test_ood_metrics(seeds):
    metrics = ood_metrics(seeds)
    loss = metrics["displaced"]["coherent"]["10"]["loss"]
    assert loss["late"]["baseline"]["mean"] == pytest.approx(0.2 * 11 + 0.25)
    assert loss["late"]["baseline_minus_exit"]["mean"] == pytest.approx(-0.2 * 11)
    assert set(metrics["corrupted"]) == {"gaussian_noise", "contrast"}
    corrupted = metrics["corrupted"]["contrast"]["loss"]["late"]["baseline"]["mean"]
    assert corrupted == pytest.approx(0.2 * (2 + 3) / 2 + 0.25)
    assert list(metrics["heldout"]) == list(GROUPS)
    accuracy = metrics["heldout"]["boundary"]["accuracy"]["late"]["baseline"]["mean"]
    assert accuracy == pytest.approx(1 - (0.2 + 0.25) / 10)
    json.dumps(metrics)


def test_equal_time_compares_what_has_moved_as_far():
    """Both branches follow the same curve in time, so at equal time there is no difference; at equal step there is."""
    times = np.arange(5.0), np.array([0.0, 0.1, 0.2, 0.3, 0.4, 1.0, 2.0, 3.0, 4.0])
    tables = [pd.DataFrame({"a": 5 - 2 * time, "b": time**2}) for time in times]
    at = common_times(*times)
    assert at.tolist() == [2, 3, 4]  # the later half of the time that both cover
    on_both = [on_times(table, time, at) for table, time in zip(tables, times, strict=True)]
    np.testing.assert_allclose(on_both[0], on_both[1])
    assert (tables[0] - tables[1].iloc[:5]).mean()["a"] < -1


@pytest.mark.parametrize(
    ("branch_end", "start", "expected"),
    [
        (4.0, None, [2, 3, 4]),
        (3.96, None, [2, 3, 4]),  # its last step is a whole one
        (3.5, None, [2, 3]),
        (0.3, None, [0.3]),  # before the baseline's second checkpoint
        (4.0, 3.01, [3, 4]),
        (4.0, 3.2, [4]),
    ],
)
def test_common_times_are_the_baselines_to_within_rounding(branch_end, start, expected):
    assert common_times(np.arange(5.0), np.array([0.0, branch_end]), start, rounding=0.05).tolist() == expected


def test_equal_time_at_equal_step_sizes_is_the_late_difference():
    one = evaluated(5, 0.1, exit_factor=1.0)
    for kind, value in (("robustness", "accuracy"), ("ood", "loss")):
        late, equal_time = (
            compare_branches(one, phase, kind, value)["baseline_minus_exit"] for phase in ("late", "equal_time")
        )
        np.testing.assert_allclose(equal_time[late.index], late)


def test_equal_time_reaches_the_end_of_the_exit_branch():
    """The later half of 30 steps is from 15 on; the exit branch is as old after ten times as many."""
    found = compare_branches(evaluated(100, 0.1), "equal_time", "robustness", "accuracy")
    assert found is not None
    assert found.loc[("test", "pgd", 8.0), "exit"] == pytest.approx(0.7 - 0.08 + 0.25)
    assert found.loc[("test", "pgd", 8.0), "baseline_minus_exit"] == pytest.approx(0.1 + 0.025 - 0.25)


def with_accuracies(one: SeedRecords, accuracies: dict[float, float]) -> SeedRecords:
    """The exit branch's accuracy on attacked test data by epsilon; the baseline's is 0.1 better where there is room."""

    def table(branch: str) -> pd.DataFrame:
        rows = one.robustness[branch]
        found = rows["epsilon"].map(accuracies) + 0.1 * (branch == "baseline")
        return rows.assign(accuracy=rows["accuracy"].where(rows["subset"] != "test", found.clip(upper=1.0)))

    return replace(one, robustness={branch: table(branch) for branch in one.robustness})


@pytest.mark.parametrize(
    ("first", "second", "expected"),
    [
        ({0: 0.9, 8: 0.5, 16: 0.2}, {0: 0.9, 8: 0.5, 16: 0.2}, [8, 16]),
        ({0: 0.9, 8: 0.89, 16: 0.2}, {0: 0.9, 8: 0.89, 16: 0.2}, [16]),  # too weak
        ({0: 0.9, 8: 0.5, 16: 0.01}, {0: 0.9, 8: 0.5, 16: 0.01}, [8]),  # too strong
        ({0: 0.9, 8: 0.89, 16: 0.03}, {0: 0.9, 8: 0.83, 16: 0.0}, [8]),  # on the mean over seeds
        ({0: 0.9, 8: 0.9, 16: 0.0}, {0: 0.9, 8: 0.9, 16: 0.0}, []),
    ],
)
def test_a_strength_tells_something_where_accuracy_is_neither_whole_nor_gone(first, second, expected):
    seeds = {0: with_accuracies(evaluated(100, 0.1), first), 1: with_accuracies(evaluated(200, 0.1), second)}
    found = informative_strengths(seeds)
    assert found["test"] == expected
    assert found["boundary"] == [8, 16]
    assert robustness_metrics(seeds)["informative"] == found


def test_the_advantage_under_attack_is_of_the_strengths_that_tell_something_or_of_all():
    one = with_accuracies(evaluated(100, 0.1), {0: 0.9, 8: 0.5, 16: 0.0})
    weaker = one.robustness["baseline"]
    weaker = weaker.assign(accuracy=weaker["accuracy"].where(weaker["epsilon"] != 16, 0.0))
    one = replace(one, robustness={**one.robustness, "baseline": weaker})

    def advantage(strengths):
        return advantages(one, "late", strengths)["adversarial_test", "boundary"]

    assert advantage(informative_strengths({0: one})) == pytest.approx(0.1)
    assert advantage(None) == advantage({"test": []}) == pytest.approx(0.05)
    table = dominance(0, one, {"test": [8.0]}).set_index("evaluation")
    assert table.loc["adversarial_test", "advantage"] == pytest.approx(0.1)


def test_evaluation_tables(seeds):
    tables = evaluation_tables(seeds)
    assert set(tables) == {"robustness", "robustness_epsilon", "ood", "corruptions"}
    for name, index, rows in (
        ("robustness", "step", SINCE_ONSET),
        ("robustness_epsilon", "epsilon", EPSILONS),
        ("ood", "alpha", ALPHAS),
        ("corruptions", "severity", SEVERITIES),
    ):
        table = tables[name]
        assert table.index.name == index
        assert tuple(table.index) == rows
        numbers = [c for c in table.columns if not c.endswith(("_low", "_high")) and c != "norm"]
        assert {f"{c}{end}" for c in numbers for end in ("", "_low", "_high")} == set(table.columns) - {"norm"}
    # The means of the log-odds, near those of the accuracies.
    assert tables["robustness"].loc[20, "exit_eps16"] == pytest.approx(0.8 - 0.2 - 0.16 + 0.02, abs=0.01)
    assert set(tables["robustness_epsilon"]["norm"]) == {"linf"}
    at_8 = tables["robustness_epsilon"].loc[8]
    assert at_8["baseline_boundary"] == pytest.approx(0.8 - 0.08 + 0.025 + 0.02, abs=0.01)
    assert at_8["baseline_test_fgsm"] == pytest.approx(0.8 - 0.08 + 0.025 + 0.05, abs=0.01)
    assert at_8["baseline_minus_exit_test"] == pytest.approx(0.2)
    assert tables["ood"].loc[3, "exit_random"] == pytest.approx(0.4 * 4 + 0.25)
    assert tables["ood"].loc[3, "exit_random_accuracy"] == pytest.approx(1 - (0.4 * 4 + 0.25) / 10, abs=0.01)
    assert tables["corruptions"].loc[2, "baseline_contrast"] == pytest.approx(0.2 * 3 + 0.25)
    for name in ("robustness", "robustness_epsilon"):
        ends = [c for c in tables[name] if c.endswith(("_low", "_high")) and "_minus_" not in c]
        assert tables[name][ends].ge(0).all(axis=None)
        assert tables[name][ends].le(1).all(axis=None)


def test_the_name_of_a_group_does_not_change_how_its_accuracy_is_averaged(seeds):
    renamed, name = {}, "a_minus_b"
    for seed, one in seeds.items():
        tables = {
            run: rows.assign(subset=rows["subset"].replace("inlier", name)) for run, rows in one.robustness.items()
        }
        renamed[seed] = replace(one, robustness=tables)
    found, expected = (evaluation_tables(some)["robustness_epsilon"] for some in (renamed, seeds))
    for column in ("baseline", "exit", "baseline_minus_exit"):
        for end in ("", "_low", "_high"):
            assert found[f"{column}_{name}{end}"].tolist() == expected[f"{column}_inlier{end}"].tolist()


def test_accuracies_on_which_seeds_agree_are_known_to_within_one_of_the_examples():
    """Of all ten the branches have every one right, in both seeds."""
    all_right = {}
    for seed, one in {0: evaluated(100, 0.1), 1: evaluated(200, 0.3)}.items():
        tables = {branch: rows.assign(accuracy=1.0) for branch, rows in one.robustness.items()}
        all_right[seed] = replace(one, robustness=tables)
    found = robustness_metrics(all_right)["accuracy"]["test"]["8"]["late"]
    for branch in ("baseline", "exit"):
        assert 0 < found[branch]["low"] < found[branch]["mean"] == found[branch]["high"] == 1
    half = 12.7062 * 0.1 / np.sqrt(12 * 2)  # t(0.975, 1), and the spacing of tenths as a spread
    difference = found["baseline_minus_exit"]
    assert (difference["low"], difference["mean"], difference["high"]) == pytest.approx((-half, 0, half), rel=1e-4)


def test_one_seed_has_no_interval():
    table = summarise({4: evaluated(50, 0.1)}, "robustness", "accuracy")["late"]
    assert table is not None
    assert table["exit_low"].isna().all()
    assert table["exit"].notna().all()


def test_dominance(seeds):
    def hessian(dominant: str) -> pd.DataFrame:
        # In the earlier half another group is the largest; only the later half counts.
        return pd.DataFrame(
            {f"curvature_influence_{group}": [90.0, 90.0, *[1.0 + 6 * (group == dominant)] * 2] for group in GROUPS}
        ).assign(time=[0.0, 0.1, 0.2, 0.3])

    dominant = {0: hessian("boundary"), 1: hessian("input_outlier")}
    pairs = pd.concat(
        dominance(seed, replace(one, hessian={"baseline": dominant[seed]})) for seed, one in seeds.items()
    )
    expected = {"adversarial_test", "displaced_test", *(f"{a}_{g}" for a in ("adversarial", "heldout") for g in GROUPS)}
    assert set(pairs["evaluation"]) == expected
    assert len(pairs) == 2 * len(expected)
    rows = pairs.set_index(["seed", "evaluation"])
    assert rows.loc[0]["dominant_group"].unique().tolist() == ["boundary"]
    assert rows.loc[(0, "adversarial_test"), "group"] == "boundary"
    assert rows.loc[(0, "adversarial_test"), "dominates"]
    assert not rows.loc[(1, "adversarial_test"), "dominates"]
    assert rows.loc[(1, "displaced_test"), "dominates"]
    assert rows.loc[(0, "adversarial_boundary"), "influence_share"] == pytest.approx(0.7)
    # Positive is in favour of the edge, in accuracy and in loss alike.
    assert rows.loc[(0, "adversarial_test"), "advantage"] == pytest.approx(0.1)
    assert rows.loc[(1, "heldout_inlier"), "advantage"] == pytest.approx(0.3)
    assert rows.loc[(1, "displaced_test"), "advantage"] == pytest.approx(0.3 * 11)


def test_groups_without_held_out_examples_are_left_out(seeds):
    for one in seeds.values():
        for tables, column in ((one.robustness, "subset"), (one.ood, "shift")):
            for branch, table in tables.items():
                tables[branch] = table[~table[column].str.contains("boundary|liers?$")]
    pairs = pd.concat(dominance(seed, one) for seed, one in seeds.items())
    assert set(pairs["evaluation"]) == {"adversarial_test", "displaced_test"}
    assert ood_metrics(seeds)["heldout"] == {}
    assert list(robustness_metrics(seeds)["accuracy"]) == ["test"]
