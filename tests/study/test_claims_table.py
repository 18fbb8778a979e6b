"""`edgewise claims` on a small git and DVC repository: two commits, an experiment, and what can go wrong."""

import json
import os
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from dvc.repo import Repo

from edgewise.study.claims_table import JudgedClaim, as_cell, table_of_revisions
from edgewise.study.cli import main
from edgewise.study.revisions import WORKSPACE, Revision

GAIN = {
    "figure": "4",
    "statement": "the input-outlier group gains from the edge, at equal step",
    "paper": "> 0",
    "statistic": 0.0302,
    "low": 0.0144,
    "high": 0.0456,
    "verdict": "holds",
}
ATTACK = {**GAIN, "figure": "9", "statement": "the edge branch is less accurate under attack", "paper": "< 0"}
MANY = {**GAIN, "verdict_holm": "undecided", "window": "decides"}
ONE_SEED = {**GAIN, "low": None, "high": None, "verdict": "undecided"}
LOSES = {**GAIN, "statistic": -0.092, "low": -0.12, "high": -0.067, "verdict": "fails"}


def write(folder: Path, *claims: dict[str, object]) -> None:
    (folder / "metrics").mkdir(exist_ok=True)
    (folder / "metrics/claims.json").write_text(json.dumps({"claims": claims}))


def git(folder: Path, *arguments: str) -> None:
    subprocess.run(["git", *arguments], cwd=folder, check=True, capture_output=True)


@pytest.fixture(scope="module")
def experiments(tmp_path_factory) -> Path:
    """A repository with two commits, v1 and v2, an experiment, a commit of an older layout, and a damaged one."""
    folder = tmp_path_factory.mktemp("experiments")
    git(folder, "init", "--quiet", "--initial-branch=main")
    for key, value in (("user.name", "a test"), ("user.email", "test@example.org"), ("commit.gpgsign", "false")):
        git(folder, "config", key, value)
    with Repo.init(str(folder)) as repo:
        git(folder, "commit", "--quiet", "--message", "nothing yet")
        git(folder, "tag", "older")
        for tag, claims in (("v1", [GAIN]), ("v2", [LOSES, ATTACK])):
            write(folder, *claims)
            git(folder, "add", "--all")
            git(folder, "commit", "--quiet", "--message", tag)
            git(folder, "tag", tag)
        write(folder, ATTACK)
        repo.experiments.save(name="far-out")
    of_one = json.dumps({"claims": [GAIN]})
    coloured = json.dumps({"claims": [{**GAIN, "statement": "a\x1b[31m\nclaim"}]})
    for tag, content in (
        ("damaged", of_one[:-9]),
        ("infinite", of_one.replace("0.0302", "Infinity")),
        ("coloured", coloured),
    ):
        (folder / "metrics/claims.json").write_text(content)
        git(folder, "commit", "--quiet", "--all", "--message", tag)
        git(folder, "tag", tag)
    write(folder, ONE_SEED)
    return folder


def claims(capsys, folder: Path, monkeypatch, *revisions: str) -> tuple[int, str, str]:
    """Exit status, stdout and stderr of `edgewise claims` in a folder."""
    monkeypatch.chdir(folder)
    status = main(["claims", *revisions])
    said = capsys.readouterr()
    return status, said.out, said.err


def test_a_column_a_revision_a_row_a_claim(experiments, capsys, monkeypatch):
    assert claims(capsys, experiments, monkeypatch, "v1", "v2", "far-out", WORKSPACE) == (
        0,
        "| figure | claim | paper | v1 | v2 | far-out | workspace |\n"
        "|---|---|---|---|---|---|---|\n"
        "| 4 | the input-outlier group gains from the edge, at equal step | > 0 | holds: 0.03 [0.014, 0.046]"
        " | fails: -0.092 [-0.12, -0.067] |  | undecided: 0.03 [none] |\n"
        "| 9 | the edge branch is less accurate under attack | < 0 |  | holds: 0.03 [0.014, 0.046]"
        " | holds: 0.03 [0.014, 0.046] |  |\n",
        "",
    )


@pytest.mark.parametrize(
    ("changes", "cell"),
    [
        ({}, "holds: 0.03 [0.014, 0.046]"),  # of a version without a correction
        ({"verdict_holm": "holds", "window": "same"}, "holds: 0.03 [0.014, 0.046]"),
        ({"verdict_holm": "undecided", "window": None}, "holds (after Holm undecided): 0.03 [0.014, 0.046]"),
        ({"verdict_holm": "holds", "window": "decides"}, "holds (the window decides): 0.03 [0.014, 0.046]"),
        ({"confidence": 0.95}, "holds: 0.03 [0.014, 0.046]"),
        ({"confidence": 0.9}, "holds: 0.03 [0.014, 0.046] (90 %)"),
        (MANY, "holds (after Holm undecided; the window decides): 0.03 [0.014, 0.046]"),
        ({**MANY, "statistic": None, "verdict": "undecided"}, "undecided (the window decides)"),
    ],
)
def test_a_cell_says_what_takes_from_the_verdict(changes, cell):
    assert as_cell(JudgedClaim.model_validate({**GAIN, **changes})) == cell


