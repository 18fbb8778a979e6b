"""Optimisers as pure steps (state, gradient) -> state, each with the sharpness above which it is unstable.

All of a run's memory is in its `State`, so branches that start from one state have the same moments. They also see the
same mini-batches, which depend on the shuffle seed and the step alone.

Weight decay is coupled (gradient + weight_decay * theta) except in Adam, where it is decoupled (AdamW). Coupled weight
decay changes the objective to L + weight_decay/2 |theta|^2, whose Hessian is that of L plus weight_decay. Sharpness is
measured on L, so the threshold for it is lower by weight_decay.

To add an optimiser, write a subclass of `Optimizer`, add a line to `OPTIMIZERS`, and its name to `OptimizerParams`.

Examples
--------
On L(theta) = sharpness/2 theta^2 a step of gradient descent multiplies theta by 1 - lr * sharpness:

>>> descent = GradientDescent(lr=0.5)
>>> descent.stability_threshold
4.0
>>> for sharpness in (3.0, 5.0):
...     state = State(torch.ones(1))
...     for _ in range(3):
...         state = descent.step(state, gradient=sharpness * state.theta)
...     print(state.theta, state.time)
tensor([-0.1250]) 1.5
tensor([-3.3750]) 1.5
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import ClassVar, Self

import numpy as np
import torch
from torch import Tensor

from edgewise.params import OptimizerParams

#: Change from one step to the next, relative to the step's length, from which an accelerated optimiser counts as
#: oscillating. At the edge it is 0.5 to 2. Away from the edge it is about 0.1 for ReLU networks, from the kinks of the
#: loss alone, and the secant sharpness of that change would be about 2 / lr.
OSCILLATION = 0.5


@dataclass(frozen=True)
class State:
    """All that a run needs to continue.

    Attributes
    ----------
    theta : [P]
    step : steps taken since initialisation; Adam's bias corrections and SGD's mini-batches follow from it
    time : training time, the sum of `Optimizer.time_per_step` over the steps taken
    buffers : the optimiser's own vectors [P], by name; before the first step there are none, and all count as 0
    """

    theta: Tensor
    step: int = 0
    time: float = 0.0
    buffers: Mapping[str, Tensor] = field(default_factory=dict)

    def buffer(self, name: str) -> Tensor:
        """The optimiser's vector [P] of that name; 0 if there is none."""
        return self.buffers[name] if name in self.buffers else torch.zeros_like(self.theta)


@dataclass(frozen=True)
class Optimizer:
    """One step of an optimiser, and its stability; the defaults are those of full-batch gradient descent.

    Attributes
    ----------
    lr : step size
    weight_decay : in units of curvature
    two_walls : whether at the edge its iterates go from one wall of a valley to the other and back, as models of the
        edge have it; of Nesterov's momentum the matrix of a step has a negative eigenvalue at the threshold,
        -beta / (1 + 2 beta), so that a part of a step is not defined, mini-batches have no two walls, and Adam's
        valley changes with its preconditioner
    """

    two_walls: ClassVar[bool] = False

    lr: float
    weight_decay: float = 0.0

    @property
    def stability_threshold(self) -> float:
        """The sharpness of L above which steps diverge on a quadratic; of P^-1/2 H P^-1/2 with a `preconditioner` P."""
        raise NotImplementedError

    @property
    def time_per_step(self) -> float:
        """Training time of a step: the time in which gradient flow moves as far, if the gradient is constant.

        It is lr, or lr / (1 - beta) with momentum. So branches at equal times have gone equally far along the flow.
        """
        return self.lr

    @property
    def secant_window(self) -> int:
        """Number of steps over which secant sharpness is averaged before it is compared with the threshold."""
        return 1

    def step(self, state: State, gradient: Tensor) -> State:
        """The state after one step along `gradient` [P], taken at `state.theta`."""
        raise NotImplementedError

    def batch(self, step: int, n: int) -> Tensor | None:
        """Indices of the examples, out of n, whose gradient the step number `step` follows; None for all of them."""
        return None

    def sample_batches(self, step: int, n: int) -> list[Tensor]:
        """Mini-batches for estimates at `step`, independent of those trained on; none if all examples are used."""
        return []

    def preconditioner(self, state: State, gradient: Tensor) -> Tensor | None:
        """The diagonal P [P] of the preconditioner of the step from `state`; None for the identity.

        The step along `gradient` [P] is multiplied by P^-1, and `stability_threshold` is then for P^-1/2 H P^-1/2.
        """
        return None

    def secant(self, state: State, gradient: Tensor, following: State, next_gradient: Tensor) -> tuple[Tensor, Tensor]:
        """The displacement [P] and the change of gradient [P] for secant sharpness: those of the step.

        The step leads from `state`, with `gradient`, to `following`, with `next_gradient`.
        """
        return following.theta - state.theta, next_gradient - gradient

    def with_lr(self, lr: float) -> Self:
        """The same optimiser with another step size. The vectors in the state are not rescaled."""
        return replace(self, lr=lr)

    def _decayed(self, state: State, gradient: Tensor) -> Tensor:
        """The gradient with coupled weight decay."""
        return gradient + self.weight_decay * state.theta if self.weight_decay else gradient

    def _after(self, state: State, theta: Tensor, **buffers: Tensor) -> State:
        """The state one step after `state`, at `theta`, with the vectors `buffers`."""
        return State(theta, state.step + 1, state.time + self.time_per_step, buffers)


