"""Where the models start that begin before the edge."""

import pytest
import torch
from toys import DRIVE, LR, walls

from edgewise.states.optimizers import GradientDescent, State
from edgewise.theory.start import below_the_threshold

SLOPE = (1.0, 0.0)
OPTIMIZER = GradientDescent(LR)


def run(steps: int) -> list[State]:
    """Gradient descent along the floor: the sharpness at the centre after step t is above by w_t + LR DRIVE / 2."""
    states = [State(torch.tensor([0.0, -0.52, 0.0], dtype=torch.float64))]
    while len(states) < steps:
        states.append(OPTIMIZER.step(states[-1], walls(SLOPE).gradient(states[-1].theta)))
    return states


def start(states: list[State], last_step: int) -> tuple[int, list[float]]:
    step, at = below_the_threshold(walls(SLOPE), OPTIMIZER, reversed(states), last_step, 1e-9)
    return step, at.centre.tolist()


#: At w = -0.52 + LR DRIVE (t + 1 / 2) the centre after step t is below the threshold up to this one.
LAST_BELOW = int(0.52 / (LR * DRIVE[0]) - 0.5)


@pytest.mark.parametrize("every", [1, 5, 40])
def test_it_is_the_last_centre_below_the_threshold_whatever_the_checkpoints_are(every):
    step, centre = start(run(21)[::every], 20)
    assert step == LAST_BELOW == 12
    assert centre[1] == pytest.approx(-0.52 + LR * DRIVE[0] * (step + 0.5))


def test_it_is_not_beyond_onset():
    assert start(run(6), 5)[0] == 5


def test_where_all_are_at_the_threshold_it_is_the_earliest():
    assert start(run(21)[15:], 20)[0] == 15
