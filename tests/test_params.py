"""params.yaml: one truth for the defaults, and one clear error for whatever is wrong."""

import copy
import json
import math
import re

import pytest
import yaml
from conftest import assert_one_parameter_error
from dvc.utils.serialize import load_yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from edgewise.errors import EdgewiseError
from edgewise.params import Params, Section, parse_params
from edgewise.states.branches import legs, length
from edgewise.states.optimizers import build_optimizer


def test_params_yaml_holds_the_defaults(repository):
    assert parse_params((repository / "params.yaml").read_text()) == Params()


def test_params_yaml_names_every_parameter(repository):
    def names(section: Section, prefix: str = "") -> set[str]:
        found: set[str] = set()
        for name, value in section:
            found |= names(value, f"{name}.") if isinstance(value, Section) else {prefix + name}
        return found

    content = yaml.safe_load((repository / "params.yaml").read_text())
    flat = {
        f"{k}.{i}" if isinstance(v, dict) else k
        for k, v in content.items()
        for i in (v if isinstance(v, dict) else "-")
    }
    assert flat == names(Params())


@pytest.mark.parametrize(
    ("text", "name", "was", "allowed"),
    [
        ("dataset: {name: imagenet}", "dataset.name", "'imagenet'", "'digits'"),
        ("dataset: {classes: [3, 3]}", "dataset.classes", "[3, 3]", "different classes"),
        ("dataset: {classes: [3]}", "dataset.classes", "[3]", "at least 2 items"),
        ("dataset: {classes: 3}", "dataset.classes", "3", "list"),
        ("dataset: {classes: [1, 2, 3]}", "dataset.n", "400", "multiple of the 3 classes"),
        ("dataset: {classes: [null, 5]}", "dataset.classes[0]", "None", "integer, or must be a valid string"),
        ("dataset: {n: 7}", "dataset.n", "7", "multiple of the 2 classes"),
        ("dataset: {n: 2}", "dataset.n", "2", "greater than or equal to 4"),
        ("dataset:", "dataset", "None", "dictionary"),
        ("groups: {source: none}", "groups.source", "'none'", "groups.noise above 0"),
        ("groups: {source: mine}", "groups.source", "'mine'", "'prototypes', 'file', 'both' or 'none'"),
        ("groups: {noise: 1}", "groups.noise", "1", "less than 1"),
        ("alpha: -1", "alpha", "-1", "greater than or equal to 0"),
        ("alpha: .nan", "alpha", "nan", "finite"),
        ("alpha: .inf", "alpha", "inf", "finite"),
        ("alpha: far", "alpha", "'far'", "number"),
        ("direction: sideways", "direction", "'sideways'", "'coherent' or 'random'"),
        ("loss: hinge", "loss", "'hinge'", "'mse' or 'ce'"),
        ("prototypes: {candidates: 500}", "prototypes.candidates", "500", "at most the 200 training images of a class"),
        ("prototypes: {clusters: 201}", "prototypes.clusters", "201", "at most the 200"),
        (f"branch: {{steps: {10**400}}}", "branch.steps", "10000", "less than or equal to 1000000"),
        ("sweep: {seeds: [7]}", "sweep.seeds", "[7]", "`seeds` [0, 1, 2, 3, 4], [7] are not"),
        ("sweep: {seeds: [1, 1]}", "sweep.seeds", "[1, 1]", "not repeat [1]"),
        ("sweep: {optimizers: [adam]}", "sweep.optimizers[0]", "'adam'", "'gd', 'momentum' or 'nesterov'"),
        ("sweep: {optimizers: []}", "sweep.optimizers", "[]", "at least 1 item"),
        ("sweep: {step_sizes: []}", "sweep.step_sizes", "[]", "at least 1 item"),
        ("sweep: {step_sizes: [0.1, 0.1]}", "sweep.step_sizes", "[0.1, 0.1]", "not repeat [0.1]"),
        ("sweep: {step_sizes: [0.1, 0]}", "sweep.step_sizes[1]", "0", "greater than or equal to 0.000000001"),
        ("sweep: {step_sizes: [large]}", "sweep.step_sizes[0]", "'large'", "number"),
        ("sweep: {time: 0}", "sweep.time", "0", "greater than 0"),
        ("sweep: {measurements: 7}", "sweep.measurements", "7", "greater than or equal to 8"),
        (
            "{optimizer: {weight_decay: 10}, sweep: {step_sizes: [0.01, 0.2]}}",
            "sweep.step_sizes",
            "[0.01, 0.2]",
            "below 1 / optimizer.weight_decay = 0.1",
        ),
        ("prototypes: {strata: 0}", "prototypes.strata", "0", "greater than or equal to 1"),
        ("prototypes: {strata: 21}", "prototypes.strata", "21", "less than or equal to 20"),
        (
            "{dataset: {n: 8}, prototypes: {candidates: 2, trained: 1}}",
            "prototypes.strata",
            "5",
            "at most the 4 training images of a class",
        ),
        ("replicate: none", "replicate", "'none'", "'all' or 'initialisation'"),
        ("robustness: {epsilons: automatic}", "robustness.epsilons", "'automatic'", "'auto', or must be a valid list"),
        ("robustness: {epsilons: 8}", "robustness.epsilons", "8", "'auto', or must be a valid list"),
        ("robustness: {epsilons: null}", "robustness.epsilons", "None", "'auto', or must be a valid list"),
        ("prototypes: {trained: 60}", "prototypes.trained", "60", "at most prototypes.candidates (50)"),
        ("seeds: []", "seeds", "[]", "at least 1"),
        ("seeds: [1, 2, 1]", "seeds", "[1, 2, 1]", "must not repeat [1]"),
        ("seeds: 3", "seeds", "3", "list"),
        ("seeds: [-1]", "seeds[0]", "-1", "greater than or equal to 0"),
        ("branches: [baseline, leave]", "branches[1]", "'leave'", "'exit'"),
        ("branches: [exit]", "branches", "['exit']", "must hold 'baseline' and 'exit'"),
        ("branches: [baseline]", "branches", "['baseline']", "must hold 'baseline' and 'exit'"),
        ("branches: [baseline, enter, flow]", "branches", "['baseline', 'enter', 'flow']", "must hold 'baseline'"),
        ("branches: [baseline, exit, exit]", "branches", "['baseline', 'exit', 'exit']", "must not repeat ['exit']"),
        ("{branches: [baseline, exit, enter], branch: {enter_step: 151}}", "branch.enter_step", "151", "multiple of"),
        (
            "{branches: [baseline, exit, enter], branch: {enter_step: 300}}",
            "branch.enter_step",
            "300",
            "half of branch.steps (200)",
        ),
        ("{branches: [baseline, exit, enter], branch: {enter_step: 175}}", "branch.enter_step", "175", "at most half"),
        (
            "{branches: [baseline, exit, enter], branch: {checkpoint_every: 10, per_doubling: 4}}",
            "branch.enter_step",
            "100",
            "at most 80, as far as the checkpoints are regular",
        ),
        ("branch: {per_doubling: 3}", "branch.per_doubling", "3", "'all', or must be greater than or equal to 4"),
        ("branch: {per_doubling: some}", "branch.per_doubling", "'some'", "'all', or must be a valid integer"),
        (
            "branch: {exit_factor: 0.0001}",
            "branch.exit_factor",
            "0.0001",
            "branch.steps (200) divided by it must be at most 1000000",
        ),
        (
            "branch: {factors: [0.5, 0.0001]}",
            "branch.factors",
            "0.0001",
            "branch.steps (200) divided by it must be at most",
        ),
        ("branch: {factors: [0.5, 1.0]}", "branch.factors[1]", "1.0", "less than 1"),
        ("branch: {factors: [0.5, 0]}", "branch.factors[1]", "0", "greater than or equal to 0.000001"),
        ("branch: {factors: [0.5, 0.5]}", "branch.factors", "[0.5, 0.5]", "must not repeat [0.5]"),
        ("branch: {factors: [0.5, 0.25]}", "branch.factors", "[0.5, 0.25]", "must not hold exit_factor"),
        ("branch: {factors: 0.5}", "branch.factors", "0.5", "list"),
        ("theory: {left_out: [natural]}", "theory.left_out", "'natural'", "inlier, boundary"),
        ("theory: {left_out: [clean]}", "theory.left_out", "'clean'", "inlier, boundary"),
        ("theory: {left_out: ['a; b']}", "theory.left_out[0]", "'a; b'", "match pattern"),
        ("theory: {left_out: [inlier, inlier]}", "theory.left_out", "['inlier', 'inlier']", "must not repeat"),
        ("{branches: [baseline, exit, flow], optimizer: {name: adam}}", "branches", "'flow'", "not the limit of adam"),
        ("theory: {models: []}", "theory.models", "[]", "at least 1"),
        ("theory: {models: [rod_flow]}", "theory.models[0]", "'rod_flow'", "'central_flow'"),
        ("theory: {models: [cubic, cubic]}", "theory.models", "['cubic', 'cubic']", "must not repeat ['cubic']"),
        (
            "{model: {activation: tanh}, theory: {models: [central_flow], substeps: 1}}",
            "theory.substeps",
            "1",
            "at least 2 for central_flow",
        ),
        ("{optimizer: {name: adam}, theory: {models: [gradient_flow]}}", "theory.models", "'gradient_flow'", "of adam"),
        (
            "{optimizer: {name: sgd}, model: {activation: tanh}, theory: {models: [edge_flow, cubic]}}",
            "theory.models",
            "'cubic'",
            "cubic must be left out: of gradient descent (gd) alone, not of sgd",
        ),
        *(
            (
                f"{{model: {{{network}}}, theory: {{models: [edge_flow, constrained, central_flow]}}}}",
                "theory.models",
                "'central_flow'",
                "constrained and central_flow must be left out: the gradient of the sharpness misses the kinks of "
                + of,
            )
            for network, of in (
                ("activation: relu", "relu"),
                ("activation: elu", "elu"),
                ("name: cnn, activation: tanh", "the max-pooling of cnn"),
            )
        ),
        ("branch: {exit_factor: 1.0}", "branch.exit_factor", "1.0", "less than 1"),
        ("branch: {exit_factor: 0}", "branch.exit_factor", "0", "greater than or equal to 0.000001"),
        ("branch: {steps: 10}", "branch.checkpoint_every", "25", "must be at most branch.steps (10)"),
        ("model: {width: 1, normalisation: group}", "model.width", "1", "must be at least 2"),
        ("ood: {gaussian_noise: [0.1]}", "ood.gaussian_noise", "[0.1]", "as many severities"),
        ("{dataset: {n: 100}, compute: {ranks: 101}}", "compute.ranks", "101", "at most dataset.n (100)"),
        ("seeds: [0.0]", "seeds[0]", "0.0", "integer"),
        ("groups: {file: ''}", "groups.file", "''", "at least 1 character"),
        ("optimizer: {lr: 0}", "optimizer.lr", "0", "greater than or equal to 0.000000001"),
        ("hessian: {tolerance: 1}", "hessian.tolerance", "1", "less than 1"),
        ("compute: {device: abacus}", "compute.device", "'abacus'", "'cpu'"),
        (f"seeds: [{2**64}]", "seeds[0]", f"{2**64}", "less than 4294967296"),
        (f"seeds: [{', '.join(map(str, range(1001)))}]", "seeds", "[0, 1,", "at most 1000 items"),
        ("prototypes: {seed: 4294967296}", "prototypes.seed", "4294967296", "less than 4294967296"),
        ("robustness: {epsilons: [1e300]}", "robustness.epsilons[0]", "1e+300", "less than or equal to 100000"),
        ("control: {alphas: [1e300]}", "control.alphas[0]", "1e+300", "less than or equal to 1000"),
        ("control: {draws: 10000000}", "control.draws", "10000000", "less than or equal to 100000"),
        ("model: {width: 1e9}", "model.width", "1000000000.0", "less than or equal to 65536"),
        (f"model: {{depth: {2**63}}}", "model.depth", "9223372036854775808", "less than or equal to 100"),
        ("alpha: 1e10", "alpha", "10000000000.0", "less than or equal to 1000"),
        ('dataset: {root: "a\\0b"}', "dataset.root", "'a\\x00b'", "printable characters"),
        ("dataset: {root: ''}", "dataset.root", "''", "at least 1 character"),
        (f"loss: {'x' * 10_000}", "loss", "'xxx", "'mse' or 'ce'"),
        ("compute: {chunk_size: 0}", "compute.chunk_size", "0", "greater than or equal to 1"),
    ],
)
def test_a_wrong_value_is_one_line_with_name_value_and_what_is_allowed(text, name, was, allowed):
    with pytest.raises(EdgewiseError) as caught:
        parse_params(text)
    message = str(caught.value)
    assert message.startswith(f"{name}: was ")
    assert was in message.removeprefix(name)
    assert allowed in message
    assert "\n" not in message
    assert len(message) < 500


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("alpha: true", "alpha"),
        ("seeds: [0, true]", "seeds"),
        ("seeds: true", "seeds"),
        ("branches: [true]", "branches"),
        ("replicate: true", "replicate"),
        ("dataset: true", "dataset"),
        ("dataset: {n: true}", "dataset.n"),
        ("dataset: {classes: [true, 5]}", "dataset.classes"),
        ("model: {name: false}", "model.name"),
        ("control: {alphas: [0, true]}", "control.alphas"),
        ("robustness: {epsilons: true}", "robustness.epsilons"),
        ("robustness: {epsilons: [true]}", "robustness.epsilons"),
        ("branch: {exit_factor: true}", "branch.exit_factor"),
    ],
)
def test_true_is_not_the_number_one_nor_a_word(text, name):
    assert_one_parameter_error(text, name, "must not be true or false")