@dataclass(frozen=True)
class GradientDescent(Optimizer):
    """theta <- theta - lr g; stable up to 2 / lr (Cohen et al. 2021)."""

    two_walls = True

    @property
    def stability_threshold(self) -> float:
        """2 / lr - weight_decay."""
        return 2 / self.lr - self.weight_decay

    def step(self, state: State, gradient: Tensor) -> State:
        """One gradient step."""
        return self._after(state, state.theta - self.lr * self._decayed(state, gradient))


class Accelerated(Optimizer):
    """Optimisers that follow an average of past gradients. Their secant sharpness is that of the change of the step.

    Averaging enlarges the component of the step that keeps its sign, by 1 / (1 - beta), and not the component that
    alternates. So even at the edge a step has only a small component along v1. The difference of two consecutive steps
    cancels the constant component and doubles the alternating one. To compute it, the state keeps the preceding
    parameters and gradient, as previous_theta and previous_gradient; at the first step the step before counts as 0.
    """

    def secant(self, state: State, gradient: Tensor, following: State, next_gradient: Tensor) -> tuple[Tensor, Tensor]:
        """The second differences of theta [P] and of the gradient [P] over the last two steps, if the step oscillates.

        Otherwise their first differences, because the second ones are then small and noisy. The step oscillates if its
        change is at least `OSCILLATION` times its length, in the metric of the preconditioner.
        """
        step, gradient_change = following.theta - state.theta, next_gradient - gradient
        previous_step = state.theta - state.buffers.get("previous_theta", state.theta)
        previous_gradient_change = gradient - state.buffers.get("previous_gradient", gradient)
        step_change = step - previous_step
        preconditioner = self.preconditioner(state, gradient)
        metric = torch.ones_like(step) if preconditioner is None else preconditioner
        if step_change @ (metric * step_change) < OSCILLATION**2 * (step @ (metric * step)):
            return step, gradient_change
        return step_change, gradient_change - previous_gradient_change


@dataclass(frozen=True)
class Momentum(Accelerated):
    """Heavy ball (Polyak 1964): m <- beta m + g; theta <- theta - lr m; stable up to (2 + 2 beta) / lr.

    m is in units of the gradient and does not contain lr. A branch that changes lr keeps m, so its displacement per
    step, lr * m, changes at once by the same factor as lr.
    """

    two_walls = True

    momentum: float = 0.9

    @property
    def stability_threshold(self) -> float:
        """(2 + 2 beta) / lr - weight_decay (Cohen et al. 2021, appendix B)."""
        return (2 + 2 * self.momentum) / self.lr - self.weight_decay

    @property
    def time_per_step(self) -> float:
        """Step size / (1 - beta), since under a constant gradient m tends to g / (1 - beta)."""
        return self.lr / (1 - self.momentum)

    def step(self, state: State, gradient: Tensor) -> State:
        """One heavy-ball step."""
        velocity = self.momentum * state.buffer("velocity") + self._decayed(state, gradient)
        return self._after(state, state.theta - self.lr * velocity, velocity=velocity, **_previous(state, gradient))


