"""`edgewise study run` on a small git and DVC repository whose one stage stands for the pipeline."""

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest
import yaml
from conftest import tiny
from distributed import LocalCluster
from dvc.repo import Repo

from edgewise.study.cli import main
from edgewise.study.engine import INTERRUPTED
from edgewise.study.revisions import Revision

STAGE = """
import pathlib, sys, yaml
params = yaml.safe_load(open("params.yaml"))
with open(pathlib.Path(__file__).parent.resolve() / "TALLY", "a") as tally:
    tally.write(f"{params['alpha']}\\n")
if params["alpha"] == 13:
    sys.exit("error: alpha: was 13; unlucky")
pathlib.Path("out.txt").write_text(str(params["alpha"]))
"""
STUDY = {
    "statement": "how far?",
    "variants": {
        "near": {"statement": "near", "settings": {"alpha": 1}},
        "unlucky": {"statement": "fails", "settings": {"alpha": 13}},
        "far": {"statement": "far", "settings": {"alpha": 10}},
    },
}


def git(folder: Path, *arguments: str) -> str:
    return subprocess.run(["git", *arguments], cwd=folder, check=True, capture_output=True, text=True).stdout


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("small")
    tally = tmp_path_factory.mktemp("tally") / "tally"
    git(folder, "init", "--quiet", "--initial-branch=main")
    for key, value in (("user.name", "a test"), ("user.email", "test@example.org"), ("commit.gpgsign", "false")):
        git(folder, "config", key, value)
    Repo.init(str(folder)).close()
    (folder / "params.yaml").write_text(tiny())
    (folder / "stage.py").write_text(
        STAGE.replace('pathlib.Path(__file__).parent.resolve() / "TALLY"', repr(str(tally)))
    )
    stage = {"cmd": "python stage.py", "params": ["alpha"], "deps": ["stage.py"], "outs": ["out.txt"]}
    (folder / "dvc.yaml").write_text(yaml.safe_dump({"stages": {"only": stage}}))
    (folder / "far.yaml").write_text(yaml.safe_dump(STUDY))
    git(folder, "add", "--all")
    git(folder, "commit", "--quiet", "--message", "a pipeline")
    return folder


def study(capsys, folder: Path, monkeypatch, *options: str) -> tuple[int, str, str]:
    monkeypatch.chdir(folder)
    status = main(["study", "run", "far.yaml", *options])
    said = capsys.readouterr()
    return status, said.out, said.err


def names(folder: Path) -> list[str]:
    with Repo(str(folder)) as repo:
        return sorted(found for found, _ in repo.experiments.ls()[repo.experiments.scm.get_ref("HEAD")])


def test_a_study_runs_goes_on_and_says_why_a_variant_failed(folder, capsys, monkeypatch):
    status, out, error = study(capsys, folder, monkeypatch)
    assert (status, out) == (1, "")
    lines = error.splitlines()
    assert "error: far, quick: 2 of 3 variants run, 0 were there, 1 failed" in lines
    assert "variants.unlucky: alpha: was 13; unlucky" in lines
    assert names(folder) == ["far-quick-far", "far-quick-near"]
    assert git(folder, "status", "--porcelain") == ""

    status, _, error = study(capsys, folder, monkeypatch)
    assert status == 1
    assert "error: far, quick: 0 of 3 variants run, 2 were there, 1 failed" in error.splitlines()


def test_a_variant_whose_settings_changed_runs_again_and_it_alone(folder, capsys, monkeypatch):
    changed = {**STUDY["variants"], "far": {"statement": "farther", "settings": {"alpha": 11}}}
    del changed["unlucky"]
    path = folder / "far.yaml"
    before = path.read_text()
    path.write_text(yaml.safe_dump({**STUDY, "variants": changed}))
    status, out, _ = study(capsys, folder, monkeypatch)
    path.write_text(before)
    assert status == 0
    assert "far, quick: 1 of 2 variants run, 1 were there" in out
    monkeypatch.chdir(folder)
    assert yaml.safe_load(Revision.open("far-quick-far").read("params.yaml"))["alpha"] == 11


