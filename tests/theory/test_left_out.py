"""Training in which some examples do not feel the oscillation, on quadratics."""

from itertools import islice

import pytest
import torch
from torch import Tensor
from toys import Losses

from edgewise.states.optimizers import GradientDescent, Momentum, State
from edgewise.theory.left_out import train_with_some_at_centre

LR = 0.1
#: Curvatures of three examples; the last one is left out, and makes the difference between below and above 2 / LR.
SHARPNESS = torch.tensor([10.0, 26.0, 42.0], dtype=torch.float64)
LAST = torch.tensor([False, False, True])


class Several(Losses):
    """Losses of which some can be taken alone."""

    def __len__(self) -> int:
        return len(self.losses_at(torch.zeros(1, dtype=torch.float64)))

    def subset(self, members: Tensor) -> "Several":
        return Several(lambda theta: self.losses_at(theta)[members])


def parabolas(theta: Tensor) -> Tensor:
    return SHARPNESS * theta[0] ** 2 / 2


def pair_of(optimizer, theta: float) -> tuple[State, State]:
    first = State(torch.tensor([theta], dtype=torch.float64))
    return first, optimizer.step(first, Several(parabolas).gradient(first.theta))


@pytest.mark.parametrize("optimizer", [GradientDescent(LR), GradientDescent(LR, 0.5), Momentum(LR, momentum=0.3)])
def test_with_no_example_at_the_centre_it_is_the_optimizer(optimizer):
    pair, nobody = pair_of(optimizer, 0.3), torch.zeros(3, dtype=torch.bool)

    class Nobody(Several):
        def subset(self, members: Tensor) -> Several:
            return Several(lambda theta: 0 * theta)

    state, expected = pair[0], []
    for _ in range(6):
        expected.append(Several(parabolas).evaluate(state.theta).loss)
        state = optimizer.step(state, Several(parabolas).gradient(state.theta))
    rows = list(islice(train_with_some_at_centre(Nobody(parabolas), optimizer, pair, nobody, {}), 6))
    assert [row["loss"] for row in rows] == pytest.approx(expected)
    assert [row["step"] for row in rows] == list(range(6))
    assert [row["time"] for row in rows] == pytest.approx([step * optimizer.time_per_step for step in range(6)])


def test_the_iterates_follow_the_recurrence_with_the_mean_of_the_last_two():
    optimizer = GradientDescent(LR)
    pair = pair_of(optimizer, 0.3)
    x = [state.theta.item() for state in pair]
    for _ in range(8):
        x.append(x[-1] - LR * ((10 + 26) / 3 * x[-1] + 42 / 3 * (x[-1] + x[-2]) / 2))
    groups = {"first": torch.tensor([0]), "last": LAST}
    rows = list(islice(train_with_some_at_centre(Several(parabolas), optimizer, pair, LAST, groups), 10))
    assert [row["loss_last"] for row in rows] == pytest.approx([21 * value**2 for value in x])
    assert [row["loss_first"] for row in rows] == pytest.approx([5 * value**2 for value in x])


def test_an_oscillation_that_grows_with_the_examples_dies_out_without_what_they_do_to_it():
    optimizer = GradientDescent(LR)
    assert SHARPNESS.mean() > 2 / LR
    pair = pair_of(optimizer, 0.3)
    *_, grown = islice(train_with_some_at_centre(Several(parabolas), optimizer, pair, LAST, {}), 40)
    assert grown["loss"] < 1e-3 * Several(parabolas).evaluate(pair[0].theta).loss
