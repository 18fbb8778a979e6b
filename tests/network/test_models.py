"""Shapes and sizes of the networks, their initialisation, networks of one's own, and that all of them train."""

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from edgewise.dynamics.loop import train
from edgewise.errors import EdgewiseError, ParameterError
from edgewise.network.models import MODELS, _fault, build_model, initial_theta
from edgewise.network.objective import Objective
from edgewise.params import ModelParams, parse_params
from edgewise.states.optimizers import GradientDescent, State

SHAPES = [(1, 8, 8), (1, 28, 28), (3, 32, 32)]


def params(name: str, **others: object) -> ModelParams:
    return ModelParams.model_validate({"name": name, "width": 64, **others})


def objective_of(model: nn.Module, n: int = 6, shape: tuple[int, ...] = (1, 8, 8), chunk_size: int = 100) -> Objective:
    generator = torch.Generator().manual_seed(0)
    y = torch.arange(n) % 2
    x = torch.randn((n, *shape), generator=generator, dtype=torch.float64) + y[:, None, None, None]
    return Objective(model.double(), "mse", x, y, chunk_size)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("normalisation", ["none", "group"])
@pytest.mark.parametrize("name", list(MODELS))
def test_outputs_for_every_image_size(name: str, normalisation: str, shape: tuple[int, ...]) -> None:
    model = build_model(params(name, normalisation=normalisation), shape, outputs=3)
    assert model(torch.randn(5, *shape)).shape == (5, 3)
    assert not list(model.buffers())


def weights(model: nn.Module) -> list[tuple[int, ...]]:
    return [tuple(parameter.shape) for parameter in model.parameters() if parameter.ndim > 1]


def test_cnn_of_width_512_is_the_papers() -> None:
    model = build_model(ModelParams(name="cnn", width=512), (3, 32, 32))
    expected = [(64, 3, 3, 3), (64, 64, 3, 3), (128, 64, 3, 3), (512, 128 * 8 * 8), (2, 512)]
    assert weights(model) == expected


def test_resnet_of_width_512_and_depth_2_has_fourteen_layers() -> None:
    shapes = weights(build_model(ModelParams(name="resnet", width=512), (3, 32, 32)))
    assert len(shapes) == 14
    assert [shape[0] for shape in shapes] == [16] * 5 + [32] * 4 + [64] * 4 + [2]
    assert len(weights(build_model(ModelParams(name="resnet", depth=3), (3, 32, 32)))) == 20


@pytest.mark.parametrize(("name", "shape"), [("cnn", (1, 1, 64)), ("resnet", (1, 1, 64)), ("cnn", (1, 3, 3))])
def test_images_that_are_too_small(name: str, shape: tuple[int, ...]) -> None:
    with pytest.raises(ParameterError, match=rf"^model.name: was '{name}'; needs images of at least 4 x 4 .* use mlp"):
        build_model(params(name), shape)


def test_group_normalisation_comes_after_every_hidden_layer() -> None:
    for name, count in (("mlp", 2), ("cnn", 4), ("resnet", 13)):
        modules = list(build_model(params(name, normalisation="group"), (1, 8, 8)).modules())
        assert sum(isinstance(module, nn.GroupNorm) for module in modules) == count


@pytest.mark.parametrize("name", list(MODELS))
@pytest.mark.parametrize("width", [2, 3, 8, 64, 256])
def test_no_normalised_value_is_a_group_by_itself(name: str, width: int) -> None:
    model = build_model(ModelParams(name=name, width=width, normalisation="group"), (1, 4, 4))
    theta = initial_theta(model, 1.0, seed=0)
    found = objective_of(model, shape=(1, 4, 4)).evaluate(theta)
    assert found.losses.isfinite().all()
    for module in model.modules():
        if isinstance(module, nn.GroupNorm) and module.num_channels > 1:
            assert module.num_groups < module.num_channels


# Initialisation


@pytest.mark.parametrize("name", list(MODELS))
def test_initial_theta_is_scaled_kaiming(name: str) -> None:
    model = build_model(ModelParams(name=name, normalisation="group"), (3, 32, 32))
    parts = initial_theta(model, 0.2, seed=1).split([p.numel() for p in model.parameters()])
    norms = {id(m.weight) for m in model.modules() if isinstance(m, nn.GroupNorm)}
    for parameter, values in zip(model.parameters(), parts, strict=True):
        if parameter.ndim > 1:
            fan_in = math.prod(parameter.shape[1:])
            error = 5 / math.sqrt(2 * values.numel())
            assert values.std().item() == pytest.approx(0.2 * math.sqrt(2 / fan_in), rel=error)
        else:
            assert (values == (1 if id(parameter) in norms else 0)).all()


def test_initial_theta_depends_on_the_seed_alone() -> None:
    model = build_model(params("cnn"), (1, 8, 8))
    first = initial_theta(model, 0.2, 1)
    assert first.dtype == torch.float64
    assert torch.equal(first, initial_theta(build_model(params("cnn"), (1, 8, 8)).float(), 0.2, 1))
    assert not torch.equal(first, initial_theta(model, 0.2, 2))
    torch.testing.assert_close(initial_theta(model, 0.4, 1), 2 * first)