@pytest.mark.parametrize("value", ["1", "0", "'true'", "null", "[true]", "sometimes"])
def test_what_is_true_or_false_is_nothing_else(value):
    assert_one_parameter_error(f"prototypes: {{disjoint: {value}}}", "prototypes.disjoint", "must be true or false")


@pytest.mark.parametrize(("text", "seeds"), [("[010]", [10]), ("[0o10]", [8]), ("[0x10]", [16]), ("[1_000]", [1000])])
def test_numbers_are_read_as_dvc_reads_them(tmp_path, text, seeds):
    path = tmp_path / "params.yaml"
    path.write_text(f"seeds: {text}")
    assert parse_params(path.read_bytes()).seeds == load_yaml(path)["seeds"] == seeds


def test_a_key_that_occurs_twice_is_named_by_its_line():
    with pytest.raises(
        EdgewiseError, match="^params.yaml: not readable as YAML: line 3 has a key that is there already$"
    ):
        parse_params("alpha: 1\nmodel:\nalpha: 2\n")


@pytest.mark.parametrize("word", ["yes", "off"])
def test_words_are_words_as_for_dvc(word):
    assert_one_parameter_error(f"prototypes: {{disjoint: {word}}}", "prototypes.disjoint", "must be true or false")


@pytest.mark.parametrize(("text", "epsilons"), [("auto", "auto"), ("[4]", [4.0]), ("[0.5, 8, 300]", [0.5, 8.0, 300.0])])
def test_epsilons_are_auto_or_a_list(text, epsilons):
    assert parse_params(f"robustness: {{epsilons: {text}}}").robustness.epsilons == epsilons


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("robustness: {epsilons: [0, 8, -1]}", ["robustness.epsilons[0]", "robustness.epsilons[2]"]),
        ("robustness: {epsilons: [a, 8]}", ["robustness.epsilons[0]"]),
        ("dataset: {classes: [[1], 5]}", ["dataset.classes[0]"]),
        ("branches: [a, exit]", ["branches[0]"]),
    ],
)
def test_of_a_list_only_the_items_at_fault_are_named(text, names):
    with pytest.raises(EdgewiseError) as caught:
        parse_params(text)
    assert [line.split(": was ")[0] for line in str(caught.value).splitlines()] == names


