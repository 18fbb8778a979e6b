"""The library from Python: its public names, a finished run as tables, and the example of the front page."""

import ast
import re
import runpy
import subprocess
import sys

import pandas as pd
import pytest
import yaml
from conftest import REPOSITORY

import edgewise
from edgewise.errors import EdgewiseError
from edgewise.study.revisions import md5_of, md5_of_folder

EXAMPLE = REPOSITORY / "examples/minimal.py"


def test_every_public_name_is_there_and_has_a_description():
    for name in edgewise.__all__:
        assert getattr(edgewise, name).__doc__
        assert name in dir(edgewise)
    with pytest.raises(AttributeError, match="no_such_name"):
        _ = edgewise.no_such_name


def test_importing_the_package_imports_no_torch(environment):
    code = "import edgewise, sys; assert 'torch' not in sys.modules; assert 'Objective' in dir(edgewise)"
    subprocess.run([sys.executable, "-c", code], check=True, env=environment)


def test_the_example_is_short_and_measures_what_the_pipeline_would(tmp_path, monkeypatch, capsys):
    assert len(EXAMPLE.read_text().splitlines()) < 100
    monkeypatch.chdir(tmp_path)
    gains = runpy.run_path(str(EXAMPLE))["main"]("figure.png")
    assert (tmp_path / "figure.png").read_bytes().startswith(b"\x89PNG")
    assert set(gains) == {"inlier", "boundary", "output_outlier", "input_outlier"}
    assert all(abs(gain) > 1e-5 for gain in gains.values())
    assert "at the edge after" in capsys.readouterr().out
    imported = {node.names[0].name for node in ast.walk(ast.parse(EXAMPLE.read_text())) if isinstance(node, ast.Import)}
    assert "edgewise" in imported


@pytest.fixture
def finished(tmp_path):
    """What is read of a run: two seeds, one branch, two groups and a stratum."""
    names = ["rare", "common", "class0_q1"]
    for seed in (3, 5):
        for run in ("base", "exit"):
            folder = tmp_path / f"data/records/seed-{seed}/{run}"
            folder.mkdir(parents=True)
            first = 0 if run == "base" else 1
            steps = {"step": [first, first + 1], "time": [0.0, 0.1], "loss": [2.0, 1.0]}
            steps |= {f"loss_{name}": [seed + i, seed + i + 0.5] for i, name in enumerate(names)}
            pd.DataFrame(steps).to_csv(folder / "steps.csv", index=False)
            hessian = {"step": [first, first], "time": [0.0, 0.0], "iterate": [0, 1], "sharpness": [9.0, 8.0]}
            for quantity in ("alignment", "curvature_influence", "gradient_norm", "label_probability"):
                hessian |= {f"{quantity}_{name}": [i / 10, i / 5] for i, name in enumerate(names)}
            pd.DataFrame(hessian).to_csv(folder / "hessian.csv", index=False)
    for folder in ("plots/tables", "metrics"):
        (tmp_path / folder).mkdir(parents=True)
    selector = {"seed": [3] * 3 + [5] * 3, "name": names * 2}
    pd.DataFrame(selector).to_csv(tmp_path / "plots/tables/selector.csv", index=False)
    (tmp_path / "metrics/summary.json").write_text('{"t_star": 7}')
    return tmp_path


def test_a_run_is_read_as_tidy_tables(finished):
    run = edgewise.load_run(finished)
    assert run.groups == ["rare", "common", "class0_q1"]
    assert list(run.steps.columns) == ["seed", "run", "step", "since_onset", "time", "loss"]
    assert len(run.steps) == 2 * 2 * 2
    assert len(run.losses) == 3 * len(run.steps)
    row = run.losses.query("seed == 5 and run == 'exit' and step == 2 and group == 'common'")
    assert row["loss"].tolist() == [6.5]
    row = run.measured.query("seed == 3 and run == 'base' and iterate == 1 and group == 'class0_q1'")
    assert row[["sharpness", "alignment", "curvature_influence"]].to_numpy().tolist() == [[8.0, 0.4, 0.4]]
    assert run.metrics == {"summary": {"t_star": 7}}


def test_steps_are_counted_from_the_onset_of_the_own_seed(finished):
    run = edgewise.load_run(finished)
    base = run.steps[run.steps["run"] == "base"]
    assert base.groupby("seed")["since_onset"].max().tolist() == [0, 0]
    assert (run.measured["since_onset"] <= 1).all()
    assert len(repr(run)) < 200


