"""The stage scripts as a user runs them: errors in one line, and a run killed by the system."""

import ast
import os
import runpy
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import yaml
from conftest import assert_one_error

from common import load, load_records, load_table, locked
from edgewise.errors import EdgewiseError
from edgewise.params import Params
from robustness import strengths


@pytest.mark.parametrize(
    ("changes", "parts"),
    [
        ({"alpha": float("nan")}, ["alpha: was nan", "finite"]),
        ({"epochs": 3}, ["epochs: is not a parameter"]),
        ({"dataset": {"classes": [3, 11]}}, ["dataset.classes: was 11", "0, 1, 2"]),
        ({"dataset": {"name": "npz", "root": "nowhere.npz"}}, ["dataset.root: was 'nowhere.npz'", "train_x"]),
    ],
    ids=["alpha", "unknown key", "class", "npz"],
)
def test_wrong_parameters_stop_the_first_stage_with_one_line(stage, write_params, tmp_path, changes, parts):
    write_params(**changes)
    assert_one_error(stage("dataset"), *parts)
    assert not (tmp_path / "data").exists()


def test_a_params_file_that_is_not_yaml_is_one_line(stage, tmp_path):
    (tmp_path / "params.yaml").write_bytes(b"seeds: [1\nalpha: \xff")
    assert_one_error(stage("dataset"), "params.yaml: not readable as YAML")


def test_a_missing_params_file_is_one_line_that_names_it(stage):
    assert_one_error(stage("dataset", "--params", "elsewhere.yaml"), "elsewhere.yaml: cannot be read")


def test_a_later_stage_checks_all_parameters_before_it_computes(stage, write_params):
    write_params(branch={"exit_factor": 1.5})
    assert_one_error(stage("base", "--seed", "0"), "branch.exit_factor: was 1.5", "less than 1")


def test_a_stage_without_its_input_says_how_to_make_it(stage, write_params):
    write_params()
    assert stage("dataset").returncode == 0
    assert_one_error(stage("base", "--seed", "0"), "data/prototypes/seed-0.npz", "dvc repro")


@pytest.mark.parametrize("content", [b"", b"no archive", b"PK\x03\x04 cut short"])
def test_a_damaged_input_is_named_in_one_line_that_says_how_to_restore_it(stage, write_params, tmp_path, content):
    write_params()
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "dataset.npz").write_bytes(content)
    assert_one_error(
        stage("prototypes", "--seed", "0"), "data/dataset.npz: not a file of edgewise, or a damaged one", "dvc repro"
    )


@pytest.mark.parametrize(
    "content",
    [b"", b"\xff", b"null", b"[]", b"{}", b'{"epsilons": [8, 32', b'{"epsilons": "auto"}', b'{"epsilons": [32, 8]}']
    + [b'{"epsilons": 8}', b'{"epsilons": []}', b'{"epsilons": [-1, NaN]}', b'{"epsilons": ["a"]}'],
)
def test_damaged_strengths_are_named_in_one_line(tmp_path, content):
    path = tmp_path / "strengths.json"
    path.write_bytes(content)
    with pytest.raises(EdgewiseError, match=r"strengths.json: not a file of edgewise, or a damaged one; `dvc repro`"):
        load(path, strengths)


@pytest.mark.parametrize("content", ["", "step,loss\n", "step,loss\n0,1.0\n1,0", "step,loss"])
def test_a_table_that_is_cut_or_has_no_rows_is_named_in_one_line(tmp_path, content):
    path = tmp_path / "steps.csv"
    path.write_text(content)
    with pytest.raises(EdgewiseError, match=r"steps.csv: not a table, or a damaged one; `dvc repro` restores it$"):
        load_table(path)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("step\n0\n", "does not have the column loss"),
        ("step,loss\n0,high\n", "the column loss holds what is not a number"),
        ("step,loss\n0,\n", "the column loss holds what is not a number"),
        ("step,loss,more\n0,1.0,x\n", "the column more holds what is not a number"),
        ("step,loss\n0,-inf\n", "the column loss holds what is not a number"),
        ("step,loss\n,1.0\n", "the column step holds what is not a number"),
    ],
)
def test_a_table_without_a_column_or_with_text_in_it_is_named_in_one_line(tmp_path, content, said):
    path = tmp_path / "steps.csv"
    path.write_text(content)
    with pytest.raises(EdgewiseError) as caught:
        load_records(path, ["step", "loss"])
    assert str(caught.value) == f"{path}: {said}; `dvc repro` restores it"
    path.write_text("step,loss,secant_sharpness,subset\n0,1.0,,test\n")
    assert load_records(path, ["step", "loss"], ["subset"])["loss"].tolist() == [1.0]