@pytest.mark.parametrize(("steps", "exit_factor"), [("1000", "0.001"), ("25", "2.5e-5")])
def test_the_exit_branch_takes_at_most_a_million_steps(steps, exit_factor):
    text = f"branch: {{steps: {steps}, exit_factor: {float(exit_factor):.6f}}}"
    assert parse_params(text).branch.exit_factor == float(exit_factor)
    one_more = text.replace(f"steps: {steps}", f"steps: {int(steps) + 1}")
    assert_one_parameter_error(one_more, "branch.exit_factor", f"steps ({int(steps) + 1}) divided", "at most 1000000")


@pytest.mark.parametrize("enter_step", [7, 151, 300, 10_000])
def test_when_the_enter_branch_returns_matters_only_if_there_is_one(enter_step):
    text = f"{{branches: [baseline, exit], branch: {{enter_step: {enter_step}}}}}"
    assert parse_params(text).branch.enter_step == enter_step
    with pytest.raises(EdgewiseError, match=f"^branch.enter_step: was {enter_step};"):
        parse_params(text.replace("exit", "exit, enter"))


@pytest.mark.parametrize("optimizer", ["gd", "momentum", "nesterov", "sgd"])
def test_what_has_gradient_flow_as_its_limit_may_have_all_four_branches(optimizer):
    text = f"{{branches: [baseline, exit, enter, flow], optimizer: {{name: {optimizer}}}}}"
    assert parse_params(text).branches == ["baseline", "exit", "enter", "flow"]