@pytest.mark.filterwarnings("error")
def test_a_run_of_many_groups_is_read_without_a_warning(finished):
    for file in finished.glob("data/records/seed-*/*/*.csv"):
        table = pd.read_csv(file)
        more = pd.DataFrame({f"more_{i}": 0.0 for i in range(300)}, index=table.index)
        pd.concat([table, more], axis=1).to_csv(file, index=False)
    edgewise.load_run(finished)


def test_records_of_another_run_than_dvc_lock_s_are_an_error(finished):
    files = [*finished.glob("data/records/*/*/*.csv"), *finished.glob("metrics/*")]
    left = {path: md5_of(path.read_bytes()) for path in files}
    tables = finished / "plots/tables"
    left[tables] = md5_of_folder({path.name: path.read_bytes() for path in tables.iterdir()})
    outs = [{"path": path.relative_to(finished).as_posix(), "md5": md5} for path, md5 in left.items()]
    (finished / "dvc.lock").write_text(yaml.safe_dump({"schema": "2.0", "stages": {"all": {"cmd": "x", "outs": outs}}}))
    (finished / "metrics/benchmarks.json").write_text("{}")
    assert set(edgewise.load_run(finished).metrics) == {"summary"}
    for harmed in ("data/records/seed-3/base/steps.csv", "metrics/summary.json", "plots/tables/selector.csv"):
        content = (finished / harmed).read_bytes()
        (finished / harmed).write_bytes(content.replace(b"7", b"8").replace(b"common", b"others") + b" ")
        with pytest.raises(EdgewiseError, match="is not of the run that dvc.lock is of; `dvc checkout`"):
            edgewise.load_run(finished)
        (finished / harmed).write_bytes(content)


@pytest.mark.parametrize(
    ("path", "content", "said"),
    [
        ("data/records/seed-3/base/steps.csv", "", "steps.csv: cannot be read"),
        ("data/records/seed-3/base/steps.csv", None, "steps.csv: cannot be read"),
        ("data/records/seed-3/base/steps.csv", "step,time\n0,1\n", "has no column loss_class0_q1"),
        ("data/records/seed-5/exit/hessian.csv", "\x00\xff", "hessian.csv: cannot be read"),
        ("metrics/summary.json", "{", "summary.json: cannot be read"),
        (
            "metrics/verification.json",
            '{"branches": {"seed-3/exit": {}, "seed-4/exit": {}}}',
            "seed-4/base/steps.csv: is missing",
        ),
        ("dvc.lock", "a: [", "dvc.lock: cannot be read"),
        ("metrics/verification.json", '{"branches": 3}', "verification.json: damaged"),
        ("metrics/verification.json", '{"branches": {"../..": {}}}', "verification.json: damaged"),
        ("plots/tables/selector.csv", "seed,name\n", "selector.csv: names no groups"),
    ],
)
def test_a_damaged_or_missing_file_is_one_line_that_names_it(finished, path, content, said):
    if content is None:
        (finished / path).unlink()
    else:
        (finished / path).write_text(content)
    with pytest.raises(EdgewiseError, match=re.escape(said)) as error:
        edgewise.load_run(finished)
    assert len(str(error.value).splitlines()) == 1


@pytest.mark.parametrize("run", ["base", "exit"])
@pytest.mark.parametrize("rows", [[0], [0, 1, 1], [1, 0]])
def test_records_that_lack_steps_are_an_error(finished, run, rows):
    file = finished / f"data/records/seed-3/{run}/steps.csv"
    table = pd.read_csv(file).iloc[rows]
    table.to_csv(file, index=False)
    if (run, rows) == ("exit", [0]):  # a branch may end at any step
        edgewise.load_run(finished)
        return
    with pytest.raises(EdgewiseError, match=r"seed-3/(base|exit)/steps.csv: rows are missing or doubled"):
        edgewise.load_run(finished)


def test_a_folder_without_a_run_is_an_error(tmp_path):
    with pytest.raises(EdgewiseError, match="no finished run"):
        edgewise.load_run(tmp_path)


def test_the_version_is_one():
    citation = yaml.safe_load((REPOSITORY / "CITATION.cff").read_text())
    assert citation["version"] == edgewise.__version__
    latest = re.search(r"^## (\S+)$", (REPOSITORY / "CHANGELOG.md").read_text(), re.MULTILINE)
    assert latest is not None
    assert latest[1] == edgewise.__version__
