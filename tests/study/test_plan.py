"""A study is checked as a whole before anything runs: every fault is one line."""

from pathlib import Path

import pytest
import yaml
from conftest import tiny

from edgewise.errors import EdgewiseError
from edgewise.study.plan import SIZES, as_options, check, experiment_name, read_study

VARIANT = {"statement": "as it is"}


def written(folder: Path, **content: object) -> Path:
    path = folder / "mine.yaml"
    path.write_text(yaml.safe_dump({"statement": "a question", "variants": {"plain": VARIANT}} | content))
    return path


def faults(folder: Path, **content: object) -> list[str]:
    with pytest.raises(EdgewiseError) as error:
        check(read_study(written(folder, **content)), "mine", tiny())
    return str(error.value).splitlines()


def test_the_more_particular_setting_wins(tmp_path):
    far = {**VARIANT, "settings": {"alpha": 10, "model.width": 8}, "quick": {"model.width": 32}}
    path = written(tmp_path, quick={"alpha": 1, "seeds": [3]}, variants={"plain": VARIANT, "far": far})
    found = check(read_study(path), "mine", tiny())
    assert (found["quick"]["plain"].alpha, found["quick"]["plain"].seeds) == (1, [3])
    assert (found["quick"]["far"].alpha, found["quick"]["far"].model.width) == (10, 32)
    assert (found["full"]["far"].alpha, found["full"]["far"].model.width) == (10, 8)
    assert found["full"]["plain"].seeds == [0, 1]


def test_all_faults_are_said_at_once(tmp_path):
    wrong = {
        "typo": {**VARIANT, "settings": {"optimizer.learning_rate": 1}},
        "negative": {**VARIANT, "settings": {"alpha": -1, "hessian.top_k": 0}},
        "deep": {**VARIANT, "settings": {"alpha.beta": 1}},
    }
    said = faults(tmp_path, variants=wrong)
    for start, part in (
        ("variants.typo (quick): optimizer.learning_rate: ", "is not a parameter"),
        ("variants.negative (quick): alpha: was -1", "greater than or equal to 0"),
        ("variants.negative (quick): hessian.top_k: was 0", "greater than or equal to 1"),
        ("variants.deep (quick): alpha", ""),
    ):
        assert [line for line in said if line.startswith(start) and part in line], (start, said)
    assert len(said) == 8  # both sizes


def test_variants_that_are_the_same_are_said_so_by_their_parameters(tmp_path):
    same = {"a": VARIANT, "b": {**VARIANT, "settings": {"alpha": 3.0}}, "c": {**VARIANT, "settings": {"alpha": 4}}}
    assert faults(tmp_path, variants=same) == [f"variants.b ({size}): is the same as a" for size in SIZES]


@pytest.mark.parametrize("name", ["A", "a b", "-a", "a/b", "a.b", ""])
def test_names_that_git_or_dvc_would_not_take(tmp_path, name):
    (line,) = faults(tmp_path, variants={name: VARIANT})
    assert line.startswith(f"variants: was {name!r}; must be")


@pytest.mark.parametrize(
    ("content", "line"),
    [
        ({"variants": {}}, "variants: was {}; "),
        ({"variants": {"a": {}}}, "variants.a.statement: is missing"),
        ({"variants": {"a": {**VARIANT, "params": {}}}}, "variants.a.params: is not part of a study"),
        ({"sizes": {}}, "sizes: is not part of a study"),
        ({"quick": 3}, "quick: was 3; "),
    ],
)
def test_what_is_no_study_is_said_in_one_line(tmp_path, content, line):
    (said,) = faults(tmp_path, **content)
    assert said.startswith(line)


def test_a_file_that_is_not_there_or_no_yaml(tmp_path):
    with pytest.raises(EdgewiseError, match="cannot be read"):
        read_study(tmp_path / "none.yaml")


@pytest.mark.parametrize(
    "content",
    ["a: [", "statement: x\nstatement: y", "variants: " + 3000 * "[", "variants: " + 5000 * "9"],
    ids=["no yaml", "a key that occurs twice", "nested without end", "a number without end"],
)
def test_what_is_no_yaml_is_one_line(tmp_path, content):
    path = tmp_path / "bad.yaml"
    path.write_text(content)
    with pytest.raises(EdgewiseError) as error:
        read_study(path)
    assert str(error.value).startswith(f"{path}: not readable as YAML: ")
    assert "\n" not in str(error.value)


def test_a_study_is_read_by_the_rules_of_params_yaml(tmp_path):
    path = tmp_path / "octal.yaml"
    path.write_text("statement: x\nvariants: {a: {statement: y, settings: {alpha: 010}}}")
    assert read_study(path).settings("a", "quick") == {"alpha": 10}
    path.write_text("statement: x\nvariants: {a: {statement: y, settings: {seeds: !!set {1}}}}")
    with pytest.raises(EdgewiseError, match=r"variants\.a\.settings"):
        read_study(path)


@pytest.mark.parametrize("name", ["paper", "optimizers", "step-sizes"])
def test_the_studies_of_the_repository_are_without_fault(repository, name):
    study = read_study(repository / f"studies/{name}.yaml")
    found = check(study, name, (repository / "params.yaml").read_bytes())
    assert all(set(found[size]) == set(study.variants) for size in SIZES)
    assert all(params.dataset.name in ("mnist5k", "digits") for params in found["quick"].values())


def test_the_paper_s_study_has_every_figure(repository):
    figures = {figure for v in read_study(repository / "studies/paper.yaml").variants.values() for figure in v.figures}
    assert {str(number) for number in (1, 2, *range(4, 11), *range(15, 23))} <= figures


def test_options_are_those_of_dvc():
    assert as_options({"loss": "ce", "ood.alphas": [0, 1.5], "prototypes.disjoint": True}) == [
        "-S",
        "loss=ce",
        "-S",
        "ood.alphas=[0,1.5]",
        "-S",
        "prototypes.disjoint=true",
    ]
    assert experiment_name("paper", "quick", "alpha-3") == "paper-quick-alpha-3"
