"""Where the edge of stability is: the sharpness that an optimiser's threshold is for, and the onset rules."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from torch import Tensor

from edgewise.data.files import Array
from edgewise.dynamics.eigen import Eigenpairs
from edgewise.network.objective import Objective
from edgewise.states.optimizers import Optimizer, State

Rule = Literal["secant", "sharpness"]

#: The column of a run's records that each rule looks at.
RULE_COLUMN: dict[Rule, str] = {"secant": "secant_sharpness", "sharpness": "sharpness"}


def secant_sharpness(displacement: Tensor, change: Tensor, preconditioner: Tensor | None = None) -> float:
    """Kappa = <g' - g, theta' - theta> / |theta' - theta|^2, the mean curvature along a step; nan for no step.

    The inverse of the Barzilai-Borwein step, a relative of directional smoothness (Mishkin et al. 2024). On a quadratic
    it is at most the largest eigenvalue, and equals it where the step is along v1. That is so at the edge for every
    optimiser here: the mode that turns unstable changes sign at every step. So the rule is the same for all of them.

    Parameters
    ----------
    displacement, change : [P], theta' - theta and g' - g, gradients of the same examples. For one mini-batch B it is
        g_B.H_B g_B / |g_B|^2 to first order in lr, one sample of batch sharpness
    preconditioner : [P], the P of the step; the denominator is then <theta' - theta, P (theta' - theta)>, and kappa is
        compared with the largest eigenvalue of P^-1/2 H P^-1/2
    """
    displacement, change = displacement.double(), change.double()
    weighted = displacement if preconditioner is None else preconditioner.double() * displacement
    squared_length = (displacement @ weighted).item()
    return (change @ displacement).item() / squared_length if squared_length > 0 else math.nan


@dataclass(frozen=True)
class Sharpness:
    """The sharpness that the optimiser's stability threshold is for, and the standard error of its estimate."""

    value: float
    standard_error: float


def measure_sharpness(objective: Objective, optimizer: Optimizer, state: State, pairs: Eigenpairs) -> Sharpness:
    """The largest eigenvalue in `pairs`, exactly; for an optimiser of mini-batches, batch sharpness (estimated)."""
    batches = optimizer.sample_batches(state.step, len(objective))
    if not batches:
        return Sharpness(pairs.values[0].item(), 0.0)
    values = np.array([gradient_sharpness(objective.subset(members), state.theta) for members in batches])
    spread = values.std(ddof=1) if len(values) > 1 else 0.0
    return Sharpness(float(values.mean()), float(spread / math.sqrt(len(values))))


def gradient_sharpness(objective: Objective, theta: Tensor) -> float:
    """g.H g / |g|^2 at theta [P]: the curvature along the objective's own gradient.

    Batch sharpness is its mean over mini-batches (Andreyev and Beneventano 2024).
    """
    gradient = objective.gradient(theta)
    direction = gradient / gradient.norm()
    return float(direction @ objective.hessian(theta)(direction))


def first_crossing(
    steps: Sequence[int] | Array, values: Sequence[float] | Array, threshold: float, window: int = 1
) -> int | None:
    """The first of `steps` at which a measured value reaches `threshold` from below; None if never.

    Applied to secant sharpness or to sharpness, this is the onset rule of that name. A run may begin above its
    threshold (Adam's preconditioned sharpness does, before its second moments have grown) and has first to come down.

    Parameters
    ----------
    values : nan is "not measured"
    window : it is the mean over so many values, the last one included, that has to reach the threshold; a mean over
        nan is not measured
    """
    series = np.asarray(values, dtype=float)
    if len(series) < window:
        return None
    means = np.lib.stride_tricks.sliding_window_view(series, window).mean(axis=1)
    crossed = np.flatnonzero((means >= threshold) & np.logical_or.accumulate(means < threshold))
    return int(np.asarray(steps)[crossed[0] + window - 1]) if len(crossed) else None


def rule_window(rule: Rule, optimizer: Optimizer) -> int:
    """The window over which a rule's values are averaged: only secant sharpness is, and only that of mini-batches."""
    return optimizer.secant_window if rule == "secant" else 1