def test_it_is_the_same_from_a_folder_of_the_repository(experiments, capsys, monkeypatch):
    status, table, _ = claims(capsys, experiments / "metrics", monkeypatch, "v1", WORKSPACE)
    assert status == 0
    assert "| v1 | workspace |" in table


@pytest.mark.parametrize(
    ("revision", "parts"),
    [
        ("nowhere", ["nowhere: cannot be read", "unknown Git revision"]),
        ("v1^{tree}", ["v1^{tree}: cannot be read (is no commit)"]),
        ("v1:metrics/claims.json", ["v1:metrics/claims.json: cannot be read (is no commit)"]),
        ("", [": cannot be read (is empty)"]),
        ("v\udcff", ["v\\udcff: cannot be read (has characters that cannot be printed)"]),
        ("v" * 5000, ["vvv: cannot be read (has 5000 letters)"]),
        ("v1\nv2", ["v1\\nv2: cannot be read"]),
        ("older", ["older: has no metrics/claims.json", "dvc repro"]),
        ("damaged", ["damaged: metrics/claims.json is damaged", "JSON"]),
        ("infinite", ["infinite: metrics/claims.json is damaged", "claims.0.statistic", "finite"]),
        ("coloured", ["coloured: metrics/claims.json is damaged", "claims.0.statement", "printable"]),
    ],
)
def test_an_unusable_revision_is_one_line_that_names_it(experiments, capsys, monkeypatch, revision, parts):
    status, table, error = claims(capsys, experiments, monkeypatch, "v1", revision)
    assert (status, table) == (1, "")
    assert error.startswith("error: ")
    assert len(error.splitlines()) == 1
    for part in parts:
        assert part in error


def test_ctrl_c_is_one_line(experiments, capsys, monkeypatch):
    def interrupted(name: str) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(Revision, "open", interrupted)
    assert claims(capsys, experiments, monkeypatch, "v1") == (
        130,
        "",
        "error: interrupted; the same command goes on from there\n",
    )


def test_a_reader_that_has_had_enough_is_no_error(experiments, environment):
    """As `edgewise claims … | head -1`: the pipe is closed before anything is written."""
    code = "import sys; from edgewise.study.cli import main; sys.exit(main(['claims', 'v1', 'v2']))"
    reading, writing = os.pipe()
    os.close(reading)
    command = [sys.executable, "-c", code]
    found = subprocess.run(
        command, cwd=experiments, env=environment, stdout=writing, stderr=subprocess.PIPE, check=False
    )
    os.close(writing)
    assert (found.returncode, found.stderr) == (0, b"")


def test_a_folder_in_the_place_of_the_file_is_one_line(experiments, capsys, monkeypatch):
    file = experiments / "metrics/claims.json"
    content = file.read_bytes()
    file.unlink()
    file.mkdir()
    try:
        status, _, error = claims(capsys, experiments, monkeypatch, WORKSPACE)
    finally:
        file.rmdir()
        file.write_bytes(content)
    assert status == 1
    assert error.startswith("error: workspace: has no metrics/claims.json")
    assert len(error.splitlines()) == 1


def test_outside_a_repository_it_is_one_line(tmp_path, capsys, monkeypatch):
    status, table, error = claims(capsys, tmp_path, monkeypatch, "HEAD")
    assert (status, table) == (1, "")
    assert len(error.splitlines()) == 1
    assert "HEAD: cannot be read" in error


@pytest.mark.parametrize("content", ["[]", '{"claims": [{"figure": "4"}]}', '{"edge": {}}'])
def test_json_of_another_layout_is_one_line(experiments, capsys, monkeypatch, content):
    before = (experiments / "metrics/claims.json").read_text()
    (experiments / "metrics/claims.json").write_text(content)
    status, _, error = claims(capsys, experiments, monkeypatch, WORKSPACE)
    (experiments / "metrics/claims.json").write_text(before)
    assert status == 1
    assert len(error.splitlines()) == 1
    assert "workspace: metrics/claims.json is damaged, or of another layout" in error


def test_the_help_says_what_a_revision_is(capsys):
    with pytest.raises(SystemExit) as stop:
        main(["claims", "--help"])
    assert stop.value.code == 0
    assert "DVC experiment" in capsys.readouterr().out


def test_the_repository_s_own_claims_can_be_read(repository, monkeypatch):
    monkeypatch.chdir(repository)
    own = json.loads((repository / "metrics/claims.json").read_text())["claims"]
    said = table_of_revisions([WORKSPACE])
    assert all(as_cell(JudgedClaim.model_validate(claim)) in said for claim in own)


def test_the_command_is_installed_under_its_name(repository):
    scripts = tomllib.loads((repository / "pyproject.toml").read_text())["project"]["scripts"]
    assert scripts == {"edgewise": "edgewise.study.cli:main"}
