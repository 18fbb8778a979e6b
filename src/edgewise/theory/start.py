"""Where the models of a network at its threshold start: before the edge, where nothing oscillates yet."""

from collections.abc import Iterable

from edgewise.dynamics.eigen import EigenTracker
from edgewise.network.objective import Objective
from edgewise.states.optimizers import Optimizer, State
from edgewise.states.pairs import consecutive
from edgewise.theory.edge_flow import Oscillation


def below_the_threshold(
    objective: Objective, optimizer: Optimizer, states: Iterable[State], last_step: int, tolerance: float
) -> tuple[int, Oscillation]:
    """The last centre of a run before the sharpness there reaches the threshold, and the first step of its pair.

    From the latest of `states` whose centre is below the threshold the run is repeated as far as it stays below.

    Parameters
    ----------
    states : of the run, the latest first; where all of them are at the threshold, the earliest is taken
    last_step : the run is not followed further than to the pair that begins there
    tolerance : relative residual of eigenpairs
    """
    tracker = EigenTracker(objective, tolerance=tolerance)

    def is_below(pair: tuple[State, State]) -> bool:
        centre = Oscillation.of(*pair).centre
        return tracker.measure(centre).values[0].item() < optimizer.stability_threshold

    for state in states:
        pair = consecutive(objective, optimizer, state)
        if is_below(pair):
            break
    while pair[0].step < last_step and is_below(following := consecutive(objective, optimizer, pair[1])):
        pair = following
    return pair[0].step, Oscillation.of(*pair)
