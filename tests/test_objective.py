"""The objective against a network written out by hand, dense Hessians and one backward pass an example."""

import math

import pytest
import torch
from torch import Tensor, nn
from torch.autograd.functional import hessian

from edgewise.models import build_model, initial_theta
from edgewise.objective import Objective
from edgewise.params import ModelParams

N, SHAPE, WIDTH = 7, (1, 2, 3), 4


def by_hand(theta: Tensor, x: Tensor, y: Tensor, loss: str) -> Tensor:
    """The losses [n] of a tanh network with two hidden layers, without the library and without torch.nn."""
    d = math.prod(SHAPE)
    w1, b1, w2, b2, w3, b3 = theta.split([WIDTH * d, WIDTH, WIDTH * WIDTH, WIDTH, 2 * WIDTH, 2])
    h = torch.tanh(x.reshape(len(x), d) @ w1.view(WIDTH, d).T + b1)
    h = torch.tanh(h @ w2.view(WIDTH, WIDTH).T + b2)
    outputs = h @ w3.view(2, WIDTH).T + b3
    if loss == "mse":
        target = torch.stack([1.0 - y, y * 1.0], dim=1)
        return ((outputs - target) ** 2).sum(dim=1)
    return outputs.exp().sum(dim=1).log() - outputs[torch.arange(len(x)), y]


