"""The edge of stability: the sharpness that is compared with an optimiser's threshold, and the rules for its onset."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from edgewise.data.files import Array
from edgewise.dynamics.eigen import Eigenpairs
from edgewise.network.objective import Objective
from edgewise.states.optimizers import Optimizer, State

Rule = Literal["secant", "sharpness"]

#: The column of a run's records that each rule compares with the threshold.
RULE_COLUMN: dict[Rule, str] = {"secant": "secant_sharpness", "sharpness": "sharpness"}

#: Numbers that are taken to double precision at a time on a CPU: as many as fit into the cache of a core.
BLOCK = 2**16


def secant_sharpness(displacement: Tensor, change: Tensor, preconditioner: Tensor | None = None) -> float:
    """Kappa = <g' - g, theta' - theta> / |theta' - theta|^2, the mean curvature along a step; nan for a step of 0.

    It is the inverse of the Barzilai-Borwein step size, and related to directional smoothness (Mishkin et al. 2024). On
    a quadratic it is at most the largest eigenvalue, and equal to it if the step is along v1. At the edge the step is
    dominated by v1 for every optimiser here (for accelerated ones, its change is: see `Optimizer.secant`), since the
    mode that becomes unstable changes sign at every step. So one rule serves all of them.

    Parameters
    ----------
    displacement, change : [P], theta' - theta and g' - g, both gradients of the same examples. If those are a
        mini-batch B, kappa is g_B.H_B g_B / |g_B|^2 to first order in lr, one sample of batch sharpness
    preconditioner : [P], the diagonal P of the step; the denominator is then <theta' - theta, P (theta' - theta)>, and
        kappa estimates the largest eigenvalue of P^-1/2 H P^-1/2
    """
    vectors = (displacement, change) if preconditioner is None else (displacement, change, preconditioner)
    size = BLOCK if displacement.device.type == "cpu" else len(displacement)
    products = []
    for blocks in zip(*(vector.split(size) for vector in vectors), strict=True):
        step, difference, *weights = (block.double() for block in blocks)
        products.append(torch.stack([difference @ step, step @ (weights[0] * step if weights else step)]))
    along, squared_length = torch.stack(products).sum(dim=0).tolist()
    return along / squared_length if squared_length > 0 else math.nan


@dataclass(frozen=True)
class Sharpness:
    """The sharpness to compare with the optimiser's stability threshold, and the standard error of its estimate."""

    value: float
    standard_error: float


def measure_sharpness(objective: Objective, optimizer: Optimizer, state: State, pairs: Eigenpairs) -> Sharpness:
    """The largest eigenvalue in `pairs`, with no standard error; for an optimiser with mini-batches, batch sharpness.

    Batch sharpness (see `gradient_sharpness`) is estimated by its mean over `Optimizer.sample_batches`.
    """
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

    Applied to secant sharpness or to sharpness, this is the onset rule of that name. A value counts only after another
    one below the threshold, because a run may begin above it: Adam's preconditioned sharpness does, until its second
    moments have grown.

    Parameters
    ----------
    steps, values : [n]; a value of nan is not measured
    window : number of values whose mean, up to and including the step's own, has to reach the threshold; a mean that
        includes a nan is not measured
    """
    series = np.asarray(values, dtype=float)
    if len(series) < window:
        return None
    means = np.lib.stride_tricks.sliding_window_view(series, window).mean(axis=1)
    crossed = np.flatnonzero((means >= threshold) & np.logical_or.accumulate(means < threshold))
    return int(np.asarray(steps)[crossed[0] + window - 1]) if len(crossed) else None


def rule_window(rule: Rule, optimizer: Optimizer) -> int:
    """The number of values that a rule averages: more than one for the secant sharpness of mini-batches alone."""
    return optimizer.secant_window if rule == "secant" else 1
