"""`edgewise edges` on a folder with one file of metrics, and what can go wrong."""

import json
import subprocess
from pathlib import Path

import pytest
from dvc.repo import Repo

from edgewise.study.cli import main
from edgewise.study.edges_table import COLUMNS


def ratio(mean: float | None, low: float | None = None, high: float | None = None) -> dict[str, float | None]:
    return {"mean": mean, "low": low, "high": high}


@pytest.fixture
def repository_with_edges(tmp_path, monkeypatch) -> Path:
    """A repository whose working tree has one file of metrics, of the metrics that a run leaves."""
    subprocess.run(["git", "init", "--quiet"], cwd=tmp_path, check=True)
    Repo.init(str(tmp_path)).close()
    (tmp_path / "metrics").mkdir()
    values = [ratio(0.9946, 0.9943, 0.995), ratio(0.9721, 0.9673, 0.977), ratio(0.96), ratio(None)]
    summary = {"t_star": ratio(119.8), **dict(zip(COLUMNS, values, strict=True))}
    (tmp_path / "metrics/edge.json").write_text(json.dumps({"rule": "secant", "summary": summary}))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_a_row_a_revision_a_column_a_ratio(repository_with_edges, capsys):
    assert main(["edges", "workspace"]) == 0
    assert capsys.readouterr().out.splitlines() == [
        f"| over the threshold | {' | '.join(COLUMNS.values())} |",
        "|---|---|---|---|---|",
        "| workspace | 0.995 [0.994, 0.995] | 0.972 [0.967, 0.977] | 0.960 |  |",
    ]


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (None, "workspace: has no metrics/edge.json"),
        ("{", "workspace: metrics/edge.json is damaged, or of another layout"),
        ('{"summary": {}}', "(summary.secant_sharpness_ratio_baseline: Field required)"),
    ],
)
def test_an_unusable_file_is_one_line(repository_with_edges, capsys, content, said):
    file = repository_with_edges / "metrics/edge.json"
    file.unlink() if content is None else file.write_text(content)
    assert main(["edges", "workspace"]) == 1
    error = capsys.readouterr().err
    assert said in error
    assert len(error.splitlines()) == 1
