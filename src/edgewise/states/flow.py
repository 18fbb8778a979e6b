"""Gradient flow: the limit of small steps, which has no edge of stability (Cohen et al. 2021)."""

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from edgewise.states.optimizers import Optimizer, State

#: The way gone in a step is first taken to be lr times the gradient. Where the flow is stiff that is too much, and so
#: would the error be that is relative to it: from this factor on the step is repeated.
OVERESTIMATE = 4


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

        def way_gone(expected: float) -> Tensor:
            """The way from `state`, where its entries are expected to be of this size."""
            path: Tensor = odeint(
                velocity,
                torch.zeros_like(state.theta),
                torch.tensor([0.0, self.lr], dtype=torch.float64, device=state.theta.device),
                method="dopri5",
                rtol=self.tolerance,
                atol=self.tolerance * expected,
                options={"first_step": self.lr},
            )
            return path[-1]

        expected = self.lr * _size(self._decayed(state, gradient))
        way = way_gone(expected) if expected > 0 else torch.zeros_like(state.theta)
        while expected > OVERESTIMATE * _size(way) > 0:
            expected = _size(way)
            way = way_gone(expected)
        return self._after(state, state.theta + way, **state.buffers)


def _size(vector: Tensor) -> float:
    """The root mean square of a vector [P]."""
    return vector.square().mean().sqrt().item()
