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
from edgewise.states.optimizers import Adam, GradientDescent, Momentum, Optimizer, State
from edgewise.states.trajectory import Journal, Manifest, checkpoint_at, last_checkpoint, load_state

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
    *expected, beyond = iterates(x, target, start, LR, 31)
    names = ["step", "time", "loss", "accuracy", "secant_sharpness", "oscillation", "loss_first", "loss_some"]
    for t, weights in enumerate(expected):
        step = next(stepping)
        losses = ((x @ weights.T - target) ** 2).sum(axis=1)
        correct = (x @ weights.T).argmax(axis=1) == target.argmax(axis=1)
        np.testing.assert_allclose(step.state.theta.numpy(), weights.reshape(-1), atol=1e-10)
        assert list(step.row) == names
        assert (step.row["step"], step.state.step) == (t, t)
        assert step.row["time"] == pytest.approx(t * LR)
        assert step.row["loss"] == pytest.approx(losses.mean())
        assert step.row["accuracy"] == pytest.approx(correct.mean())
        assert step.row["loss_first"] == pytest.approx(losses[:4].mean())
        assert step.row["loss_some"] == pytest.approx(losses[[2, 7, 11]].mean())
        if t == 0:
            assert math.isnan(step.row["secant_sharpness"])
            assert math.isnan(step.row["oscillation"])
        else:
            v = weights - expected[t - 1]
            assert step.row["secant_sharpness"] == pytest.approx(np.sum(v @ curvature * v) / np.sum(v * v), rel=1e-6)
            after = expected[t + 1] if t < 30 else beyond
            second_difference = np.linalg.norm(after - 2 * weights + expected[t - 1])
            assert step.row["oscillation"] == pytest.approx(second_difference / 4, rel=1e-6)


@pytest.mark.parametrize("amplitude", [1e-3, 0.4, 20.0])
def test_the_oscillation_is_the_amplitude_of_what_changes_sign_at_every_step(amplitude):
    """At lr = 2 / sharpness the sharpest direction keeps its amplitude, and all others die away."""
    objective, x, target = regression()
    values, basis = np.linalg.eigh(2 / N * x.T @ x)
    best = np.linalg.lstsq(x, target, rcond=None)[0].T
    start = best + np.outer([0.6, -0.8], amplitude * basis[:, -1] + 0.3 * amplitude * basis[:, 0])
    stepping = train(objective, GradientDescent(2 / values[-1]), State(torch.from_numpy(start.reshape(-1))), {})
    rows = [next(stepping).row for _ in range(200)]
    shrinking = 1 - 2 * values[0] / values[-1]
    for t, row in enumerate(rows[1:], start=1):
        # The smooth part that is left in it is the second difference of a decay.
        smooth = 0.3 * amplitude * shrinking ** (t - 1) * (1 - shrinking) ** 2 / 4
        assert row["oscillation"] == pytest.approx(math.hypot(amplitude, smooth), rel=1e-6)
    assert rows[-1]["oscillation"] == pytest.approx(amplitude, rel=1e-6)


