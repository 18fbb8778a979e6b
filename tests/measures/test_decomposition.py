"""The split of the two-step average on losses where both parts are known, and on a network with kinks."""

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from toys import Losses

from edgewise.measures.decomposition import decompose
from edgewise.network.objective import Objective

GROUPS = {"first": torch.tensor([0, 1]), "last": torch.tensor([False, False, True])}


@pytest.fixture
def pair(rng) -> tuple[Tensor, Tensor]:
    first, second = torch.from_numpy(rng.standard_normal((2, 4)))
    return first, second


def test_on_a_quadratic_the_oscillation_costs_its_curvature_and_exerts_no_force(rng, pair):
    half = torch.from_numpy(rng.standard_normal((3, 4, 4)))
    hessians, slopes = half + half.mT, torch.from_numpy(rng.standard_normal((3, 4)))
    objective = Losses(lambda theta: (hessians @ theta) @ theta / 2 + slopes @ theta)
    found = decompose(objective, *pair, GROUPS)
    centre, delta = (pair[0] + pair[1]) / 2, (pair[1] - pair[0]) / 2
    for name, members in GROUPS.items():
        hessian = hessians[members].mean(dim=0)
        at_centre = objective.evaluate(centre).losses[members].mean().item()
        assert found[f"oscillation_cost_{name}"] == pytest.approx((delta @ hessian @ delta / 2).item())
        assert found[f"centre_loss_{name}"] == pytest.approx(at_centre)
    assert found["force"] == pytest.approx(0, abs=1e-12)
    gradient = hessians.mean(dim=0) @ centre + slopes.mean(dim=0)
    assert found["centre_gradient"] == pytest.approx(gradient.norm().item())


def test_on_a_cubic_the_force_is_the_third_derivative_along_the_oscillation(rng, pair):
    """Of (w . theta)^3, averaged over c +- delta, the gradient is 3 w ((w . c)^2 + (w . delta)^2)."""
    weights = torch.from_numpy(rng.standard_normal((3, 4)))
    found = decompose(Losses(lambda theta: (weights @ theta) ** 3), *pair, GROUPS)
    centre, delta = (pair[0] + pair[1]) / 2, (pair[1] - pair[0]) / 2
    force = (3 * weights.T * (weights @ delta) ** 2).mean(dim=1)
    assert found["force"] == pytest.approx(force.norm().item())
    assert found["centre_gradient"] == pytest.approx(
        (3 * weights.T * (weights @ centre) ** 2).mean(dim=1).norm().item()
    )
    cost = 3 * (weights @ centre) * (weights @ delta) ** 2
    assert found["oscillation_cost_first"] == pytest.approx(cost[:2].mean().item())


def test_the_force_of_a_valley_flattens_it():
    """With L = (20 + y) x^2 / 2, iterates at x = +-0.3 push y down by 0.3^2 / 2, and the centre feels nothing."""
    objective = Losses(lambda theta: ((20 + theta[1]) * theta[0] ** 2 / 2)[None].expand(3))
    iterates = torch.tensor([[0.3, 0.5], [-0.3, 0.5]], dtype=torch.float64)
    found = decompose(objective, *iterates, GROUPS)
    assert found["force"] == pytest.approx(0.3**2 / 2)
    assert found["centre_gradient"] == 0
    assert found["centre_loss_last"] == 0
    assert found["oscillation_cost_last"] == pytest.approx(20.5 * 0.3**2 / 2)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("loss", ["mse", "ce"])
def test_on_a_network_with_kinks_both_parts_are_the_two_step_average(rng, dtype, loss):
    model = nn.Sequential(nn.Linear(6, 16), nn.ReLU(), nn.Linear(16, 2)).to(dtype)
    x, y = torch.from_numpy(rng.standard_normal((30, 6))).to(dtype), torch.arange(30) % 2
    objective = Objective(model, loss, x, y, chunk_size=7)
    first, second = torch.from_numpy(rng.standard_normal((2, objective.num_params))).to(dtype)
    groups = {"some": torch.arange(9), "all": torch.ones(30, dtype=torch.bool)}
    found = decompose(objective, first, second, groups)
    one, other, centre = (objective.evaluate(theta) for theta in (first, second, (first + second) / 2))
    rounding = 1e-12 * one.loss
    for name, members in groups.items():
        average = (one.losses[members].double().mean() + other.losses[members].double().mean()).item() / 2
        assert found[f"centre_loss_{name}"] + found[f"oscillation_cost_{name}"] == pytest.approx(average, abs=rounding)
    assert found["centre_loss_all"] == pytest.approx(centre.loss)
    step = (one.gradient + other.gradient) / 2
    assert found["force"] == pytest.approx((step - centre.gradient).norm().item(), rel=1e-5)
    assert found["force"] > 0


def test_without_a_step_the_oscillation_costs_nothing(pair):
    objective = Losses(lambda theta: torch.stack([theta[0] ** 4, theta[1], theta[2] * theta[3]]))
    found = decompose(objective, pair[0], pair[0], GROUPS)
    assert found["oscillation_cost_first"] == found["oscillation_cost_last"] == found["force"] == 0
    assert found["centre_loss_first"] == pytest.approx(np.mean([pair[0][0].item() ** 4, pair[0][1].item()]))