@pytest.fixture
def refused(repository, tmp_path, monkeypatch) -> Iterator[Callable[..., str]]:
    """Run stages/<name>.py with options, in this process; the one line with which it stops."""
    handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    monkeypatch.chdir(tmp_path)

    def run(name: str, *options: str) -> str:
        script = str(repository / "stages" / f"{name}.py")
        monkeypatch.setattr(sys, "argv", [script, *options])
        with pytest.raises(SystemExit) as stopped:
            runpy.run_path(script, run_name="__main__")
        said = str(stopped.value.code)
        assert said.startswith("error: ")
        assert "\n" not in said
        return said

    yield run
    for number, handler in handlers.items():
        signal.signal(number, handler)


@pytest.mark.parametrize(
    ("name", "options", "said"),
    [
        ("branch", ["--seed", "0", "--branch", "base"], "--branch: was 'base'; must be one that params.yaml declares"),
        ("branch", ["--seed", "0", "--branch", "foo"], "--branch: was 'foo'"),
        ("branch", ["--seed", "0", "--branch", "../../../escaped"], "--branch: was '../../../escaped'"),
        ("branch", ["--seed", "0", "--branch", "flow"], "baseline, exit"),
        ("branch", ["--seed", "7", "--branch", "exit"], "--seed: was '7'; must be one that params.yaml declares: 0, 1"),
        ("base", ["--seed=-1"], "--seed: was '-1'"),
        ("base", ["--seed", "00"], "--seed: was '00'"),
        ("base", ["--seed", "1; touch FILE"], "--seed: was '1; touch FILE'"),
        (
            "hessian",
            ["--seed", "0", "--run", "flow"],
            "--run: was 'flow'; must be one that params.yaml declares: base,",
        ),
    ],
)
def test_what_params_yaml_does_not_declare_is_refused_on_the_command_line(
    refused, write_params, tmp_path, name, options, said
):
    write_params()
    assert said in refused(name, *options)
    assert not (tmp_path / "data").exists()


def loop(path: Path) -> None:
    path.symlink_to(path.name)


@pytest.mark.parametrize("make", [os.mkfifo, Path.mkdir, loop])
def test_a_params_file_that_is_no_file_is_one_line(refused, tmp_path, make):
    make(tmp_path / "params.yaml")
    assert refused("parameters").startswith("error: params.yaml: ")


@pytest.mark.parametrize("make", [Path.touch, loop])
def test_what_lies_where_a_folder_belongs_is_one_line(refused, write_params, tmp_path, make):
    write_params()
    make(tmp_path / "data")
    assert "data" in refused("parameters")


def test_nothing_needs_the_network_but_a_source_that_downloads(repository, write_params, tmp_path, environment):
    """The stages up to a branch, where there is no network at all, not even to itself."""
    offline = ["unshare", "--net", "--map-root-user"]
    if shutil.which("unshare") is None or subprocess.run([*offline, "true"], check=False).returncode != 0:
        pytest.skip("this machine gives no process a network namespace of its own")
    write_params(dataset={"name": "mnist5k", "classes": [3, 5]})

    for script, *options in (
        ("parameters",),
        ("dataset",),
        ("prototypes", "--seed", "0"),
        ("base", "--seed", "0"),
        ("branch", "--seed", "0", "--branch", "baseline"),
    ):
        command = [*offline, sys.executable, str(repository / f"stages/{script}.py"), *options]
        result = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
        assert result.returncode == 0, result.stderr


