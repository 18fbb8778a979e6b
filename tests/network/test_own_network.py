"""A network of one's own, with attention, against dense references: everything that is measured of it."""

import pytest
import torch
from networks.transformer import Transformer, gpt2_block
from torch import Tensor, nn
from torch.func import functional_call

from edgewise.dynamics.eigen import EigenTracker
from edgewise.measures.selectivity import alignment, curvature_influence, measure_examples
from edgewise.network.models import build_model, initial_theta
from edgewise.network.objective import Objective
from edgewise.params import ModelParams

CLASSES, N = 3, 6


@pytest.fixture(params=[(2, 3, 2), (4,)], ids=["image", "row"])
def shape(request) -> tuple[int, ...]:
    return request.param


@pytest.fixture
def model(shape) -> nn.Module:
    return Transformer(shape, CLASSES, width=4, heads=2, blocks=1).double()


@pytest.fixture
def theta(model) -> Tensor:
    start = initial_theta(model, 0.7, seed=1)
    return start + 0.1 * torch.randn(start.shape, generator=torch.Generator().manual_seed(2), dtype=torch.float64)


@pytest.fixture(params=["mse", "ce"])
def objective(request, model, shape) -> Objective:
    x = torch.randn(N, *shape, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    return Objective(model, request.param, x, torch.tensor([0, 1, 2, 2, 1, 0]), chunk_size=4)


def losses_of(objective: Objective, theta: Tensor) -> Tensor:
    """The losses [n], by the names of the network's parameters."""
    sizes = [(name, p.shape, p.numel()) for name, p in objective.model.named_parameters()]
    parts = theta.split([size for _, _, size in sizes])
    named = {name: part.reshape(shape) for (name, shape, _), part in zip(sizes, parts, strict=True)}
    outputs = functional_call(objective.model, named, (objective.x,))
    if objective.loss == "ce":
        return nn.functional.cross_entropy(outputs, objective.y, reduction="none")
    return ((outputs - nn.functional.one_hot(objective.y, CLASSES)) ** 2).sum(dim=1)


def test_all_that_is_measured_agrees_with_dense_references(objective, theta):
    each = torch.autograd.functional.jacobian(lambda t: losses_of(objective, t), theta)
    hessian = torch.autograd.functional.hessian(lambda t: losses_of(objective, t).mean(), theta)
    values, vectors = torch.linalg.eigh(hessian)
    torch.testing.assert_close(objective.evaluate(theta).losses, losses_of(objective, theta))
    torch.testing.assert_close(objective.gradient(theta), each.mean(dim=0))
    torch.testing.assert_close(objective.gradient_norms(theta), each.norm(dim=1))

    pairs = EigenTracker(objective, 2, tolerance=1e-9).measure(theta)
    torch.testing.assert_close(pairs.values, values.flip(0)[:2])
    v1 = pairs.vectors[0]
    torch.testing.assert_close((v1 @ vectors[:, -1]).abs(), torch.ones_like(v1[0]))
    torch.testing.assert_close(objective.projections(theta, v1), each @ v1)
    influence, aligned = measure_examples(objective, theta, v1)
    assert influence == pytest.approx(((each @ v1) ** 2).numpy())
    assert aligned == pytest.approx(((each @ v1) ** 2 / (each**2).sum(dim=1)).numpy())

    group = each[2:4].mean(dim=0)
    found = objective.subset(torch.tensor([2, 3])).gradient(theta)
    assert curvature_influence(found, v1) == pytest.approx((group @ v1).item() ** 2)
    assert alignment(found, v1) == pytest.approx((group @ v1).item() ** 2 / (group @ group).item())

    def curvature(at: Tensor) -> Tensor:
        def along(t: Tensor) -> Tensor:
            (slope,) = torch.autograd.grad(losses_of(objective, t).mean(), t, create_graph=True)
            return torch.autograd.grad(slope @ v1, t, create_graph=True)[0] @ v1

        return along(at)

    leaf = theta.clone().requires_grad_()
    (expected,) = torch.autograd.grad(curvature(leaf), leaf)
    torch.testing.assert_close(objective.sharpness_gradient(theta, v1), expected)


def test_the_blocks_size_is_gpt2s():
    block = gpt2_block((1, 4, 4), 2).blocks[0]
    assert sum(p.numel() for p in block.parameters()) == 12 * 768**2 + 13 * 768


def test_it_is_built_by_its_name_with_an_output_a_class(repository, monkeypatch):
    monkeypatch.syspath_prepend(str(repository / "networks"))  # as the stages do with model.root
    model = build_model(ModelParams(name="transformer:transformer"), (1, 8, 8), 5)
    assert model(torch.zeros(2, 1, 8, 8)).shape == (2, 5)
