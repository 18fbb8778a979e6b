"""The training loop against closed forms, and against itself when it is interrupted."""

import math
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.autograd.functional import hessian

from edgewise.data.files import write_rows
from edgewise.dynamics.loop import run, run_to_edge, train
from edgewise.errors import DivergenceError, NotAtTheEdgeError
from edgewise.network.objective import Evaluation, Objective
from edgewise.states.optimizers import Adam, GradientDescent, State
from edgewise.states.trajectory import Journal, checkpoints, load_state

N, D = 12, 3
GROUPS = {"first": torch.arange(N) < 4, "some": torch.tensor([2, 7, 11])}


class Killed(BaseException):
    """The process ends here."""


def regression() -> tuple[Objective, np.ndarray, np.ndarray]:
    """Linear regression W x -> e_y, whose every iterate is known: the objective, x [n, D] and targets [n, 2]."""
    rng = np.random.default_rng(0)
    x, y = rng.standard_normal((N, D)), np.arange(N) % 2
    model = nn.Linear(D, 2, bias=False)
    return Objective(model, "mse", torch.from_numpy(x), torch.from_numpy(y), chunk_size=5), x, np.eye(2)[y]


def network() -> tuple[Objective, Tensor]:
    """A small tanh network that sharpens to the edge of gradient descent with lr 0.35, and where it starts."""
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(N, D, generator=generator, dtype=torch.float64)
    model = nn.Sequential(nn.Linear(D, 8), nn.Tanh(), nn.Linear(8, 2))
    objective = Objective(model, "mse", x, torch.arange(N) % 2, chunk_size=100)
    return objective, 0.3 * torch.randn(objective.num_params, generator=generator, dtype=torch.float64)


LR = 0.2


def iterates(x: np.ndarray, target: np.ndarray, start: np.ndarray, lr: float, steps: int) -> list[np.ndarray]:
    """W_t = W* + (W_0 - W*) (I - lr H)^t with H = 2/n X'X, in the eigenbasis of H."""
    values, basis = np.linalg.eigh(2 / N * x.T @ x)
    best = np.linalg.lstsq(x, target, rcond=None)[0].T
    return [best + ((start - best) @ basis * (1 - lr * values) ** t) @ basis.T for t in range(steps + 1)]


def test_gradient_descent_on_linear_regression_follows_its_closed_form():
    objective, x, target = regression()
    start = np.random.default_rng(1).standard_normal((2, D))
    stepping = train(objective, GradientDescent(LR), State(torch.from_numpy(start.reshape(-1))), GROUPS)
    curvature = 2 / N * x.T @ x
    expected = iterates(x, target, start, LR, 30)
    for t, weights in enumerate(expected):
        step = next(stepping)
        losses = ((x @ weights.T - target) ** 2).sum(axis=1)
        correct = (x @ weights.T).argmax(axis=1) == target.argmax(axis=1)
        np.testing.assert_allclose(step.state.theta.numpy(), weights.reshape(-1), atol=1e-10)
        assert list(step.row) == ["step", "time", "loss", "accuracy", "secant_sharpness", "loss_first", "loss_some"]
        assert (step.row["step"], step.state.step) == (t, t)
        assert step.row["time"] == pytest.approx(t * LR)
        assert step.row["loss"] == pytest.approx(losses.mean())
        assert step.row["accuracy"] == pytest.approx(correct.mean())
        assert step.row["loss_first"] == pytest.approx(losses[:4].mean())
        assert step.row["loss_some"] == pytest.approx(losses[[2, 7, 11]].mean())
        if t == 0:
            assert math.isnan(step.row["secant_sharpness"])
        else:
            v = weights - expected[t - 1]
            assert step.row["secant_sharpness"] == pytest.approx(np.sum(v @ curvature * v) / np.sum(v * v), rel=1e-6)


def test_gradient_descent_is_unstable_exactly_above_two_over_lr():
    objective, x, _ = regression()
    sharpness = np.linalg.eigvalsh(2 / N * x.T @ x)[-1]
    for factor, grows in ((0.99, False), (1.01, True)):
        optimizer = GradientDescent(factor * 2 / sharpness)
        assert optimizer.stability_threshold == pytest.approx(sharpness / factor)
        stepping = train(objective, optimizer, State(torch.ones(2 * D, dtype=torch.float64)), {})
        losses = [next(stepping).row["loss"] for _ in range(600)]
        assert (losses[-1] > losses[300]) == grows


def test_divergence_is_an_error_that_names_the_step_size(tmp_path):
    objective, x, _ = regression()
    with pytest.raises(DivergenceError, match=r"^optimizer\.lr: was 50; must be smaller: diverged at step \d+$"):
        run(
            objective,
            GradientDescent(50.0),
            GROUPS,
            Journal(tmp_path / "run", "f", State(torch.ones(2 * D, dtype=torch.float64))),
            last_step=10_000,
            checkpoint_every=100,
        )


