"""Copies of the working tree as git and DVC repositories of their own, to run the pipeline in."""

import hashlib
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import yaml
from conftest import TINY

from edgewise.params import parse_params


class Repository:
    """A copy of the working tree as a git and DVC repository of its own, with the tiny configuration."""

    def __init__(self, source: Path, folder: Path) -> None:
        self.folder = folder
        self.first: set[str] = set()
        self.outcome: dict[str, bytes] = {}
        self.digests: dict[str, str] = {}
        self.environment = {
            **os.environ,
            "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
            "PYTHONPATH": str(folder / "src"),
            "OMP_NUM_THREADS": "1",
            "DVC_NO_ANALYTICS": "1",
            "GIT_CONFIG_GLOBAL": os.devnull,
        }
        listed = subprocess.run(
            ["git", "ls-files", "--cached", "--others", "--exclude-standard"],
            cwd=source,
            capture_output=True,
            text=True,
            check=True,
        )
        for name in listed.stdout.splitlines():
            if (source / name).is_file() and not name.startswith(("metrics/", "plots/", "dvc.lock")):
                (folder / name).parent.mkdir(parents=True, exist_ok=True)
                shutil.copy2(source / name, folder / name)
        # DVC needs every key to be there.
        params = parse_params(yaml.safe_dump({**TINY, "seeds": [0]})).model_dump(mode="json")
        (folder / "params.yaml").write_text(yaml.safe_dump(params, sort_keys=False))
        self.git("init", "--quiet")
        for key, value in (("user.name", "a test"), ("user.email", "test@example.org"), ("commit.gpgsign", "false")):
            self.git("config", key, value)
        self.commit()

    def git(self, *arguments: str) -> None:
        subprocess.run(["git", *arguments], cwd=self.folder, env=self.environment, check=True, capture_output=True)

    def commit(self) -> None:
        self.git("add", "--all")
        self.git("commit", "--quiet", "--allow-empty", "--message", "state")

    def dvc(self, *arguments: str) -> str:
        result = self.run(sys.executable, "-m", "dvc", *arguments)
        assert result.returncode == 0, result.stdout + result.stderr
        return result.stdout + result.stderr

    def printed(self, *arguments: str) -> str:
        """What a DVC command prints where the terminal has 120 columns, without its messages."""
        result = self.run(sys.executable, "-m", "dvc", *arguments, COLUMNS="120")
        assert result.returncode == 0, result.stdout + result.stderr
        return result.stdout

    def run(self, *command: str, **variables: str) -> subprocess.CompletedProcess[str]:
        environment = {**self.environment, **variables}
        return subprocess.run(command, cwd=self.folder, env=environment, capture_output=True, text=True, check=False)

    def ran(self, *arguments: str) -> set[str]:
        """Run a DVC command; the stages whose scripts it ran."""
        return set(re.findall(r"Running stage '([^']+)'", self.dvc(*arguments)))

    def results(self) -> dict[str, bytes]:
        """The bytes of everything that is left for people."""
        files = sorted(path for folder in ("metrics", "plots") for path in (self.folder / folder).rglob("*.*"))
        return {str(path.relative_to(self.folder)): path.read_bytes() for path in files}

    def data(self) -> dict[str, str]:
        """A digest of every file under data/, journals too."""
        files = sorted(path for path in (self.folder / "data").rglob("*") if path.is_file())
        return {str(path.relative_to(self.folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}

    def is_up_to_date(self) -> bool:
        return "Data and pipelines are up to date" in self.dvc("status")