@pytest.mark.parametrize("branches", ["[baseline, exit]", "[baseline, exit, enter]"])
def test_adam_has_every_branch_but_the_flow(branches):
    assert parse_params(f"{{branches: {branches}, optimizer: {{name: adam}}}}").optimizer.name == "adam"


@pytest.mark.parametrize(
    ("text", "name"),
    [("epochs: 1", "epochs"), ("dataset: {path: x}", "dataset.path"), ("str: 1", "str"), ("'a[0]': 1", "a[0]")],
)
def test_an_unknown_key_is_named(text, name):
    with pytest.raises(EdgewiseError, match=f"^{re.escape(name)}: is not a parameter of edgewise"):
        parse_params(text)


@pytest.mark.parametrize(
    "content", ["seeds: [1", "a\t: b: c", "{{a}}: 1", b"alpha: \xff\xfe\x00", "alpha: \x00", "", "- 1", "just words"]
)
def test_what_is_not_a_mapping_in_yaml_is_said_in_one_line(content):
    with pytest.raises(EdgewiseError, match=r"\Aparams\.yaml: (not readable as YAML|must hold a mapping)[^\n]*\Z"):
        parse_params(content)


LEVELS = 12
BOMB = "a0: &a0 [x]\n" + "".join(f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 10)}]\n" for i in range(1, LEVELS))


