"""From the records of robustness and ood to metrics and plot tables: on made-up records with known answers."""

import json
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from synthetic import ALPHAS, EPSILONS, EXIT_THRESHOLD, SEVERITIES, ood_table, records, robustness_table

from edgewise.data.groups import GROUPS
from edgewise.inference.generalisation import (
    compare_branches,
    dominance,
    equal_time_difference,
    evaluation_tables,
    ood_metrics,
    robustness_metrics,
    summarise,
)
from edgewise.inference.records import SeedRecords

#: Checkpoints since onset; the later half is the last two.
SINCE_ONSET = (0, 10, 20, 30)


def evaluated(onset: int, gain: float, t_star_star: int | None = None, exit_lr: float = 0.01) -> SeedRecords:
    """The baseline is better than the exit branch by `gain`, in accuracy and in loss."""
    one = records()
    step = np.arange(onset, onset + SINCE_ONSET[-1] + 1)
    reached = np.zeros(len(step), bool) if t_star_star is None else step >= t_star_star
    sides = {"baseline": (0.1, dict.fromkeys(GROUPS, 0.0)), "exit": (exit_lr, dict.fromkeys(GROUPS, gain))}
    return replace(
        one,
        steps={
            "base": pd.DataFrame({"step": [0, onset], "secant_sharpness": [5.0, 20.0]}),
            "baseline": pd.DataFrame({"step": step, "secant_sharpness": 20.0}),
            "exit": pd.DataFrame({"step": step, "secant_sharpness": np.where(reached, EXIT_THRESHOLD, 30.0)}),
        },
        robustness={branch: robustness_table(onset, SINCE_ONSET, *side) for branch, side in sides.items()},
        ood={branch: ood_table(onset, SINCE_ONSET, *side) for branch, side in sides.items()},
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


def test_only_seeds_with_a_second_onset_count_after_it():
    seeds = {0: evaluated(100, 0.1, t_star_star=115), 1: evaluated(200, 0.3)}
    metrics = robustness_metrics(seeds)
    assert metrics["seeds_after_t_star_star"] == [0]
    after = metrics["accuracy"]["test"]["0"]["after_t_star_star"]
    assert after["exit"]["mean"] == pytest.approx(0.7 + 0.025)
    assert after["baseline_minus_exit"]["mean"] == pytest.approx(0.1)
    assert np.isnan(after["exit"]["low"])


def test_second_onset_at_the_last_checkpoint():
    only = compare_branches(evaluated(100, 0.1, t_star_star=130), "after_t_star_star", "robustness", "accuracy")
    assert only is not None
    assert only.loc[("test", "pgd", 0.0), "exit"] == pytest.approx(0.7 + 0.03)


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
    times = np.array([0.0, 1.0, 2.0, 3.0]), np.array([0.0, 0.1, 0.2, 0.3])
    tables = [pd.DataFrame({"a": 5 - 2 * time, "b": time}) for time in times]
    difference = equal_time_difference(tables[0], times[0], tables[1], times[1])
    assert difference.to_dict() == pytest.approx({"a": 0.0, "b": 0.0})
    assert (tables[0] - tables[1]).mean()["a"] < -1


def test_equal_time_at_equal_step_sizes_is_the_late_difference():
    one = evaluated(5, 0.1, exit_lr=0.1)
    for kind, value in (("robustness", "accuracy"), ("ood", "loss")):
        late, equal_time = (
            compare_branches(one, phase, kind, value)["baseline_minus_exit"] for phase in ("late", "equal_time")
        )
        np.testing.assert_allclose(equal_time[late.index], late)


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
    assert tables["robustness"].loc[20, "exit_eps16"] == pytest.approx(0.8 - 0.2 - 0.16 + 0.02)
    assert set(tables["robustness_epsilon"]["norm"]) == {"linf"}
    assert tables["robustness_epsilon"].loc[8, "baseline_boundary"] == pytest.approx(0.8 - 0.08 + 0.025 + 0.02)
    assert tables["robustness_epsilon"].loc[8, "baseline_test_fgsm"] == pytest.approx(0.8 - 0.08 + 0.025 + 0.05)
    assert tables["robustness_epsilon"].loc[8, "baseline_minus_exit_test"] == pytest.approx(0.2)
    assert tables["ood"].loc[3, "exit_random"] == pytest.approx(0.4 * 4 + 0.25)
    assert tables["ood"].loc[3, "exit_random_accuracy"] == pytest.approx(1 - (0.4 * 4 + 0.25) / 10)
    assert tables["corruptions"].loc[2, "baseline_contrast"] == pytest.approx(0.2 * 3 + 0.25)


def test_one_seed_has_no_interval():
    table = summarise({4: evaluated(50, 0.1)}, "robustness", "accuracy")["late"]
    assert table is not None
    assert table["exit_low"].isna().all()
    assert table["exit"].notna().all()


def test_dominance(seeds):
    def hessian(dominant: str) -> pd.DataFrame:
        # In the earlier half another group is the largest; only the later half counts.
        return pd.DataFrame(
            {f"curvature_influence_{group}": [90.0, 90.0, 1.0 + 6 * (group == dominant)] * 2 for group in GROUPS}
        ).iloc[[0, 1, 2, 5]]

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