def test_below_the_edge_the_oscillation_dies_away_as_the_sharpest_direction_does():
    objective, x, target = regression()
    values, basis = np.linalg.eigh(2 / N * x.T @ x)
    best = np.linalg.lstsq(x, target, rcond=None)[0].T
    start = best + np.outer([1, 0], basis[:, -1])
    factor = -0.9  # of the sharpest direction, at every step
    stepping = train(objective, GradientDescent(1.9 / values[-1]), State(torch.from_numpy(start.reshape(-1))), {})
    rows = [next(stepping).row for _ in range(50)]
    for t, row in enumerate(rows[1:], start=1):
        assert row["oscillation"] == pytest.approx(0.9 ** (t - 1) * (factor - 1) ** 2 / 4, rel=1e-6)


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
    with pytest.raises(
        DivergenceError, match=r"^optimizer\.lr: must be smaller: with a step size of 50 it diverged at step \d+$"
    ):
        run(
            objective,
            GradientDescent(50.0),
            GROUPS,
            Journal(tmp_path / "run", "f", State(torch.ones(2 * D, dtype=torch.float64))),
            last_step=10_000,
            due=lambda steps: steps % 100 == 0,
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
    assert [row["step"] for row in journal.rows] == list(range(11))
    files = sorted((tmp_path / "run").glob("step-*.npz"))  # every fourth, and the last two
    assert [path.name for path in files] == [f"step-{step:06d}.npz" for step in (0, 4, 8, 9, 10)]
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
    asked = []

    def due(steps: int) -> bool:
        asked.append(steps)
        return steps in (0, 3, 4)

    run(objective, GradientDescent(0.05), GROUPS, journal, last_step=12, due=due)
    assert asked == list(range(6))
    assert {path.name for path in (tmp_path / "run").iterdir()} == {
        "snapshot.npz",
        *(f"step-{s:06d}.npz" for s in (7, 10, 11)),
    }
    assert journal.rows[-1]["time"] == pytest.approx(1.5 + 5 * 0.05)
    assert Journal(tmp_path / "run", "f", State(theta)).state.step == 12


def test_the_last_state_and_the_one_before_it_are_kept_on_demand(tmp_path):
    objective, theta = network()
    journal = Journal(tmp_path / "run", "f", State(theta))
    run(objective, GradientDescent(0.05), {}, journal, last_step=7, due=lambda steps: False, keep_last_two=True)
    kept = [load_state(checkpoint_at(tmp_path / "run", step), theta) for step in (6, 7)]
    stepping = train(objective, GradientDescent(0.05), State(theta), {})
    states = [next(stepping).state for _ in range(8)]
    assert all(torch.equal(found.theta, state.theta) for found, state in zip(kept, states[6:], strict=True))
    assert len(list((tmp_path / "run").glob("step-*.npz"))) == 2


def to_edge(
    folder: Path, objective: Objective, theta: Tensor, *, lr: float = 0.35, max_steps: int = 400, rule="secant"
):
    """Run to the edge and publish; t*."""
    journal = Journal(folder / "journal", "f", State(theta))
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
    journal.publish(folder / "base", Manifest({"before_onset": [*range(0, t_star, 20), t_star - 1, t_star]}, legs=()))
    journal.discard()
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
    last = last_checkpoint(tmp_path / "base")
    assert last.name == f"step-{t_star:06d}.npz"
    before = load_state(checkpoint_at(tmp_path / "base", t_star - 1), theta)
    step = GradientDescent(0.35).step(before, objective.gradient(before.theta))
    assert torch.equal(step.theta, load_state(last, theta).theta)


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


#: What changes the disk.
CHANGES = ((os, "link"), (os, "replace"), (Path, "write_bytes"), (Path, "unlink"), (Path, "rename"), (Path, "rmdir"))


def file_by_file(folder: Path, ignore_errors: bool = False) -> None:
    """`shutil.rmtree`, which can be killed between any two files; it begins with the first checkpoint."""
    if not folder.exists():
        assert ignore_errors
        return
    for path in sorted(folder.iterdir(), key=lambda path: (not path.name.startswith("step-"), path.name)):
        path.unlink()
    folder.rmdir()


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
            for owner, name in CHANGES:
                patch.setattr(owner, name, killing(getattr(owner, name), countdown, after=after))
            patch.setattr(shutil, "rmtree", file_by_file)
            try:
                to_edge(folder, objective, theta)
                ended = True
            except Killed:
                pass
        to_edge(folder, objective, theta)
        assert contents(folder) == contents(whole), f"killed at change {at}"
    assert at > 30


STEPPING = [GradientDescent(0.35), Momentum(0.15, momentum=0.5)]


def branch_on(
    folder: Path, objective: Objective, optimizer: Optimizer, theta: Tensor, last: int, *, every: int = 4
) -> None:
    """A branch of `last` steps, from step 5 on, and what it publishes; its journal stays."""
    journal = Journal(folder / "journal", "f", State(theta, 5, 0.5))
    journal.go_back_to(5 + last)
    run(objective, optimizer, GROUPS, journal, last_step=5 + last, due=lambda steps: steps % every == 0)
    write_rows(folder / "steps.csv", journal.rows)
    journal.publish(folder / "branch", Manifest({"all": list(range(5, 5 + last + 1, every))}, legs=()))


def published_by(folder: Path) -> dict[str, bytes]:
    return {name: content for name, content in contents(folder).items() if not name.startswith("journal")}


@pytest.mark.parametrize("optimizer", STEPPING, ids=["gd", "momentum"])
@pytest.mark.parametrize("short", [8, 11, 20])
def test_a_longer_run_goes_on_and_a_shorter_one_goes_back_with_the_same_bytes(tmp_path, optimizer, short):
    objective, theta = network()
    for last in (short, 41):
        branch_on(tmp_path / f"whole-{last}", objective, optimizer, theta, last)
    folder = tmp_path / "changing"
    # Where a run is taken up, its state is evaluated once more; back from 41, that is the checkpoint before `short`.
    for last, trained in ((short, short), (41, 41 - short), (short, short % 4), (short, 0), (41, 41 - short)):
        counting = Interrupted(objective, at=math.inf)
        branch_on(folder, counting, optimizer, theta, last)
        assert counting.evaluations == 1 + trained
        assert published_by(folder) == published_by(tmp_path / f"whole-{last}")


@pytest.mark.parametrize("optimizer", STEPPING, ids=["gd", "momentum"])
@pytest.mark.parametrize(("first", "then"), [(11, 41), (41, 11)], ids=["longer", "shorter"])
def test_a_change_of_length_killed_while_it_computes_ends_with_the_same_bytes(tmp_path, optimizer, first, then):
    objective, theta = network()
    branch_on(tmp_path / "whole", objective, optimizer, theta, then)
    branch_on(tmp_path / "first", objective, optimizer, theta, first)
    at, ended = 0, False
    while not ended:
        at += 1
        folder = tmp_path / f"killed-{at}"
        shutil.copytree(tmp_path / "first", folder)
        try:
            branch_on(folder, Interrupted(objective, at), optimizer, theta, then)
            ended = True
        except Killed:
            branch_on(folder, objective, optimizer, theta, then)
        assert published_by(folder) == published_by(tmp_path / "whole"), f"killed at evaluation {at}"
    assert at == 1 + (31 if then > first else 4)


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
@pytest.mark.parametrize(("first", "then"), [(7, 14), (14, 7)], ids=["longer", "shorter"])
def test_a_change_of_length_killed_at_any_change_of_the_disk_ends_with_the_same_bytes(
    tmp_path, monkeypatch, after, first, then
):
    objective, theta = network()
    optimizer = STEPPING[1]
    branch_on(tmp_path / "whole", objective, optimizer, theta, then)
    branch_on(tmp_path / "first", objective, optimizer, theta, first)
    branch_on(tmp_path / "whole-first", objective, optimizer, theta, first)
    at, ended = 0, False
    while not ended:
        at += 1
        folder, countdown = tmp_path / f"killed-{at}", [at]
        shutil.copytree(tmp_path / "first", folder)
        with monkeypatch.context() as patch:
            for owner, name in CHANGES:
                patch.setattr(owner, name, killing(getattr(owner, name), countdown, after=after))
            patch.setattr(shutil, "rmtree", file_by_file)
            try:
                branch_on(folder, objective, optimizer, theta, then)
                ended = True
            except Killed:
                pass
        for last, whole in ((then, "whole"), (first, "whole-first"), (then, "whole")):
            branch_on(folder, objective, optimizer, theta, last)
            assert published_by(folder) == published_by(tmp_path / whole), f"killed at change {at}"
    assert at > 15


def test_an_interruption_keeps_the_oscillation_byte_for_byte(tmp_path):
    objective, theta = network()
    branch_on(tmp_path / "whole", objective, STEPPING[0], theta, 30)
    for at in (3, 9, 14):
        with pytest.raises(Killed):
            branch_on(tmp_path / "killed", Interrupted(objective, at), STEPPING[0], theta, 30)
    branch_on(tmp_path / "killed", objective, STEPPING[0], theta, 30)
    columns = [
        [line.split(",")[5] for line in (tmp_path / name / "steps.csv").read_text().splitlines()]
        for name in ("whole", "killed")
    ]
    assert columns[0] == columns[1]
    assert columns[0][:2] == ["oscillation", ""]
    assert all(float(value) > 0 for value in columns[0][2:])


def test_the_parts_of_a_branch_follow_each_other_in_one_journal(tmp_path):
    """As a run of each part from where the part before ended; a part that is over is not trained again."""
    objective, theta = network()
    journal = Journal(tmp_path / "run", "f", State(theta))
    slow, fast = GradientDescent(0.02), GradientDescent(0.1)
    for last, optimizer in ((6, slow), (10, fast)):
        run(objective, optimizer, GROUPS, journal, last_step=last, due=lambda steps: False)
    state = State(theta)
    for optimizer, count in ((slow, 6), (fast, 4)):
        for _ in range(count):
            state = optimizer.step(state, objective.gradient(state.theta))
    assert torch.equal(journal.state.theta, state.theta)
    assert [row["step"] for row in journal.rows] == list(range(11))
    assert journal.rows[-1]["time"] == pytest.approx(6 * 0.02 + 4 * 0.1)
    rows = [dict(row) for row in journal.rows]
    counting = Interrupted(objective, at=math.inf)
    for last, optimizer in ((6, slow), (10, fast)):
        run(counting, optimizer, GROUPS, journal, last_step=last, due=lambda steps: False)
    assert counting.evaluations == 2
    np.testing.assert_equal(journal.rows, rows)


def test_a_file_half_written_when_the_process_was_killed_is_no_part_of_the_run(tmp_path):
    objective, theta = network()
    to_edge(tmp_path / "whole", objective, theta)
    with pytest.raises(Killed):
        to_edge(tmp_path / "killed", Interrupted(objective, 30), theta)
    for name in ("snapshot.npz.writing", "step-000040.npz.writing"):
        (tmp_path / "killed" / "journal" / name).write_bytes(b"half of")
    to_edge(tmp_path / "killed", objective, theta)
    assert contents(tmp_path / "killed") == contents(tmp_path / "whole")