def test_a_run_that_would_not_fit_on_the_disk_is_refused_before_it_starts(
    refused, stage, write_params, tmp_path, monkeypatch
):
    write_params()
    for name, *options in (("dataset",), ("prototypes", "--seed", "0")):
        assert stage(name, *options).returncode == 0
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage._replace(free=500_000))
    said = refused("base", "--seed", "0")
    assert said.startswith("error: edge.sharpness_every: was 10; ")
    assert "needs up to 53 checkpoints of 0.0 MB" in said
    assert said.endswith("0.00 GB are free")
    assert not list((tmp_path / "data").rglob("step-*.npz"))


def test_a_lock_says_who_holds_it_and_goes_with_its_process(tmp_path):
    folder = tmp_path / "journals/seed-0/base"
    with locked(folder):
        with (
            pytest.raises(EdgewiseError, match=rf"base: is being written by process {os.getpid()} on "),
            locked(folder),
        ):
            raise AssertionError("two hold it")
        with locked(folder.with_name("exit")):
            pass
    assert list(folder.parent.iterdir()) == []
    (tmp_path / "journals/seed-0/base.lock").write_text("process 1 on a machine that is gone")
    with locked(folder):
        pass


def wait_for(snapshot: Path, process: subprocess.Popen, rows: int) -> None:
    """Until a run has recorded so many steps."""
    while not snapshot.exists() or np.load(snapshot)["rows"].shape[0] < rows:
        assert process.poll() is None
        time.sleep(0.01)


@pytest.fixture
def long_base(tmp_path, write_params, stage, repository, environment):
    """Start a base run that takes a while; its journal."""
    write_params(
        optimizer={"lr": 0.06},
        model={"init_scale": 0.3, "width": 48},
        edge={"max_steps": 700, "sharpness_every": 4},
        compute={"dtype": "float64"},
    )
    assert stage("dataset").returncode == 0
    assert stage("prototypes", "--seed", "1").returncode == 0
    command = [sys.executable, str(repository / "stages" / "base.py"), "--seed", "1"]

    def start() -> subprocess.Popen:
        process = subprocess.Popen(command, cwd=tmp_path, env=environment, stderr=subprocess.PIPE, text=True)
        wait_for(tmp_path / "data/journals/seed-1/base/snapshot.npz", process, 20)
        return process

    return start


def test_who_comes_second_is_refused_and_nothing_is_lost(tmp_path, stage, long_base):
    first = long_base()
    first.send_signal(signal.SIGSTOP)  # so that it does not end too soon
    assert_one_error(
        stage("base", "--seed", "1"), f"data/journals/seed-1/base: is being written by process {first.pid}"
    )
    first.send_signal(signal.SIGCONT)
    assert first.wait() == 0
    together = files_of_seed(tmp_path / "data")
    for folder in list((tmp_path / "data").rglob("seed-1")):
        folder.rename(folder.with_name("together"))
    assert stage("base", "--seed", "1").returncode == 0
    assert len(together) > 10
    assert together == files_of_seed(tmp_path / "data")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_run_that_is_stopped_says_where_it_stands(tmp_path, long_base, number):
    process = long_base()
    process.send_signal(number)
    _, said = process.communicate()
    assert process.returncode == 128 + number
    (line,) = (line for line in said.splitlines() if "step/s" not in line)
    assert line.startswith(f"stopped by {number.name}: data/journals/seed-1/base: at step ")
    assert line.endswith("; the same command goes on from there")
    assert not list((tmp_path / "data").rglob("*.writing"))


