"""From the records of robustness and ood to metrics and plot tables: on made-up records with known answers."""

import json

import numpy as np
import pandas as pd
import pytest

from edgewise.data.groups import GROUPS
from edgewise.inference.generalisation import (
    Evaluations,
    dominance_pairs,
    equal_time_difference,
    evaluation_plots,
    ood_metrics,
    robustness_metrics,
    summarise,
)

EPSILONS, ALPHAS, SEVERITIES = (0.0, 8.0, 16.0), (0.0, 3.0, 10.0), (0, 1, 2)
#: Checkpoints since onset; the later half is the last two.
SINCE_ONSET = (0, 10, 20, 30)


def robustness_table(onset: int, lr: float, level: float) -> pd.DataFrame:
    """Accuracy = level - epsilon/100 + step/1000; FGSM 0.05 above; each group 0.01 above the one before."""
    return pd.DataFrame(
        [
            {
                "step": onset + step,
                "time": 7.0 + lr * step,
                "subset": subset,
                "norm": "linf",
                "attack": attack,
                "epsilon": epsilon,
                "examples": 10,
                "accuracy": level - epsilon / 100 + step / 1000 + 0.05 * (attack == "fgsm") + 0.01 * i,
            }
            for step in SINCE_ONSET
            for i, subset in enumerate(("test", *GROUPS))
            for epsilon in EPSILONS
            for attack in ("fgsm", "pgd")
        ]
    )


def ood_table(onset: int, lr: float, level: float) -> pd.DataFrame:
    """Loss = level * (1 + strength) + step/100, accuracy 1 less a tenth of the loss."""
    shifts = [(f"heldout_{group}", 0) for group in GROUPS]
    shifts += [(direction, alpha) for direction in ("coherent", "random") for alpha in ALPHAS]
    shifts += [(corruption, severity) for corruption in ("gaussian_noise", "contrast") for severity in SEVERITIES]
    rows = []
    for shift, strength in shifts:
        for step in SINCE_ONSET:
            loss = level * (1 + strength) + step / 100
            where = {"step": onset + step, "time": 7.0 + lr * step, "shift": shift, "strength": strength}
            rows.append({**where, "examples": 10, "loss": loss, "accuracy": 1 - loss / 10})
    return pd.DataFrame(rows)


def evaluations(onset: int, gain: float, t_star_star: int | None = None) -> Evaluations:
    """The baseline is better than the exit branch by `gain`, in accuracy and in loss."""
    return Evaluations(
        robustness={"baseline": robustness_table(onset, 0.1, 0.8), "exit": robustness_table(onset, 0.01, 0.8 - gain)},
        ood={"baseline": ood_table(onset, 0.1, 0.2), "exit": ood_table(onset, 0.01, 0.2 + gain)},
        t_star_star=t_star_star,
    )


@pytest.fixture
def seeds() -> dict[int, Evaluations]:
    return {0: evaluations(100, 0.1), 1: evaluations(200, 0.3)}


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
    seeds = {0: evaluations(100, 0.1, t_star_star=115), 1: evaluations(200, 0.3)}
    metrics = robustness_metrics(seeds)
    assert metrics["seeds_after_t_star_star"] == [0]
    after = metrics["accuracy"]["test"]["0"]["after_t_star_star"]
    assert after["exit"]["mean"] == pytest.approx(0.7 + 0.025)
    assert after["baseline_minus_exit"]["mean"] == pytest.approx(0.1)
    assert np.isnan(after["exit"]["low"])


def test_second_onset_at_the_last_checkpoint():
    only = evaluations(100, 0.1, t_star_star=130).phase("after_t_star_star", "robustness", "accuracy")
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
    one = Evaluations(
        robustness={"baseline": robustness_table(5, 0.1, 0.8), "exit": robustness_table(5, 0.1, 0.7)},
        ood={"baseline": ood_table(5, 0.1, 0.2), "exit": ood_table(5, 0.1, 0.3)},
        t_star_star=None,
    )
    for kind, value in (("robustness", "accuracy"), ("ood", "loss")):
        late, equal_time = (one.phase(phase, kind, value)["baseline_minus_exit"] for phase in ("late", "equal_time"))
        np.testing.assert_allclose(equal_time[late.index], late)


def test_plots(seeds):
    plots = evaluation_plots(seeds, {0: 100, 1: 200})
    assert set(plots) == {"robustness", "robustness_epsilon", "ood", "corruptions"}
    for name, index, rows in (
        ("robustness", "step", SINCE_ONSET),
        ("robustness_epsilon", "epsilon", EPSILONS),
        ("ood", "alpha", ALPHAS),
        ("corruptions", "severity", SEVERITIES),
    ):
        table = plots[name]
        assert table.index.name == index
        assert tuple(table.index) == rows
        numbers = [c for c in table.columns if not c.endswith(("_low", "_high")) and c != "norm"]
        assert {f"{c}{end}" for c in numbers for end in ("", "_low", "_high")} == set(table.columns) - {"norm"}
    assert plots["robustness"].loc[20, "exit_eps16"] == pytest.approx(0.8 - 0.2 - 0.16 + 0.02)
    assert set(plots["robustness_epsilon"]["norm"]) == {"linf"}
    assert plots["robustness_epsilon"].loc[8, "baseline_boundary"] == pytest.approx(0.8 - 0.08 + 0.025 + 0.02)
    assert plots["robustness_epsilon"].loc[8, "baseline_test_fgsm"] == pytest.approx(0.8 - 0.08 + 0.025 + 0.05)
    assert plots["robustness_epsilon"].loc[8, "baseline_minus_exit_test"] == pytest.approx(0.2)
    assert plots["ood"].loc[3, "exit_random"] == pytest.approx(0.4 * 4 + 0.25)
    assert plots["ood"].loc[3, "exit_random_accuracy"] == pytest.approx(1 - (0.4 * 4 + 0.25) / 10)
    assert plots["corruptions"].loc[2, "baseline_contrast"] == pytest.approx(0.2 * 3 + 0.25)


def test_one_seed_has_no_interval():
    table = summarise({4: evaluations(50, 0.1)}, "robustness", "accuracy")["late"]
    assert table is not None
    assert table["exit_low"].isna().all()
    assert table["exit"].notna().all()


def test_dominance_pairs(seeds):
    def hessian(dominant: str) -> pd.DataFrame:
        # In the earlier half another group is the largest; only the later half counts.
        return pd.DataFrame(
            {f"curvature_influence_{group}": [90.0, 90.0, 1.0 + 6 * (group == dominant)] * 2 for group in GROUPS}
        ).iloc[[0, 1, 2, 5]]

    pairs = dominance_pairs(seeds, {0: hessian("boundary"), 1: hessian("input_outlier")})
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
    pairs = dominance_pairs(
        seeds, {s: pd.DataFrame({f"curvature_influence_{g}": [1.0, 2.0] for g in GROUPS}) for s in seeds}
    )
    assert set(pairs["evaluation"]) == {"adversarial_test", "displaced_test"}
    assert ood_metrics(seeds)["heldout"] == {}
    assert list(robustness_metrics(seeds)["accuracy"]) == ["test"]