@dataclass(frozen=True)
class Nesterov(Momentum):
    """Nesterov's momentum: m <- beta m + g; theta <- theta - lr (g + beta m), as in torch.

    theta is the look-ahead point, at which the gradient is taken. Records and curvature are measured there.
    """

    two_walls = False

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
    """Gradient descent on mini-batches: each epoch visits all examples in a new order and drops an incomplete batch.

    Its edge is where batch sharpness, the mean over mini-batches B of g_B.H_B g_B / |g_B|^2, is 2 / lr (Andreyev and
    Beneventano 2024). Batch sharpness may settle well below that if labels contradict each other, because the gradients
    are then mostly noise orthogonal to the sharp directions: on digits it settles at 0.4 to 0.8 of 2 / lr with the
    output-outliers, and at 0.9 without them.

    Attributes
    ----------
    batch_size : examples per mini-batch; all examples, if there are fewer
    shuffle_seed : seed of the orders
    """

    two_walls = False

    batch_size: int = 32
    shuffle_seed: int = 0

    @property
    def secant_window(self) -> int:
        """100 steps, because the secant sharpness of one step is that of one mini-batch."""
        return 100

    def batch(self, step: int, n: int) -> Tensor:
        """Indices of the mini-batch of the step number `step`, from the permutation of its epoch."""
        epoch, position = divmod(step, max(1, n // self.batch_size))
        return self._batches(n, [self.shuffle_seed, 0, epoch])[position]

    def sample_batches(self, step: int, n: int) -> list[Tensor]:
        """The mini-batches of one epoch, in an order that depends on `step` and is not used in training."""
        return self._batches(n, [self.shuffle_seed, 1, step])

    def _batches(self, n: int, seed: list[int]) -> list[Tensor]:
        """The complete mini-batches of a random permutation of n examples."""
        order = torch.from_numpy(np.random.default_rng(seed).permutation(n))
        size = min(self.batch_size, n)
        return list(order[: n - n % size].split(size))


@dataclass(frozen=True)
class Adam(Accelerated):
    """Adam (Kingma and Ba 2015), or AdamW with weight decay, written as preconditioned momentum (Cohen et al. 2022).

    m <- beta1 m + (1 - beta1) g; theta <- (1 - lr weight_decay) theta - lr P^-1 m, where P is `preconditioner`.
    """

    beta1: float = 0.9
    beta2: float = 0.999
    epsilon: float = 1e-8

    @property
    def stability_threshold(self) -> float:
        """(2 + 2 beta1) / ((1 - beta1) lr) * (1 - lr weight_decay / 2), for P^-1/2 H P^-1/2; 38 / lr at beta1 = 0.9.

        P is assumed to change slowly. With a = 1 - lr weight_decay, a mode of curvature s then follows the recurrence
        x_(t+1) = (a + beta1 - lr (1 - beta1) s) x_t - a beta1 x_(t-1). It is unstable once one of the roots of its
        characteristic polynomial is below -1.
        """
        decay = 1 - self.lr * self.weight_decay / 2
        return (2 + 2 * self.beta1) / ((1 - self.beta1) * self.lr) * decay

    def preconditioner(self, state: State, gradient: Tensor) -> Tensor:
        """P = (1 - beta1^t) (sqrt(v / (1 - beta2^t)) + epsilon), for the step from `state`, the t-th from 1.

        v is the second moment after that step. The factor 1 - beta1^t is the bias correction of m (Cohen et al. 2022).
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
        """The second moment [P] after the step from `state`."""
        return self.beta2 * state.buffer("second_moment") + (1 - self.beta2) * gradient.square()


def _previous(state: State, gradient: Tensor) -> dict[str, Tensor]:
    """The buffers in which an accelerated optimiser keeps the parameters and the gradient before a step."""
    return {"previous_theta": state.theta, "previous_gradient": gradient}


def build_optimizer(params: OptimizerParams, shuffle_seed: int = 0) -> Optimizer:
    """The optimiser that `params` names; `shuffle_seed` is the seed of SGD's mini-batches, and unused by the others."""
    return OPTIMIZERS[params.name](params, shuffle_seed)


#: For each `optimizer.name`, the function from the parameters and the shuffle seed to the optimiser.
OPTIMIZERS: dict[str, Callable[[OptimizerParams, int], Optimizer]] = {
    "gd": lambda p, seed: GradientDescent(p.lr, p.weight_decay),
    "momentum": lambda p, seed: Momentum(p.lr, p.weight_decay, p.momentum),
    "nesterov": lambda p, seed: Nesterov(p.lr, p.weight_decay, p.momentum),
    "sgd": lambda p, seed: StochasticGradientDescent(p.lr, p.weight_decay, p.batch_size, seed),
    "adam": lambda p, seed: Adam(p.lr, p.weight_decay, p.beta1, p.beta2, p.epsilon),
}
