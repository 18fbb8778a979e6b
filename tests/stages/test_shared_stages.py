"""The stages that train and measure in two ranks, against one process."""

import shutil
import socket
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from conftest import assert_one_error

ALL = (
    ("base", "--seed", "0"),
    ("hessian", "--seed", "0", "--run", "base"),
    ("control", "--seed", "0"),
    ("branch", "--seed", "0", "--branch", "exit"),
    ("branch", "--seed", "0", "--branch", "baseline"),
    ("prediction", "--seed", "0", "--model", "edge_flow"),
)


@pytest.fixture
def prepared(write_params, stage):
    """Runs dataset and prototypes with these changes of the parameters."""

    def prepare(**changes: object) -> None:
        write_params(**changes)
        for name, *options in (("dataset",), ("prototypes", "--seed", "0")):
            assert stage(name, *options).returncode == 0

    return prepare


def records(folder) -> dict[str, pd.DataFrame]:
    root = folder / "data/records"
    return {str(path.relative_to(root)): pd.read_csv(path) for path in sorted(root.rglob("*.csv"))}


def test_two_ranks_leave_what_one_leaves_to_rounding(prepared, write_params, stage, tmp_path):
    found = []
    for ranks in (1, 2):
        compute = {"dtype": "float64", "ranks": ranks}
        prepared(compute=compute, hessian={"tolerance": 1e-8})
        for name, *options in ALL:
            result = stage(name, *options)
            assert result.returncode == 0, result.stderr
        found.append(records(tmp_path))
    one, two = found
    assert one.keys() == two.keys()
    assert len(one) == 8, one.keys()
    for name, table in one.items():
        numbers = table.select_dtypes("number")
        np.testing.assert_allclose(two[name][numbers.columns], numbers, rtol=1e-5, atol=1e-9, err_msg=name)


def test_a_run_in_ranks_goes_on_where_it_ended_and_says_an_error_in_one_line(prepared, write_params, stage, tmp_path):
    compute = {"ranks": 2}
    prepared(compute=compute)
    assert stage("base", "--seed", "0").returncode == 0
    steps = tmp_path / "data/records/seed-0/base/steps.csv"
    uninterrupted = steps.read_bytes()
    steps.unlink()
    write_params(compute=compute, edge={"max_steps": 25})
    assert_one_error(stage("base", "--seed", "0"), "edge.max_steps: was 25", "has not reached the edge")
    assert (tmp_path / "data/journals/seed-0/base/snapshot.npz").exists()
    write_params(compute=compute)
    assert stage("base", "--seed", "0").returncode == 0
    assert steps.read_bytes() == uninterrupted


def torchrun(folder: Path, repository: Path, environment: dict[str, str], hosts: int) -> list[str]:
    """Run the stage base by torchrun as on so many hosts, each with one rank; what each said."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [
        *(sys.executable, "-m", "torch.distributed.run", "--nnodes", str(hosts), "--nproc-per-node", "1"),
        *("--rdzv-backend", "c10d", "--rdzv-endpoint", f"127.0.0.1:{port}", "--local-addr", "127.0.0.1"),
        *(str(repository / "stages/base.py"), "--seed", "0"),
    ]
    options = {"cwd": folder, "env": environment, "stdout": subprocess.DEVNULL, "stderr": subprocess.PIPE, "text": True}
    processes = [subprocess.Popen(command, **options) for _ in range(hosts)]
    said = [process.communicate(timeout=300)[1] for process in processes]
    assert len({process.returncode == 0 for process in processes}) == 1, said
    return said


def test_two_hosts_by_torchrun_leave_what_two_ranks_of_one_do(prepared, stage, tmp_path, repository, environment):
    prepared(compute={"ranks": 2})
    assert stage("base", "--seed", "0").returncode == 0
    steps = tmp_path / "data/records/seed-0/base/steps.csv"
    of_one_host = steps.read_bytes()
    shutil.rmtree(tmp_path / "data/records")
    shutil.rmtree(tmp_path / "data/journals")
    torchrun(tmp_path, repository, environment, 2)
    assert steps.read_bytes() == of_one_host


def test_another_number_of_ranks_than_torchrun_started_is_one_line(prepared, tmp_path, repository, environment):
    prepared(compute={"ranks": 2})
    (said,) = torchrun(tmp_path, repository, environment, 1)
    (line,) = (line for line in said.splitlines() if line.startswith("error:"))
    assert line == "error: compute.ranks: was 2; torchrun has started 1"
