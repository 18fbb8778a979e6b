"""Training in which some examples do not feel the oscillation: their gradient is taken at its centre.

Edge flow with `at_centre` is a model of it. The iterates go on jumping from one side of the valley to the other. The
gradient of the examples left out is that at the mean of the last two iterates: the part of it that changes sign at
every step is gone, and with it what those examples do to the oscillation.
"""

from collections.abc import Iterator, Mapping

from torch import Tensor

from edgewise.data.files import Row
from edgewise.network.objective import Objective, mean_losses
from edgewise.states.optimizers import Optimizer, State


def train_with_some_at_centre(
    objective: Objective,
    optimizer: Optimizer,
    pair: tuple[State, State],
    at_centre: Tensor,
    groups: Mapping[str, Tensor],
) -> Iterator[Row]:
    """Yield the records of the run from a pair of consecutive iterates on, for ever: step, time, loss and loss_<group>.

    Parameters
    ----------
    at_centre : a mask of the examples whose gradient is taken at the centre of the last two iterates
    groups : for each group's name, a mask or index of its examples
    """
    previous, state = pair
    still = objective.subset(at_centre)
    share = len(still) / len(objective)
    yield _record(previous, objective.evaluate(previous.theta).losses, groups)
    while True:
        here = objective.evaluate(state.theta)
        yield _record(state, here.losses, groups)
        centre = (previous.theta + state.theta) / 2
        gradient = here.gradient + share * (still.gradient(centre) - still.gradient(state.theta))
        previous, state = state, optimizer.step(state, gradient)


def _record(state: State, losses: Tensor, groups: Mapping[str, Tensor]) -> Row:
    return {"step": state.step, "time": state.time, **mean_losses(losses, groups)}
