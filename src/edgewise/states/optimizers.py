"""Optimisers as pure steps (state, gradient) -> state, each with the sharpness at which it turns unstable.

All of a run's memory is in its `State`: branches that start from one state have the same moments, and see the same
mini-batches, which are a function of the shuffle seed and of the step alone.

Weight decay is coupled (gradient + weight_decay * theta) except in Adam, where it is decoupled (AdamW). Coupled, it
makes the objective L + weight_decay/2 |theta|^2, whose Hessian is that of L plus weight_decay; sharpness is measured
on L, so its threshold is lower by weight_decay.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Self

import numpy as np
import torch
from torch import Tensor

from edgewise.params import OptimizerParams

#: Change of the step, relative to its length, from which an accelerated optimiser counts as swinging. At the edge it is
#: 0.5 to 2; away from it the kinks of ReLU networks alone make it about 0.1, and look like a curvature of 2 / lr.
SWING = 0.5


@dataclass(frozen=True)
class State:
    """All that a run needs to go on from where it is.

    Attributes
    ----------
    theta : [P]
    step : steps taken since initialisation; Adam's bias corrections and SGD's mini-batches follow from it
    time : training time, the sum of `Optimizer.time_per_step` over the steps taken
    buffers : the optimiser's own vectors [P], by name; none before the first step, when they are zero
    """

    theta: Tensor
    step: int = 0
    time: float = 0.0
    buffers: Mapping[str, Tensor] = field(default_factory=dict)

    def buffer(self, name: str) -> Tensor:
        """The optimiser's vector of that name [P]."""
        return self.buffers[name] if name in self.buffers else torch.zeros_like(self.theta)


@dataclass(frozen=True)
class Optimizer:
    """One step of an optimiser, and what is known of its stability; by itself, what holds for full-batch descent.

    Attributes
    ----------
    lr : step size
    weight_decay : in units of curvature
    """

    lr: float
    weight_decay: float = 0.0

    @property
    def stability_threshold(self) -> float:
        """The sharpness of L (of its preconditioned Hessian, see `preconditioner`) above which a step diverges."""
        raise NotImplementedError

    @property
    def time_per_step(self) -> float:
        """Training time of a step: that for which gradient flow would go as far, where the gradient is constant.

        lr, or lr / (1 - beta) with momentum. Equal times of two branches compare equal distances along the flow.
        """
        return self.lr

    @property
    def secant_window(self) -> int:
        """Steps over which secant sharpness is averaged before the threshold is held against it."""
        return 1

    def step(self, state: State, gradient: Tensor) -> State:
        """The state after one step along `gradient` [P], taken at `state.theta`."""
        raise NotImplementedError

    def batch(self, step: int, n: int) -> Tensor | None:
        """Indices of the examples, out of n, whose gradient the step from `step` follows; None for all of them."""
        return None

    def sample_batches(self, step: int, n: int) -> list[Tensor]:
        """Mini-batches for estimates at `step`, independent of those trained on; empty where all examples are used."""
        return []

    def preconditioner(self, state: State, gradient: Tensor) -> Tensor | None:
        """The diagonal P [P] by whose inverse the step from `state` is multiplied; None for the identity.

        `gradient` [P] is the one that the step follows. The threshold is for P^-1/2 H P^-1/2.
        """
        return None

    def secant(self, state: State, gradient: Tensor, following: State, next_gradient: Tensor) -> tuple[Tensor, Tensor]:
        """The displacement and the change of gradient [P] that secant sharpness is taken of: those of the step."""
        return following.theta - state.theta, next_gradient - gradient

    def with_lr(self, lr: float) -> Self:
        """The same optimiser with another step size. Its vectors, in the state, carry over unchanged."""
        return replace(self, lr=lr)

    def _decayed(self, state: State, gradient: Tensor) -> Tensor:
        """The gradient with coupled weight decay."""
        return gradient + self.weight_decay * state.theta if self.weight_decay else gradient

    def _after(self, state: State, theta: Tensor, **buffers: Tensor) -> State:
        """The state a step later, at `theta`, with these vectors."""
        return State(theta, state.step + 1, state.time + self.time_per_step, buffers)


