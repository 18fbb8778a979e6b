"""What docs/adding.md shows works as it stands: in a copy of the repository, in one run with all of it."""

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from conftest import REPOSITORY, tiny

from edgewise.study.plan import check, read_study

PAGE = (REPOSITORY / "docs/adding.md").read_text()
RUN = "from pathlib import Path; from small import whole_run; whole_run(Path(), Path('params.yaml').read_text())"


@pytest.fixture(scope="module")
def copy(tmp_path_factory) -> Path:
    """The code with every diff of the page applied, and every file of it written."""
    folder = tmp_path_factory.mktemp("copy")
    for name in ("src", "stages", "networks", "docs", "studies"):
        shutil.copytree(REPOSITORY / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy2(REPOSITORY / "dvc.yaml", folder)
    diffs = re.findall(r"```diff\n(.*?)```", PAGE, re.DOTALL)
    assert len(diffs) == 3
    for diff in diffs:
        subprocess.run(["git", "apply", "-"], cwd=folder, input=diff, text=True, check=True)
    files = re.findall(r"^`(\S+)`:\n\n```\w+\n(.*?)```", PAGE, re.DOTALL | re.MULTILINE)
    assert [name for name, _ in files] == ["networks/gated.py", "studies/widths.yaml"]
    for name, content in files:
        (folder / name).write_text(content)
    return folder


@pytest.fixture(scope="module")
def run(copy, environment) -> Path:
    """A run there on the new source with the new network."""
    changes = {
        "seeds": [0],
        "dataset": {"name": "stripes", "classes": "all"},
        "model": {"name": "gated:gated"},
        "optimizer": {"lr": 0.3},
        "edge": {"max_steps": 2000},
        "robustness": {"every": 10},
        "ood": {"every": 10},
    }
    (copy / "params.yaml").write_text(tiny(**changes))
    path = [copy / "src", copy / "stages", REPOSITORY / "tests", REPOSITORY / "tests/stages"]
    inside = {**environment, "PYTHONPATH": ":".join(map(str, path))}
    ran = subprocess.run(
        [sys.executable, "-P", "-c", RUN], cwd=copy, env=inside, capture_output=True, text=True, check=False
    )
    assert ran.returncode == 0, ran.stderr[-2000:]
    return copy


def test_the_source_and_the_network_are_those_of_the_page(run):
    with np.load(run / "data/dataset.npz") as data:
        assert json.loads(str(data["about"])) == {"class_names": ["lying", "standing"], "name": "stripes"}
    parameters = 2 * (64 * 16 + 16) + 16 * 2 + 2
    control = json.loads((run / "metrics/control.json").read_text())
    assert control["alignment_chance_level"] == pytest.approx(1 / parameters, rel=1e-4)


def test_the_measurement_is_a_column_and_a_table(run):
    recorded = pd.read_csv(run / "data/records/seed-0/baseline/hessian.csv")
    assert (recorded["gradient_largest_boundary"] <= recorded["gradient_norm_boundary"]).all()
    assert "baseline_boundary" in pd.read_csv(run / "plots/tables/gradient_largest.csv")
    described = (run / "docs/generators/dictionary.yaml").read_text()
    assert "plots/tables/gradient_largest.csv" in described


def test_the_claim_is_in_the_table_of_claims(run):
    claims = json.loads((run / "metrics/claims.json").read_text())["claims"]
    assert any(claim["statement"].startswith("alignment of the boundary group is below") for claim in claims)


def test_the_study_is_sound(copy):
    found = check(read_study(copy / "studies/widths.yaml"), "widths", (REPOSITORY / "params.yaml").read_text())
    assert {name: params.model.width for name, params in found["quick"].items()} == {"narrow": 64, "wide": 1024}
