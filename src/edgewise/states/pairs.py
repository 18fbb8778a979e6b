"""Pairs of consecutive iterates: at the edge they lie on opposite sides of the valley, so both are measured."""

import numpy as np
from torch import Tensor

from edgewise.data.files import Array
from edgewise.network.objective import Objective
from edgewise.states.optimizers import Optimizer, State


def consecutive(objective: Objective, optimizer: Optimizer, state: State) -> tuple[State, State]:
    """`state` and the one that a step of `optimizer` leads to.

    The period-2 oscillation changes sign from one to the other: averaged over both, a quantity does not depend on
    whether the step is even or odd.
    """
    return state, optimizer.step(state, followed_gradient(objective, optimizer, state))


def followed_gradient(objective: Objective, optimizer: Optimizer, state: State) -> Tensor:
    """The gradient [P] that the step from `state` follows: of the whole objective, or of the step's mini-batch."""
    batch = optimizer.batch(state.step, len(objective))
    return (objective if batch is None else objective.subset(batch)).gradient(state.theta)


def first_at(times: Array, time_per_step: float) -> Array:
    """The first step [n] at or after each of `times` [n], of a run that starts at time 0.

    >>> first_at(np.array([0.0, 0.3, 0.5]), time_per_step=0.1)
    array([0, 3, 5])
    """
    steps: Array = np.ceil(np.asarray(times) / time_per_step - 1e-6).astype(int)
    return steps