@pytest.mark.parametrize(
    "content",
    [
        "alpha: 1\nalpha: 2",
        "dataset: {n: 100, n: 200}",
        f"alpha: {'[' * 5000}",
        f"alpha: {'[' * 5000}{']' * 5000}",
        f"alpha: {'9' * 5000}",
        f"alpha: {'x' * 10**7}",
        f"seeds: {list(range(100_000))}",
        "alpha: !!python/object/apply:os.system [true]",
    ],
    ids=["twice", "twice in a section", "open", "deep", "digits", "10 MB", "100,000 seeds", "code"],
)
def test_what_would_hang_or_run_is_refused_in_one_short_line(content):
    with pytest.raises(EdgewiseError, match=r"\Aparams\.yaml: [^\n]{1,400}\Z"):
        parse_params(content)


def test_what_aliases_blow_up_is_refused_in_short_lines():
    with pytest.raises(EdgewiseError) as caught:
        parse_params(f"{BOMB}seeds: *a{LEVELS - 1}")
    assert len(str(caught.value)) < 5000


def test_of_many_faults_the_first_are_listed():
    with pytest.raises(EdgewiseError) as caught:
        parse_params("\n".join(f"key{i}: 1" for i in range(100)))
    lines = str(caught.value).splitlines()
    assert len(lines) == 11
    assert lines[-1] == "params.yaml: 90 further faults"