def test_what_has_run_before_comes_from_the_cache(folder, capsys, monkeypatch):
    tally = Path((folder / "stage.py").read_text().split("'")[1])
    with Repo(str(folder)) as repo:
        repo.experiments.remove(["far-quick-near"])
    before = tally.read_text().split()
    _, _, error = study(capsys, folder, monkeypatch)
    assert "far-quick-near" in names(folder)
    assert tally.read_text().split()[len(before) :] == ["13"]  # what failed is tried again
    assert "1 failed" in error


def test_what_is_not_committed_is_not_run(folder, capsys, monkeypatch):
    (folder / "stage.py").write_text("raise SystemExit(1)\n")
    status, _, error = study(capsys, folder, monkeypatch)
    git(folder, "checkout", "--quiet", "stage.py")
    assert status == 1
    assert error.startswith("error: stage.py: has changed since the last commit (1 such files)")
    assert len(error.splitlines()) == 1


def test_nothing_runs_where_a_variant_is_at_fault(folder, capsys, monkeypatch):
    bad = folder / "bad.yaml"
    bad.write_text(yaml.safe_dump({"statement": "s", "variants": {"a": {"statement": "s", "settings": {"alpa": 1}}}}))
    monkeypatch.chdir(folder)
    before = names(folder)
    status = main(["study", "run", "bad.yaml"])
    error = capsys.readouterr().err
    bad.unlink()
    assert status == 1
    assert all("alpa: is not a parameter" in line for line in error.splitlines())
    assert names(folder) == before


def stages_in(folder: Path) -> list[psutil.Process]:
    """The stages that run in a repository, or beside it."""
    found = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            if process.cmdline()[-1:] == ["stage.py"] and str(folder) in process.cwd():
                found.append(process)
    return found


def test_a_study_runs_on_a_cluster(folder, capsys, monkeypatch, tmp_path):
    copy = tmp_path / "copy"
    shutil.copytree(folder, copy)
    git(copy, "commit", "--allow-empty", "--quiet", "--message", "nothing has run")
    with LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=None) as cluster:
        status, _, error = study(capsys, copy, monkeypatch, "--scheduler", cluster.scheduler_address)
    assert status == 1
    assert "error: far, quick: 2 of 3 variants run, 0 were there, 1 failed" in error.splitlines()
    assert "variants.unlucky: alpha: was 13; unlucky" in error.splitlines()
    assert names(copy) == ["far-quick-far", "far-quick-near"]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_study_that_is_ended_ends_what_it_runs_and_starts_no_other_variant(folder, tmp_path, environment, number):
    copy = tmp_path / "copy"
    shutil.copytree(folder, copy)
    (copy / "stage.py").write_text("import time\ntime.sleep(300)\n")
    git(copy, "commit", "--all", "--quiet", "--message", "a long stage")
    code = "from edgewise.study.cli import main; raise SystemExit(main(['study', 'run', 'far.yaml']))"
    # Where the tests run in the background, SIGINT is ignored in what they start.
    heard = "import signal; signal.signal(signal.SIGINT, signal.default_int_handler); "
    command = [sys.executable, "-c", heard + code]
    with subprocess.Popen(command, cwd=copy, env=environment, stderr=subprocess.PIPE, text=True) as process:
        end = time.monotonic() + 120
        while not stages_in(copy):
            assert time.monotonic() < end
            time.sleep(0.2)
        process.send_signal(number)
        _, error = process.communicate(timeout=120)
    assert process.returncode == INTERRUPTED
    assert error.splitlines()[-1] == (
        "error: far, quick: interrupted; the same command goes on with the variants that have not run"
    )
    assert "Traceback" not in error
    assert stages_in(copy) == []


