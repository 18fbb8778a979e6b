"""What a model costs, and the flow that the models are made of."""

from itertools import islice

import numpy as np
import pytest
import torch
from scipy.linalg import expm
from toys import LR, Losses, problem_of, walls

from edgewise.dynamics.eigen import EigenTracker
from edgewise.errors import DivergenceError
from edgewise.network.objective import Objective
from edgewise.states.optimizers import State
from edgewise.theory.problem import PRODUCT, SHARPNESS_GRADIENT, Metered, flow_with


def test_what_is_asked_of_an_objective_is_counted_in_gradients():
    metered = Metered(walls((1.0, 0.0)))
    theta, v = torch.tensor([0.1, 0.2, 0.3], dtype=torch.float64), torch.tensor([1.0, 0.0, 0.0], dtype=torch.float64)
    counts = []
    for ask in (
        lambda: metered.gradient(theta),
        lambda: metered.hessian(theta),
        lambda: metered.sharpness_gradient(theta, v),
        lambda: metered.unmetered.gradient(theta),
    ):
        before = metered.gradients
        ask()
        counts.append(metered.gradients - before)
    assert counts == [1, 0, SHARPNESS_GRADIENT, 0]
    before = metered.gradients
    products = EigenTracker(metered).measure(theta).products
    assert metered.gradients - before == PRODUCT * products > 0
    for answer in ("gradient", "unmetered"):
        assert hasattr(metered, answer)
    torch.testing.assert_close(metered.gradient(theta), metered.unmetered.gradient(theta))
    torch.testing.assert_close(metered.hessian(theta)(v), metered.unmetered.hessian(theta)(v))
    torch.testing.assert_close(metered.sharpness_gradient(theta, v)[1:], torch.tensor([1.0, 0.0], dtype=torch.float64))


def test_what_is_not_counted_is_as_the_objective_has_it():
    objective = Objective(torch.nn.Linear(2, 2), "mse", torch.ones(3, 2), torch.tensor([0, 1, 0]), chunk_size=2)
    metered = Metered(objective)
    theta = torch.zeros(objective.num_params)
    assert len(metered) == 3
    assert len(metered.subset(torch.tensor([0, 2]))) == 2
    torch.testing.assert_close(metered.projections(theta, theta + 1), objective.projections(theta, theta + 1))
    assert metered.loss_and_accuracy(theta) == objective.loss_and_accuracy(theta)
    assert metered.gradients == 0


def test_losses_are_means_over_all_and_over_groups():
    groups = {"two": torch.tensor([0, 2]), "one": torch.tensor([False, True, False])}
    row = problem_of(walls((1.0, 0.0)), [0.0, 0.0, 0.0], groups=groups).losses(torch.tensor([1.0, 2.0, 6.0]))
    assert row == {"loss": 3.0, "loss_two": 3.5, "loss_one": 2.0}


@pytest.mark.parametrize("substeps", [1, 3])
@pytest.mark.parametrize("decay", [0.0, 0.7])
def test_the_flow_is_exact_on_a_quadratic(substeps, decay):
    hessian = np.diag([18.0, 5.0, 1.0])
    matrix = torch.from_numpy(hessian)
    objective = Losses(lambda theta: (theta @ matrix @ theta / 2)[None])
    start = [1.0, -2.0, 0.5]
    problem = problem_of(objective, start, weight_decay=decay)
    for step, (theta, here) in enumerate(islice(flow_with(problem, substeps), 5)):
        expected = expm(-LR * step * (hessian + decay * np.eye(3))) @ start
        np.testing.assert_allclose(theta, expected, rtol=1e-5, atol=1e-7)
        assert here.loss == pytest.approx(expected @ hessian @ expected / 2, rel=1e-4, abs=1e-12)


def test_a_push_moves_theta_after_every_substep():
    problem = problem_of(walls((1.0, 0.0)), [0.0, 0.0, 0.0])
    away = torch.tensor([0.0, 0.0, 1.0], dtype=torch.float64)
    *_, (theta, _) = islice(flow_with(problem, 2, lambda at: at + away), 4)
    # The drive goes on as it does without the push.
    *_, (alone, _) = islice(flow_with(problem, 2), 4)
    torch.testing.assert_close(theta, alone + 6 * away)


def test_it_says_when_it_diverges():
    flow = flow_with(problem_of(walls((1.0, 0.0)), [0.0, 0.0, 0.0]), 1, lambda at: at / 0)
    with pytest.raises(DivergenceError, match=r"optimizer\.lr: was 0\.1"):
        list(flow)


def test_the_gradient_that_is_followed_has_the_weight_decay_of_the_optimiser():
    problem = problem_of(walls((1.0, 0.0)), [0.0, 0.0, 0.0], weight_decay=0.5)
    theta = torch.tensor([0.1, 2.0, 3.0], dtype=torch.float64)
    gradient = problem.objective.gradient(theta)
    step = problem.optimizer.step(State(theta), gradient).theta - theta
    torch.testing.assert_close(problem.followed(theta, gradient), -step / LR)
