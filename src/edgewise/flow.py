"""Gradient flow: the limit of small steps, which has no edge of stability (Cohen et al. 2021)."""

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from edgewise.optimizers import Optimizer, State


@dataclass(frozen=True, kw_only=True)
class GradientFlow(Optimizer):
    """d theta / dt = -(gradient + weight_decay theta), for a time of lr a step.

    Dormand and Prince's adaptive Runge-Kutta pair. The error allowed is relative to the way gone in the step, so that a
    step outside the integrator's stability region, which shows as an error, is refused and repeated with a smaller one.

    Attributes
    ----------
    gradient : theta [P] -> gradient of the loss [P]
    tolerance : error allowed, relative to the way gone in a step
    """

    gradient: Callable[[Tensor], Tensor]
    tolerance: float

    @property
    def stability_threshold(self) -> float:
        """Infinite: a flow has no step that could be too large."""
        return math.inf

    def step(self, state: State, gradient: Tensor) -> State:
        """The flow from `state` for a time of lr."""
        from torchdiffeq import odeint

        def velocity(time: Tensor, way: Tensor) -> Tensor:
            theta = state.theta + way
            return -self.gradient(theta) - self.weight_decay * theta

        way = odeint(
            velocity,
            torch.zeros_like(state.theta),
            torch.tensor([0.0, self.lr], dtype=torch.float64, device=state.theta.device),
            method="dopri5",
            rtol=self.tolerance,
            atol=self.tolerance * self.lr * gradient.square().mean().sqrt().item(),
            options={"first_step": self.lr},
        )[-1]
        return self._after(state, state.theta + way, **state.buffers)
