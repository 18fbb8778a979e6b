"""Runs on one's own groups and classes, from the data to the figures."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from conftest import assert_one_error, tiny
from small import whole_run

from edgewise.data.groups import GROUPS

OWN = ("rare", "common", "mislabelled", "clean")


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """Three classes; the paper's groups, two of a file, of which one holds all images, and label noise."""
    folder = tmp_path_factory.mktemp("own")
    # digits has 1437 training images.
    rows = [f"{i},rare" for i in range(0, 1437, 7)] + [f"{i},common" for i in range(1437)]
    (folder / "groups.csv").write_text("example,group\n" + "\n".join(rows) + "\n")
    changes = {
        "seeds": [0],
        "dataset": {"classes": [3, 5, 8], "n": 150},
        "groups": {"source": "both", "file": "groups.csv", "noise": 0.1},
        "robustness": {"every": 10},
        "ood": {"every": 10},
    }
    whole_run(folder, tiny(**changes))
    return folder


def test_a_group_that_is_to_be_left_out_must_be_there(tmp_path, write_params, stage):
    rows = "".join(f"{i},{'common' if i % 7 else 'rare'}\n" for i in range(1437))
    (tmp_path / "groups.csv").write_text(f"example,group\n{rows}")
    groups = {"source": "both", "file": "groups.csv"}
    write_params(groups=groups, theory={"left_out": ["rare", "boundary"]})
    assert stage("dataset").returncode == 0
    write_params(groups=groups, theory={"left_out": ["rare", "nobody"]})
    there = "inlier, boundary, output_outlier, input_outlier, rare, common"
    assert_one_error(stage("dataset"), "theory.left_out", f"'nobody' is not among the groups, which are {there}")


def metrics(folder: Path, name: str) -> dict:
    return json.loads((folder / f"metrics/{name}.json").read_text())


def table(folder: Path, name: str) -> pd.DataFrame:
    return pd.read_csv(folder / f"plots/tables/{name}.csv", index_col=0)


def test_every_group_is_in_every_table_of_groups(folder):
    names = [*GROUPS, *OWN]
    assert list(table(folder, "groups").index) == names
    for name in ("delta_loss", "delta_loss_equal_time"):
        assert set(names) <= set(table(folder, name).columns)
    for name in ("alignment", "curvature_influence", "gradient_norm", "group_loss"):
        assert {f"baseline_{group}" for group in names} <= set(table(folder, name).columns)
    assert {"baseline_rare", "exit_common"} <= set(table(folder, "robustness_epsilon").columns)
    points = table(folder, "selector")
    assert points["name"].tolist() == [*names, *(f"class{c}_q{q}" for c in range(3) for q in range(1, 6))]
    assert set(metrics(folder, "selectivity")["groups"]) == set(names)
    assert set(metrics(folder, "ood")["heldout"]) == {*GROUPS, "rare", "common"}


def test_sizes_and_overlaps_are_reported(folder):
    groups = metrics(folder, "groups")
    trained = {name: of_group["trained"] for name, of_group in groups["groups"].items()}
    assert {name: trained[name] for name in OWN if name != "rare"} == {"common": 150, "mislabelled": 15, "clean": 135}
    assert groups["shared_trained_images"]["common & clean"]["range"] == [135, 135]
    note = (folder / "metrics/claims.md").read_text().splitlines()[-1]
    assert f"rare {trained['rare']}, common 150" in note
    assert "mislabelled 15" in note


def test_a_group_of_all_natural_images_has_their_loss(folder):
    steps = pd.read_csv(folder / "data/records/seed-0/baseline/steps.csv")
    mixed = (15 * steps["loss_mislabelled"] + 135 * steps["loss_clean"]) / 150
    np.testing.assert_allclose(steps["loss_common"], mixed, rtol=1e-5)


def test_claims_of_the_four_groups_alone_are_not_made_of_others(folder):
    statements = [claim["statement"] for claim in metrics(folder, "claims")["claims"]]
    assert not any("the four groups" in statement for statement in statements)
    assert any("rank correlation of the groups)" in statement for statement in statements)
    assert any("the input-outlier group gains" in statement for statement in statements)


def test_every_figure_is_drawn(folder):
    drawn = {path.stem for path in (folder / "plots/figures").glob("*.png")}
    assert {"figure_01_taxonomy", "figure_02_images", "figure_04_delta_loss", "figure_09_robustness"} <= drawn


@pytest.fixture(scope="module")
def rows_of_a_table(tmp_path_factory) -> Path:
    """Rows of six numbers and two classes, label noise for groups, and none of the prototypes."""
    folder = tmp_path_factory.mktemp("table")
    rng = np.random.default_rng(0)
    arrays = {}
    for split, n in (("train", 120), ("test", 30)):
        y = np.arange(n) % 2
        arrays[f"{split}_x"] = (rng.standard_normal((n, 6)) + y[:, None]) * 10.0 ** np.arange(-3, 3)
        arrays[f"{split}_y"] = y
    np.savez(folder / "rows.npz", **arrays)
    changes = {
        "seeds": [0],
        "dataset": {"name": "npz", "root": "rows.npz", "classes": "all", "n": 100},
        "groups": {"source": "none", "noise": 0.2},
        "robustness": {"epsilons": "auto", "every": 10},
        "ood": {"every": 10},
        "edge": {"max_steps": 3000},
    }
    whole_run(folder, tiny(**changes))
    return folder


def test_what_needs_images_says_that_it_does_not_apply_and_the_rest_runs(rows_of_a_table):
    folder = rows_of_a_table
    robustness, ood = metrics(folder, "robustness"), metrics(folder, "ood")
    for found in (robustness, ood):
        assert "does not apply" in found["reason"]
    assert list(robustness["accuracy"]["test"]) == ["0"]
    assert ood["corrupted"] == {}
    assert set(ood["displaced"]) == {"coherent", "random"}
    drawn = {path.stem for path in (folder / "plots/figures").glob("*.png")}
    assert {"figure_04_delta_loss", "figure_10_ood", "figure_edge_flow"} <= drawn
    assert not {"figure_02_images", "figure_09_robustness"} & drawn


def test_two_groups_alone_are_not_ranked(rows_of_a_table):
    selector = metrics(rows_of_a_table, "selectivity")["selector"]["exit"]["curvature_influence"]
    assert list(selector) == ["groups_and_strata"]
    statements = [claim["statement"] for claim in metrics(rows_of_a_table, "claims")["claims"]]
    assert not any("outlier" in s or "correlation of the" in s or "displacement" in s for s in statements)
    assert any("groups and strata" in statement for statement in statements)
