"""Edge flow on losses where it has a closed form, and beside gradient descent on a valley whose walls it settles on."""

import math
from itertools import islice

import numpy as np
import pytest
import torch
from scipy.integrate import solve_ivp
from scipy.linalg import expm
from torch import Tensor
from toys import Losses

from edgewise.errors import DivergenceError
from edgewise.network.objective import Objective
from edgewise.params import OptimizerParams
from edgewise.states.optimizers import GradientDescent, Momentum, Optimizer, State, build_optimizer
from edgewise.theory.edge_flow import Oscillation, edge_flow, predicted_records

LR = 0.1


def vector(*values: float) -> Tensor:
    return torch.tensor(values, dtype=torch.float64)


def quadratic(hessian: np.ndarray) -> Losses:
    matrix = torch.from_numpy(hessian)
    return Losses(lambda theta: (theta @ matrix @ theta / 2)[None])


def predicted(
    objective: Objective,
    start: Oscillation,
    steps: int,
    lr: float = LR,
    substeps: int = 2,
    weight_decay: float = 0.0,
    momentum: float = 0.0,
):
    """Where edge flow is after 0, 1, ... `steps` steps, and its records."""
    optimizer = Momentum(lr, weight_decay, momentum) if momentum else GradientDescent(lr, weight_decay)
    return list(islice(edge_flow(objective, optimizer, start, {}, substeps), steps + 1))


@pytest.fixture
def hessian(rng) -> np.ndarray:
    """Eigenvalues from 1 to 18: the sharpest one is below the threshold of 20."""
    basis = np.linalg.qr(rng.standard_normal((4, 4)))[0]
    return basis @ np.diag([1.0, 4.0, 9.0, 18.0]) @ basis.T


def test_an_oscillation_is_between_two_iterates():
    at = Oscillation.of(State(vector(1, 5)), State(vector(4, 1), buffers={"velocity": vector(6, 8)}))
    assert at.centre.tolist() == [2.5, 3]
    assert at.half_step.tolist() == [1.5, -2]
    assert at.amplitude == 2.5
    assert torch.equal(at.centre_velocity, vector(3, 4))
    assert torch.equal(at.half_step_velocity, vector(3, 4))


