"""`edgewise repro` on a small DVC pipeline of shell commands: its order, its failures, and what a kill leaves."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import psutil
import pytest
import yaml
from distributed import LocalCluster, SSHCluster
from dvc.repo import Repo

from edgewise.errors import EdgewiseError
from edgewise.params import ComputeParams
from edgewise.study import engine
from edgewise.study.cli import main
from edgewise.study.engine import Seconds, changed_stages, mend, reproduce
from edgewise.study.revisions import WORKSPACE, Revision

#: first -> each@0, each@1 -> last; aside needs nothing.
STAGES = {
    "first": {"cmd": "echo first > first.txt", "params": ["word"], "outs": ["first.txt"]},
    "each": {
        "matrix": {"seed": "${seeds}"},
        "cmd": "./each.sh ${item.seed}",
        "deps": ["each.sh", "first.txt"],
        "params": ["compute"],
        "outs": ["each-${item.seed}.txt"],
    },
    "aside": {"cmd": "echo aside > aside.txt", "outs": ["aside.txt"]},
    "last": {
        "cmd": "cat each-0.txt each-1.txt > last.txt",
        "deps": ["each-0.txt", "each-1.txt"],
        "outs": [{"last.txt": {"cache": False}}],
    },
}
EACH = "#!/bin/sh\ncat first.txt > each-$1.txt\n"
#: How a stage begins that waits until the other is there, or that fails if it is.
MEET = "#!/bin/sh\ntouch here-$1\nfor i in $(seq 200); do [ -e here-$((1 - $1)) ] && break; sleep 0.1; done\n"
ALONE = "#!/bin/sh\nmkdir here || exit 1\nsleep 1\nrmdir here\n"


@pytest.fixture
def pipeline(tmp_path, monkeypatch) -> Path:
    """The working directory: a repository in which nothing has run."""
    monkeypatch.chdir(tmp_path)
    for name, value in (("DVC_NO_ANALYTICS", "1"), ("GIT_CONFIG_GLOBAL", os.devnull)):
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(signal, "signal", lambda number, handler: None)
    subprocess.run(["git", "init", "--quiet"], check=True)
    Repo.init(str(tmp_path)).close()
    params = {"word": "a", "seeds": [0, 1], "compute": {"device": "cpu"}}
    (tmp_path / "params.yaml").write_text(yaml.safe_dump(params))
    (tmp_path / "dvc.yaml").write_text(yaml.safe_dump({"stages": STAGES}))
    write_each(tmp_path, EACH)
    return tmp_path


def write_each(folder: Path, script: str) -> None:
    (folder / "each.sh").write_text(script)
    (folder / "each.sh").chmod(0o755)


def lock_of(folder: Path) -> dict:
    return yaml.safe_load((folder / "dvc.lock").read_text())


@pytest.mark.parametrize(
    ("params", "said"),
    [
        (f"alpha: {'[' * 49_000}{']' * 49_000}", "params.yaml: not readable as YAML"),
        ("[1, 2]", "params.yaml: must hold a mapping"),
        ("", "params.yaml: must hold a mapping"),
        ("%YAML 1.1\n---\nseeds: [010]", "params.yaml: has a line that begins with %"),
    ],
    ids=["deep", "a list", "empty", "of another version"],
)
def test_parameters_that_dvc_does_not_survive_are_refused_before_it_reads_them(pipeline, capsys, params, said):
    (pipeline / "params.yaml").write_text(params)
    assert main(["repro"]) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"error: {said}")


def needs() -> dict[str, list[str]]:
    with Repo() as repo:
        return dict(changed_stages(repo).needs)


def test_it_leaves_what_dvc_leaves_and_then_finds_nothing_to_do(pipeline):
    assert list(needs()) == ["aside", "first", "each@0", "each@1", "last"]
    assert reproduce(2, None, 1).startswith("stages: 5 run, in ")
    assert reproduce(2, None, 1) == "nothing has changed"
    assert (pipeline / "last.txt").read_text() == "first\nfirst\n"
    side_by_side = lock_of(pipeline)
    (pipeline / "dvc.lock").unlink()
    with Repo() as repo:
        repo.reproduce(run_cache=False, force=True)
    assert lock_of(pipeline) == side_by_side
    assert set(Seconds.read(pipeline / ".dvc/tmp" / engine.SECONDS_FILE).of_stage) == set(side_by_side["stages"])


def test_what_changed_runs_again_with_all_that_waits_for_it(pipeline):
    reproduce(2, None, 1)
    write_each(pipeline, EACH + "echo more >> each-$1.txt\n")
    assert needs() == {"each@0": [], "each@1": [], "last": ["each@0", "each@1"]}
    assert reproduce(2, None, 1).startswith("stages: 3 run")
    write_each(pipeline, EACH)
    said = reproduce(2, None, 1)
    assert said.startswith("stages: 1 run, 2 from the cache"), said  # what is in git is in no cache of DVC


def test_a_failed_stage_stops_what_needs_it_and_nothing_else(pipeline, capsys):
    write_each(pipeline, "#!/bin/sh\n[ $1 = 1 ] || { echo the reason; exit 3; }\n" + EACH.splitlines()[1] + "\n")
    assert main(["repro", "--jobs", "2"]) == 255 == subprocess.run(["dvc", "repro", "each@0"], check=False).returncode
    said = capsys.readouterr()
    assert said.err.splitlines()[-1].startswith("error: stages: 3 run, 1 failed, 1 not run, in ")
    assert "each@0: failed\n" in said.out
    assert "\nthe reason\n" in said.out
    assert "not run, as each@0 failed: last" in said.out
    assert set(lock_of(pipeline)["stages"]) == {"first", "aside", "each@1"}


def test_stages_that_can_run_side_by_side_do_and_no_more_of_them_than_jobs(pipeline):
    write_each(pipeline, f"{MEET}ls here-* | wc -l > each-$1.txt\n")
    reproduce(2, None, 1)
    assert (pipeline / "last.txt").read_text().split() == ["2", "2"]


@pytest.mark.parametrize(("seeds", "said"), [("3", "seeds: was 3; "), ("[[1]]", r"seeds\[0\]: was \[1\]; ")])
def test_parameters_that_dvc_cannot_make_stages_of_are_named(pipeline, repository, seeds, said):
    for name in ("dvc.yaml", "params.yaml"):
        shutil.copy(repository / name, pipeline)
    text = (pipeline / "params.yaml").read_text()
    (pipeline / "params.yaml").write_text(re.sub(r"^seeds: .*$", f"seeds: {seeds}", text, flags=re.MULTILINE))
    with pytest.raises(EdgewiseError, match=f"^{said}"):
        reproduce(1, None, 1)
    with pytest.raises(EdgewiseError, match="^workspace: "):
        Revision.open(WORKSPACE)


def test_a_path_that_is_left_empty_is_named(pipeline, repository):
    for name in ("dvc.yaml", "params.yaml"):
        shutil.copy(repository / name, pipeline)
    text = (pipeline / "params.yaml").read_text()
    (pipeline / "params.yaml").write_text(text.replace("  file: datasets/groups.csv", "  file:"))
    with pytest.raises(EdgewiseError, match=r"^groups\.file: was None; "):
        reproduce(1, None, 1)
    with pytest.raises(EdgewiseError, match="^workspace: "):
        Revision.open(WORKSPACE)


def test_without_stages_there_is_nothing_to_run(pipeline):
    (pipeline / "dvc.yaml").unlink()
    with pytest.raises(EdgewiseError, match="dvc.yaml declares no stages"):
        reproduce(1, None, 1)


def test_a_lock_file_that_is_no_text_is_one_line(pipeline):
    (pipeline / "dvc.lock").write_bytes(b"\xff\xfe")
    with pytest.raises(EdgewiseError, match="dvc.lock") as error:
        reproduce(1, None, 1)
    assert "\n" not in str(error.value)


def test_each_computing_stage_has_a_gpu_of_its_own(pipeline, monkeypatch):
    """Two GPUs that are not there: what a stage sees of them is a variable of its environment."""
    params = yaml.safe_load((pipeline / "params.yaml").read_text())
    (pipeline / "params.yaml").write_text(yaml.safe_dump({**params, "compute": {"device": "cuda"}}))
    monkeypatch.setattr(engine, "gpu_count", lambda: 2)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "4,GPU-7")
    write_each(pipeline, f"{MEET}echo $CUDA_VISIBLE_DEVICES > each-$1.txt\n")
    reproduce(4, None, 1)
    assert sorted((pipeline / "last.txt").read_text().split()) == ["4", "GPU-7"]


def test_a_stage_with_ranks_has_all_gpus_and_no_other_computes_beside_it(pipeline, monkeypatch):
    params = yaml.safe_load((pipeline / "params.yaml").read_text())
    (pipeline / "params.yaml").write_text(yaml.safe_dump({**params, "compute": {"device": "cuda", "ranks": 2}}))
    monkeypatch.setattr(engine, "gpu_count", lambda: 2)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "4,GPU-7")
    write_each(pipeline, f"{ALONE}echo $CUDA_VISIBLE_DEVICES > each-$1.txt\n")
    reproduce(4, None, 1)
    assert (pipeline / "last.txt").read_text().split() == ["4,GPU-7", "4,GPU-7"]


@pytest.mark.parametrize(("ranks", "how"), [(1, MEET), (2, ALONE)])
def test_by_default_stages_have_their_share_of_the_cores(pipeline, monkeypatch, ranks, how):
    params = yaml.safe_load((pipeline / "params.yaml").read_text())
    compute = {"device": "cpu", "threads": 2, "ranks": ranks}
    (pipeline / "params.yaml").write_text(yaml.safe_dump({**params, "compute": compute}))
    monkeypatch.setattr(engine, "CPU_COUNT", 4)
    write_each(pipeline, f"{how}ls -d here* | wc -l > each-$1.txt\n")
    reproduce(None, None, 1)
    assert (pipeline / "last.txt").read_text().split() == ["2" if how is MEET else "0"] * 2


def test_on_a_cluster_at_an_address(pipeline):
    with LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=None) as cluster:
        assert reproduce(None, cluster.scheduler_address, 1).startswith("stages: 5 run")
    assert reproduce(1, None, 1) == "nothing has changed"


def test_on_machines_that_ssh_reaches(pipeline, ssh_server):
    hosts, options = ["127.0.0.1"] * 3, {"nthreads": 1}  # the scheduler's and the workers'
    with SSHCluster(hosts, ssh_server, options, {"dashboard": False}, remote_python=sys.executable) as cluster:
        assert reproduce(None, cluster.scheduler_address, 1).startswith("stages: 5 run")
    assert reproduce(1, None, 1) == "nothing has changed"


def test_a_scheduler_that_is_not_there_is_one_line(pipeline, capsys, monkeypatch):
    monkeypatch.setattr(engine, "CONNECT", "1s")
    assert main(["repro", "--scheduler", "tcp://127.0.0.1:9"]) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("error: --scheduler: was 'tcp://127.0.0.1:9'; cannot be reached")


@pytest.mark.parametrize("value", ["0", "-1", "two", "1.5"])
def test_a_number_of_jobs_that_is_none_is_said(value, capsys):
    with pytest.raises(SystemExit):
        main(["repro", f"--jobs={value}"])
    assert f"argument --jobs: was '{value}'; must be a whole number from 1" in capsys.readouterr().err


def test_without_a_pipeline_it_is_one_line(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(signal, "signal", lambda number, handler: None)
    assert main(["repro"]) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("error: you are not inside of a DVC repository")


def test_a_lock_file_that_was_cut_anywhere_loses_the_stage_that_it_was_cut_in(pipeline):
    reproduce(2, None, 1)
    whole = (pipeline / "dvc.lock").read_text()
    stages = lock_of(pipeline)["stages"]
    kept = set()
    for end in {*range(0, len(whole), 3), len(whole)}:
        (pipeline / "dvc.lock").write_text(whole[:end])
        mend(pipeline, pipeline / ".dvc/tmp")
        left = lock_of(pipeline)["stages"] if (pipeline / "dvc.lock").exists() else {}
        complete = {name: stage for name, stage in left.items() if stage == stages[name]}
        assert len(left) - len(complete) <= 1
        kept.add(len(complete))
    assert kept == set(range(len(stages) + 1))
    (pipeline / "dvc.lock").write_text(whole)
    mend(pipeline, pipeline / ".dvc/tmp")
    assert (pipeline / "dvc.lock").read_text() == whole


def test_a_lock_file_that_is_damaged_otherwise_is_left_and_said(pipeline):
    reproduce(2, None, 1)
    damaged = "nonsense: [\n" + (pipeline / "dvc.lock").read_text()
    (pipeline / "dvc.lock").write_text(damaged)
    with pytest.raises(EdgewiseError, match="`git checkout dvc.lock` restores it"):
        mend(pipeline, pipeline / ".dvc/tmp")
    assert (pipeline / "dvc.lock").read_text() == damaged


@pytest.mark.parametrize(
    "damaged",
    ["[]", "null", "{", '{"write": null}', '{"read": {"a": [{"pid": "x"}]}}', '{"write": {"a": {"pid": 1e20}}}'],
)
def test_a_damaged_note_of_what_runs_is_made_anew(pipeline, damaged):
    note = pipeline / ".dvc/tmp/rwlock"
    note.write_text(damaged)
    mend(pipeline, pipeline / ".dvc/tmp")
    assert not note.exists()


@pytest.mark.parametrize("access", ["read", "write"])
def test_a_stage_that_outlived_its_engine_is_waited_for_and_a_dead_one_is_not(pipeline, monkeypatch, capsys, access):
    monkeypatch.chdir(pipeline)
    monkeypatch.setattr(signal, "signal", lambda number, handler: None)
    with subprocess.Popen(["sleep", "60"]) as alive:
        holder = {"pid": alive.pid, "cmd": "dvc repro a"}
        held = {access: {str(pipeline / "a.txt"): [holder] if access == "read" else holder}}
        (pipeline / ".dvc/tmp/rwlock").write_text(json.dumps(held))
        assert main(["repro"]) == 1
        alive.kill()
    (line,) = capsys.readouterr().err.splitlines()
    said = f"error: DVC already runs a stage of this repository (process {alive.pid}: dvc repro a); wait until it has"
    assert line == f"{said} ended"
    assert main(["repro"]) == 0


def test_the_time_that_a_stage_will_take_is_that_of_the_last_time_or_of_its_like(tmp_path):
    past = Seconds(tmp_path / "seconds.json")
    assert past.expected("base@0") == 1
    past.keep("base@0", 4)
    past.keep("base@1", 8)
    past.keep("runs", 1.5)
    assert [Seconds.read(past.path).expected(name) for name in ("base@1", "base@2", "ood@0")] == [8, 6, 4.5]
    past.path.write_text("{")
    assert Seconds.read(past.path).of_stage == {}


def start(folder: Path, environment: dict[str, str]) -> subprocess.Popen[str]:
    """`edgewise repro --jobs 2` in a session of its own, which Ctrl-C reaches as from a terminal.

    Where the tests run in the background of a shell or under nohup, they and what they start ignore it, or SIGHUP.
    """
    program = (
        "import signal, sys; signal.signal(signal.SIGINT, signal.default_int_handler);"
        "signal.signal(signal.SIGHUP, signal.SIG_DFL);"
        "from edgewise.study.cli import main; sys.exit(main(['repro', '--jobs', '2']))"
    )
    return subprocess.Popen(
        [sys.executable, "-c", program],
        cwd=folder,
        env={**os.environ, **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def wait_for(path: Path) -> None:
    deadline = time.monotonic() + 300
    while not path.exists():
        assert time.monotonic() < deadline, path
        time.sleep(0.05)


def has_ended(pid: int) -> bool:
    """Whether a process has; where nobody is there to collect its exit status, it stays as a zombie."""
    try:
        return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


def test_a_stage_that_does_not_end_when_it_is_asked_to_is_killed(tmp_path):
    deaf = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print(flush=True); time.sleep(600)"
    program = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {deaf!r}])"
    dvc = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE)
    dvc.stdout.read(1)
    engine._end_commands(dvc.pid, kill=False)
    with pytest.raises(subprocess.TimeoutExpired):
        dvc.wait(1)
    engine._end_commands(dvc.pid, kill=True)
    assert dvc.wait(60) == 0


@pytest.mark.parametrize(
    ("send", "number"),
    [(os.killpg, signal.SIGINT), (os.killpg, signal.SIGTERM), (os.kill, signal.SIGTERM), (os.kill, signal.SIGHUP)],
    ids=["a terminal's Ctrl-C", "timeout's SIGTERM", "SIGTERM to it alone", "a terminal that is closed"],
)
def test_interrupted_it_ends_all_stages_and_goes_on_later(pipeline, environment, send, number):
    write_each(pipeline, "#!/bin/sh\necho $$ > pid-$1; [ -e go ] || sleep 600\n" + EACH.splitlines()[1] + "\n")
    process = start(pipeline, environment)
    for seed in (0, 1):
        wait_for(pipeline / f"pid-{seed}")
    send(process.pid, number)
    _, error = process.communicate(timeout=300)
    assert process.returncode == 252, error
    assert error.splitlines()[-1] == (
        "error: interrupted when 2 of 5 stages were done; the same command goes on from there"
    )
    for seed in (0, 1):
        assert has_ended(int((pipeline / f"pid-{seed}").read_text()))
    (pipeline / "go").touch()
    assert reproduce(2, None, 1).startswith("stages: 3 run")


@pytest.mark.slow
def test_killed_thirty_times_it_ends_with_the_same_bytes(pipeline, environment):
    write_each(pipeline, "#!/bin/sh\nsleep 1\n" + EACH.splitlines()[1] + "\n")
    for number in range(30):
        process = start(pipeline, environment)
        time.sleep(1 + 7 * number / 30)
        if process.poll() is None:
            running = psutil.Process(process.pid)
            running.suspend()  # so that it starts nothing more
            for each in [*running.children(recursive=True), running]:
                with suppress(psutil.NoSuchProcess):
                    each.kill()
        process.communicate()
        if number % 3 == 2:  # often enough, it has come to its end, and there is nothing left to kill
            params = yaml.safe_load((pipeline / "params.yaml").read_text())
            (pipeline / "params.yaml").write_text(yaml.safe_dump({**params, "word": f"word {number}"}))
    reproduce(2, None, 1)
    assert (pipeline / "last.txt").read_text() == "first\nfirst\n"
    side_by_side = lock_of(pipeline)
    (pipeline / "dvc.lock").unlink()
    with Repo() as repo:
        repo.reproduce(force=True)
    assert lock_of(pipeline) == side_by_side


def test_the_section_compute_is_that_of_params_py(pipeline):
    with Repo() as repo:
        plan = changed_stages(repo)
    assert plan.compute == ComputeParams(device="cpu")
    assert plan.computing == {"each@0", "each@1"}