def test_a_run_keeps_its_checkpoints_and_the_measured_sharpness(tmp_path):
    objective, theta = network()
    journal = Journal(tmp_path / "run", "f", State(theta))
    with pytest.raises(NotAtTheEdgeError):
        run_to_edge(
            objective,
            GradientDescent(0.05),
            GROUPS,
            journal,
            rule="secant",
            sharpness_every=4,
            max_steps=10,
            tolerance=1e-6,
        )
    journal.publish()
    assert [row["step"] for row in journal.rows] == list(range(11))
    files = checkpoints(tmp_path / "run")
    assert [path.name for path in files] == [f"step-{step:06d}.npz" for step in (0, 4, 8, 10)]
    for path in files:
        state = load_state(path, theta)
        row = journal.rows[state.step]
        assert objective.evaluate(state.theta).loss == row["loss"]
        assert (state.step, state.time) == (row["step"], row["time"])
    for row in journal.rows:
        if row["step"] % 4:
            assert math.isnan(row["sharpness"])
        else:
            at = load_state(tmp_path / "run" / f"step-{row['step']:06d}.npz", theta).theta
            dense = hessian(
                lambda p: objective.example_losses(objective.outputs(p, objective.x), objective.y).mean(), at
            )
            assert row["sharpness"] == pytest.approx(np.linalg.eigvalsh(dense.numpy())[-1], rel=1e-4)


def test_a_branch_counts_its_checkpoints_from_its_own_start(tmp_path):
    objective, theta = network()
    journal = Journal(tmp_path / "run", "f", State(theta, step=7, time=1.5))
    run(objective, GradientDescent(0.05), GROUPS, journal, last_step=12, checkpoint_every=3)
    journal.publish()
    assert [path.name for path in checkpoints(tmp_path / "run")] == [f"step-{s:06d}.npz" for s in (7, 10, 12)]
    assert journal.rows[-1]["time"] == pytest.approx(1.5 + 5 * 0.05)


def to_edge(
    folder: Path, objective: Objective, theta: Tensor, *, lr: float = 0.35, max_steps: int = 400, rule="secant"
):
    """Run to the edge and publish; (t*, the bytes of all files)."""
    journal = Journal(folder / "base", "f", State(theta))
    t_star = run_to_edge(
        objective,
        GradientDescent(lr),
        GROUPS,
        journal,
        rule=rule,
        sharpness_every=20,
        max_steps=max_steps,
        tolerance=1e-3,
    )
    write_rows(folder / "steps.csv", journal.rows)
    journal.publish()
    return t_star


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


@pytest.mark.parametrize("rule", ["secant", "sharpness"])
def test_onset_is_the_first_step_at_which_the_rule_holds(tmp_path, rule):
    objective, theta = network()
    t_star = to_edge(tmp_path, objective, theta, rule=rule)
    state, secant, reached = State(theta), math.nan, None
    gradient = objective.evaluate(theta).gradient
    while reached is None:  # plain gradient descent, measured densely
        curvature = secant
        if rule == "sharpness":
            curvature = math.nan
            if state.step % 20 == 0:
                dense = hessian(
                    lambda p: objective.example_losses(objective.outputs(p, objective.x), objective.y).mean(),
                    state.theta,
                )
                curvature = np.linalg.eigvalsh(dense.numpy())[-1]
        if curvature >= 2 / 0.35:
            reached = state.step
        following = state.theta - 0.35 * gradient
        new_gradient = objective.evaluate(following).gradient
        v = following - state.theta
        secant = ((new_gradient - gradient) @ v / (v @ v)).item()
        state, gradient = State(following, state.step + 1), new_gradient
    assert 10 < t_star < 400
    assert t_star == reached
    assert checkpoints(tmp_path / "base")[-1].name == f"step-{t_star:06d}.npz"


def test_a_run_that_begins_above_its_threshold_reaches_it_once_it_has_come_down(tmp_path):
    objective, theta = network()
    adam, journal = Adam(0.05), Journal(tmp_path / "base", "f", State(theta))
    t_star = run_to_edge(
        objective, adam, GROUPS, journal, rule="sharpness", sharpness_every=5, max_steps=600, tolerance=1e-3
    )
    measured = {row["step"]: row["sharpness"] / adam.stability_threshold for row in journal.rows[::5]}
    assert measured[0] > 2  # the first steps of Adam have small second moments
    assert all(ratio < 1 for step, ratio in measured.items() if 0 < step < t_star)
    assert t_star > 100
    assert measured[t_star] >= 1


