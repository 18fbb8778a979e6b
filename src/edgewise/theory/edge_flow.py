"""Edge flow: a model of gradient descent at the edge of stability that follows the centre of the oscillation.

At the edge, gradient descent and heavy-ball momentum jump from one side of a valley to the other. Edge flow (Marion
2026, arXiv 2606.18080; for momentum in the spirit of arXiv 2605.06821) follows the centre c between the two, and the
half-step delta = r u from it to either side, with |u| = 1. There are two gradients a substep, on either side, and no
third derivative, so the model is defined on ReLU networks, where derivatives of the Hessian miss the kinks.

**Gradient descent.** With a = grad L(c + r u), b = grad L(c - r u), h = (a - b) / (2 r) and s = u . h, the mean
curvature along u,

    dc/dt = -lr (a + b) / 2,

and a unit of time multiplies r by |lr s - 1| and turns u towards (lr h - u) / (lr s - 1): delta follows the step
delta -> (1 - lr H) delta, but for its sign. Time is in steps.

**Momentum.** Of two consecutive iterates the halves of the sum, (c, p), and of the difference, (delta, q), with the
velocities in place of the parameters in p and q, are heavy balls both. The step m <- beta m + g, theta <- theta - lr m
of each iterate makes of them

    p <- beta p + (a + b) / 2,    c     <- c - lr p
    q <- beta q + (a - b) / 2,    delta <- delta - lr q

which is exact. A part of a step is taken of each as the solution of its own linear problem:

* The centre moves as if (a + b) / 2 stayed what it is. Its velocity then goes to (a + b) / (2 (1 - beta)), and what it
  has beyond that shrinks by beta in a step.
* The pair (delta, q) is multiplied by a matrix of trace 1 + beta - lr s and determinant beta, where the curvature is s,
  and changes sign at every step. A part of a step is that power of the matrix without the sign (`_power`), and the
  same part of the turn. Near the threshold (2 + 2 beta) / lr both eigenvalues are positive, 1 and beta at it. A little
  below, they are complex: the amplitude swings, and shrinks by sqrt(beta) a step.

At beta = 0 this is edge flow of gradient descent. As lr goes to 0, c follows gradient flow with time lr / (1 - beta) a
step.

It starts from two consecutive iterates and sees nothing later. Predicted are the losses, averaged over both sides, the
curvature s and the amplitude r. Weight decay is in the gradients that are followed; losses and s are those of L alone.

**Who pays for whom.** In the model a group of examples can be taken out of what drives the oscillation: its gradient is
then taken at the centre, for either side. So it moves the centre, and neither grows nor holds the oscillation.
"""

import cmath
import math
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from itertools import islice

from torch import Tensor
from tqdm import tqdm

from edgewise.data.files import Row
from edgewise.errors import DivergenceError
from edgewise.network.objective import Evaluation, Objective, mean_losses
from edgewise.states.optimizers import Momentum, Optimizer, State


@dataclass(frozen=True)
class Oscillation:
    """Where edge flow is.

    Attributes
    ----------
    centre : [P], c
    half_step : [P], delta = r u, from the centre to either side
    centre_velocity, half_step_velocity : [P], p and q; 0, and of no effect, without momentum
    """

    centre: Tensor
    half_step: Tensor
    centre_velocity: Tensor | float = 0.0
    half_step_velocity: Tensor | float = 0.0

    @classmethod
    def of(cls, first: State, second: State) -> "Oscillation":
        """Between two consecutive iterates."""
        velocities = first.buffer("velocity"), second.buffer("velocity")
        return cls(*_halves(first.theta, second.theta), *_halves(*velocities))

    def alternating(self, lr: float) -> "Oscillation":
        """The same with the part of the half-step that changes sign at every step.

        What the difference of two iterates has beside it is the way of the centre in a step, -lr p. With momentum that
        is the larger part where the oscillation has yet to grow.
        """
        return replace(self, half_step=self.half_step + lr * self.centre_velocity / 2)

    @property
    def amplitude(self) -> float:
        """r, the length of the half-step."""
        return float(self.half_step.norm())


def _halves(first: Tensor, second: Tensor) -> tuple[Tensor, Tensor]:
    """Half of the sum, and half of the difference."""
    return (first + second) / 2, (second - first) / 2


