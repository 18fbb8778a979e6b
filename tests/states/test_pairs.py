"""The two iterates of a checkpoint."""

import numpy as np
import pytest
import torch
from torch import nn

from edgewise.dynamics.loop import train
from edgewise.network.objective import Objective
from edgewise.states.optimizers import GradientDescent, Momentum, Optimizer, State, StochasticGradientDescent
from edgewise.states.pairs import consecutive, followed_gradient

N, D = 12, 3


@pytest.fixture
def objective(rng) -> Objective:
    x = torch.from_numpy(rng.standard_normal((N, D)))
    return Objective(nn.Linear(D, 2, bias=False), "mse", x, torch.arange(N) % 2, chunk_size=5)


@pytest.mark.parametrize(
    "optimizer", [GradientDescent(0.1), Momentum(0.05), StochasticGradientDescent(0.1, batch_size=4)], ids=repr
)
def test_the_second_iterate_is_the_one_that_training_comes_to_bit_for_bit(objective, optimizer: Optimizer):
    run = train(objective, optimizer, State(torch.ones(2 * D, dtype=torch.float64)), {})
    states = [next(run).state for _ in range(6)]
    for here, there in zip(states, states[1:], strict=False):
        first, second = consecutive(objective, optimizer, here)
        assert first is here
        assert torch.equal(second.theta, there.theta)
        assert (second.step, second.time) == (there.step, there.time)
        assert all(torch.equal(second.buffers[name], there.buffers[name]) for name in there.buffers)


def test_the_gradient_that_a_step_follows_is_that_of_its_mini_batch(objective):
    state, optimizer = State(torch.ones(2 * D, dtype=torch.float64), step=4), StochasticGradientDescent(0.1, 0, 4)
    batch = objective.subset(optimizer.batch(4, N))
    assert torch.equal(followed_gradient(objective, optimizer, state), batch.gradient(state.theta))
    whole = followed_gradient(objective, GradientDescent(0.1), state)
    assert torch.equal(whole, objective.gradient(state.theta))


def test_the_mean_over_both_does_not_depend_on_whether_the_step_is_even(objective):
    """At lr = 2 / sharpness the sharpest direction only changes sign; a linear quantity is then free of it."""
    h = 2 / N * (objective.x.T @ objective.x).numpy()
    values, basis = np.linalg.eigh(h)
    optimizer = GradientDescent(2 / values[-1])
    best = torch.from_numpy(np.linalg.lstsq(objective.x.numpy(), np.eye(2)[np.arange(N) % 2], rcond=None)[0].T)
    v1 = torch.from_numpy(np.outer([1, 0], basis[:, -1])).reshape(-1)
    state = State(best.reshape(-1) + 0.7 * v1)
    for _ in range(3):
        first, second = (float((one.theta - best.reshape(-1)) @ v1) for one in consecutive(objective, optimizer, state))
        assert abs(first) == pytest.approx(0.7)
        assert first + second == pytest.approx(0, abs=1e-10)
        state = consecutive(objective, optimizer, state)[1]
