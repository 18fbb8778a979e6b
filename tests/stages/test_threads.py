"""Threads are part of the result, so a parameter says how many there are, and the machine does not."""

import subprocess
import sys

import pytest
import torch
from conftest import tiny

import dataset
import prototypes
from edgewise.params import parse_params
from experiment import Experiment


@pytest.mark.parametrize("threads", [1, 3])
def test_torch_takes_as_many_threads_as_the_parameter_says(threads, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    params = parse_params(tiny(compute={"threads": threads}))
    dataset.main(params)
    prototypes.main(params, seed=0)
    before = torch.get_num_threads()
    try:
        Experiment(params, seed=0)
        assert torch.get_num_threads() == threads
    finally:
        torch.set_num_threads(before)


def test_numpy_takes_one_thread_however_many_it_began_with(write_params, environment, repository):
    program = (
        "import numpy as np, torch\n"
        "from threadpoolctl import threadpool_info\n"
        "from common import stage\n"
        "def threads(): return sorted({lib['num_threads'] for lib in threadpool_info() if lib['user_api'] == 'blas'})\n"
        "def main(params): print(threads())\n"
        "print(threads())\n"
        "stage(main)\n"
    )
    variables = {"OMP_NUM_THREADS": "2", "OPENBLAS_NUM_THREADS": "2"}
    paths = f"{environment['PYTHONPATH']}:{repository / 'stages'}"
    result = subprocess.run(
        [sys.executable, "-c", program, "--params", str(write_params())],
        env={**environment, **variables, "PYTHONPATH": paths},
        capture_output=True,
        text=True,
        check=True,
    )
    assert result.stdout.splitlines() == ["[2]", "[1]"], result.stderr