def test_a_base_run_killed_by_the_system_goes_on_and_ends_with_the_same_bytes(
    tmp_path, write_params, stage, repository, environment
):
    write_params(
        optimizer={"lr": 0.06},
        model={"init_scale": 0.3, "width": 48},
        edge={"max_steps": 700, "sharpness_every": 4},
        compute={"dtype": "float64"},
    )
    assert stage("dataset").returncode == 0
    assert stage("prototypes", "--seed", "1").returncode == 0
    command = [sys.executable, str(repository / "stages" / "base.py"), "--seed", "1"]
    snapshot = tmp_path / "data/journals/seed-1/base/snapshot.npz"
    process = subprocess.Popen(command, cwd=tmp_path, env=environment, stderr=subprocess.DEVNULL)
    while not snapshot.exists() or np.load(snapshot)["rows"].shape[0] < 20:
        assert process.poll() is None
        time.sleep(0.01)
    os.kill(process.pid, signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    resumed = stage("base", "--seed", "1")
    interrupted = files_of_seed(tmp_path / "data")
    for folder in list((tmp_path / "data").rglob("seed-1")):
        folder.rename(folder.with_name("interrupted"))
    whole = stage("base", "--seed", "1")
    assert (resumed.returncode, whole.returncode) == (0, 0), whole.stderr
    assert len(interrupted) > 10
    assert interrupted == files_of_seed(tmp_path / "data")


def files_of_seed(data: Path) -> dict[str, bytes]:
    paths = [path for folder in data.rglob("seed-1") for path in folder.rglob("*") if path.is_file()]
    return {str(path.relative_to(data)): path.read_bytes() for path in paths}


def imports_of(path: Path) -> set[str]:
    """The names of the modules that a file imports, wherever in it, and of the packages that hold them."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            found |= {node.module or "", *(f"{node.module}.{alias.name}" for alias in node.names)}
    return found | {".".join(parts[:n]) for parts in (name.split(".") for name in found) for n in range(1, len(parts))}


def code_behind(repository: Path, script: str) -> set[str]:
    """The files of the project that a script imports, directly or not, and itself, as paths from the root."""
    files, waiting = set(), [script]
    while waiting:
        file = waiting.pop()
        if file in files:
            continue
        files.add(file)
        for module in imports_of(repository / file):
            name = module.replace(".", "/")
            for candidate in (f"src/{name}.py", f"src/{name}/__init__.py", f"stages/{name}.py"):
                if (repository / candidate).exists():
                    waiting.append(candidate)
    return files


def stages_of(repository: Path) -> dict[str, dict]:
    return yaml.safe_load((repository / "dvc.yaml").read_text())["stages"]


def stage_names() -> list[str]:
    return sorted(stages_of(Path(__file__).resolve().parents[2]))


#: What says how things are named and checked, not what the numbers are.
NO_NUMBERS = {"src/edgewise/__init__.py", "src/edgewise/errors.py", "src/edgewise/params.py"}


def code_named(repository: Path, dep: str) -> set[str]:
    """The files of Python that a dependency names: itself, or all that are under it."""
    path = repository / dep
    files = path.rglob("*.py") if path.is_dir() else [path]
    return {file.relative_to(repository).as_posix() for file in files}


@pytest.mark.parametrize("name", stage_names())
def test_a_stage_depends_on_all_the_code_behind_it_and_on_no_other(repository, name):
    definition = stages_of(repository)[name]
    script = definition["cmd"].split()[1]
    entries = {dep: code_named(repository, dep) for dep in definition["deps"] if dep.startswith(("src/", "stages/"))}
    declared = set().union(*entries.values())
    behind = code_behind(repository, script)
    assert len(behind) > 3
    assert behind - NO_NUMBERS - declared == set(), "not among the deps"
    assert {dep for dep, files in entries.items() if not files & behind} == set(), "among the deps, but not used"
    assert declared & NO_NUMBERS == set()
    assert all((repository / file).is_file() for file in declared), "among the deps, but not there"


@pytest.mark.parametrize("name", stage_names())
def test_a_stage_names_its_script_and_at_most_seven_other_pieces_of_code_each_once(repository, name):
    definition = stages_of(repository)[name]
    code = [dep for dep in definition["deps"] if dep.startswith(("src/", "stages/"))]
    assert definition["cmd"].split()[1] in code
    assert len(code) <= 1 + 7
    named = [file for dep in code for file in code_named(repository, dep)]
    assert len(named) == len(set(named))


@pytest.mark.parametrize("name", stage_names())
def test_a_stage_declares_every_section_of_the_parameters_that_its_script_reads(repository, name):
    definition = stages_of(repository)[name]
    declared = {entry.split(".")[0] for entry in definition["params"]}
    script = definition["cmd"].split()[1]
    read = set()
    for node in ast.walk(ast.parse((repository / script).read_text())):
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "params":
            read.add(node.attr)
    if "stages/experiment.py" in code_behind(repository, script):
        read |= {"compute", "loss", "model"}  # what Experiment builds the objective from
    sections = set(Params.model_fields)  # and not its methods
    assert read & sections - declared == set()
