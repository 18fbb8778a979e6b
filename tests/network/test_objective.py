"""The objective against a network written out by hand, dense Hessians and one backward pass an example."""

import math
import subprocess
import sys
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.autograd.functional import hessian

from edgewise.network.models import build_model, initial_theta
from edgewise.network.objective import Objective
from edgewise.params import ModelParams

N, SHAPE, WIDTH = 7, (1, 2, 3), 4


def by_hand(theta: Tensor, x: Tensor, y: Tensor, loss: str) -> Tensor:
    """The losses [n] of a tanh network with two hidden layers, without the library and without torch.nn."""
    d = math.prod(SHAPE)
    classes = (len(theta) - WIDTH * (d + WIDTH + 2)) // (WIDTH + 1)
    w1, b1, w2, b2, w3, b3 = theta.split([WIDTH * d, WIDTH, WIDTH * WIDTH, WIDTH, classes * WIDTH, classes])
    h = torch.tanh(x.reshape(len(x), d) @ w1.view(WIDTH, d).T + b1)
    h = torch.tanh(h @ w2.view(WIDTH, WIDTH).T + b2)
    outputs = h @ w3.view(classes, WIDTH).T + b3
    if loss == "mse":
        target = torch.tensor([[float(label == other) for other in range(classes)] for label in y.tolist()])
        return ((outputs - target) ** 2).sum(dim=1)
    return outputs.exp().sum(dim=1).log() - outputs[torch.arange(len(x)), y]


@pytest.fixture(params=["mse", "ce"])
def loss(request: pytest.FixtureRequest) -> str:
    return request.param


