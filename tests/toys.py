"""Losses written by hand as functions of the parameters alone, and models of the edge on them."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.autograd.functional import hessian, jacobian

from edgewise.network.objective import Evaluation, Objective
from edgewise.states.optimizers import GradientDescent
from edgewise.theory.edge_flow import Oscillation
from edgewise.theory.problem import Metered, Problem

#: The step size of the walls, and what drives the floor: at the bottom the sharpnesses are 2 / LR.
LR, DRIVE = 0.1, (0.4, 0.3)


def walls(*slopes: tuple[float, float]) -> "Losses":
    """Valleys side by side over one floor, theta = (x_1, ..., x_m, w) with w in the plane; one example each, and it.

    L = sum_i (2 / LR + s_i . w) x_i^2 / 2 - DRIVE . w. At x = 0 the eigenvalues are 2 / LR + s_i . w along the axes,
    with gradients (0, s_i); gradient flow moves w along DRIVE at a rate of 1, and with an oscillation of covariance X
    along the x it moves along DRIVE - sum_i X_ii s_i / 2. For one valley L is its own expansion to third order.
    """
    count = len(slopes)

    def losses(theta: Tensor) -> Tensor:
        x, w = theta[:count], theta[count:]
        sharpness = 2 / LR + torch.tensor(slopes, dtype=torch.float64) @ w
        floor = -torch.tensor(DRIVE, dtype=torch.float64) @ w
        return (count + 1) * torch.cat([sharpness * x.square() / 2, floor[None]])

    return Losses(losses)


class Losses(Objective):
    """An objective of any losses: theta [P] -> [n]; there are no data and no labels."""

    def __init__(self, losses: Callable[[Tensor], Tensor]) -> None:
        self.losses_at = losses

    def __len__(self) -> int:
        return 0  # there are no examples to draw mini-batches of

    def evaluate(self, theta: Tensor) -> Evaluation:
        leaf = theta.detach().requires_grad_()
        losses = self.losses_at(leaf)
        gradient = torch.autograd.grad(losses.mean(), leaf)[0]
        nothing = torch.zeros(len(losses))
        return Evaluation(losses.detach(), nothing.bool(), gradient, nothing)

    def hessian(self, theta: Tensor) -> Callable[[Tensor], Tensor]:
        matrix = self._hessian(theta)
        return lambda v: matrix @ v

    def projections(self, theta: Tensor, v: Tensor) -> Tensor:
        return jacobian(self.losses_at, theta) @ v

    def curvatures(self, theta: Tensor, v: Tensor) -> Tensor:
        return jacobian(lambda at: jacobian(self.losses_at, at, create_graph=True) @ v, theta) @ v

    def sharpness_gradient(self, theta: Tensor, v: Tensor) -> Tensor:
        return jacobian(lambda at: v @ self._hessian(at, create_graph=True) @ v, theta)

    def _hessian(self, theta: Tensor, create_graph: bool = False) -> Tensor:
        return hessian(lambda at: self.losses_at(at).mean(), theta, create_graph=create_graph)


def problem_of(objective: Losses, centre: list[float], half_step: list[float] | None = None, **options: Any) -> Problem:
    """Gradient descent on the objective with the step size `LR`, and exact eigenpairs and flow."""
    start = Oscillation(*torch.tensor([centre, half_step or [0.0] * len(centre)], dtype=torch.float64))
    optimizer = GradientDescent(LR, options.pop("weight_decay", 0.0))
    few = {"groups": {}, "tolerance": 1e-9, "flow_tolerance": 1e-7}
    return Problem(Metered(objective), optimizer, start, **(few | options))
