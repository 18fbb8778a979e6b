"""What many tests share: the repository, a small data set, and when a test cannot run here."""

import getpass
import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from hypothesis import settings

from edgewise.data.examples import Dataset
from edgewise.errors import EdgewiseError
from edgewise.params import DatasetParams, parse_params
from edgewise.sources import load_dataset

torch.set_num_threads(1)
settings.register_profile("repeatable", derandomize=True, deadline=None, max_examples=25, database=None)
settings.load_profile("repeatable")

REPOSITORY = Path(__file__).resolve().parents[1]

#: A configuration that goes from nothing to the comparison of branches in seconds.
TINY = {
    "seeds": [0, 1],
    "alpha": 3.0,
    "dataset": {"name": "digits", "n": 200},
    "prototypes": {"candidates": 10, "trained": 5},
    "model": {"width": 16, "init_scale": 0.5},
    "optimizer": {"lr": 0.08},
    "edge": {"sharpness_every": 10, "max_steps": 500},
    "branch": {"steps": 30, "checkpoint_every": 10, "enter_step": 10},
    "control": {"alphas": [0, 3], "draws": 20},
    "robustness": {"epsilons": [8, 32], "steps": 3, "restarts": 1, "examples": 30},
    "compute": {"device": "cpu"},
}


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--network", action="store_true", help="also run the tests that need the internet")
    parser.addoption("--slow", action="store_true", help="also run the tests that take minutes each")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    for item in items:
        if item.get_closest_marker("network") and not config.getoption("--network"):
            item.add_marker(pytest.mark.skip(reason="needs the internet: run with --network"))
        if item.get_closest_marker("slow") and not config.getoption("--slow"):
            item.add_marker(pytest.mark.skip(reason="takes minutes: run with --slow"))
        if item.get_closest_marker("gpu") and not torch.cuda.is_available():
            item.add_marker(pytest.mark.skip(reason="needs a CUDA device"))
    # The slowest files come first, or one worker would be left with them when the others have ended.
    items.sort(key=lambda item: (item.path.name != "test_pipeline.py", "stages" not in item.path.parts))


@pytest.fixture(scope="session")
def repository() -> Path:
    return REPOSITORY


@pytest.fixture(scope="session")
def environment() -> dict[str, str]:
    """For subprocesses: this tree's library, one thread, and no progress of other runs."""
    return {**os.environ, "PYTHONPATH": str(REPOSITORY / "src"), "OMP_NUM_THREADS": "1"}


@pytest.fixture(scope="session")
def digits() -> Dataset:
    return load_dataset(DatasetParams(name="digits", n=100))


def tiny(**changes: object) -> str:
    """The tiny configuration as the text of a params.yaml, with changes in the form section={key: value}."""
    content = dict(TINY)
    for name, change in changes.items():
        content[name] = {**TINY.get(name, {}), **change} if isinstance(change, dict) else change
    return yaml.safe_dump(content)


@pytest.fixture
def write_params(tmp_path: Path) -> Callable[..., Path]:
    """Write the tiny configuration, with changes in the form section={key: value}, as tmp_path/params.yaml."""

    def write(**changes: object) -> Path:
        path = tmp_path / "params.yaml"
        path.write_text(tiny(**changes))
        return path

    return write


@pytest.fixture
def stage(
    tmp_path: Path, repository: Path, environment: dict[str, str]
) -> Callable[..., subprocess.CompletedProcess[str]]:
    """Run stages/<name>.py with options in the temporary folder."""

    def run(name: str, *options: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, str(repository / "stages" / f"{name}.py"), *options]
        return subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)

    return run


def assert_one_error(result: subprocess.CompletedProcess[str], *parts: str) -> None:
    assert result.returncode != 0
    assert result.stderr.startswith("error: ")
    assert len(result.stderr.splitlines()) == 1, result.stderr
    for part in parts:
        assert part in result.stderr


def assert_one_parameter_error(text: str, name: str, *parts: str) -> None:
    with pytest.raises(EdgewiseError) as error:
        parse_params(text)
    message = str(error.value)
    assert "\n" not in message
    assert message.startswith(f"{name}: ")
    for part in parts:
        assert part in message


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(0)


@pytest.fixture
def ssh_server(tmp_path_factory) -> Iterator[dict[str, Any]]:
    """A real sshd on a free port of this machine, with keys made for it: how asyncssh connects to it."""
    sshd = shutil.which("sshd", path=f"{os.environ['PATH']}{os.pathsep}/usr/sbin")
    if sshd is None:
        pytest.skip("needs sshd (Debian's openssh-server)")
    folder = tmp_path_factory.mktemp("ssh")
    for name in ("host", "user"):
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", folder / name], check=True)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    if os.geteuid() == 0:  # sshd then needs a folder that Debian makes when the machine starts
        Path("/run/sshd").mkdir(mode=0o755, exist_ok=True)
    settings = {
        "ListenAddress": f"127.0.0.1:{port}",
        "HostKey": folder / "host",
        "AuthorizedKeysFile": folder / "user.pub",
        "PidFile": "none",
        "StrictModes": "no",  # the folders of tests are open to others
        "UsePAM": "no",
        "Subsystem": "sftp internal-sftp",
    }
    (folder / "config").write_text("".join(f"{name} {value}\n" for name, value in settings.items()))
    with subprocess.Popen([sshd, "-D", "-e", "-f", folder / "config"], stderr=(folder / "log").open("w")) as server:
        deadline = time.monotonic() + 60
        while "Server listening" not in (folder / "log").read_text():
            assert server.poll() is None, (folder / "log").read_text()
            assert time.monotonic() < deadline
            time.sleep(0.05)
        user, known = getpass.getuser(), folder / "known_hosts"
        known.write_text(f"[127.0.0.1]:{port} {(folder / 'host.pub').read_text()}")
        yield {"port": port, "username": user, "client_keys": [str(folder / "user")], "known_hosts": str(known)}
        server.terminate()
