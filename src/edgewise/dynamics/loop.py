"""The one training loop. The base run and every branch go through it."""

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

from torch import Tensor
from tqdm import tqdm

from edgewise.data.files import Row
from edgewise.dynamics.edge import RULE_COLUMN, Rule, first_crossing, measure_sharpness, rule_window, secant_sharpness
from edgewise.dynamics.eigen import EigenTracker
from edgewise.errors import DivergenceError, NotAtTheEdgeError
from edgewise.network.objective import Objective, mean_losses
from edgewise.states.optimizers import Optimizer, State
from edgewise.states.trajectory import Journal


@dataclass(frozen=True)
class Step:
    """The state at one step and what its evaluation showed.

    Attributes
    ----------
    state : before the update
    row : step, time, loss, accuracy, secant_sharpness (of the step that led here), oscillation and loss_<group>
    gradient : [P], of the whole objective
    """

    state: State
    row: Row
    gradient: Tensor


def train(objective: Objective, optimizer: Optimizer, state: State, groups: Mapping[str, Tensor]) -> Iterator[Step]:
    """Yield the run step by step, for ever, beginning with `state` itself.

    Parameters
    ----------
    groups : for each group's name, a mask or index of its examples

    Raises
    ------
    DivergenceError
        When the loss or the gradient is not, or no longer, finite.

    Notes
    -----
    oscillation is the amplitude of the part of theta that changes sign at every step, |theta_t+1 - 2 theta_t +
    theta_t-1| / 4 for gradient descent: lr / 4 times the change of the gradient over the step that led here.
    """
    secant = oscillation = math.nan
    here = objective.evaluate(state.theta)
    if state.step == 0 and not math.isfinite(here.loss):
        raise DivergenceError("model.init_scale: the loss is not finite before the first step; must be smaller")
    while True:
        if not (math.isfinite(here.loss) and math.isfinite(here.gradient.sum())):  # one that is not is in the sum
            raise DivergenceError(
                f"optimizer.lr: must be smaller: with a step size of {optimizer.lr:g} it diverged at step {state.step}"
            )
        row: Row = {
            "step": state.step,
            "time": state.time,
            "loss": here.loss,
            "accuracy": here.accuracy,
            "secant_sharpness": secant,
            "oscillation": oscillation,
        }
        yield Step(state, row | mean_losses(here.losses, groups), here.gradient)

        chosen = optimizer.batch(state.step, len(objective))
        batch = None if chosen is None else objective.subset(chosen)
        gradient = here.gradient if batch is None else batch.gradient(state.theta)
        following = optimizer.step(state, gradient)
        there = objective.evaluate(following.theta)
        next_gradient = there.gradient if batch is None else batch.gradient(following.theta)
        displacement, change = optimizer.secant(state, gradient, following, next_gradient)
        oscillation = optimizer.lr * (next_gradient - gradient).norm().item() / 4
        secant = secant_sharpness(displacement, change, optimizer.preconditioner(state, gradient))
        state, here = following, there


def run(
    objective: Objective,
    optimizer: Optimizer,
    groups: Mapping[str, Tensor],
    journal: Journal,
    *,
    last_step: int,
    due: Callable[[int], bool],
    snapshot_every: int | None = None,
    measure: Callable[[Step, bool], Row] = lambda step, due: {},
    stop: Callable[[], bool] = lambda: False,
    keep_last_two: bool = False,
    label: str = "",
    total: int | None = None,
) -> None:
    """Train from where the journal stands to `last_step`, or to the first record after which `stop()` holds.

    Parameters
    ----------
    due : whether a checkpoint is kept so many steps after the run's first
    snapshot_every : steps from one place where a run that is killed goes on to the next, beside its checkpoints; both
        are further apart in a run of many records (`Journal.has_much_that_is_new`)
    measure : further columns of a step's record; told whether the step is one of a checkpoint
    keep_last_two : keep checkpoints of the last step and of the one before it
    label, total : of the progress bar; its length in steps, None where it is not known
    """
    threshold = optimizer.stability_threshold
    recorded, before = len(journal.rows), None
    try:
        with tqdm(total=total, initial=max(0, recorded - 1), desc=label, unit="step", disable=None) as progress:
            for step in train(objective, optimizer, journal.state, groups):
                since_start = journal.steps_since_start(step.state)
                is_checkpoint = due(since_start)
                if journal.is_new(step.state):
                    journal.record(step.row | measure(step, is_checkpoint))
                    progress.update(len(journal.rows) > 1)
                    progress.set_postfix({"κ/threshold": f"{step.row['secant_sharpness'] / threshold:.3f}"})
                done = step.state.step >= last_step or stop()
                if done and keep_last_two:
                    for state in (before, step.state):
                        if state is not None:
                            journal.checkpoint(state)
                if is_checkpoint:
                    journal.checkpoint(step.state)
                is_due = is_checkpoint or (snapshot_every and since_start % snapshot_every == 0)
                if done or (is_due and journal.has_much_that_is_new()):
                    journal.snapshot(step.state)
                if done:
                    return
                before = step.state
    except KeyboardInterrupt as stopped:
        stopped.add_note(f"{journal.folder}: at step {journal.state.step}; the same command goes on from there")
        raise


def run_to_edge(
    objective: Objective,
    optimizer: Optimizer,
    groups: Mapping[str, Tensor],
    journal: Journal,
    *,
    rule: Rule,
    sharpness_every: int,
    max_steps: int,
    tolerance: float,
) -> int:
    """Train from initialisation to onset, t*, the first step at which `rule` finds the threshold reached from below.

    The sharpness is measured every `sharpness_every` steps, as the column sharpness.

    Raises
    ------
    NotAtTheEdgeError
        If that has not happened by `max_steps`. The run so far is kept, and goes on if `max_steps` is raised.
    """
    threshold, window = optimizer.stability_threshold, rule_window(rule, optimizer)
    tracker = EigenTracker(objective, tolerance=tolerance)
    tracker.subspace = journal.memory.get("subspace")

    def sharpness(state: State, gradient: Tensor) -> float:
        pairs = tracker.measure(state.theta, optimizer.preconditioner(state, gradient))
        journal.memory["subspace"] = pairs.subspace
        return measure_sharpness(objective, optimizer, state, pairs).value

    def at_edge() -> bool:
        values = [row[RULE_COLUMN[rule]] for row in journal.rows[-window:]]
        if not sum(values) / window >= threshold:  # nearly always, and then the past does not matter
            return False
        values = [row[RULE_COLUMN[rule]] for row in journal.rows]
        return first_crossing(range(len(values)), values, threshold, window) is not None

    run(
        objective,
        optimizer,
        groups,
        journal,
        last_step=max_steps,
        due=lambda steps: steps % sharpness_every == 0,
        measure=lambda step, due: {"sharpness": sharpness(step.state, step.gradient) if due else math.nan},
        stop=at_edge,
        keep_last_two=True,
        label="base",
    )
    if not at_edge():
        state = journal.state
        reached = sharpness(state, objective.gradient(state.theta))
        raise NotAtTheEdgeError(
            f"edge.max_steps: was {max_steps}; the run has not reached the edge by rule {rule!r}: sharpness/threshold"
            f" is {reached / threshold:.3f} ({reached:.4g} / {threshold:.4g}). Raise edge.max_steps (the run goes"
            " on from here) or optimizer.lr (which lowers the threshold)"
        )
    return int(journal.rows[-1]["step"])