def test_residual_blocks_start_near_the_identity() -> None:
    """Below an init_scale of 1 depth does not blow the signal up, nor let it vanish."""
    outputs = []
    for depth in (1, 8):
        model = build_model(params("resnet", depth=depth), (1, 8, 8))
        objective = objective_of(model)
        outputs.append(objective.outputs(initial_theta(model, 0.2, 0), objective.x).norm().item())
    assert 1 / 4 < outputs[1] / outputs[0] < 4


# In the objective, and in training


@pytest.mark.parametrize("name", ["cnn", "resnet"])
def test_gradient_products_and_projections(name: str) -> None:
    """Against finite differences, and the same in chunks; smooth, so that they apply."""
    model = build_model(params(name, activation="tanh", normalisation="group"), (1, 8, 8))
    whole, chunked = (objective_of(model, chunk_size=size) for size in (100, 4))
    theta = initial_theta(model, 0.5, 0)
    v = torch.randn(len(theta), generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    v /= v.norm()
    step = 1e-5
    ahead, behind = (whole.evaluate(theta + sign * step * v) for sign in (1, -1))
    slope = (ahead.losses - behind.losses) / (2 * step)
    torch.testing.assert_close(whole.projections(theta, v), slope, rtol=1e-5, atol=1e-7)
    torch.testing.assert_close(chunked.projections(theta, v), slope, rtol=1e-5, atol=1e-7)
    curve = (ahead.gradient - behind.gradient) / (2 * step)
    for objective in (whole, chunked):
        close = (objective.hessian(theta)(v) - curve).norm() / curve.norm()
        assert close < 1e-3


@pytest.mark.parametrize(
    ("name", "normalisation", "activation"),
    [("cnn", "none", "relu"), ("resnet", "none", "relu"), ("resnet", "group", "relu"), ("resnet", "none", "tanh")],
)
def test_networks_train(name: str, normalisation: str, activation: str) -> None:
    model = build_model(params(name, normalisation=normalisation, activation=activation), (1, 8, 8))
    objective = objective_of(model, n=32)
    run = train(objective, GradientDescent(0.05), State(initial_theta(model, 0.2, 0)), {})
    rows = [next(run).row for _ in range(120)]
    assert rows[-1]["loss"] < 0.5 * rows[0]["loss"]
    assert np.isfinite([row["loss"] for row in rows]).all()


def test_a_network_that_does_not_fit_into_the_memory_is_refused_before_it_is_made() -> None:
    with pytest.raises(ParameterError, match=r"^model.width: was 65536; needs \d+\.\d GB of memory or more"):
        build_model(params("mlp", width=65_536, depth=100), (3, 32, 32))


# A network of one's own

OWN = """
import math
import numpy as np
import torch
from torch import nn

def good(input_shape, outputs):
    return nn.Sequential(nn.Flatten(), nn.Linear(math.prod(input_shape), outputs), nn.LayerNorm(outputs))

def running_average(input_shape, outputs):
    return nn.Sequential(nn.BatchNorm2d(input_shape[0]), good(input_shape, outputs))

def batch_statistics(input_shape, outputs):
    linear = nn.Linear(math.prod(input_shape), outputs)
    return nn.Sequential(nn.BatchNorm2d(input_shape[0], track_running_stats=False), nn.Flatten(), linear)

def dropout(input_shape, outputs):
    return nn.Sequential(nn.Dropout(0.5), good(input_shape, outputs))

def empty(input_shape, outputs):
    return nn.Flatten()

class Own(nn.Module):
    def __init__(self, input_shape, outputs, change=None):
        super().__init__()
        self.first, self.last = nn.Linear(math.prod(input_shape), 8), nn.Linear(8, outputs)
        self.change, self.seen = change, np.zeros(3)

    def forward(self, x):
        hidden = self.first(x.flatten(1)).tanh()
        return self.last(self.change(self, hidden) if self.change else hidden)

def variant(change):
    return lambda input_shape, outputs: Own(input_shape, outputs, change)

def counts(model, hidden):
    model.seen[0] += 1
    return hidden

def without_gradient(model, hidden):
    with torch.no_grad():
        return model.first.weight.sum() * hidden

class NoSecond(torch.autograd.Function):
    @staticmethod
    def forward(context, x):
        return x.exp()

    @staticmethod
    def backward(context, gradient):
        return gradient

sound = variant(None)
hidden_state = variant(counts)
little_dropout = variant(lambda model, hidden: nn.functional.dropout(hidden, 1e-9))
numpy_noise = variant(lambda model, hidden: hidden + 0 * float(np.random.rand()))
detached = variant(lambda model, hidden: hidden.detach())
half_detached = variant(lambda model, hidden: hidden + hidden.detach())
steps = variant(lambda model, hidden: hidden.sign())
no_grad = variant(without_gradient)
no_derivatives = variant(lambda model, hidden: NoSecond.apply(hidden))
through_numpy = variant(lambda model, hidden: torch.from_numpy(hidden.detach().numpy()))

def frozen(input_shape, outputs):
    model = Own(input_shape, outputs)
    model.first.bias.requires_grad_(False)
    return model

def unused(input_shape, outputs):
    model = Own(input_shape, outputs)
    model.spare = nn.Parameter(torch.zeros(3))
    return model

def complex_numbers(input_shape, outputs):
    model = Own(input_shape, outputs)
    model.spare = nn.Parameter(torch.zeros(3, dtype=torch.complex64))
    return model

def scripted(input_shape, outputs):
    return torch.jit.script(nn.Sequential(nn.Flatten(), nn.Linear(math.prod(input_shape), outputs)))

def wide(input_shape, outputs):
    return good(input_shape, outputs + 1)

def broken(input_shape, outputs):
    raise ZeroDivisionError("oops")

def not_a_module(input_shape, outputs):
    return 3

class Fused(nn.Module):
    def __init__(self, input_shape, outputs):
        super().__init__()
        self.first, self.last = nn.Linear(input_shape[-1], 4), nn.Linear(4, outputs)

    def forward(self, x):
        rows = self.first(x)
        return self.last(nn.functional.scaled_dot_product_attention(rows, rows, rows).mean(dim=(1, 2)))
"""


@pytest.fixture
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "own_networks.py").write_text(OWN)
    monkeypatch.syspath_prepend(tmp_path)


