"""`branch.keep: measurements`: the checkpoints of the branches go once all is measured, and nobody misses them.

Under DVC too: `python -m pytest tests/stages/test_keep.py --slow`.
"""

import shutil
from pathlib import Path

import pytest
import yaml
from repositories import Repository
from small import (
    SEED,
    checkpoints_of,
    configuration,
    evaluations,
    files_under,
    in_a_copy,
    onset_of,
    published,
    records_of,
    whole_run,
    with_branch,
)

import branch
import hessian
import ood
import robustness
import runs
import summary
import verification
from edgewise.errors import EdgewiseError
from edgewise.params import Params

BRANCHES, ENTER_STEP = ("baseline", "exit", "enter"), 10


@pytest.fixture(scope="module")
def both(tmp_path_factory) -> tuple[Path, Path]:
    """The folders of a whole run that keeps its checkpoints and of one that keeps what was measured."""
    folders = []
    for keep in ("checkpoints", "measurements"):
        folders.append(tmp_path_factory.mktemp(keep))
        whole_run(folders[-1], configuration(branches=list(BRANCHES), branch={"keep": keep}))
    return folders[0], folders[1]


@pytest.fixture
def params(both, tmp_path, monkeypatch) -> Params:
    """The parameters, in a copy of the run that keeps what was measured."""
    return in_a_copy(both[1], tmp_path, monkeypatch)


def test_all_that_is_left_for_people_is_the_same(both):
    for left in ("metrics", "plots", "data/records"):
        one, other = (files_under(folder / left) for folder in both)
        assert len(one) > 5
        assert one == other


def test_of_the_branches_the_states_are_left_that_two_runs_share(both):
    whole, less = both
    assert files_under(checkpoints_of("base", whole)) == files_under(checkpoints_of("base", less))
    onset = onset_of(less)
    for name in BRANCHES:
        shared = [0, ENTER_STEP] if name in ("exit", "enter") else [0]
        kept = files_under(checkpoints_of(name, less))
        assert set(kept) == {"run.json", *(f"step-{onset + step:06d}.npz" for step in shared)}
        every = files_under(checkpoints_of(name, whole))
        assert all(kept[file] == every[file] for file in kept.keys() - {"run.json"})
        assert len(every) > len(kept)
    assert list((whole / "data/journals").glob("*/*/step-*.npz"))
    assert not list((less / "data").rglob("journals/*"))


def test_what_needs_no_checkpoint_runs_without_them(params):
    before = files_under(Path("metrics"))
    for stage in (runs, verification, summary):
        stage.main(params)
    assert files_under(Path("metrics")) == before


@pytest.mark.parametrize("stage", [robustness, ood, hessian])
def test_what_needs_one_names_it_and_the_command_that_trains_the_branch_again(params, stage):
    option = "run" if stage is hessian else "branch"
    before = files_under(records_of("exit"))
    with pytest.raises(EdgewiseError) as caught:
        stage.main(params, seed=SEED, **{option: "exit"})
    said = str(caught.value)
    assert said.startswith(f"data/journals/seed-{SEED}/exit/step-")
    assert f"`dvc repro --force --single-item branch@{SEED}-exit` trains the branch again, branch.keep" in said
    assert "\n" not in said
    assert files_under(records_of("exit")) == before

    expected = published("exit")
    branch.main(params, seed=SEED, branch="exit")
    assert published("exit") == expected
    stage.main(params, seed=SEED, **{option: "exit"})
    assert files_under(records_of("exit")) == before


def test_the_journal_of_another_run_is_not_measured_in_its_place(params):
    """As where DVC has taken the branch of earlier parameters from its cache."""
    expected = files_under(checkpoints_of("exit"))
    branch.main(with_branch(params, exit_factor=0.5), seed=SEED, branch="exit")
    shutil.rmtree(checkpoints_of("exit"))
    for name, content in expected.items():
        (checkpoints_of("exit") / name).parent.mkdir(exist_ok=True)
        (checkpoints_of("exit") / name).write_bytes(content)
    with pytest.raises(EdgewiseError, match=r"step-.*of another run; .* branch@"):
        hessian.main(params, seed=SEED, run="exit")


def test_keeping_less_trains_nothing_and_keeping_more_again_trains_again(both, params):
    shutil.copytree(both[0] / "data", "data", dirs_exist_ok=True)

    def trained(keep: str) -> int:
        with evaluations() as count:
            branch.main(with_branch(params, keep=keep), seed=SEED, branch="baseline")
        return count() - 1  # the state from which it goes on is evaluated once more

    assert trained("measurements") == 0
    assert published("baseline") == published("baseline", both[1])
    runs.main(params)
    assert trained("checkpoints") == params.branch.steps
    assert published("baseline") == published("baseline", both[0])


def test_a_run_whose_checkpoints_are_not_cached_needs_half_of_the_room(params, capsys):
    said = []
    for keep in ("checkpoints", "measurements"):
        shutil.rmtree("data/journals", ignore_errors=True)
        branch.main(with_branch(params, keep=keep), seed=SEED, branch="baseline")
        said.append(capsys.readouterr().out)
    assert "in the workspace and in DVC's cache:" in said[0]
    assert "in the workspace:" in said[1]


@pytest.mark.slow
def test_dvc_has_nothing_to_do_without_the_checkpoints_and_a_new_seed_runs_alone(repository, tmp_path):
    clone = Repository(repository, tmp_path)

    def change(section: str, **values: object) -> None:
        path = tmp_path / "params.yaml"
        params = yaml.safe_load(path.read_text())
        params = {**params, section: {**params[section], **values}} if section else {**params, **values}
        path.write_text(yaml.safe_dump(params, sort_keys=False))

    change("branch", keep="measurements")
    clone.ran("repro")
    assert not list(tmp_path.glob("data/journals/*/*"))
    assert len(list(tmp_path.glob("data/checkpoints/seed-0/exit/step-*.npz"))) == 2
    assert clone.is_up_to_date()
    assert clone.run("edgewise", "repro").stdout == "nothing has changed\n"
    results = clone.results()

    change("", seeds=[0, 1])
    ran = clone.ran("repro")
    assert {"branch@1-exit", "runs", "summary"} <= ran
    assert not [stage for stage in ran if "@0" in stage]
    change("", seeds=[0])
    clone.ran("repro")
    assert clone.results() == results

    change("ood", every=1)
    refused = clone.run("dvc", "repro")
    assert refused.returncode != 0
    said = refused.stdout + refused.stderr
    commands = [f"dvc repro --force --single-item branch@0-{name}" for name in ("baseline", "exit")]
    assert any(command in said for command in commands)
    for command in commands:
        assert clone.run(*command.split()).returncode == 0
    assert clone.ran("repro") == {"ood@0-baseline", "ood@0-exit", "runs", "verification", "summary"}
    assert not list(tmp_path.glob("data/journals/*/*"))
    assert clone.is_up_to_date()
