"""The curvature over a finite step: on a quadratic, on a smooth function, and over kinks whose place is known."""

import math

import pytest
import torch
from torch import Tensor, nn
from toys import Losses

from edgewise.dynamics.edge import secant_sharpness
from edgewise.measures.kinks import LENGTHS, curvature_by_length
from edgewise.network.objective import Objective


class Toy(Losses):
    """A toy with Hessian-vector products too."""

    def hessian(self, theta: Tensor):
        matrix = torch.autograd.functional.hessian(lambda at: self.losses_at(at).mean(), theta)
        return lambda vector: matrix @ vector


def curvatures(objective: Objective, first: Tensor, second: Tensor) -> dict[float, float]:
    rows = curvature_by_length(objective, first, second)
    half_step = (second - first).norm().item() / 2
    assert [row["length"] for row in rows] == pytest.approx([relative * half_step for relative in LENGTHS])
    return {row["relative_length"]: row["curvature"] for row in rows}


def test_on_a_quadratic_every_length_has_the_curvature_along_the_step(rng):
    half = torch.from_numpy(rng.standard_normal((4, 4)))
    hessian, (first, second) = half + half.T, torch.from_numpy(rng.standard_normal((2, 4)))
    found = curvatures(Toy(lambda theta: (theta @ hessian @ theta / 2)[None]), first, second)
    unit = (second - first) / (second - first).norm()
    assert list(found.values()) == pytest.approx([(unit @ hessian @ unit).item()] * len(LENGTHS))


def test_on_a_quartic_it_grows_with_the_square_of_the_length():
    """Of x^4 / 12 the gradient is x^3 / 3, so about 0 the curvature over l is l^2 / 3."""
    first, second = torch.tensor([[-0.6], [0.6]], dtype=torch.float64)
    found = curvatures(Toy(lambda theta: theta**4 / 12), first, second)
    assert list(found.values()) == pytest.approx([(relative * 0.6) ** 2 / 3 for relative in LENGTHS], abs=1e-12)


def test_a_kink_counts_from_the_length_at_which_it_is_crossed_and_no_hessian_sees_it():
    """The gradient of 5 x^2 + 3 max(0, x - 0.1) jumps by 3 at 0.1: over l > 0.1 about 0 that adds 3 / (2 l)."""
    first, second = torch.tensor([[-0.2], [0.2]], dtype=torch.float64)
    found = curvatures(Toy(lambda theta: 5 * theta**2 + 3 * torch.relu(theta - 0.1)), first, second)
    for relative, curvature in found.items():
        length = 0.2 * relative
        if length != pytest.approx(0.1):
            assert curvature == pytest.approx(10 + (3 / (2 * length) if length > 0.1 else 0)), relative


@pytest.mark.parametrize("activation", [nn.Tanh(), nn.ReLU()], ids=["tanh", "relu"])
def test_on_a_network_the_limit_is_that_of_hessian_vector_products_and_one_half_step_is_kappa(rng, activation):
    x = torch.from_numpy(rng.standard_normal((30, 3)))
    model = nn.Sequential(nn.Linear(3, 16), activation, nn.Linear(16, 2)).double()
    objective = Objective(model, "mse", x, torch.arange(30) % 2, chunk_size=7)
    first, second = torch.from_numpy(rng.standard_normal((2, objective.num_params)))
    found = curvatures(objective, first, second)
    step = second - first
    gradients = [objective.gradient(theta) for theta in (first, second)]
    assert found[1.0] == pytest.approx(secant_sharpness(step, gradients[1] - gradients[0]))
    near = curvatures(objective, (first + second) / 2 - 1e-5 * step, (first + second) / 2 + 1e-5 * step)
    assert near[1.0] == pytest.approx(found[0.0], rel=1e-6)
    assert near[0.0] == pytest.approx(found[0.0])


def test_with_a_preconditioner_it_is_measured_in_its_metric():
    """With P = 2, P^-1/2 H P^-1/2 of x^2 is 1."""
    first, second = torch.tensor([[-0.5], [0.3]], dtype=torch.float64)
    rows = curvature_by_length(Toy(lambda theta: theta**2), first, second, torch.full((1,), 2.0, dtype=torch.float64))
    assert [row["curvature"] for row in rows] == pytest.approx([1.0] * len(LENGTHS))


def test_without_a_step_there_is_no_curvature_along_it():
    rows = curvature_by_length(Toy(lambda theta: theta**2), torch.ones(1), torch.ones(1))
    assert all(math.isnan(row["curvature"]) for row in rows)