def made(classes: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """x, y, theta and a direction v."""
    generator = torch.Generator().manual_seed(1)
    x = torch.randn(N, *SHAPE, generator=generator, dtype=torch.float64)
    y = torch.tensor([0, 1, 1, 0, 1, 0, 1]) if classes == 2 else torch.tensor([0, 1, 2, 0, 2, 2, 1])
    model = build_model(ModelParams(width=WIDTH, activation="tanh"), SHAPE, classes)
    theta = initial_theta(model, 1.0, seed=3)
    theta = theta + 0.1 * torch.randn(theta.shape, generator=generator, dtype=torch.float64)
    return x, y, theta, torch.randn(theta.shape, generator=generator, dtype=torch.float64)


@pytest.fixture(params=[2, 3], ids=["two classes", "three classes"])
def data(request: pytest.FixtureRequest) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    return made(request.param)


@pytest.fixture
def pair() -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Of two classes."""
    return made(2)


def objective_of(x: Tensor, y: Tensor, loss: str, chunk_size: int = 1000) -> Objective:
    model = build_model(ModelParams(width=WIDTH, activation="tanh"), SHAPE, int(y.max()) + 1)
    return Objective(model, loss, x, y, chunk_size)


def test_losses_and_accuracy_are_those_of_the_network_by_hand(data, loss):
    x, y, theta, _ = data
    evaluation = objective_of(x, y, loss).evaluate(theta)
    expected = by_hand(theta, x, y, loss)
    torch.testing.assert_close(evaluation.losses, expected)
    assert evaluation.loss == pytest.approx(expected.mean().item())
    classes = int(y.max()) + 1
    # Of all labels the right one must have the smallest loss.
    others = torch.stack([by_hand(theta, x, (y + shift) % classes, loss) for shift in range(1, classes)])
    right = (expected < others).all(dim=0)
    assert evaluation.correct.tolist() == right.tolist()
    assert evaluation.accuracy == pytest.approx(right.double().mean().item())


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


@pytest.mark.parametrize("chunk_size", [1000, 3])
def test_curvatures_are_second_derivatives_of_every_examples_loss(data, loss, chunk_size):
    x, y, theta, v = data
    found = objective_of(x, y, loss, chunk_size).curvatures(theta, v)
    for i in range(N):
        dense = hessian(lambda at, i=i: by_hand(at, x[i : i + 1], y[i : i + 1], loss)[0], theta)
        assert found[i].item() == pytest.approx((v @ dense @ v).item())


def test_hessian_vector_products_are_those_of_the_dense_hessian(data, loss):
    x, y, theta, v = data
    dense = hessian(lambda at: by_hand(at, x, y, loss).mean(), theta)
    product = objective_of(x, y, loss).hessian(theta)
    torch.testing.assert_close(product(v), dense @ v)
    torch.testing.assert_close(torch.stack([product(e) for e in torch.eye(len(theta), dtype=theta.dtype)]), dense)


def test_hessian_of_linear_regression_has_its_closed_form(pair):
    x, y, _, _ = pair
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
    torch.testing.assert_close(chunked.gradient_norms(theta), objective_of(x, y, loss).gradient_norms(theta))


@pytest.mark.parametrize("chunk_size", [1, 3, 7, 1000])
def test_loss_and_accuracy_are_those_of_the_evaluation_without_its_graph(data, loss, chunk_size, monkeypatch):
    x, y, theta, _ = data
    expected = objective_of(x, y, loss).evaluate(theta)
    objective, graphs, outputs = objective_of(x, y, loss, chunk_size), [], Objective.outputs

    def watched(*args: object) -> Tensor:
        graphs.append((result := outputs(*args)).requires_grad)
        return result

    monkeypatch.setattr(Objective, "outputs", watched)
    found = objective.loss_and_accuracy(theta.clone().requires_grad_())
    assert found == (pytest.approx(expected.loss), expected.accuracy)
    assert graphs == [False] * math.ceil(N / chunk_size)


@pytest.mark.parametrize("chunk_size", [1, 3, 7, 1000])
def test_chunks_take_further_tensors_along_with_their_examples(data, chunk_size):
    x, y, _, _ = data
    index, table = torch.arange(N), torch.arange(2.0 * N).view(N, 2)
    chunks = list(objective_of(x, y, "mse", chunk_size).chunks(index, table))
    assert [len(chunk[0]) for chunk in chunks[:-1]] == [chunk_size] * (math.ceil(N / chunk_size) - 1)
    for whole, parts in zip((x, y, index, table), zip(*chunks, strict=True), strict=True):
        assert torch.equal(torch.cat(parts), whole)


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


class Shared(nn.Module):
    """A linear layer that is used twice, and a parameter of its size beside it."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.last = nn.Linear(6, 6, bias=False), nn.Linear(6, 2, bias=False)
        self.shift = nn.Parameter(torch.zeros(36))

    def forward(self, x: Tensor) -> Tensor:
        outputs: Tensor = self.last(torch.tanh(self.first(torch.tanh(self.first(x.flatten(1))))))
        return outputs + self.shift.sum()


class Tokens(nn.Module):
    """A linear layer on each row of the image: its inputs have three dimensions, or two and more rows than examples."""

    def __init__(self, rows_as_examples: bool) -> None:
        super().__init__()
        self.rows_as_examples = rows_as_examples
        self.first, self.last = nn.Linear(3, 4), nn.Linear(8, 2)

    def forward(self, x: Tensor) -> Tensor:
        rows = x.reshape(-1, 3) if self.rows_as_examples else x.flatten(1, 2)
        outputs: Tensor = self.last(torch.tanh(self.first(rows)).reshape(len(x), 8))
        return outputs


class Tied(nn.Module):
    """A layer's weight used outside of the layer too."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.last = nn.Linear(6, 6), nn.Linear(6, 2)

    def forward(self, x: Tensor) -> Tensor:
        hidden = torch.tanh(self.first(x.flatten(1)))
        outputs: Tensor = self.last(torch.tanh(hidden @ self.first.weight))
        return outputs


class Parallel(nn.Module):
    """Two layers whose outputs are added."""

    def __init__(self) -> None:
        super().__init__()
        self.one, self.two = nn.Linear(6, 2), nn.Linear(6, 2)

    def forward(self, x: Tensor) -> Tensor:
        outputs: Tensor = self.one(x.flatten(1)) + self.two(torch.tanh(x.flatten(1)))
        return outputs


def chain(*layers: nn.Module) -> nn.Module:
    return nn.Sequential(nn.Flatten(), nn.Linear(6, 6), *layers)


def twice(layer: nn.Module) -> nn.Module:
    return nn.Sequential(nn.Flatten(), layer, nn.Tanh(), layer, nn.Tanh(), nn.Linear(6, 2))


def in_common(one: nn.Linear, other: nn.Linear) -> nn.Module:
    other.weight = one.weight
    return nn.Sequential(nn.Flatten(), one, nn.Tanh(), other, nn.Tanh(), nn.Linear(6, 2))


def parametrised(layer: nn.Module) -> nn.Module:
    nn.utils.parametrize.register_parametrization(layer, "weight", nn.Tanh())
    return layer


def cnn(**options: object) -> nn.Module:
    return build_model(ModelParams(name="cnn", width=16, depth=1, activation="tanh", **options), SHAPE)


#: What the gradient norms of linear layers may not be read off from, and what they may.
NETWORKS: dict[str, Callable[[], nn.Module]] = {
    "mlp": lambda: build_model(ModelParams(width=WIDTH, activation="tanh"), SHAPE),
    "deep mlp": lambda: build_model(ModelParams(width=WIDTH, depth=4, activation="relu"), SHAPE),
    "mlp with group normalisation": lambda: build_model(ModelParams(width=16, normalisation="group"), SHAPE),
    "cnn": cnn,
    "cnn with group normalisation": lambda: cnn(normalisation="group"),
    "no biases": lambda: nn.Sequential(nn.Flatten(), nn.Linear(6, 4, bias=False), nn.GELU(), nn.Linear(4, 2)),
    "a layer used twice": Shared,
    "inputs of three dimensions": lambda: Tokens(rows_as_examples=False),
    "more rows than examples": lambda: Tokens(rows_as_examples=True),
    "a weight used elsewhere": Tied,
    "layers side by side": Parallel,
    "outputs that are not a layer's": lambda: chain(nn.Tanh(), nn.Linear(6, 2), nn.Tanh()),
    "a layer of the sequence used twice": lambda: twice(nn.Linear(6, 6)),
    "activations in place": lambda: chain(nn.ReLU(inplace=True), nn.Linear(6, 2)),
    "weights that are functions of the parameters": lambda: chain(nn.Tanh(), parametrised(nn.Linear(6, 2))),
    "weights in common": lambda: in_common(nn.Linear(6, 6), nn.Linear(6, 6)),
    "no flattening": lambda: nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Flatten(), nn.Linear(8, 2)),
}


@pytest.fixture(params=list(NETWORKS))
def network(request: pytest.FixtureRequest) -> nn.Module:
    return NETWORKS[request.param]()


@pytest.fixture
def per_example(pair, loss, network) -> tuple[Objective, Tensor, Tensor]:
    """An objective of any network, theta, and every example's gradient [n, P] from a backward pass of its own."""
    x, y, _, _ = pair
    network = network.double()
    objective = Objective(network, loss, x, y, chunk_size=3)
    generator = torch.Generator().manual_seed(5)
    theta = 0.5 * torch.randn(objective.num_params, generator=generator, dtype=x.dtype)
    gradients = []
    for i in range(N):
        leaf = theta.clone().requires_grad_()
        (alone,) = objective.example_losses(objective.outputs(leaf, x[i : i + 1]), y[i : i + 1])
        gradients.append(torch.autograd.grad(alone, leaf)[0])
    return objective, theta, torch.stack(gradients)


def test_gradient_norms_are_those_of_one_backward_pass_an_example(per_example):
    objective, theta, gradients = per_example
    torch.testing.assert_close(objective.gradient_norms(theta), gradients.norm(dim=1), rtol=1e-10, atol=0)


def test_gradient_norms_in_single_precision_are_accurate_to_a_hundred_thousandth(per_example):
    objective, theta, gradients = per_example
    # Normalisation amplifies the rounding of what it normalises.
    normalised = any(isinstance(module, nn.GroupNorm) for module in objective.model.modules())
    single = Objective(objective.model.float(), objective.loss, objective.x.float(), objective.y, chunk_size=3)
    found = single.gradient_norms(theta.float())
    torch.testing.assert_close(found.double(), gradients.norm(dim=1), rtol=1e-3 if normalised else 1e-5, atol=0)


def test_projections_of_any_network_are_those_of_one_backward_pass_an_example(per_example):
    objective, theta, gradients = per_example
    v = torch.randn(len(theta), generator=torch.Generator().manual_seed(6), dtype=theta.dtype)
    torch.testing.assert_close(objective.projections(theta, v), gradients @ v)


def test_gradients_and_projections_of_the_examples_average_to_those_of_the_whole(per_example):
    objective, theta, gradients = per_example
    v = torch.randn(len(theta), generator=torch.Generator().manual_seed(6), dtype=theta.dtype)
    gradient = objective.gradient(theta)
    torch.testing.assert_close(gradient, gradients.mean(dim=0))
    torch.testing.assert_close(objective.projections(theta, v).sum() / N, gradient @ v)


@pytest.mark.parametrize(("name", "formed"), [("mlp", False), ("deep mlp", False), ("cnn", True)])
def test_the_gradients_of_plain_linear_networks_are_never_formed(pair, loss, monkeypatch, name, formed):
    x, y, _, _ = pair
    objective = Objective(NETWORKS[name]().double(), loss, x, y, chunk_size=3)
    calls, form = [], Objective._norms_from_gradients
    monkeypatch.setattr(Objective, "_norms_from_gradients", lambda *args: calls.append(1) or form(*args))
    objective.gradient_norms(torch.ones(objective.num_params, dtype=x.dtype))
    assert len(calls) == (3 if formed else 0)


@pytest.fixture(params=["tanh", "gelu"])
def smooth(request: pytest.FixtureRequest, pair, loss) -> tuple[Objective, Tensor]:
    """An objective with three derivatives, in three chunks, and theta."""
    x, y, theta, _ = pair
    model = build_model(ModelParams(width=WIDTH, activation=request.param), SHAPE)
    return Objective(model, loss, x, y, chunk_size=3), theta


def test_the_sharpness_gradient_is_that_of_the_curvature_along_a_fixed_direction(smooth, rng):
    objective, theta = smooth
    v, *directions = torch.from_numpy(rng.standard_normal((5, len(theta))))
    v /= v.norm()
    gradient = objective.sharpness_gradient(theta, v)
    for direction in directions:
        step = 1e-4 * direction / direction.norm()
        beyond, before = (v @ objective.hessian(theta + s * step)(v) for s in (1, -1))
        expected = (beyond - before) / 2
        assert (gradient @ step).item() == pytest.approx(expected.item(), rel=1e-5, abs=1e-9 * step.norm().item())


def test_along_v1_it_is_the_gradient_of_the_largest_eigenvalue(smooth, rng):
    objective, theta = smooth
    identity = torch.eye(len(theta), dtype=theta.dtype)

    def largest(at: Tensor) -> tuple[Tensor, Tensor]:
        product = objective.hessian(at)
        values, vectors = torch.linalg.eigh(torch.stack([product(e) for e in identity]))
        assert values[-1] - values[-2] > 1e-2  # v1 is well defined
        return values[-1], vectors[:, -1]

    gradient = objective.sharpness_gradient(theta, largest(theta)[1])
    for direction in torch.from_numpy(rng.standard_normal((3, len(theta)))):
        step = 1e-4 * direction / direction.norm()
        expected = (largest(theta + step)[0] - largest(theta - step)[0]) / 2
        assert (gradient @ step).item() == pytest.approx(expected.item(), rel=1e-4)


def test_a_quadratic_loss_has_a_sharpness_that_does_not_change(pair):
    x, y, _, _ = pair
    objective = Objective(nn.Sequential(nn.Flatten(), nn.Linear(6, 2)), "mse", x, y, chunk_size=3)
    theta = torch.linspace(-1, 1, 14, dtype=x.dtype)
    assert torch.equal(objective.sharpness_gradient(theta, theta / theta.norm()), torch.zeros_like(theta))


class Power(nn.Module):
    """Outputs (x w^k, 0): with label 0, the loss is (x w^k - 1)^2."""

    def __init__(self, k: int) -> None:
        super().__init__()
        self.w, self.k = nn.Parameter(torch.ones(1)), k

    def forward(self, x: Tensor) -> Tensor:
        output = x.flatten(1) * self.w**self.k
        return torch.cat([output, torch.zeros_like(output)], dim=1)


class Hinge(nn.Module):
    """Outputs (x relu(w), 0): with label 0, the loss is (x relu(w) - 1)^2, with a kink at w = 0."""

    def __init__(self) -> None:
        super().__init__()
        self.w = nn.Parameter(torch.ones(1))

    def forward(self, x: Tensor) -> Tensor:
        output = x.flatten(1) * torch.relu(self.w)
        return torch.cat([output, torch.zeros_like(output)], dim=1)


def toy(model: nn.Module, inputs: list[float]) -> Objective:
    x = torch.tensor(inputs, dtype=torch.float64).view(-1, 1, 1, 1)
    return Objective(model, "mse", x, torch.zeros(len(x), dtype=torch.int64), chunk_size=2)


@pytest.mark.parametrize("sign", [1.0, -1.0])
@pytest.mark.parametrize("length", [1e-2, 0.5, 3.0])
def test_of_a_quartic_the_sharpness_gradient_is_the_third_derivative_over_any_length(length, sign):
    """Of (x w^2 - 1)^2 it is 24 x^2 w: the gradient is a cubic, whose second difference is exact."""
    objective, w = toy(Power(2), [0.3, -1.0, 2.0]), 0.7
    theta, v = torch.tensor([[w], [sign]], dtype=torch.float64)
    expected = 24 * (0.09 + 1 + 4) / 3 * w
    assert objective.sharpness_gradient(theta, v).item() == pytest.approx(expected)
    assert objective.sharpness_gradient_over(theta, v, length).item() == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("length", [1e-2, 0.5, 3.0])
def test_beyond_a_quartic_the_length_matters_and_its_square_is_the_error(length):
    """Of (x w^3 - 1)^2 the third derivative is 120 x^2 w^3 - 12 x, and 60 x^2 w h^2 more over a length h."""
    x, w = 1.3, 0.7
    objective, (theta, v) = toy(Power(3), [x]), torch.tensor([[w], [1.0]], dtype=torch.float64)
    limit = 120 * x**2 * w**3 - 12 * x
    assert objective.sharpness_gradient(theta, v).item() == pytest.approx(limit)
    over = objective.sharpness_gradient_over(theta, v, length).item()
    assert over == pytest.approx(limit + 60 * x**2 * w * length**2, rel=1e-8)


@pytest.mark.parametrize("length", [0.01, 0.19, 0.21, 0.4, 5.0])
def test_over_a_length_the_sharpness_gradient_sees_a_kink_that_the_derivative_misses(length):
    """Beyond the kink, at a distance of w, L' is 0: the second difference is 2 x ((h - w) x + 1) / h^2 once h > w."""
    x, w = 1.5, 0.2
    objective, (theta, v) = toy(Hinge(), [x]), torch.tensor([[w], [1.0]], dtype=torch.float64)
    assert objective.sharpness_gradient(theta, v).item() == 0
    expected = 2 * x * ((length - w) * x + 1) / length**2 if length > w else 0
    for side in (v, -v):
        assert objective.sharpness_gradient_over(theta, side, length).item() == pytest.approx(expected, abs=1e-9)


def test_the_sharpness_gradient_over_a_length_goes_to_the_derivative_with_its_square(smooth, rng):
    objective, theta = smooth
    v = torch.from_numpy(rng.standard_normal(len(theta)))
    v /= v.norm()
    limit = objective.sharpness_gradient(theta, v)
    errors = [
        ((objective.sharpness_gradient_over(theta, v, length) - limit).norm() / limit.norm()).item()
        for length in (0.08, 0.04, 0.02, 0.01)
    ]
    assert errors[-1] < 1e-3
    for coarser, finer in zip(errors, errors[1:], strict=False):
        assert coarser / finer == pytest.approx(4, rel=0.05)


@pytest.mark.parametrize("activation", ["relu", "tanh"])
@pytest.mark.parametrize("length", [0.01, 0.3])
def test_along_the_direction_it_is_the_difference_of_the_mean_curvatures_on_both_sides(pair, activation, length):
    x, y, theta, v = pair
    v = v / v.norm()
    model = build_model(ModelParams(width=WIDTH, activation=activation), SHAPE)
    objective = Objective(model, "mse", x, y, chunk_size=3)
    here, ahead, behind = (objective.gradient(theta + s * length * v) for s in (0, 1, -1))
    curvatures = [((one - other) @ v / length).item() for one, other in ((ahead, here), (here, behind))]
    over = objective.sharpness_gradient_over(theta, v, length)
    assert (over @ v).item() == pytest.approx((curvatures[0] - curvatures[1]) / length, rel=1e-6, abs=1e-9)
    # It does not matter which way v points.
    torch.testing.assert_close(objective.sharpness_gradient_over(theta, -v, length), over)


def test_on_a_relu_network_a_crossed_kink_is_seen_and_one_that_is_not_crossed_is_not(pair):
    x, y, theta, v = pair
    v = v / v.norm()
    model = build_model(ModelParams(width=WIDTH, activation="relu"), SHAPE)
    objective = Objective(model, "mse", x, y, chunk_size=3)

    def pattern(at: Tensor) -> Tensor:
        hidden = []
        hooks = [m.register_forward_hook(lambda *call: hidden.append(call[2] > 0)) for m in model if type(m) is nn.ReLU]
        objective.outputs(at, x)
        for hook in hooks:
            hook.remove()
        return torch.cat(hidden, dim=1)

    def crosses(length: float) -> bool:
        return any(not torch.equal(pattern(theta + s * length * v), pattern(theta)) for s in (1, -1))

    crossed = next(length for length in (2.0**i for i in range(-12, 3)) if crosses(length))
    within = objective.sharpness_gradient(theta, v)

    def error(length: float) -> float:
        return ((objective.sharpness_gradient_over(theta, v, length) - within).norm() / within.norm()).item()

    # Within one linear piece the error vanishes with the length; a kink, a jump of the gradient's slope, does not.
    assert not crosses(crossed / 4)
    assert error(crossed / 4) < 0.1 * error(crossed)
    assert error(crossed / 8) == pytest.approx(error(crossed / 4) / 4, rel=0.1)


@pytest.mark.gpu
def test_the_gpu_agrees_with_the_cpu(data, loss):
    x, y, theta, v = data
    here, there = objective_of(x, y, loss), objective_of(x.cuda(), y.cuda(), loss)
    torch.testing.assert_close(there.evaluate(theta.cuda()).gradient.cpu(), here.evaluate(theta).gradient)
    torch.testing.assert_close(there.hessian(theta.cuda())(v.cuda()).cpu(), here.hessian(theta)(v))
    torch.testing.assert_close(there.projections(theta.cuda(), v.cuda()).cpu(), here.projections(theta, v))


@pytest.mark.parametrize("loss", ["mse", "ce"])
def test_projections_do_not_load_torch_s_compiler(loss, environment):
    """Loading it takes longer than a stage's work; a forward derivative of a difference from a constant does."""
    program = (
        "import sys, torch\n"
        "from edgewise.network.models import build_model, initial_theta\n"
        "from edgewise.network.objective import Objective\n"
        "from edgewise.params import ModelParams\n"
        "model = build_model(ModelParams(width=8), (1, 4, 4))\n"
        f"objective = Objective(model, {loss!r}, torch.rand(6, 1, 4, 4), torch.tensor([0, 1] * 3), chunk_size=4)\n"
        "theta = initial_theta(model, 1.0, seed=0).float()\n"
        "print(objective.projections(theta, theta).abs().sum().item() > 0, 'torch._dynamo' in sys.modules)\n"
    )
    command = [sys.executable, "-c", program]
    result = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    assert result.stdout.split() == ["True", "False"], result.stderr
