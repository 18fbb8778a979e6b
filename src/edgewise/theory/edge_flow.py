"""Edge flow: a model of gradient descent at the edge of stability that follows the centre of the oscillation.

Gradient descent at the edge jumps from one side of a valley to the other. Edge flow (Marion 2026, arXiv 2606.18080)
follows the centre c between the two, and the half-step delta = r u from it to either side, with |u| = 1. With
a = grad L(c + r u), b = grad L(c - r u), h = (a - b) / (2 r) and s = u . h, the mean curvature along u,

    dc/dt = -lr (a + b) / 2,

and a unit of time multiplies r by |lr s - 1| and turns u towards (lr h - u) / (lr s - 1): delta follows the step
delta -> (1 - lr H) delta, but for its sign. Time is in steps. There are two gradients a substep and no third
derivative, so the model is defined on ReLU networks, where derivatives of the Hessian miss the kinks.

It starts from two consecutive iterates and sees nothing later. Predicted are the losses, averaged over both sides, the
curvature s and the amplitude r. Weight decay is in the gradients that are followed; losses and s are those of L alone.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from edgewise.data.files import Row
from edgewise.errors import DivergenceError
from edgewise.network.objective import Evaluation, Objective


@dataclass(frozen=True)
class Oscillation:
    """Where edge flow is.

    Attributes
    ----------
    centre : [P], c
    half_step : [P], delta = r u, from the centre to either side
    """

    centre: Tensor
    half_step: Tensor

    @classmethod
    def of(cls, first: Tensor, second: Tensor) -> "Oscillation":
        """Between two consecutive iterates [P]."""
        return cls((first + second) / 2, (second - first) / 2)

    @property
    def amplitude(self) -> float:
        """r, the length of the half-step."""
        return float(self.half_step.norm())


def edge_flow(
    objective: Objective,
    lr: float,
    start: Oscillation,
    groups: Mapping[str, Tensor],
    substeps: int = 2,
    weight_decay: float = 0.0,
) -> Iterator[tuple[Oscillation, Row]]:
    """Yield the prediction for one step of gradient descent after the other, beginning with `start`.

    Parameters
    ----------
    groups : for each group's name, a mask or index of its examples
    substeps : of a step
    weight_decay : coupled, as in `states.optimizers`

    Yields
    ------
    The oscillation and its record: loss, sharpness (the curvature along it, s), oscillation (its amplitude, r) and
    loss_<group>, losses averaged over both sides

    Raises
    ------
    DivergenceError
        When a gradient is no longer finite.
    """
    at, step = start, 0
    while True:
        sides = _sides(objective, at)
        yield at, _record(at, sides, groups)
        for substep in range(substeps):
            if substep:
                sides = _sides(objective, at)
            a, b = (side.gradient for side in sides)
            if weight_decay:
                a, b = a + weight_decay * (at.centre + at.half_step), b + weight_decay * (at.centre - at.half_step)
            at = _advance(at, a, b, lr, 1 / substeps)
            if not bool(at.centre.isfinite().all()):
                raise DivergenceError(f"optimizer.lr: was {lr:g}; edge flow diverged {step + 1} steps after onset")
        step += 1


def _sides(objective: Objective, at: Oscillation) -> tuple[Evaluation, Evaluation]:
    return objective.evaluate(at.centre + at.half_step), objective.evaluate(at.centre - at.half_step)


def _curvature(at: Oscillation, a: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
    """The mean of the Hessian between both sides times u, h [P], and the curvature s = u . h."""
    unit = at.half_step / at.amplitude
    image = (a - b) / (2 * at.amplitude)
    return image, unit @ image


def _advance(at: Oscillation, a: Tensor, b: Tensor, lr: float, time: float) -> Oscillation:
    """Edge flow for part of a step, from the gradients a and b [P] on either side."""
    centre = at.centre - time * lr * (a + b) / 2
    if at.amplitude == 0:
        return Oscillation(centre, at.half_step)
    image, curvature = _curvature(at, a, b)
    factor = lr * curvature - 1
    unit = at.half_step / at.amplitude
    target = (lr * image - unit) / factor
    turned = torch.nn.functional.normalize((1 - time) * unit + time * target, dim=0)
    return Oscillation(centre, at.amplitude * factor.abs().item() ** time * turned)


def _record(at: Oscillation, sides: tuple[Evaluation, Evaluation], groups: Mapping[str, Tensor]) -> Row:
    a, b = sides
    losses = (a.losses + b.losses).double() / 2
    row: Row = {
        "loss": losses.mean().item(),
        "sharpness": _curvature(at, a.gradient, b.gradient)[1].item() if at.amplitude > 0 else float("nan"),
        "oscillation": at.amplitude,
    }
    return row | {f"loss_{name}": losses[members].mean().item() for name, members in groups.items()}
