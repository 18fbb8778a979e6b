"""What of params.yaml reaches a shell or the name of a file: nothing before it is checked."""

import subprocess
from pathlib import Path

import pytest
import yaml
from test_pipeline import Repository


@pytest.fixture(scope="module")
def house(repository, tmp_path_factory) -> Repository:
    """A copy of the repository in which nothing has run."""
    return Repository(repository, tmp_path_factory.mktemp("house"))


def refused(house: Repository, seeds: list[object], *targets: str) -> str:
    """What `dvc repro` says of these seeds; it must fail."""
    path = house.folder / "params.yaml"
    path.write_text(yaml.safe_dump({**yaml.safe_load(path.read_text()), "seeds": seeds}, sort_keys=False))
    result: subprocess.CompletedProcess[str] = house.run("dvc", "repro", *targets)
    assert result.returncode != 0
    return result.stdout + result.stderr


def everything(folder: Path) -> set[str]:
    kept = {".git", ".dvc"}
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if not kept & set(path.parts)}


@pytest.mark.parametrize(
    "seed", ["1; touch FILE", "$(touch FILE)", "`touch FILE`", "1' ; touch FILE; '", "1 && touch FILE"]
)
def test_a_command_in_the_seeds_is_not_run_and_one_line_says_why(house, seed):
    before = everything(house.folder)
    said = refused(house, [0, seed], "base")
    (running,) = (line for line in said.splitlines() if line.startswith("Running stage"))
    assert running in ("Running stage 'parameters':", "Running stage 'dataset':")  # neither has a seed in it
    (line,) = (line for line in said.splitlines() if line.startswith("error: "))
    assert line.startswith("error: seeds[1]: was ")
    assert "; must be a valid integer" in line
    assert everything(house.folder) - before <= {"dvc.lock", "data"}


def test_nor_where_the_stage_is_run_alone(house):
    for name in ("dataset.npz", "parameters.txt"):
        (house.folder / "data").mkdir(exist_ok=True)
        (house.folder / "data" / name).write_bytes(b"")
    said = refused(house, [0, "1; touch FILE"], "--single-item", "prototypes@1; touch FILE")
    assert "error: seeds[1]: was '1; touch FILE'; must be" in said
    assert not (house.folder / "FILE").exists()


def test_nor_is_a_file_removed_that_a_seed_names(house):
    victim = house.folder / "victim" / "base"
    victim.mkdir(parents=True)
    (victim / "mine").write_text("mine")
    refused(house, ["x/../../../victim"], "base")
    assert (victim / "mine").read_text() == "mine"


def test_no_command_of_dvc_yaml_holds_a_parameter_but_by_the_quoting_of_dvc(repository):
    """`${item}` alone: DVC writes out a mapping as options, and quotes its values."""
    stages = yaml.safe_load((repository / "dvc.yaml").read_text())["stages"]
    assert len(stages) > 10
    for name, definition in stages.items():
        assert "$" not in definition["cmd"].replace("${item}", ""), name


def test_every_stage_with_a_seed_in_it_comes_after_the_check(repository):
    stages = yaml.safe_load((repository / "dvc.yaml").read_text())["stages"]
    for name, definition in stages.items():
        if "matrix" in definition and name != "prototypes":
            assert "data/prototypes/seed-${item.seed}.npz" in definition["deps"], name
    assert "data/parameters.txt" in stages["prototypes"]["deps"]