def edge_flow(
    objective: Objective,
    optimizer: Optimizer,
    start: Oscillation,
    groups: Mapping[str, Tensor],
    substeps: int = 2,
    at_centre: Tensor | None = None,
) -> Iterator[tuple[Oscillation, Row]]:
    """Yield the prediction for one step of the optimiser after the other, beginning with `start`.

    Parameters
    ----------
    optimizer : one with two walls
    groups : for each group's name, a mask or index of its examples
    substeps : of a step
    at_centre : a mask of examples whose gradient is taken at the centre for either side

    Yields
    ------
    The oscillation and its record: loss, sharpness (the curvature along it, s), oscillation (its amplitude, r) and
    loss_<group>, losses averaged over both sides

    Raises
    ------
    DivergenceError
        When a gradient is no longer finite.
    """
    lr, weight_decay = optimizer.lr, optimizer.weight_decay
    momentum = optimizer.momentum if isinstance(optimizer, Momentum) else 0.0
    at, step = start, 0
    still = None if at_centre is None else objective.subset(at_centre)
    while True:
        sides = _sides(objective, at)
        yield at, _record(at, sides, groups)
        for substep in range(substeps):
            if substep:
                sides = _sides(objective, at)
            a, b = (side.gradient for side in sides)
            if still is not None:
                share, centre = len(still) / len(objective), still.gradient(at.centre)
                a, b = (
                    gradient + share * (centre - side.gradient)
                    for gradient, side in zip((a, b), _sides(still, at), strict=True)
                )
            if weight_decay:
                a, b = a + weight_decay * (at.centre + at.half_step), b + weight_decay * (at.centre - at.half_step)
            at = _advance(at, a, b, lr, momentum, 1 / substeps)
            if not bool(at.centre.isfinite().all()):
                raise DivergenceError(f"optimizer.lr: was {lr:g}; edge flow diverged {step + 1} steps after onset")
        step += 1


def predicted_records(
    objective: Objective,
    optimizer: Optimizer,
    pair: tuple[State, State],
    groups: Mapping[str, Tensor],
    steps: int,
    substeps: int,
    label: str,
    at_centre: Tensor | None = None,
) -> list[Row]:
    """The records of edge flow for so many steps of the optimiser, from two of its consecutive iterates.

    Their time is that since the first iterate; the prediction begins between both. Where the optimiser has no two
    walls, or the model diverges, there is one record, of step and time alone.
    """
    first = pair[0].step
    nothing: list[Row] = [{"step": first, "time": 0.0}]
    if not optimizer.two_walls:
        return nothing
    start = Oscillation.of(*pair).alternating(optimizer.lr)
    found = edge_flow(objective, optimizer, start, groups, substeps, at_centre)
    rows: list[Row] = []
    try:
        for step, (_, row) in enumerate(tqdm(islice(found, steps), desc=label, total=steps, unit="step", disable=None)):
            rows.append({"step": first + step, "time": (step + 0.5) * optimizer.time_per_step, **row})
    except DivergenceError as error:
        print(f"{label}: no prediction ({error})", file=sys.stderr)
        return nothing
    return rows


def _sides(objective: Objective, at: Oscillation) -> tuple[Evaluation, Evaluation]:
    return objective.evaluate(at.centre + at.half_step), objective.evaluate(at.centre - at.half_step)


def _curvature(at: Oscillation, a: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
    """The mean of the Hessian between both sides times u, h [P], and the curvature s = u . h."""
    unit = at.half_step / at.amplitude
    image = (a - b) / (2 * at.amplitude)
    return image, unit @ image


def _advance(at: Oscillation, a: Tensor, b: Tensor, lr: float, momentum: float, time: float) -> Oscillation:
    """Edge flow for part of a step, from the gradients a and b [P] on either side."""
    settled = (a + b) / 2 / (1 - momentum)
    left = momentum**time
    excess = at.centre_velocity - settled
    centre = at.centre - lr * (time * settled + momentum * (1 - left) / (1 - momentum) * excess)
    velocity = settled + left * excess
    if at.amplitude == 0:
        return Oscillation(centre, at.half_step, velocity, at.half_step_velocity)
    image, curvature = _curvature(at, a, b)
    along = curvature * at.half_step
    swing = momentum * at.half_step_velocity + along + time * (at.amplitude * image - along)
    trace = lr * curvature.item() - 1 - momentum
    of_step, of_now = _power(abs(trace), momentum, time)
    of_step = -math.copysign(of_step, trace)
    half_step = of_step * (at.half_step - lr * swing) + of_now * at.half_step
    return Oscillation(centre, half_step, velocity, of_step * swing + of_now * at.half_step_velocity)


def _power(trace: float, determinant: float, exponent: float) -> tuple[float, float]:
    """(x, y) with A^exponent = x A + y, for a 2x2 matrix A of that trace and determinant, neither negative.

    Where both are 0, A^2 is 0, and so is what a part of a step is taken to leave.
    """
    if trace == determinant == 0 and exponent < 1:
        return 0.0, 0.0
    root = cmath.sqrt(trace**2 / 4 - determinant)
    large, small = trace / 2 + root, trace / 2 - root
    powers = large**exponent, small**exponent
    x = (powers[0] - powers[1]) / (2 * root) if root else exponent * large ** (exponent - 1)
    return x.real, (powers[0] - x * large).real


def _record(at: Oscillation, sides: tuple[Evaluation, Evaluation], groups: Mapping[str, Tensor]) -> Row:
    a, b = sides
    losses = (a.losses + b.losses).double() / 2
    row: Row = {
        "loss": losses.mean().item(),
        "sharpness": _curvature(at, a.gradient, b.gradient)[1].item() if at.amplitude > 0 else float("nan"),
        "oscillation": at.amplitude,
    }
    return row | mean_losses(losses, groups)