def test_every_fault_has_its_own_line():
    with pytest.raises(EdgewiseError) as caught:
        parse_params("{alpha: -1, loss: hinge, optimizer: {lr: 0}}")
    assert [line.split(":")[0] for line in str(caught.value).splitlines()] == ["alpha", "loss", "optimizer.lr"]


@given(st.text(max_size=40))
def test_any_text_is_parameters_or_an_edgewise_error(text):
    try:
        assert isinstance(parse_params(text), Params)
    except EdgewiseError as error:
        assert str(error)  # noqa: PT017 - most texts are an error, some are parameters


#: What a value of params.yaml is changed to.
OTHER_VALUES = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.sampled_from([0, -1, 2**32, 2**63, 2**64, 10**400]),
    st.floats(),
    st.text(max_size=20),
    st.sampled_from(["1; touch FILE", "../../..", "\ud800", "\0", "${seeds}", "x" * 10_000]),
    st.lists(st.one_of(st.integers(), st.floats(), st.text(max_size=3), st.none()), max_size=6),
    st.dictionaries(st.text(max_size=5), st.integers(), max_size=3),
)


def paths_of(content: dict) -> list[tuple[str, ...]]:
    return [
        (key, *rest)
        for key, value in content.items()
        for rest in (paths_of(value) if isinstance(value, dict) else [()])
    ]


DEFAULTS = Params().model_dump(mode="json")


@settings(max_examples=500)
@given(st.lists(st.tuples(st.sampled_from(paths_of(DEFAULTS)), OTHER_VALUES), min_size=1, max_size=3))
def test_changed_parameters_are_parameters_or_short_lines_that_name_them(changes):
    """Each finite, and such that what is made of them at once can be made: lengths, legs, thresholds."""
    content = copy.deepcopy(DEFAULTS)
    for path, value in changes:
        section = content
        for key in path[:-1]:
            section = section[key]
        section[path[-1]] = value
    text = json.dumps(content)  # JSON is YAML, and says nan and infinity in words
    try:
        params = parse_params(text)
    except EdgewiseError as error:
        lines = str(error).splitlines()
        assert 1 <= len(lines) <= 11  # noqa: PT017
        assert all(len(line) < 1000 and line.isprintable() for line in lines)  # noqa: PT017
        assert not any("Traceback" in line for line in lines)  # noqa: PT017
        return
    assert parse_params(json.dumps(params.model_dump(mode="json"))) == params
    for name in params.branches:
        assert 0 < length(name, params.branch) <= 1_000_000
        assert all(math.isfinite(leg.lr_factor) for leg in legs(name, params.branch))
    threshold = build_optimizer(params.optimizer).stability_threshold
    assert math.isfinite(threshold)
    assert threshold > 0


@pytest.mark.parametrize("activation", ["tanh", "gelu", "silu"])
def test_smooth_networks_have_every_model_of_the_edge(activation):
    models = ["edge_flow", "gradient_flow", "cubic", "constrained", "central_flow"]
    assert (
        parse_params(f"{{model: {{activation: {activation}}}, theory: {{models: {models}}}}}").theory.models == models
    )


def test_edge_flow_and_gradient_flow_need_no_smooth_network():
    assert parse_params("theory: {models: [gradient_flow, edge_flow]}").model.activation == "relu"