def worker(origin: Path, folder: Path, home: Path, environment: dict[str, str]) -> Callable[..., subprocess.Popen[str]]:
    """A clone with a cache of its own, as on a machine that shares nothing; starts `edgewise study run` in it."""
    git(origin.parent, "clone", "--quiet", str(origin), str(folder))
    for key, value in (("user.name", "a test"), ("user.email", "test@example.org"), ("commit.gpgsign", "false")):
        git(folder, "config", key, value)
    code = "import sys; from edgewise.study.cli import main; sys.exit(main(sys.argv[1:]))"

    def start(*options: str) -> subprocess.Popen[str]:
        command = [sys.executable, "-c", code, "study", "run", "far.yaml", "--remote", "origin", *options]
        heard = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
        return subprocess.Popen(command, cwd=folder, env={**environment, "HOME": str(home)}, **heard)

    return start


def test_machines_without_a_common_file_system_share_a_study(folder, tmp_path, ssh_server, environment):
    """Two clones, a bare git repository between them, a DVC remote behind sshd; one is killed in the middle."""
    origin, home = tmp_path / "origin.git", tmp_path / "home"
    source = tmp_path / "source"
    shutil.copytree(folder, source)
    (home / ".ssh").mkdir(parents=True)
    shutil.copy(ssh_server["known_hosts"], home / ".ssh/known_hosts")
    (source / ".dvc/config").write_text(
        "[core]\n    remote = ssh\n['remote \"ssh\"']\n"
        f"    url = ssh://127.0.0.1{tmp_path / 'remote'}\n    port = {ssh_server['port']}\n"
        f"    user = {ssh_server['username']}\n    keyfile = {ssh_server['client_keys'][0]}\n"
    )
    variants = {name: variant for name, variant in STUDY["variants"].items() if name != "unlucky"}
    variants |= {f"at-{alpha}": {"statement": "another", "settings": {"alpha": alpha}} for alpha in (4, 5)}
    (source / "far.yaml").write_text(yaml.safe_dump({**STUDY, "variants": variants}, sort_keys=False))
    with (source / "stage.py").open("a") as stage:
        stage.write("import time\ngo = pathlib.Path.home() / 'go'\n")
        stage.write("while params['alpha'] == 5 and not go.exists():\n    time.sleep(0.1)\n")
    git(source, "commit", "--all", "--quiet", "--message", "four variants and a remote")
    git(tmp_path, "clone", "--quiet", "--bare", str(source), str(origin))

    first, second = (worker(origin, tmp_path / name, home, environment) for name in ("first", "second"))
    killed, other = second("--share", "2/2"), first("--share", "1/2")
    _, said = other.communicate(timeout=300)
    assert other.returncode == 0, said
    assert names(tmp_path / "first") == ["far-quick-at-4", "far-quick-near"]
    end = time.monotonic() + 120
    while not git(origin, "for-each-ref", "--format=%(refname)", "refs/exps").count("far-quick-far"):
        assert time.monotonic() < end
        time.sleep(0.5)
    os.kill(killed.pid, signal.SIGKILL)
    for process in stages_in(tmp_path / "second"):
        process.kill()
    killed.communicate()

    (home / "go").touch()
    driver = worker(origin, tmp_path / "driver", home, environment)()
    out, said = driver.communicate(timeout=300)
    assert driver.returncode == 0, said
    assert out.strip() == "far, quick: 1 of 4 variants run, 3 were there"
    assert names(tmp_path / "driver") == ["far-quick-at-4", "far-quick-at-5", "far-quick-far", "far-quick-near"]
    cached = [file.read_bytes() for file in (tmp_path / "driver/.dvc/cache/files").rglob("*") if file.is_file()]
    assert {b"1", b"10", b"4", b"5"} <= set(cached)
    third = worker(origin, tmp_path / "third", home, environment)("--share", "1/1")
    out, _ = third.communicate(timeout=300)
    assert out.strip() == "far, quick: 0 of 4 variants run, 4 were there"


@pytest.mark.parametrize("name", ["nowhere", "https://", "/nowhere"])
def test_a_remote_that_is_not_there_is_one_line(folder, capsys, monkeypatch, tmp_path, name):
    status, _, error = study(capsys, folder, monkeypatch, "--remote", name)
    assert status == 1
    assert error == "error: --remote: needs a default remote of DVC too: `dvc remote add --default`\n"
    copy = with_a_store(folder, tmp_path)
    status, _, error = study(capsys, copy, monkeypatch, "--remote", name)
    assert status == 1
    assert error.startswith(f"error: --remote: was {name!r}; nothing fetched from it (")
    assert len(error.splitlines()) == 1