@pytest.fixture(params=["mse", "ce"])
def loss(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture
def data() -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """x, y, theta and a direction v."""
    generator = torch.Generator().manual_seed(1)
    x = torch.randn(N, *SHAPE, generator=generator, dtype=torch.float64)
    y = torch.tensor([0, 1, 1, 0, 1, 0, 1])
    model = build_model(ModelParams(width=WIDTH, activation="tanh"), SHAPE)
    theta = initial_theta(model, 1.0, seed=3)
    theta = theta + 0.1 * torch.randn(theta.shape, generator=generator, dtype=torch.float64)
    return x, y, theta, torch.randn(theta.shape, generator=generator, dtype=torch.float64)


def objective_of(x: Tensor, y: Tensor, loss: str, chunk_size: int = 1000) -> Objective:
    model = build_model(ModelParams(width=WIDTH, activation="tanh"), SHAPE)
    return Objective(model, loss, x, y, chunk_size)


def test_losses_and_accuracy_are_those_of_the_network_by_hand(data, loss):
    x, y, theta, _ = data
    evaluation = objective_of(x, y, loss).evaluate(theta)
    expected = by_hand(theta, x, y, loss)
    torch.testing.assert_close(evaluation.losses, expected)
    assert evaluation.loss == pytest.approx(expected.mean().item())
    other = by_hand(theta, x, 1 - y, loss)
    assert evaluation.correct.tolist() == (expected < other).tolist()
    assert evaluation.accuracy == pytest.approx((expected < other).double().mean().item())


def test_example_losses_of_known_outputs():
    outputs, y = torch.tensor([[1.0, 2.0], [0.0, 1.0]]), torch.tensor([0, 1])
    x = torch.zeros(2, *SHAPE)
    assert objective_of(x, y, "mse").example_losses(outputs, y).tolist() == [4.0, 0.0]
    expected = [math.log(math.e + math.e**2) - 1, math.log(1 + math.e) - 1]
    assert objective_of(x, y, "ce").example_losses(outputs, y).tolist() == pytest.approx(expected)


def test_gradient_is_that_of_the_mean_loss(data, loss):
    x, y, theta, _ = data
    leaf = theta.clone().requires_grad_()
    (expected,) = torch.autograd.grad(by_hand(leaf, x, y, loss).mean(), leaf)
    torch.testing.assert_close(objective_of(x, y, loss).evaluate(theta).gradient, expected)


def test_hessian_vector_products_are_those_of_the_dense_hessian(data, loss):
    x, y, theta, v = data
    dense = hessian(lambda at: by_hand(at, x, y, loss).mean(), theta)
    product = objective_of(x, y, loss).hessian(theta)
    torch.testing.assert_close(product(v), dense @ v)
    torch.testing.assert_close(torch.stack([product(e) for e in torch.eye(len(theta), dtype=theta.dtype)]), dense)


def test_hessian_of_linear_regression_has_its_closed_form(data):
    x, y, _, _ = data
    model = nn.Sequential(nn.Flatten(), nn.Linear(6, 2, bias=False))
    objective = Objective(model, "mse", x, y, 3)
    flat = x.reshape(N, 6)
    expected = torch.kron(torch.eye(2, dtype=x.dtype), 2 / N * flat.T @ flat)
    product = objective.hessian(torch.zeros(12, dtype=x.dtype))
    torch.testing.assert_close(torch.stack([product(e) for e in torch.eye(12, dtype=x.dtype)]), expected)


def test_projections_are_one_backward_pass_an_example_dotted_with_v(data, loss):
    x, y, theta, v = data
    expected = []
    for i in range(N):
        leaf = theta.clone().requires_grad_()
        (gradient,) = torch.autograd.grad(by_hand(leaf, x[i : i + 1], y[i : i + 1], loss).sum(), leaf)
        expected.append(gradient @ v)
    torch.testing.assert_close(objective_of(x, y, loss).projections(theta, v), torch.stack(expected))


@pytest.mark.parametrize("chunk_size", [1, 2, 3, 6, 7, 8])
def test_chunks_do_not_change_any_result(data, loss, chunk_size):
    x, y, theta, v = data
    chunked = objective_of(x, y, loss, chunk_size)
    dense = hessian(lambda at: by_hand(at, x, y, loss).mean(), theta)
    leaf = theta.clone().requires_grad_()
    losses = by_hand(leaf, x, y, loss)
    (gradient,) = torch.autograd.grad(losses.mean(), leaf)
    evaluation = chunked.evaluate(theta)
    torch.testing.assert_close(evaluation.losses, losses.detach())
    torch.testing.assert_close(evaluation.gradient, gradient)
    torch.testing.assert_close(chunked.hessian(theta)(v), dense @ v)
    torch.testing.assert_close(chunked.projections(theta, v).mean(), gradient @ v)


@pytest.mark.parametrize("members", [torch.tensor([4, 1]), torch.tensor([1, 0, 0, 1, 0, 0, 1]).bool()])
def test_a_subset_is_the_objective_of_its_members_alone(data, loss, members):
    x, y, theta, v = data
    subset = objective_of(x, y, loss, chunk_size=2).subset(members)
    expected = by_hand(theta, x[members], y[members], loss)
    dense = hessian(lambda at: by_hand(at, x[members], y[members], loss).mean(), theta)
    assert len(subset) == len(expected)
    torch.testing.assert_close(subset.evaluate(theta).losses, expected)
    torch.testing.assert_close(subset.hessian(theta)(v), dense @ v)


def test_evaluation_leaves_theta_and_the_model_untouched(data, loss):
    x, y, theta, v = data
    objective = objective_of(x, y, loss)
    before, weights = theta.clone(), [p.clone() for p in objective.model.parameters()]
    objective.evaluate(theta)
    objective.hessian(theta)(v)
    objective.projections(theta, v)
    assert torch.equal(theta, before)
    assert not theta.requires_grad
    assert all(torch.equal(p, w) and p.grad is None for p, w in zip(objective.model.parameters(), weights, strict=True))


@pytest.mark.gpu
def test_the_gpu_agrees_with_the_cpu(data, loss):
    x, y, theta, v = data
    here, there = objective_of(x, y, loss), objective_of(x.cuda(), y.cuda(), loss)
    torch.testing.assert_close(there.evaluate(theta.cuda()).gradient.cpu(), here.evaluate(theta).gradient)
    torch.testing.assert_close(there.hessian(theta.cuda())(v.cuda()).cpu(), here.hessian(theta)(v))
    torch.testing.assert_close(there.projections(theta.cuda(), v.cuda()).cpu(), here.projections(theta, v))
