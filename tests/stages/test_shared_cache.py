"""One DVC cache, several at work in it: two clones at once, and two workers of DVC's queue.

What either leaves is what the same stages leave in a folder of their own without DVC, byte for byte. Up to the branches
here; the whole pipeline with `python -m pytest tests/stages/test_shared_cache.py --slow`.
"""

import hashlib
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import yaml
from repositories import Repository
from small import up_to_base

import branch
from edgewise.params import parse_params

BRANCHES = ("baseline", "exit")
TRAINING = [f"branch@0-{name}" for name in BRANCHES]
PRODUCTS = ("data/dataset.npz", "data/prototypes", "data/checkpoints", "data/records")


def digest(path: Path) -> str:
    return hashlib.md5(path.read_bytes(), usedforsecurity=False).hexdigest()


def products(folder: Path) -> dict[str, str]:
    """The digests of what training leaves."""
    files = (file for product in PRODUCTS for file in [folder / product, *(folder / product).rglob("*")])
    return {file.relative_to(folder).as_posix(): digest(file) for file in files if file.is_file()}


def trained_alone(folder: Path, params: dict) -> dict[str, str]:
    """What training leaves in a folder of its own, without DVC."""
    folder.mkdir()
    text = yaml.safe_dump(params)
    up_to_base(folder, text)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        for name in BRANCHES:
            branch.main(parse_params(text), seed=0, branch=name)
    return products(folder)


def parameters(repository: Repository, **changes: object) -> dict:
    return {**yaml.safe_load((repository.folder / "params.yaml").read_text()), **changes}


def assert_sound(cache: Path) -> None:
    """Every file of the cache is there whole: its name is the digest of its content."""
    files = [file for file in (cache / "files/md5").rglob("*") if file.is_file()]
    assert len(files) > 10
    for file in files:
        assert digest(file) == (file.parent.name + file.name).removesuffix(".dir")


@pytest.fixture(scope="module")
def cache(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(scope="module")
def clones(repository, cache, tmp_path_factory) -> list[Repository]:
    """Three repositories of one cache, in which nothing has run."""
    made = [Repository(repository, tmp_path_factory.mktemp(name)) for name in ("one", "another", "third")]
    for clone in made:
        clone.dvc("cache", "dir", str(cache))
        clone.commit()
    return made


def test_two_clones_at_once_leave_what_each_would_alone_and_a_third_trains_nothing(clones, cache, tmp_path):
    with ThreadPoolExecutor(2) as pool:
        ran = list(pool.map(lambda clone: clone.ran("repro", *TRAINING), clones[:2]))
    assert set(TRAINING) <= ran[0] | ran[1]
    expected = trained_alone(tmp_path / "alone", parameters(clones[0]))
    assert len(expected) > 20
    for clone in clones[:2]:
        assert products(clone.folder) == expected
        assert clone.ran("repro", *TRAINING) == set()
    assert_sound(cache)
    assert clones[2].ran("repro", *TRAINING) == set()
    assert products(clones[2].folder) == expected


@pytest.fixture
def queue(clones) -> Iterator[Repository]:
    """A repository whose queue is stopped in the end."""
    yield clones[2]
    clones[2].dvc("queue", "stop", "--kill")


def wait_for(repository: Repository, experiments: int) -> None:
    """Wait until so many experiments of the queue have run; when a worker begins is up to DVC."""
    status = ""
    for _ in range(300):
        status = repository.dvc("queue", "status")
        assert "Failed" not in status
        if status.count("Success") == experiments:
            break
        time.sleep(1)
    assert status.count("Success") == experiments, status


def test_two_workers_of_the_queue_leave_what_each_experiment_would_alone(queue, cache, tmp_path):
    alphas = (5, 10)
    for alpha in alphas:
        queue.dvc("exp", "run", "--queue", "--set-param", f"alpha={alpha}", *TRAINING)
    # What the workers, which go on after this command, would hold open is not waited for.
    command = [sys.executable, "-m", "dvc", "queue", "start", "--jobs", "2"]
    subprocess.run(command, cwd=queue.folder, env=queue.environment, stdout=subprocess.DEVNULL, check=True)
    wait_for(queue, len(alphas))
    assert_sound(cache)
    for alpha in alphas:
        changed = parameters(queue, alpha=alpha)
        (queue.folder / "params.yaml").write_text(yaml.safe_dump(changed, sort_keys=False))
        assert queue.ran("repro", *TRAINING) == set()  # it takes what the workers left in the cache
        assert products(queue.folder) == trained_alone(tmp_path / f"alone-{alpha}", changed)


@pytest.mark.slow
def test_the_whole_pipeline_in_two_clones_at_once_leaves_what_it_does_alone(repository, tmp_path):
    names = ("alone", "one", "another")
    for name in names:
        (tmp_path / name).mkdir()
    alone, *both = (Repository(repository, tmp_path / name) for name in names)
    for clone in both:
        clone.dvc("cache", "dir", str(tmp_path / "cache"))
    with ThreadPoolExecutor(2) as pool:
        list(pool.map(lambda clone: clone.ran("repro"), both))
    alone.ran("repro")
    assert_sound(tmp_path / "cache")
    for clone in both:
        assert clone.results() == alone.results()
        assert products(clone.folder) == products(alone.folder)
        assert clone.is_up_to_date()
