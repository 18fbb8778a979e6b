"""The pipeline under DVC: what reruns when a parameter changes, and that the same parameters give the same bytes.

One copy of the repository is made for the whole file, and the tests go on from each other's state, from top to bottom.
"""

import os
import re
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import yaml
from conftest import TINY

from edgewise.params import parse_params


class Repository:
    """A copy of the working tree as a git and DVC repository of its own, with the tiny configuration."""

    def __init__(self, source: Path, folder: Path) -> None:
        self.folder = folder
        self.first: set[str] = set()
        self.outcome: dict[str, bytes] = {}
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
        params = parse_params(yaml.safe_dump({**TINY, "seeds": [0]})).model_dump(
            mode="json"
        )  # DVC needs every key to be there
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
        command = [sys.executable, "-m", "dvc", *arguments]
        result = subprocess.run(
            command, cwd=self.folder, env=self.environment, capture_output=True, text=True, check=False
        )
        assert result.returncode == 0, result.stdout + result.stderr
        return result.stdout + result.stderr

    def ran(self, *arguments: str) -> set[str]:
        """Run a DVC command; the stages whose scripts it ran."""
        return set(re.findall(r"Running stage '([^']+)'", self.dvc(*arguments)))

    def results(self) -> dict[str, bytes]:
        """The bytes of everything that is left for people."""
        files = sorted(path for folder in ("metrics", "plots") for path in (self.folder / folder).iterdir())
        return {str(path.relative_to(self.folder)): path.read_bytes() for path in files}

    def is_up_to_date(self) -> bool:
        return "Data and pipelines are up to date" in self.dvc("status")


@pytest.fixture(scope="module")
def pipelines(repository, tmp_path_factory) -> list[Repository]:
    """Two repositories in different folders, in each of which `dvc repro` has run once (both at the same time)."""

    def reproduced(folder: Path) -> Repository:
        made = Repository(repository, folder)
        made.first = made.ran("repro")
        made.outcome = made.results()
        made.commit()
        return made

    with ThreadPoolExecutor() as pool:
        return list(pool.map(reproduced, [tmp_path_factory.mktemp("one"), tmp_path_factory.mktemp("another")]))


@pytest.fixture
def pipeline(pipelines) -> Repository:
    return pipelines[0]


def every_stage(repository: Repository, seeds: list[int]) -> set[str]:
    """The names that dvc.yaml's stages have for these seeds and all branches of the configuration."""
    names: set[str] = set()
    for name, stage in yaml.safe_load((repository.folder / "dvc.yaml").read_text())["stages"].items():
        matrix = stage.get("matrix", {})
        if "seed" not in matrix:
            names.add(name)
        elif "branch" not in matrix:
            names |= {f"{name}@{seed}" for seed in seeds}
        else:
            names |= {f"{name}@{seed}-{branch}" for seed in seeds for branch in ("baseline", "exit")}
    return names


def of_seed(stages: set[str], seed: int) -> set[str]:
    return {stage for stage in stages if re.search(rf"@{seed}(-|$)", stage)}


def test_the_first_run_runs_every_stage_and_the_second_none(pipeline):
    assert pipeline.first == every_stage(pipeline, [0])
    assert pipeline.ran("repro") == set()
    assert pipeline.is_up_to_date()
    assert pipeline.results() == pipeline.outcome
    assert {"metrics/edge.json", "metrics/selectivity.json", "plots/delta_loss.csv"} <= set(pipeline.outcome)


def test_two_folders_have_the_same_bytes(pipelines):
    one, another = pipelines
    assert one.outcome == another.outcome
    for name in ("dataset.npz", "prototypes.npz"):
        assert (one.folder / "data" / name).read_bytes() == (another.folder / "data" / name).read_bytes()
    files = [path.relative_to(one.folder) for path in (one.folder / "data").rglob("*") if path.is_file()]
    assert len(files) > 20
    assert all((one.folder / path).read_bytes() == (another.folder / path).read_bytes() for path in files)


def test_a_new_seed_runs_that_seed_alone_and_back_again_gives_the_same_bytes(pipeline):
    everything = every_stage(pipeline, [0, 1])
    ran = pipeline.ran("exp", "run", "-S", "seeds=[0,1]")
    assert of_seed(everything, 1) <= ran
    assert {stage.split("@")[0] for stage in ran - of_seed(everything, 1)} >= {"summary"}
    assert all("@" not in stage for stage in ran - of_seed(everything, 1)), ran
    assert "dataset" not in ran
    assert "prototypes" not in ran
    assert pipeline.results().keys() == pipeline.outcome.keys()
    assert pipeline.results()["metrics/edge.json"] != pipeline.outcome["metrics/edge.json"]

    ran = pipeline.ran("exp", "run", "-S", "seeds=[0]")
    assert all("@" not in stage for stage in ran)
    assert pipeline.results() == pipeline.outcome
    assert pipeline.is_up_to_date()


def test_the_length_of_the_branches_does_not_rerun_base(pipeline):
    ran = pipeline.ran("exp", "run", "-S", "branch.steps=20")
    names = {stage.split("@")[0] for stage in ran}
    assert names & {"dataset", "prototypes", "base", "base_hessian"} == set()
    assert {"branch@0-baseline", "branch@0-exit", "hessian@0-baseline", "hessian@0-exit", "summary"} <= ran
    steps = (pipeline.folder / "data/records/seed-0/exit/steps.csv").read_text().splitlines()
    assert len(steps) == 1 + 1 + 20
    assert not (pipeline.folder / "data/records/seed-1").exists()


def test_the_exit_factor_does_not_rerun_base(pipeline):
    ran = pipeline.ran("exp", "run", "-S", "branch.exit_factor=0.5")
    names = {stage.split("@")[0] for stage in ran}
    assert names & {"dataset", "prototypes", "base", "base_hessian"} == set()
    assert {"branch@0-exit", "hessian@0-exit", "summary"} <= ran


def test_the_tolerance_of_the_eigenpairs_reruns_what_dvc_yaml_says(pipeline):
    stages = yaml.safe_load((pipeline.folder / "dvc.yaml").read_text())["stages"]
    sensitive = {name for name, stage in stages.items() if "hessian" in stage["params"]}
    ran = pipeline.ran("exp", "run", "-S", "hessian.tolerance=0.0011")
    names = {stage.split("@")[0] for stage in ran}
    assert sensitive <= names
    assert names & {"dataset", "prototypes"} == set()
    if "base" not in sensitive:
        assert "base" not in names


def test_alpha_reruns_everything_but_the_dataset(pipeline):
    ran = pipeline.ran("exp", "run", "-S", "alpha=10")
    assert ran == every_stage(pipeline, [0]) - {"dataset"}


def test_going_back_to_the_first_parameters_gives_the_first_bytes_from_the_cache(pipeline):
    pipeline.git("checkout", "params.yaml")
    ran = pipeline.ran("repro")
    assert all("@" not in stage for stage in ran), ran
    assert pipeline.results() == pipeline.outcome
    assert pipeline.is_up_to_date()