@pytest.mark.parametrize("substeps", [1, 2, 5])
@pytest.mark.parametrize("decay", [0.0, 0.7])
def test_on_a_quadratic_the_centre_follows_the_power_of_a_matrix(rng, hessian, substeps, decay):
    start = Oscillation(*torch.from_numpy(rng.standard_normal((2, 4))))
    found = predicted(quadratic(hessian), start, 6, substeps=substeps, weight_decay=decay)
    once = np.eye(4) - LR / substeps * (hessian + decay * np.eye(4))
    for step, (at, _) in enumerate(found):
        expected = np.linalg.matrix_power(once, step * substeps) @ start.centre.numpy()
        np.testing.assert_allclose(at.centre.numpy(), expected, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("sharpness", [2.0, 9.0, 15.0, 20.0, 23.0])
@pytest.mark.parametrize("substeps", [1, 2, 7])
@pytest.mark.parametrize("decay", [0.0, 0.7])
def test_along_an_eigenvector_the_amplitude_is_multiplied_at_each_step_as_gradient_descent_does(
    sharpness, substeps, decay
):
    start = Oscillation(vector(0.3, 0.2), vector(0.5, 0))
    found = predicted(quadratic(np.diag([sharpness, 1.0])), start, 5, substeps=substeps, weight_decay=decay)
    for step, (at, row) in enumerate(found):
        factor = abs(LR * (sharpness + decay) - 1)
        assert row["oscillation"] == at.amplitude == pytest.approx(0.5 * factor**step)
        assert row["sharpness"] == pytest.approx(sharpness)
        np.testing.assert_allclose(at.half_step.numpy(), [at.amplitude, 0], atol=1e-12)


@pytest.mark.parametrize(("lr", "substeps"), [(0.1, 2), (0.13, 2), (0.1, 5), (0.08, 20)])
def test_the_direction_turns_to_the_sharpest_eigenvector(rng, hessian, lr, substeps):
    values, vectors = np.linalg.eigh(hessian)
    assert lr * values[-1] > 1
    start = Oscillation(torch.zeros(4), torch.from_numpy(vectors @ [0.3, -0.3, 0.3, 1.0]))
    found = predicted(quadratic(hessian), start, 80, lr, substeps)
    cosines = [abs(vectors[:, -1] @ at.half_step.numpy()) / at.amplitude for at, _ in found]
    assert cosines[0] < 0.9
    assert cosines[-1] == pytest.approx(1, abs=1e-6)
    assert found[-1][1]["sharpness"] == pytest.approx(values[-1])


@pytest.mark.parametrize("substeps", [1, 3])
def test_without_an_oscillation_it_is_eulers_gradient_flow(substeps):
    objective = Losses(lambda theta: (theta[0] ** 4 + theta[0] * theta[1] ** 2 + theta[1] ** 2)[None])
    start = vector(0.8, -1.1)
    theta = start
    for _ in range(7 * substeps):
        theta = theta - LR / substeps * objective.gradient(theta)
    at, row = predicted(objective, Oscillation(start, torch.zeros(2)), 7, substeps=substeps)[-1]
    np.testing.assert_allclose(at.centre, theta, rtol=1e-12)
    assert at.amplitude == row["oscillation"] == 0
    assert math.isnan(row["sharpness"])
    assert row["loss"] == pytest.approx(objective.evaluate(theta).loss)


def test_with_small_steps_the_centre_is_gradient_flow_to_first_order(rng, hessian):
    """At a time of 0.4, from the pair of iterates that gradient descent makes."""
    start = torch.from_numpy(rng.standard_normal(4))

    def error(lr: float, substeps: int) -> float:
        pair = State(start), State(start - lr * torch.from_numpy(hessian) @ start)
        steps = round(0.4 / lr)
        at, _ = predicted(quadratic(hessian), Oscillation.of(*pair), steps, lr, substeps)[-1]
        # The centre begins half a step after the first iterate.
        return float(np.linalg.norm(at.centre.numpy() - expm(-hessian * (0.4 + lr / 2)) @ start.numpy()))

    errors = [error(lr, 1) for lr in (0.004, 0.002, 0.001)]
    assert errors[0] / errors[1] == pytest.approx(2, rel=0.1)
    assert errors[1] / errors[2] == pytest.approx(2, rel=0.05)
    assert error(0.002, 1) < 0.02
    assert error(0.002, 2) < 0.6 * error(0.002, 1)


#: The floor of a valley along y: it drives y upwards, to `REST`, with a force of STIFF (REST - y).
STIFF, REST = 0.4, 1.0


def valley(theta: Tensor) -> Tensor:
    """L = S x^2 / 2 + STIFF (y - REST)^2 / 2 with S = 2 / lr + y, in two examples.

    At x = 0 the sharpness is S with v1 along x, and grad S = (0, 1). At y = 0, where S = 2 / lr, - grad L . grad S is
    STIFF * REST, and |grad S|^2 = 1. So the amplitude at rest is sqrt(2 STIFF REST).
    """
    x, y = theta
    wall, floor = (2 / LR + y) * x**2 / 2, STIFF * (y - REST) ** 2 / 2
    return torch.stack([2 * wall, 2 * floor])


def test_in_a_valley_that_sharpens_it_settles_where_the_walls_hold_the_sharpness_at_the_threshold():
    at, row = predicted(Losses(valley), Oscillation(vector(0.0, -0.3), vector(0.2, 0.0)), 600, substeps=4)[-1]
    assert row["sharpness"] == pytest.approx(2 / LR, rel=1e-6)
    assert at.amplitude == pytest.approx(math.sqrt(2 * STIFF * REST), rel=1e-4)
    np.testing.assert_allclose(at.centre, [0, 0], atol=1e-4)


def test_it_settles_from_an_oscillation_along_another_direction_too():
    at, row = predicted(Losses(valley), Oscillation(vector(0.1, -0.3), vector(0.2, 0.05)), 600, substeps=4)[-1]
    assert row["sharpness"] == pytest.approx(2 / LR, rel=1e-6)
    assert at.amplitude == pytest.approx(math.sqrt(2 * STIFF * REST), rel=1e-4)
    assert abs(at.half_step[0].item()) == pytest.approx(at.amplitude, rel=1e-6)


def test_gradient_descent_in_the_valley_stays_near_the_prediction():
    objective, optimizer = Losses(valley), GradientDescent(LR)
    state, losses = State(vector(0.2, -0.3)), []
    while len(losses) < 202:
        losses.append(objective.evaluate(state.theta).losses.numpy())
        previous, state = state, optimizer.step(state, objective.gradient(state.theta))
        if len(losses) == 1:
            start = Oscillation.of(previous, state)
    averages = (np.array(losses[:-1]) + np.array(losses[1:])) / 2
    groups = {"wall": torch.tensor([True, False]), "floor": torch.tensor([False, True])}
    rows = [row for _, row in islice(edge_flow(objective, GradientDescent(LR), start, groups, 2), 201)]
    found = np.array([[row["loss_wall"], row["loss_floor"]] for row in rows])
    np.testing.assert_allclose(found[0], averages[0], rtol=1e-12)
    apart = np.abs(found - averages).mean(axis=0)
    assert (apart < 0.05 * np.ptp(averages, axis=0)).all()
    # It knows of the first burst, in which the amplitude is much larger than at rest.
    assert np.argmax(found[:, 0]) == pytest.approx(np.argmax(averages[:, 0]), abs=2)
    assert found[:, 0].max() > 1.5 * found[-1, 0]


def test_substeps_come_nearer_to_the_equations():
    """Along x they are dy / dt = - lr (STIFF (y - REST) + r^2 / 2) and dr / dt = r log |lr S - 1|."""

    def rate(_: float, state: np.ndarray) -> list[float]:
        y, r = state
        return [-LR * (STIFF * (y - REST) + r**2 / 2), r * math.log(abs(LR * (2 / LR + y) - 1))]

    exact = solve_ivp(rate, (0, 30), [-0.3, 0.2], rtol=1e-10, atol=1e-12).y[:, -1]
    start = Oscillation(vector(0.0, -0.3), vector(0.2, 0.0))

    def error(substeps: int) -> float:
        at, _ = predicted(Losses(valley), start, 30, substeps=substeps)[-1]
        return float(np.linalg.norm([at.centre[1].item() - exact[0], at.amplitude - exact[1]]))

    errors = [error(substeps) for substeps in (1, 2, 4, 8, 16)]
    assert all(finer < 0.7 * coarser for coarser, finer in zip(errors, errors[1:], strict=False))
    assert errors[-2] / errors[-1] == pytest.approx(2, rel=0.1)


def test_the_losses_of_a_record_are_means_over_both_sides(rng):
    weights = torch.from_numpy(rng.standard_normal((5, 3)))
    objective = Losses(lambda theta: (weights @ theta) ** 2 + (weights @ theta) ** 3)
    start = Oscillation(*torch.from_numpy(rng.standard_normal((2, 3))))
    groups = {"two": torch.tensor([0, 3]), "three": torch.tensor([False, True, True, False, True])}
    _, row = next(edge_flow(objective, GradientDescent(LR), start, groups))
    one, other = (objective.evaluate(start.centre + sign * start.half_step) for sign in (1, -1))
    losses = ((one.losses + other.losses) / 2).numpy()
    assert set(row) == {"loss", "sharpness", "oscillation", "loss_two", "loss_three"}
    assert row["loss"] == pytest.approx(losses.mean())
    assert row["loss_two"] == pytest.approx(losses[[0, 3]].mean())
    assert row["loss_three"] == pytest.approx(losses[[1, 2, 4]].mean())
    length, unit = start.amplitude, start.half_step / start.amplitude
    assert row["sharpness"] == pytest.approx((unit @ (one.gradient - other.gradient) / (2 * length)).item())


def test_it_starts_where_it_is_told_to():
    start = Oscillation(vector(0.3, 0.2), vector(0.5, 0.1))
    (at, _), *_ = predicted(quadratic(np.diag([19.0, 1.0])), start, 1)
    assert at is start


def test_the_sign_of_the_half_step_makes_no_difference():
    start = Oscillation(vector(0.1, -0.3), vector(0.2, 0.05))
    turned = Oscillation(start.centre, -start.half_step)
    rows, others = ([row for _, row in predicted(Losses(valley), each, 20)] for each in (start, turned))
    for row, other in zip(rows, others, strict=True):
        assert row == pytest.approx(other)


def test_it_says_when_it_diverges():
    objective = Losses(lambda theta: theta**4)
    with pytest.raises(DivergenceError, match=r"optimizer\.lr: was 0\.1; edge flow diverged \d+ steps after onset"):
        predicted(objective, Oscillation(vector(30.0), vector(1.0)), 50)


def walk(optimizer: Optimizer, objective: Objective, theta: Tensor, steps: int) -> list[State]:
    """The iterates 0, 1, ... `steps` of an optimiser at rest."""
    states = [State(theta)]
    for _ in range(steps):
        states.append(optimizer.step(states[-1], objective.gradient(states[-1].theta)))
    return states


def curved(theta: Tensor) -> Tensor:
    """A quadratic bowl that is tilted and has walls of the fourth order."""
    x, y, z = theta
    return (4 * x**2 + x**4 + 2 * x * y + y**2 + x**2 * z + z**2)[None]


@pytest.mark.parametrize("beta", [0.0, 0.5, 0.9])
@pytest.mark.parametrize("decay", [0.0, 0.3])
def test_with_one_substep_both_sides_are_iterates_of_the_optimizer_itself(beta, decay):
    objective, lr = Losses(curved), 0.12 * (1 + beta)
    optimizer = Momentum(lr, decay, beta)
    states = walk(optimizer, objective, vector(0.4, -0.3, 0.2), 25)[3:]
    start = Oscillation.of(*states[:2])
    found = predicted(objective, start, 15, lr, 1, weight_decay=decay, momentum=beta)
    for step, (at, row) in enumerate(found):
        sides = sorted((at.centre + sign * at.half_step).tolist() for sign in (1, -1))
        pair = states[step : step + 2]
        np.testing.assert_allclose(sides, sorted(state.theta.tolist() for state in pair), rtol=1e-9, atol=1e-12)
        losses = [objective.evaluate(state.theta).loss for state in pair]
        assert row["loss"] == pytest.approx(np.mean(losses))


@pytest.mark.parametrize("beta", [0.3, 0.5, 0.9])
@pytest.mark.parametrize("ratio", [0.15, 0.9, 0.999, 1.0, 1.05, 1.2])
@pytest.mark.parametrize("substeps", [1, 2, 3, 8])
def test_along_an_eigenvector_the_oscillation_is_that_of_the_heavy_ball_in_any_number_of_substeps(
    beta, ratio, substeps
):
    """Above the threshold it grows; below, it swings with sqrt(beta) a step, or falls without changing sign."""
    optimizer = Momentum(LR, momentum=beta)
    objective = quadratic(np.diag([ratio * optimizer.stability_threshold, 1.0]))
    # The mode alone, with the centre at rest: of the iterates delta, -delta the halves of the sums are 0.
    half_step, velocity, expected = vector(0.5, 0), vector(-9.0, 0), []
    for _ in range(6):
        expected.append(half_step)
        velocity = beta * velocity + objective.gradient(half_step)
        half_step = half_step - LR * velocity
    start = Oscillation(vector(0, 0), expected[0], vector(0, 0), vector(-9.0, 0))
    for (at, row), exact in zip(
        predicted(objective, start, 5, substeps=substeps, momentum=beta), expected, strict=True
    ):
        assert row["oscillation"] == at.amplitude == pytest.approx(abs(exact[0].item()), rel=1e-9)
        assert at.centre.tolist() == [0, 0]


def growth(losses: list[float]) -> float:
    """What an oscillation is multiplied by at a step, from the losses 100 and 200 steps after the start."""
    return float((losses[200] / losses[100]) ** (1 / 200))


@pytest.mark.parametrize("beta", [0.5, 0.9])
def test_above_the_threshold_it_grows_as_fast_as_the_optimizer_and_below_it_shrinks(beta):
    optimizer = Momentum(LR, momentum=beta)
    for ratio, grows in ((1.1, True), (1.02, True), (0.99, False)):
        objective = quadratic(np.diag([ratio * optimizer.stability_threshold, 1.0]))
        states = walk(optimizer, objective, vector(0.1, 0), 202)
        measured = growth([objective.evaluate(state.theta).loss for state in states[2:]])
        start = Oscillation.of(*states[2:4])
        found = growth([row["loss"] for _, row in predicted(objective, start, 200, momentum=beta)])
        assert (found > 1) == (measured > 1) == grows
        if grows:  # below, the losses swing
            assert found == pytest.approx(measured, rel=1e-3)


@pytest.mark.parametrize("substeps", [1, 2, 3])
def test_without_momentum_a_part_of_a_step_is_that_of_gradient_descent(substeps):
    """It multiplies the half-step by a power of |lr s - 1|, and turns it by a part of the whole turn."""
    objective, start, part = Losses(valley), Oscillation(vector(0.1, -0.3), vector(0.2, 0.05)), 1 / substeps
    centre, half_step = start.centre, start.half_step
    for _ in range(substeps):
        a, b = (objective.gradient(centre + sign * half_step) for sign in (1, -1))
        length = half_step.norm()
        unit, image = half_step / length, (a - b) / (2 * length)
        factor = LR * unit @ image - 1
        target = (LR * image - unit) / factor
        centre = centre - part * LR * (a + b) / 2
        half_step = length * factor.abs() ** part * ((1 - part) * unit + part * target)
    _, (at, _) = predicted(objective, start, 1, substeps=substeps)
    np.testing.assert_allclose(at.centre, centre, rtol=1e-12)
    np.testing.assert_allclose(at.half_step, half_step, rtol=1e-12)


def test_with_momentum_and_small_steps_the_centre_is_gradient_flow_with_rescaled_time(rng, hessian):
    """With time lr / (1 - beta) a step. At rest at first, it falls behind by what the velocity takes to grow."""
    beta, start = 0.8, torch.from_numpy(rng.standard_normal(4))

    def error(lr: float) -> float:
        optimizer = Momentum(lr, momentum=beta)
        objective = quadratic(hessian)
        first = State(start, buffers={"velocity": objective.gradient(start) / (1 - beta)})
        pair = first, optimizer.step(first, objective.gradient(start))
        steps = round(0.4 / optimizer.time_per_step)
        at, _ = predicted(objective, Oscillation.of(*pair), steps, lr, 2, momentum=beta)[-1]
        time = (steps + 0.5) * optimizer.time_per_step
        return float(np.linalg.norm(at.centre.numpy() - expm(-hessian * time) @ start.numpy()))

    errors = [error(lr) for lr in (0.0008, 0.0004, 0.0002)]
    assert errors[0] / errors[1] == pytest.approx(2, rel=0.1)
    assert errors[1] / errors[2] == pytest.approx(2, rel=0.05)
    assert errors[2] < 0.01


@pytest.mark.parametrize("beta", [0.5, 0.9])
def test_with_momentum_it_settles_at_the_threshold_with_the_amplitude_of_theory(beta):
    """In a valley as above, made for the threshold of momentum: the amplitude at rest has no beta in it.

    The valley sharpens slowly: where it does so faster than friction damps the swing between amplitude and sharpness,
    neither the heavy ball nor its model comes to rest.
    """
    rest, threshold = 0.02, Momentum(LR, momentum=beta).stability_threshold

    def losses(theta: Tensor) -> Tensor:
        x, y = theta
        return ((threshold + y) * x**2 / 2 + STIFF * (y - rest) ** 2 / 2)[None]

    half_step = vector(0.1, 0.0)
    start = Oscillation(vector(0.0, -0.02), half_step, vector(0.0, 0.0), -2 / LR * half_step)
    at, row = predicted(Losses(losses), start, 1000, momentum=beta)[-1]
    assert row["sharpness"] == pytest.approx(threshold, rel=1e-5)
    assert at.amplitude == pytest.approx(math.sqrt(2 * STIFF * rest), rel=1e-3)
    np.testing.assert_allclose(at.centre, [0, 0], atol=1e-3)


class Several(Losses):
    """Losses of which some can be taken alone."""

    def __len__(self) -> int:
        return len(self.losses_at(torch.zeros(2, dtype=torch.float64)))

    def subset(self, members: Tensor) -> "Several":
        return Several(lambda theta: self.losses_at(theta)[members])


def test_examples_at_the_centre_move_it_and_leave_the_oscillation_to_the_others():
    """On a quadratic the mean gradient over both sides is that at the centre anyway: the centre goes as it does."""
    sharpness = vector(8.0, 20.0, 26.0)
    objective = Several(lambda theta: sharpness * theta[0] ** 2 / 2 + theta[1] ** 2 / 2)
    start, left_out = Oscillation(vector(0.3, 0.2), vector(0.5, 0)), torch.tensor([False, False, True])
    with_all = predicted(objective, start, 5)
    without = list(islice(edge_flow(objective, GradientDescent(LR), start, {}, at_centre=left_out), 6))
    driving = (8.0 + 20.0) / 3
    for step, ((at, row), (usual, _)) in enumerate(zip(without, with_all, strict=True)):
        np.testing.assert_allclose(at.centre, usual.centre, rtol=1e-12, atol=1e-15)
        assert row["oscillation"] == pytest.approx(0.5 * abs(LR * driving - 1) ** step)
        losses = objective.losses_at(at.centre + at.half_step) + objective.losses_at(at.centre - at.half_step)
        assert row["loss"] == pytest.approx(losses.mean().item() / 2)


@pytest.mark.parametrize("beta", [0.0, 0.5, 0.9])
def test_what_alternates_is_what_is_left_without_the_way_of_the_centre(beta):
    """Down an even slope nothing does. On a mode at the threshold all does, whose step goes from one side to the other.

    Without momentum there is no velocity to tell the two apart, and the half-step is as it was.
    """
    optimizer = Momentum(LR, momentum=beta)
    slope = Losses(lambda theta: (3 * theta[0] - theta[1])[None])
    (*_, first, second) = walk(optimizer, slope, vector(1.0, 2.0), 300)
    found = Oscillation.of(first, second)
    if beta == 0:
        first, second = (State(state.theta) for state in (first, second))
        found = Oscillation.of(first, second)
        assert torch.equal(found.alternating(LR).half_step, found.half_step)
    else:
        assert found.alternating(LR).amplitude < 1e-9 < 0.1 < found.amplitude
    half_step = vector(0.5, -0.2)
    mode = Oscillation(vector(1.0, 2.0), half_step, vector(0.0, 0.0), -2 / LR * half_step)
    assert torch.equal(mode.alternating(LR).half_step, half_step)


def test_it_has_a_model_of_gradient_descent_and_of_the_heavy_ball_alone():
    names = ("gd", "momentum", "nesterov", "sgd", "adam")
    models = {name for name in names if build_optimizer(OptimizerParams(name=name)).two_walls}
    assert models == {"gd", "momentum"}


@pytest.mark.parametrize("optimizer", [GradientDescent(0.05, 0.2), Momentum(0.05, 0.2, 0.6)])
def test_a_prediction_is_of_the_optimizer_it_is_given(optimizer):
    objective = Losses(curved)
    pair = walk(optimizer, objective, vector(0.4, -0.3, 0.2), 4)[3:]
    rows = predicted_records(objective, optimizer, pair, {"all": torch.tensor([True])}, 4, 2, "")
    beta = getattr(optimizer, "momentum", 0.0)
    start = Oscillation.of(*pair).alternating(0.05)
    found = predicted(objective, start, 3, 0.05, weight_decay=0.2, momentum=beta)
    assert [row["loss_all"] for row in rows] == pytest.approx([row["loss"] for _, row in found])
    assert [row["step"] for row in rows] == [3, 4, 5, 6]
    assert [row["time"] for row in rows] == pytest.approx([(i + 0.5) * optimizer.time_per_step for i in range(4)])


def test_there_is_one_record_without_losses_where_it_diverges_and_where_there_is_no_model(capsys):
    objective = Losses(lambda theta: theta**4)
    adam = build_optimizer(OptimizerParams(name="adam", lr=0.1))
    for optimizer, said in ((GradientDescent(0.1), "exit: no prediction (optimizer.lr: was 0.1; "), (adam, "")):
        pair = walk(optimizer, objective, vector(30.0), 1)
        assert predicted_records(objective, optimizer, pair, {}, 50, 2, "exit") == [{"step": 0, "time": 0.0}]
        assert capsys.readouterr().err.startswith(said)


@pytest.mark.parametrize("substeps", [1, 2, 3])
def test_nothing_is_left_of_an_oscillation_that_a_step_ends(substeps):
    """Where the step size is 1 / sharpness, 1 - lr s is 0."""
    start = Oscillation(vector(0.3, 0.2), vector(0.5, 0.0))
    _, (at, row) = predicted(quadratic(np.diag([1 / LR, 1.0])), start, 1, substeps=substeps)
    assert at.amplitude == pytest.approx(0, abs=1e-12)
    assert row["loss"] == pytest.approx((0.5 * at.centre.square() @ vector(1 / LR, 1.0)).item())