@dataclass(frozen=True)
class GradientDescent(Optimizer):
    """theta <- theta - lr g; stable up to 2 / lr (Cohen et al. 2021)."""

    @property
    def stability_threshold(self) -> float:
        """2 / lr - weight_decay."""
        return 2 / self.lr - self.weight_decay

    def step(self, state: State, gradient: Tensor) -> State:
        """One gradient step."""
        return self._after(state, state.theta - self.lr * self._decayed(state, gradient))


class Accelerated(Optimizer):
    """What optimisers that follow an average of gradients share: secant sharpness of the change of the step.

    The average enlarges the steps along smooth directions, by 1 / (1 - beta), and not the oscillation, so that a step
    of theirs at the edge has little of v1 in it. The difference of two consecutive steps cancels what is smooth and
    doubles what alternates. For it, the state keeps the last position and gradient, previous_theta and
    previous_gradient; before the first step the run was at rest.
    """

    def secant(self, state: State, gradient: Tensor, following: State, next_gradient: Tensor) -> tuple[Tensor, Tensor]:
        """The second differences of theta and of the gradient [P], over the last two steps, if the step swings.

        If not, their first differences: the second would be small and noisy. It swings if its change is at least
        `SWING` of its length, in the metric of the preconditioner.
        """
        step, change = following.theta - state.theta, next_gradient - gradient
        step_change = step - (state.theta - state.buffers.get("previous_theta", state.theta))
        change_change = change - (gradient - state.buffers.get("previous_gradient", gradient))
        preconditioner = self.preconditioner(state, gradient)
        metric = torch.ones_like(step) if preconditioner is None else preconditioner
        if step_change @ (metric * step_change) < SWING**2 * (step @ (metric * step)):
            return step, change
        return step_change, change_change


@dataclass(frozen=True)
class Momentum(Accelerated):
    """Heavy ball (Polyak 1964): m <- beta m + g; theta <- theta - lr m; stable up to (2 + 2 beta) / lr.

    m is in units of the gradient and does not know lr. A branch that changes lr keeps it, and so changes the velocity
    lr * m at once by the factor on lr.
    """

    momentum: float = 0.9

    @property
    def stability_threshold(self) -> float:
        """(2 + 2 beta) / lr - weight_decay (Cohen et al. 2021, appendix B)."""
        return (2 + 2 * self.momentum) / self.lr - self.weight_decay

    @property
    def time_per_step(self) -> float:
        """Step size / (1 - beta): under a constant gradient m tends to g / (1 - beta)."""
        return self.lr / (1 - self.momentum)

    def step(self, state: State, gradient: Tensor) -> State:
        """One heavy-ball step."""
        velocity = self.momentum * state.buffer("velocity") + self._decayed(state, gradient)
        return self._after(state, state.theta - self.lr * velocity, velocity=velocity, **_previous(state, gradient))


@dataclass(frozen=True)
class Nesterov(Momentum):
    """Nesterov's momentum: m <- beta m + g; theta <- theta - lr (g + beta m), as in torch.

    theta is the point looked ahead to, the one at which the gradient is taken; records and curvature are of it.
    """

    @property
    def stability_threshold(self) -> float:
        """(2 + 2 beta) / (lr (1 + 2 beta)) - weight_decay (Cohen et al. 2021, appendix B)."""
        return (2 + 2 * self.momentum) / (self.lr * (1 + 2 * self.momentum)) - self.weight_decay

    def step(self, state: State, gradient: Tensor) -> State:
        """One step of Nesterov's momentum."""
        decayed = self._decayed(state, gradient)
        velocity = self.momentum * state.buffer("velocity") + decayed
        theta = state.theta - self.lr * (decayed + self.momentum * velocity)
        return self._after(state, theta, velocity=velocity, **_previous(state, gradient))


