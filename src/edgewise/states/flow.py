"""Gradient flow: the limit of gradient descent as lr tends to 0, which has no edge of stability (Cohen et al. 2021)."""

import math
from bisect import bisect_right
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import accumulate, pairwise

import torch
from torch import Tensor

from edgewise.errors import DivergenceError
from edgewise.states.optimizers import Optimizer, State

#: A step is repeated with a smaller absolute tolerance if its displacement was overestimated by more than this factor.
OVERESTIMATE = 4

#: The shortest substep, relative to a step. The integrator goes on from it where a longer one overflowed.
SHORTEST = 1e-6


@dataclass(frozen=True, kw_only=True)
class GradientFlow(Optimizer):
    """d theta / dt = -(gradient + weight_decay theta), over a time of lr per step.

    It is integrated by the adaptive Runge-Kutta pair of Dormand and Prince (1980). The integrator rejects a substep
    with too large an error and repeats it with a shorter one. That includes substeps outside its region of stability,
    whose errors are large, so the result is that of the flow however large lr is.

    The allowed error is relative to the displacement in a step, which is not known beforehand. It is first estimated as
    lr times the gradient. If the flow is stiff that is an overestimate, and with it the allowed error is too large: the
    step is then repeated with the displacement found (see `OVERESTIMATE`).

    Attributes
    ----------
    gradient : theta [P] -> gradient of the loss [P]
    tolerance : error allowed in a step, relative to the displacement in it
    """

    gradient: Callable[[Tensor], Tensor]
    tolerance: float

    @property
    def stability_threshold(self) -> float:
        """Infinite: the flow is stable at any sharpness."""
        return math.inf

    def step(self, state: State, gradient: Tensor) -> State:
        """The state after following the flow from `state` for a time of lr; `gradient` [P] is the one at its start.

        Raises
        ------
        DivergenceError
            If the integrator cannot keep to the tolerance.
        """
        from torchdiffeq import odeint

        def velocity(time: Tensor, displacement: Tensor) -> Tensor:
            theta = state.theta + displacement
            return -self.gradient(theta) - self.weight_decay * theta

        def integrate(expected: float) -> Tensor:
            """The displacement [P] from `state`, with errors relative to its `expected` root mean square."""
            try:
                path: Tensor = odeint(
                    velocity,
                    torch.zeros_like(state.theta),
                    torch.tensor([0.0, self.lr], dtype=torch.float64, device=state.theta.device),
                    method="dopri5",
                    rtol=self.tolerance,
                    atol=self.tolerance * expected,
                    options={"first_step": self.lr, "min_step": SHORTEST * self.lr},
                )
            except AssertionError as error:  # torchdiffeq's word for substeps that have no length, or no finite end
                raise DivergenceError(
                    f"gradient flow cannot be followed beyond step {state.step} to within {self.tolerance:g}"
                ) from error
            return path[-1]

        expected = self.lr * _rms(self._decayed(state, gradient))
        displacement = integrate(expected) if expected > 0 else torch.zeros_like(state.theta)
        while expected > OVERESTIMATE * _rms(displacement) > 0:
            expected = _rms(displacement)
            displacement = integrate(expected)
        return self._after(state, state.theta + displacement, **state.buffers)


@dataclass(frozen=True)
class FlowPath:
    """Gradient flow at any time, from states that were kept of it.

    Attributes
    ----------
    flow : what led from one state to the next
    states : in the order of their times
    """

    flow: GradientFlow
    states: Sequence[State]

    def at(self, time: float) -> tuple[Tensor, float]:
        """The parameters [P] at `time`, and the length of the way there, straight from each state kept to the next.

        They are those kept, or followed from the last ones that were kept before.
        """
        reached = 1e-9 * self.flow.lr
        last = bisect_right(self.states, time + reached, key=lambda state: state.time) - 1
        before = self.states[last]
        if time - before.time <= reached:
            return before.theta, self._ways[last]
        rest = replace(self.flow, lr=time - before.time)
        theta = rest.step(before, rest.gradient(before.theta)).theta
        return theta, self._ways[last] + (theta - before.theta).norm().item()

    @cached_property
    def _ways(self) -> list[float]:
        """The length of the way to each state."""
        lengths = ((there.theta - here.theta).norm().item() for here, there in pairwise(self.states))
        return list(accumulate(lengths, initial=0.0))


def _rms(vector: Tensor) -> float:
    """The root mean square of a vector [P]."""
    return vector.square().mean().sqrt().item()