def with_a_store(folder: Path, tmp_path: Path) -> Path:
    """A copy of the repository, without the variant that fails, that has a DVC remote and a git remote `origin`."""
    copy = tmp_path / "copy"
    shutil.copytree(folder, copy)
    (copy / ".dvc/config").write_text(
        f"[core]\n    remote = store\n['remote \"store\"']\n    url = {tmp_path / 'store'}\n"
    )
    variants = {name: variant for name, variant in STUDY["variants"].items() if name != "unlucky"}
    (copy / "far.yaml").write_text(yaml.safe_dump({**STUDY, "variants": variants}))
    git(copy, "commit", "--all", "--quiet", "--message", "a store")
    git(tmp_path, "clone", "--quiet", "--bare", str(copy), "origin.git")
    git(copy, "remote", "add", "origin", str(tmp_path / "origin.git"))
    return copy


def test_a_push_whose_data_failed_is_made_up_for(folder, capsys, monkeypatch, tmp_path):
    copy = with_a_store(folder, tmp_path)
    (tmp_path / "store").write_text("a file where the folder is to be")
    status, _, error = study(capsys, copy, monkeypatch, "--remote", "origin")
    assert status == 1
    assert "variants.near: has run, but not been pushed: " in error
    (tmp_path / "store").unlink()
    status, out, _ = study(capsys, copy, monkeypatch, "--remote", "origin")
    assert (status, out) == (0, "far, quick: 0 of 2 variants run, 2 were there\n")
    stored = {file.read_text() for file in (tmp_path / "store").rglob("*") if file.is_file()}
    assert {"1", "10"} <= stored


def test_what_is_fetched_without_its_data_runs_again(folder, capsys, monkeypatch, tmp_path):
    copy = with_a_store(folder, tmp_path)
    assert study(capsys, copy, monkeypatch, "--remote", "origin")[0] == 0
    shutil.rmtree(tmp_path / "store")
    (tmp_path / "store").mkdir()
    other = tmp_path / "other"
    git(tmp_path, "clone", "--quiet", "origin.git", str(other))
    status, out, _ = study(capsys, other, monkeypatch, "--remote", "origin")
    assert (status, out) == (0, "far, quick: 2 of 2 variants run, 0 were there\n")
    assert {"1", "10"} <= {file.read_text() for file in (tmp_path / "store").rglob("*") if file.is_file()}


def test_a_newer_experiment_here_is_not_replaced_by_an_older_one_there(folder, capsys, monkeypatch, tmp_path):
    copy = with_a_store(folder, tmp_path)
    assert study(capsys, copy, monkeypatch, "--remote", "origin")[0] == 0
    page = yaml.safe_load((copy / "far.yaml").read_text())
    page["variants"]["far"]["settings"]["alpha"] = 7
    (copy / "far.yaml").write_text(yaml.safe_dump(page))
    assert study(capsys, copy, monkeypatch)[1] == "far, quick: 1 of 2 variants run, 1 were there\n"
    newer = git(copy, "for-each-ref", "refs/exps")
    assert (
        study(capsys, copy, monkeypatch, "--remote", "origin")[1] == "far, quick: 0 of 2 variants run, 2 were there\n"
    )
    assert git(copy, "for-each-ref", "refs/exps") == newer