@dataclass(frozen=True)
class StochasticGradientDescent(GradientDescent):
    """Gradient descent on mini-batches: every epoch walks all examples in a new order, dropping an incomplete batch.

    Its edge is where batch sharpness, the mean over mini-batches B of g_B.H_B g_B / |g_B|^2, is 2 / lr (Andreyev and
    Beneventano 2024). Where labels contradict each other, gradients are mostly noise off the sharp directions, and it
    may settle well below: on digits with the output-outliers, at 0.4 to 0.8 of 2 / lr; without them, at 0.9.

    Attributes
    ----------
    batch_size : examples a mini-batch; all of them, where there are fewer
    shuffle_seed : of the order
    """

    batch_size: int = 32
    shuffle_seed: int = 0

    @property
    def secant_window(self) -> int:
        """100: one step's secant sharpness is that of one mini-batch."""
        return 100

    def batch(self, step: int, n: int) -> Tensor:
        """The mini-batch of a step, from the permutation of its epoch."""
        epoch, position = divmod(step, max(1, n // self.batch_size))
        return self._batches(n, [self.shuffle_seed, 0, epoch])[position]

    def sample_batches(self, step: int, n: int) -> list[Tensor]:
        """All mini-batches of an epoch in an order of its own, which nothing was trained on."""
        return self._batches(n, [self.shuffle_seed, 1, step])

    def _batches(self, n: int, seed: list[int]) -> list[Tensor]:
        order = torch.from_numpy(np.random.default_rng(seed).permutation(n))
        size = min(self.batch_size, n)
        return list(order[: n - n % size].split(size))


@dataclass(frozen=True)
class Adam(Accelerated):
    """Adam (Kingma and Ba 2015), and with weight decay AdamW, written as preconditioned momentum (Cohen et al. 2022).

    m <- beta1 m + (1 - beta1) g; theta <- (1 - lr weight_decay) theta - lr P^-1 m, where P is `preconditioner`.
    """

    beta1: float = 0.9
    beta2: float = 0.999
    epsilon: float = 1e-8

    @property
    def stability_threshold(self) -> float:
        """(2 + 2 beta1) / ((1 - beta1) lr) * (1 - lr weight_decay / 2), for P^-1/2 H P^-1/2; 38 / lr at beta1 = 0.9.

        That P changes slowly is assumed. With a = 1 - lr weight_decay, a mode of curvature s follows
        x'' = (a + beta1 - lr (1 - beta1) s) x' - a beta1 x, whose roots leave the unit circle at -1.
        """
        decay = 1 - self.lr * self.weight_decay / 2
        return (2 + 2 * self.beta1) / ((1 - self.beta1) * self.lr) * decay

    def preconditioner(self, state: State, gradient: Tensor) -> Tensor:
        """P = (1 - beta1^t) (sqrt(v / (1 - beta2^t)) + epsilon) of the coming step, the t-th (Cohen et al. 2022).

        The first factor is the bias correction of m, which makes Adam's first steps longer.
        """
        step = state.step + 1
        second = self._second_moment(state, gradient) / (1 - self.beta2**step)
        return (1 - self.beta1**step) * (second.sqrt() + self.epsilon)

    def step(self, state: State, gradient: Tensor) -> State:
        """One step of Adam."""
        first = self.beta1 * state.buffer("first_moment") + (1 - self.beta1) * gradient
        theta = (1 - self.lr * self.weight_decay) * state.theta if self.weight_decay else state.theta
        theta = theta - self.lr * first / self.preconditioner(state, gradient)
        second = self._second_moment(state, gradient)
        return self._after(state, theta, first_moment=first, second_moment=second, **_previous(state, gradient))

    def _second_moment(self, state: State, gradient: Tensor) -> Tensor:
        return self.beta2 * state.buffer("second_moment") + (1 - self.beta2) * gradient.square()


def _previous(state: State, gradient: Tensor) -> dict[str, Tensor]:
    """What an accelerated optimiser keeps of the point that it leaves."""
    return {"previous_theta": state.theta, "previous_gradient": gradient}


def build_optimizer(params: OptimizerParams, shuffle_seed: int = 0) -> Optimizer:
    """The optimiser that `params` names; `shuffle_seed` orders SGD's mini-batches and means nothing to the others."""
    lr, decay = params.lr, params.weight_decay
    if params.name == "momentum":
        return Momentum(lr, decay, params.momentum)
    if params.name == "nesterov":
        return Nesterov(lr, decay, params.momentum)
    if params.name == "sgd":
        return StochasticGradientDescent(lr, decay, params.batch_size, shuffle_seed)
    if params.name == "adam":
        return Adam(lr, decay, params.beta1, params.beta2, params.epsilon)
    return GradientDescent(lr, decay)
