"""Optimisers as pure steps (state, gradient) -> state, each with the sharpness at which it turns unstable."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Protocol, Self

import torch
from torch import Tensor
from torchdiffeq import odeint

from edgewise.params import OptimizerParams


@dataclass(frozen=True)
class State:
    """All that a run needs to go on from where it is.

    Attributes
    ----------
    theta : [P]
    step : steps taken since initialisation
    time : training time, the sum of the step sizes taken
    buffers : the optimiser's own vectors, by name
    """

    theta: Tensor
    step: int = 0
    time: float = 0.0
    buffers: Mapping[str, Tensor] = field(default_factory=dict)


class Optimizer(Protocol):
    """One step of an optimiser, and what is known of its stability."""

    @property
    def lr(self) -> float:
        """Step size."""

    @property
    def stability_threshold(self) -> float:
        """The largest eigenvalue at which a step on a quadratic does not diverge."""

    def step(self, state: State, gradient: Tensor) -> State:
        """The state after one step along `gradient` [P], taken at `state.theta`."""

    def with_lr(self, lr: float) -> Self:
        """The same optimiser with another step size."""


@dataclass(frozen=True)
class GradientDescent:
    """theta <- theta - lr * gradient; stable up to 2 / lr (Cohen et al. 2021)."""

    lr: float

    @property
    def stability_threshold(self) -> float:
        """2 / lr."""
        return 2 / self.lr

    def step(self, state: State, gradient: Tensor) -> State:
        """One gradient step."""
        theta = state.theta - self.lr * gradient
        return replace(state, theta=theta, step=state.step + 1, time=state.time + self.lr)

    def with_lr(self, lr: float) -> Self:
        """The same with another step size."""
        return replace(self, lr=lr)


@dataclass(frozen=True)
class GradientFlow:
    """d theta / dt = -gradient, for a time of lr a step: the limit without an edge (Cohen et al. 2021).

    Dormand and Prince's adaptive Runge-Kutta pair. The error allowed is relative to the way gone in the step, so that a
    step outside the integrator's stability region, which shows as an error, is refused and repeated with a smaller one.
    """

    lr: float
    gradient: Callable[[Tensor], Tensor]
    tolerance: float

    @property
    def stability_threshold(self) -> float:
        """None: a flow has no step that could be too large."""
        return math.inf

    def step(self, state: State, gradient: Tensor) -> State:
        """The flow from `state` for a time of lr."""
        way = odeint(
            lambda time, way: -self.gradient(state.theta + way),
            torch.zeros_like(state.theta),
            torch.tensor([0.0, self.lr], dtype=torch.float64, device=state.theta.device),
            method="dopri5",
            rtol=self.tolerance,
            atol=self.tolerance * self.lr * gradient.square().mean().sqrt().item(),
            options={"first_step": self.lr},
        )[-1]
        return replace(state, theta=state.theta + way, step=state.step + 1, time=state.time + self.lr)

    def with_lr(self, lr: float) -> Self:
        """The same flow, recorded at another spacing."""
        return replace(self, lr=lr)


def build_optimizer(params: OptimizerParams) -> Optimizer:
    """The optimiser that `params` names."""
    return GradientDescent(params.lr)