@pytest.mark.usefixtures("own")
def test_a_network_of_ones_own() -> None:
    model = build_model(ModelParams(name="own_networks:good"), (1, 8, 8))
    assert model(torch.randn(3, 1, 8, 8)).shape == (3, 2)
    assert initial_theta(model, 0.2, 0)[-4:].tolist() == [1, 1, 0, 0]


@pytest.mark.usefixtures("own")
def test_a_sound_network_with_attributes_of_its_own_is_taken() -> None:
    assert build_model(ModelParams(name="own_networks:sound"), (1, 8, 8))(torch.randn(3, 1, 8, 8)).shape == (3, 2)


@pytest.mark.parametrize("name", ["mlp", "cnn", "resnet"])
@pytest.mark.parametrize("activation", ["relu", "tanh"])
def test_the_projects_own_networks_pass_what_is_asked_of_others(name: str, activation: str) -> None:
    for normalisation in ("none", "group"):
        model = build_model(params(name, activation=activation, normalisation=normalisation), (1, 8, 8))
        assert _fault(model, (1, 8, 8), 2) is None


@pytest.mark.usefixtures("own")
@pytest.mark.parametrize(
    ("factory", "why"),
    [
        ("own_networks:running_average", "buffers that change in training.*running_mean"),
        ("own_networks:batch_statistics", "depend on the others"),
        ("own_networks:dropout", "same outputs"),
        ("own_networks:little_dropout", "same outputs"),
        ("own_networks:numpy_noise", "same outputs"),
        ("own_networks:hidden_state", "keeps something from one pass to the next: seen$"),
        ("own_networks:detached", "not the right, gradient by first.weight, first.bias"),
        ("own_networks:half_detached", "not the right, gradient by first.weight, first.bias"),
        ("own_networks:steps", "not the right, gradient by first.weight, first.bias"),
        ("own_networks:no_grad", "not the right, gradient by first.weight, first.bias"),
        ("own_networks:through_numpy", "has no gradient|not the right"),
        ("own_networks:no_derivatives", "has no gradient"),
        ("own_networks:frozen", "requires_grad=False: first.bias"),
        ("own_networks:unused", "not the right, gradient by spare"),
        ("own_networks:complex_numbers", "not real numbers: spare"),
        ("own_networks:scripted", "TorchScript"),
        ("own_networks:empty", "no parameters"),
        ("own_networks:wide", r"\(16, 3\).*must be \(16, 2\)"),
        ("own_networks:broken", "oops"),
        ("own_networks:not_a_module", "package.module:factory"),
        ("own_networks:Fused", "no forward-mode product"),
        ("own_networks:missing", "missing"),
        ("no_such_module:good", "no_such_module"),
    ],
)
def test_a_network_that_cannot_be_used(factory: str, why: str) -> None:
    with pytest.raises(ParameterError, match=rf"(?s)^model.name: was '{factory}'; .*{why}"):
        build_model(ModelParams(name=factory), (1, 8, 8))


@pytest.mark.parametrize("name", ["vgg", "module:", ":factory", "a b:c"])
def test_a_name_that_is_neither(name: str) -> None:
    with pytest.raises(EdgewiseError, match=r"^model.name: was .*package.module:factory"):
        parse_params(f"model: {{name: '{name}'}}")


@pytest.mark.parametrize("name", ["cnn", "resnet"])
def test_a_network_for_images_does_not_take_rows_of_a_table(name):
    with pytest.raises(ParameterError, match=f"model.name: was '{name}'; needs images, .* 7 numbers: use mlp"):
        build_model(ModelParams(name=name, width=32), (7,))
    assert build_model(ModelParams(width=32), (7,), 3)(torch.zeros(2, 7)).shape == (2, 3)
