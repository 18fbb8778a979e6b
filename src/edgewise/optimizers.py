"""Optimisers as pure steps (state, gradient) -> state, each with the sharpness at which it turns unstable."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Protocol, Self

from torch import Tensor

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


def build_optimizer(params: OptimizerParams) -> Optimizer:
    """The optimiser that `params` names."""
    return GradientDescent(params.lr)
