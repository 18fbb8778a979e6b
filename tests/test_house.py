"""The order of the house: which module may import which, what is named how, and what a fingerprint covers."""

import ast
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from conftest import tiny

import common
import dataset
import prototypes
from edgewise.params import parse_params
from experiment import Experiment

#: From low to high; a room imports from those before its line alone, and rooms of one line not from each other.
ORDER = (
    ("errors",),
    ("params",),
    ("data",),
    ("sources",),
    ("network",),
    ("states",),
    ("dynamics",),
    ("measures", "theory", "unseen"),
    ("inference",),
    ("plotting",),
    ("study",),
)
LEVEL = {room: level for level, rooms in enumerate(ORDER) for room in rooms}


def module_name(root: Path, path: Path) -> str:
    parts = path.relative_to(root).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def modules_of(repository: Path) -> dict[str, ast.Module]:
    """The library's modules, parsed, by their name."""
    root = repository / "src"
    return {module_name(root, path): ast.parse(path.read_text()) for path in sorted(root.rglob("*.py"))}


def imported(tree: ast.AST) -> Iterator[str]:
    """The dotted names that a module imports, wherever in it; a name taken from a module with the module before it."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "a relative import"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def library_imports(repository: Path) -> dict[str, set[str]]:
    """For every module of the library, the modules of the library that it imports."""
    modules = modules_of(repository)
    found: dict[str, set[str]] = {}
    for name, tree in modules.items():
        inside = [target for target in imported(tree) if target.split(".")[0] == "edgewise"]
        found[name] = {target if target in modules else target.rpartition(".")[0] for target in inside}
        assert found[name] <= set(modules), found[name] - set(modules)
    return found


def room_of(module: str) -> str:
    return module.split(".")[1]


def test_every_room_has_its_place_and_every_place_its_room(repository):
    rooms = {room_of(module) for module in modules_of(repository) if module != "edgewise"}
    assert rooms == set(LEVEL)


def test_no_import_runs_up_and_none_between_rooms_of_one_level(repository):
    links = {(module, target) for module, targets in library_imports(repository).items() for target in targets}
    assert len(links) > 80
    wrong = {
        f"{module} -> {target}"
        for module, target in links
        if room_of(module) != room_of(target) and LEVEL[room_of(module)] <= LEVEL[room_of(target)]
    }
    assert wrong == set()


def test_no_circle_of_imports_within_a_room_either(repository):
    left = library_imports(repository)
    while ready := {module for module, targets in left.items() if not targets & set(left)}:
        left = {module: targets for module, targets in left.items() if module not in ready}
    assert left == {}


def test_the_library_knows_no_stage_no_dvc_and_no_file_of_parameters(repository):
    foreign = {"dvc", "dvclive", *(path.stem for path in (repository / "stages").glob("*.py"))}
    for name, tree in modules_of(repository).items():
        # The study's commands run DVC and read the results of its experiments; no other room knows of DVC.
        allowed = {"dvc"} if name.startswith("edgewise.study") else set()
        assert {target.split(".")[0] for target in imported(tree)} & (foreign - allowed) == set(), name
        if allowed:
            continue
        texts = {node.value for node in ast.walk(tree) if isinstance(node, ast.Constant)}
        # As an operand or an argument it would be a path; in a longer text, a word of an error.
        for call in (node for node in ast.walk(tree) if isinstance(node, ast.Call | ast.BinOp)):
            inner = call.args if isinstance(call, ast.Call) else (call.left, call.right)
            given = {node.value for node in inner if isinstance(node, ast.Constant)}
            assert given & {"params.yaml", "dvc.yaml", "dvc.lock"} == set(), name
        assert texts & {"dvc.yaml", "dvc.lock"} == set(), name


def test_no_two_modules_share_a_name(repository):
    files = [path for folder in ("src", "stages") for path in sorted((repository / folder).rglob("*.py"))]
    names = [path.stem if path.stem != "__init__" else path.parent.name for path in files]
    assert len(names) > 40
    assert {name for name in names if names.count(name) > 1} == set()


def test_dvc_yaml_is_short(repository):
    assert len((repository / "dvc.yaml").read_text().splitlines()) < 400


def test_dvc_sees_no_cache_of_python_and_no_run_that_is_being_written(repository):
    ignored = (repository / ".dvcignore").read_text().splitlines()
    assert {"__pycache__/", f"/{common.JOURNALS}/"} <= set(ignored)
    outs = {
        out if isinstance(out, str) else next(iter(out))
        for stage in yaml.safe_load((repository / "dvc.yaml").read_text())["stages"].values()
        for out in [*stage["outs"], *stage["deps"]]
    }
    assert not any(f"{common.JOURNALS}/".startswith(f"{out}/") or out.startswith(f"{common.JOURNALS}") for out in outs)


@pytest.fixture(scope="module")
def prepared(tmp_path_factory) -> Path:
    """A folder where training can begin."""
    folder = tmp_path_factory.mktemp("prepared")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        params = parse_params(tiny())
        dataset.main(params)
        prototypes.main(params, seed=0)
    return folder


@pytest.fixture
def house(repository, prepared, tmp_path, monkeypatch) -> Path:
    """A copy of the code that fingerprints are made of, to edit."""
    for name in ("src", "stages"):
        shutil.copytree(repository / name, tmp_path / name, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy2(repository / "dvc.yaml", tmp_path)
    monkeypatch.setattr(common, "REPOSITORY", tmp_path)
    monkeypatch.chdir(prepared)
    return tmp_path


def fingerprints() -> dict[str, str]:
    """The fingerprint of each stage that trains."""
    experiment = Experiment(parse_params(tiny()), seed=0)
    return {stage: experiment.fingerprint(stage, "part") for stage in ("base", "branch")}


@pytest.mark.parametrize(
    ("file", "stale"),
    [
        ("stages/base.py", {"base"}),
        ("stages/branch.py", {"branch"}),
        ("stages/common.py", {"base", "branch"}),
        ("stages/experiment.py", {"base", "branch"}),
        ("src/edgewise/data/groups.py", {"base", "branch"}),
        ("src/edgewise/dynamics/loop.py", {"base", "branch"}),
        ("src/edgewise/network/objective.py", {"base", "branch"}),
        ("src/edgewise/states/__init__.py", {"base", "branch"}),
        ("src/edgewise/states/branches.py", {"base", "branch"}),
        ("src/edgewise/plotting/style.py", set()),
        ("src/edgewise/inference/claims.py", set()),
        ("src/edgewise/measures/selectivity.py", set()),
        ("src/edgewise/params.py", set()),
        ("stages/hessian.py", set()),
        ("stages/summary.py", set()),
    ],
)
def test_a_fingerprint_changes_with_the_code_of_its_stage_and_with_no_other(house, file, stale):
    before = fingerprints()
    assert fingerprints() == before
    with (house / file).open("a") as edited:
        edited.write("# edited\n")
    after = fingerprints()
    assert {stage for stage in after if after[stage] != before[stage]} == stale


def test_a_fingerprint_does_not_change_with_a_cache_of_python_but_with_a_new_module(house):
    before = fingerprints()
    room = house / "src/edgewise/states"
    (room / "__pycache__").mkdir()
    (room / "__pycache__/optimizers.cpython-311.pyc").write_bytes(b"compiled")
    assert fingerprints() == before
    (room / "schedules.py").write_text('"""New."""\n')
    assert fingerprints()["base"] != before["base"]


@pytest.mark.parametrize("stage", ["base", "branch"])
def test_a_fingerprint_covers_every_file_of_python_that_dvc_yaml_names_for_the_stage(house, stage):
    deps = yaml.safe_load((house / "dvc.yaml").read_text())["stages"][stage]["deps"]
    named = {dep for dep in deps if dep.startswith(("src/", "stages/"))}
    covered = common.code_of(stage)
    assert {dep for dep in named if not any(file == dep or file.startswith(f"{dep}/") for file in covered)} == set()
    assert all(content == (house / file).read_bytes() for file, content in covered.items())
    count = sum(len(list((house / dep).rglob("*.py"))) if (house / dep).is_dir() else 1 for dep in named)
    assert len(covered) == count
