"""Pairs of consecutive iterates: at the edge they lie on opposite sides of the valley, so both are measured."""

from torch import Tensor

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