def test_a_cluster_that_dies_is_said_for_each_variant(folder, capsys, monkeypatch, tmp_path):
    copy = tmp_path / "copy"
    shutil.copytree(folder, copy)
    (copy / "stage.py").write_text("import time\ntime.sleep(300)\n")
    git(copy, "commit", "--all", "--quiet", "--message", "a long stage")
    command = [sys.executable, "-m", "distributed.cli.dask_scheduler", "--host", "127.0.0.1", "--port", "0"]
    address = tmp_path / "scheduler.json"
    with subprocess.Popen([*command, "--no-dashboard", "--scheduler-file", str(address)]) as scheduler:
        end = time.monotonic() + 60
        while not (address.exists() and address.read_text()):
            assert time.monotonic() < end
            time.sleep(0.2)
        threading.Timer(3, scheduler.kill).start()
        status, _, error = study(capsys, copy, monkeypatch, "--scheduler", json.loads(address.read_text())["address"])
    assert status == 1
    assert "far, quick: 0 of 3 variants run, 0 were there, 3 failed" in error
    assert "variants.near: the cluster lost it (" in error
    assert "Traceback" not in error


def test_settings_reach_dvc_as_they_are_written(folder, capsys, monkeypatch, tmp_path):
    copy = tmp_path / "copy"
    shutil.copytree(folder, copy)
    whole = {
        "dataset": {"root": "x", "classes": [3, 5]},
        "groups": {"source": "both", "file": "x"},
        "model": {"root": "x"},
    }
    (copy / "params.yaml").write_text(tiny(**whole))
    git(copy, "commit", "--all", "--quiet", "--message", "all parameters")
    root, file = tmp_path / "my images (2), old", tmp_path / "a group's.csv"
    odd = {"dataset": {"root": str(root), "name": "npz"}, "groups.file": str(file), "groups": {"source": "file"}}
    settings = {**odd, "dataset.classes": ["true", "é, 1"], "model": {"root": "a,b"}}
    page = {"statement": "s", "variants": {"odd": {"statement": "s", "settings": settings}}}
    (copy / "far.yaml").write_text(yaml.safe_dump(page, allow_unicode=True))
    status, _, error = study(capsys, copy, monkeypatch)
    assert status == 0, error
    params = yaml.safe_load(Revision.open("far-quick-odd").read("params.yaml"))
    assert params["dataset"]["root"] == str(root)
    assert params["dataset"]["classes"] == ["true", "é, 1"]
    assert (params["groups"]["file"], params["groups"]["source"]) == (str(file), "file")
    assert params["model"]["root"] == "a,b"
    assert params["model"]["width"] == 16  # the rest of a section stays
    assert study(capsys, copy, monkeypatch)[1] == "far, quick: 0 of 1 variants run, 1 were there\n"


def test_data_that_git_does_not_track_need_an_absolute_path(folder, capsys, monkeypatch, tmp_path):
    copy = tmp_path / "copy"
    shutil.copytree(folder, copy)
    settings = {"dataset.name": "image_folder", "dataset.root": "datasets/mine", "groups.source": "file"}
    variants = {"mine": {"statement": "s", "settings": settings}}
    (copy / "far.yaml").write_text(yaml.safe_dump({"statement": "s", "variants": variants}))
    status, _, error = study(capsys, copy, monkeypatch)
    assert status == 1
    assert [line.partition("; ")[0] for line in error.removeprefix("error: ").splitlines()] == [
        "variants.mine: dataset.root: was 'datasets/mine'",
        "variants.mine: groups.file: was 'datasets/groups.csv'",
    ]
    assert "must be an absolute path, or committed" in error
    assert names(copy) == names(folder)


@pytest.mark.parametrize("options", [["--remote", " "], ["--share", "4/4"]])
def test_an_empty_name_or_share_is_said(folder, capsys, monkeypatch, options):
    if options[0] == "--remote":
        with pytest.raises(SystemExit):
            study(capsys, folder, monkeypatch, *options)
        assert "argument --remote: was ' '; must be the name or address" in capsys.readouterr().err
    else:
        status, _, error = study(capsys, folder, monkeypatch, *options)
        assert (status, error) == (1, "error: --share: was '4/4'; the study has 3 variants\n")


@pytest.mark.parametrize("text", ["0/2", "3/2", "2", "a/b", "1/0", "-1/2"])
def test_a_share_that_is_none_is_said(text, capsys):
    with pytest.raises(SystemExit):
        main(["study", "run", "far.yaml", f"--share={text}"])
    assert f"argument --share: was '{text}'; must be I/N with I from 1 to N" in capsys.readouterr().err
