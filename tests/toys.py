"""Losses written by hand as functions of the parameters alone."""

from collections.abc import Callable

import torch
from torch import Tensor
from torch.autograd.functional import hessian, jacobian

from edgewise.network.objective import Evaluation, Objective


class Losses(Objective):
    """An objective of any losses: theta [P] -> [n]; there are no data and no labels."""

    def __init__(self, losses: Callable[[Tensor], Tensor]) -> None:
        self.losses_at = losses

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
