"""`edgewise models` on two commits, and the cells of its table."""

import json
import subprocess
from pathlib import Path

import pytest
from dvc.repo import Repo

from edgewise.study.cli import main
from edgewise.study.models_table import TheoryFile, as_table
from edgewise.theory.registry import MODELS

MEAN = {"mean": 0.5, "low": None, "high": None, "seeds": 1}
ERROR = {"geometric_mean": 0.0123, "low": 0.01, "high": 0.5, "seeds": 3}
MODEL = {
    "reference": "flow",
    "groups": {
        "inlier": {"measured": MEAN, "predicted": MEAN, "relative_error": ERROR},
        "input_outlier": {"measured": MEAN, "predicted": MEAN, "relative_error": {**MEAN, "mean": 2.5}},
    },
    "rank_correlation": {"mean": 0.987, "low": 0.9, "high": 1.0, "seeds": 3},
    "linear_correlation": [0.99],
    "follows_until": MEAN,
    "sharpness_ratio": MEAN,
    "sharpness_error": {**MEAN, "mean": 0.042},
    "loss_error": {**MEAN, "mean": 0.00314},
    "gains_error": {**MEAN, "mean": 0.118},
    "distance": {**MEAN, "mean": None},
    "gradients": {**MEAN, "mean": 123.4},
}
FOUND = {"edge_flow": MODEL, "cubic": None, "reason": "cubic: it diverged", "seeds": [0, 1], "dose": {"factors": {}}}
HEAD = (
    "| experiment | model | sharpness | loss | gains | Δℓ inlier | Δℓ input outlier | rank correlation | distance"
    " | gradients a step |\n|---|---|---|---|---|---|---|---|---|---|\n"
)
ROWS = (
    "| {0} | edge flow | 4.2 % | 0.31 % | 12 % | 1.2 % [1, 50] | 250 % | 0.99 [0.90, 1.00] |  | 123 |\n"
    "| {0} | cubic |  |  |  |  |  |  |  |  |"
)


def git(folder: Path, *arguments: str) -> None:
    subprocess.run(["git", *arguments], cwd=folder, check=True, capture_output=True)


@pytest.fixture
def experiment(tmp_path, monkeypatch) -> Path:
    """A repository with a commit, v1, of a run with two models."""
    git(tmp_path, "init", "--quiet", "--initial-branch=main")
    for key, value in (("user.name", "a test"), ("user.email", "test@example.org"), ("commit.gpgsign", "false")):
        git(tmp_path, "config", key, value)
    with Repo.init(str(tmp_path)):
        (tmp_path / "metrics").mkdir()
        (tmp_path / "metrics/theory.json").write_text(json.dumps(FOUND))
        git(tmp_path, "add", "--all")
        git(tmp_path, "commit", "--quiet", "--message", "v1")
        git(tmp_path, "tag", "v1")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_a_row_an_experiment_and_model(experiment, capsys):
    assert main(["models", "v1", "workspace"]) == 0
    assert capsys.readouterr().out == HEAD + ROWS.format("v1") + "\n" + ROWS.format("workspace") + "\n"


@pytest.mark.parametrize("content", ["[]", '{"edge_flow": {"groups": {}}}', "{"])
def test_json_of_another_layout_is_one_line(experiment, capsys, content):
    (experiment / "metrics/theory.json").write_text(content)
    assert main(["models", "workspace"]) == 1
    error = capsys.readouterr().err
    assert error.startswith("error: workspace: metrics/theory.json is damaged, or of another layout")
    assert len(error.splitlines()) == 1


def test_it_knows_every_model():
    assert list(TheoryFile.model_fields) == list(MODELS)


def test_without_any_prediction_there_are_no_columns_of_groups():
    models = TheoryFile.model_validate({"edge_flow": None, "reason": "no", "seeds": [0]}).models()
    assert "Δℓ" not in as_table({"one": models})


def test_experiments_that_track_other_groups_have_columns_of_their_own():
    others = {**MODEL, "groups": {"rare": {"relative_error": {**MEAN, "mean": 0.75}}}}
    experiments = {
        name: TheoryFile.model_validate({"edge_flow": model}).models() for name, model in (("a", MODEL), ("b", others))
    }
    head, _, first, second = as_table(experiments).splitlines()
    assert [cell.strip() for cell in head.split("|")[6:9]] == ["Δℓ inlier", "Δℓ input outlier", "Δℓ rare"]
    assert [cell.strip() for cell in first.split("|")[6:10]] == ["1.2 % [1, 50]", "250 %", "", "0.99 [0.90, 1.00]"]
    assert [cell.strip() for cell in second.split("|")[6:10]] == ["", "", "75 %", "0.99 [0.90, 1.00]"]