def test_a_run_that_does_not_reach_the_edge_says_how_far_it_came(tmp_path):
    objective, x, _ = regression()
    sharpness = np.linalg.eigvalsh(2 / N * x.T @ x)[-1]
    lr = 1 / sharpness
    with pytest.raises(NotAtTheEdgeError) as caught:
        to_edge(tmp_path, objective, torch.ones(2 * D, dtype=torch.float64), lr=lr, max_steps=20)
    message = str(caught.value)
    assert message.startswith("edge.max_steps: was 20; ")
    assert "sharpness/threshold is 0.500" in message
    assert "\n" not in message


def test_raising_max_steps_goes_on_and_ends_with_the_same_bytes(tmp_path):
    objective, theta = network()
    t_star = to_edge(tmp_path / "whole", objective, theta)
    for max_steps in (3, 40, t_star - 2):
        with pytest.raises(NotAtTheEdgeError, match=rf"^edge\.max_steps: was {max_steps};"):
            to_edge(tmp_path / "parts", objective, theta, max_steps=max_steps)
    counting = Interrupted(objective, at=math.inf)
    to_edge(tmp_path / "parts", counting, theta)
    assert counting.evaluations <= 4  # it went on from where it was
    assert contents(tmp_path / "parts") == contents(tmp_path / "whole")


class Interrupted(Objective):
    """An objective whose evaluation number `at` kills the process."""

    def __init__(self, objective: Objective, at: float) -> None:
        super().__init__(objective.model, objective.loss, objective.x, objective.y, objective.chunk_size)
        self.at, self.evaluations = at, 0

    def evaluate(self, theta: Tensor) -> Evaluation:
        self.evaluations += 1
        if self.evaluations == self.at:
            raise Killed
        return super().evaluate(theta)


@pytest.mark.parametrize("at", [1, 2, 20, 21, 22, 42, 80])
def test_a_run_killed_while_it_computes_ends_with_the_same_bytes(tmp_path, at):
    objective, theta = network()
    to_edge(tmp_path / "whole", objective, theta)
    with pytest.raises(Killed):
        to_edge(tmp_path / "killed", Interrupted(objective, at), theta)
    to_edge(tmp_path / "killed", objective, theta)
    assert contents(tmp_path / "killed") == contents(tmp_path / "whole")


def test_a_run_killed_again_and_again_makes_progress_and_ends_with_the_same_bytes(tmp_path):
    objective, theta = network()
    t_star = to_edge(tmp_path / "whole", objective, theta)
    kills = 0
    while True:
        try:
            to_edge(tmp_path / "killed", Interrupted(objective, 30), theta)
            break
        except Killed:
            kills += 1
            assert kills <= t_star
    assert kills > 2
    assert contents(tmp_path / "killed") == contents(tmp_path / "whole")


def killing(function: Callable[..., object], countdown: list[int], *, after: bool) -> Callable[..., object]:
    """`function`, but the call at which the shared countdown ends kills the process, before or after its work."""

    def wrapped(*arguments: object, **options: object) -> object:
        countdown[0] -= 1
        if countdown[0] == 0 and not after:
            raise Killed
        result = function(*arguments, **options)
        if countdown[0] == 0:
            raise Killed
        return result

    return wrapped


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
def test_a_run_killed_at_any_change_of_the_disk_ends_with_the_same_bytes(tmp_path, monkeypatch, after):
    objective, theta = network()
    whole = tmp_path / "whole"
    to_edge(whole, objective, theta)
    at, ended = 0, False
    while not ended:
        at += 1
        folder, countdown = tmp_path / f"killed-{at}", [at]
        shutil.copytree(whole, folder)  # an older complete run is in the way
        with monkeypatch.context() as patch:
            for owner, name in ((os, "replace"), (Path, "write_bytes"), (Path, "unlink"), (Path, "rename")):
                patch.setattr(owner, name, killing(getattr(owner, name), countdown, after=after))
            patch.setattr(shutil, "rmtree", killing(shutil.rmtree, countdown, after=after))
            try:
                to_edge(folder, objective, theta)
                ended = True
            except Killed:
                pass
        to_edge(folder, objective, theta)
        assert contents(folder) == contents(whole), f"killed at change {at}"
    assert at > 15


def test_a_file_half_written_when_the_process_was_killed_is_no_part_of_the_run(tmp_path):
    objective, theta = network()
    to_edge(tmp_path / "whole", objective, theta)
    with pytest.raises(Killed):
        to_edge(tmp_path / "killed", Interrupted(objective, 30), theta)
    partial = tmp_path / "killed" / "base.partial"
    for name in ("snapshot.npz.writing", "step-000040.npz.writing"):
        (partial / name).write_bytes(b"half of")
    to_edge(tmp_path / "killed", objective, theta)
    assert contents(tmp_path / "killed") == contents(tmp_path / "whole")
