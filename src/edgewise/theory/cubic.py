"""The cubic model of self-stabilisation (Damian, Nichani, Lee 2023, arXiv 2209.15594).

At a reference point near the edge, with u = v_1, S the sharpness, gradS' its gradient without the part along u, and the
threshold S* = 2 / lr, the expansion of L to third order leaves of gradient descent two numbers: x_t, how far the
iterate is from the centre along u, and y_t, the sharpness at the centre less the threshold:

    x_t+1 = - (1 + lr y_t) x_t,    y_t+1 = y_t + lr (alpha - beta x_t^2 / 2)

with alpha = - grad L . gradS', the progressive sharpening, and beta = |gradS'|^2, what an oscillation does against it.

The same terms are what the edge adds to a loss. Every step the oscillation moves the centre by - lr x_t^2 / 2 gradS',
which changes l_k by - lr x_t^2 / 2 grad l_k . gradS'; and both sides together are x_t^2 / 2 u . H_k u above the centre.
These are added to l_k along gradient flow from the reference point: as a function of theta, l_k is expanded about the
flow, with the derivatives of the reference point.

The point at which lambda_1 is exactly at the threshold lies between two iterates. The model is expanded at the last
centre before it, so y begins slightly below 0.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Self

from torch import Tensor

from edgewise.dynamics.eigen import EigenTracker
from edgewise.errors import DivergenceError
from edgewise.theory.problem import Prediction, Problem, flow_with


@dataclass(frozen=True)
class Expansion:
    """The coefficients of the model, and where it begins.

    Attributes
    ----------
    alpha, beta : progressive sharpening and self-stabilisation
    x, y : at the start
    slope : [P], gradS'
    couplings, curvatures : [n], grad l_i . gradS' and u . H_i u of every example
    """

    alpha: float
    beta: float
    x: float
    y: float
    slope: Tensor
    couplings: Tensor
    curvatures: Tensor

    @classmethod
    def of(cls, problem: Problem) -> Self:
        """At the centre of the problem's start."""
        objective, theta = problem.objective, problem.start.centre
        pairs = EigenTracker(objective, tolerance=problem.tolerance).measure(theta)
        u = pairs.vectors[0]
        slope = objective.sharpness_gradient(theta, u)
        slope = slope - (slope @ u) * u
        gradient = problem.followed(theta, objective.gradient(theta))
        return cls(
            alpha=-(gradient @ slope).item(),
            beta=(slope @ slope).item(),
            x=(problem.start.half_step @ u).item(),
            y=pairs.values[0].item() - problem.optimizer.stability_threshold,
            slope=slope,
            couplings=objective.unmetered.projections(theta, slope),
            curvatures=objective.unmetered.curvatures(theta, u),
        )


def cubic(problem: Problem) -> Iterator[Prediction]:
    """Yield the model's losses, its sharpness S* + y and its amplitude |x|.

    Raises
    ------
    DivergenceError
        When x or y is no longer finite.
    """
    at = Expansion.of(problem)
    lr, threshold = problem.optimizer.lr, problem.optimizer.stability_threshold
    x, y, pushed = at.x, at.y, 0.0
    for theta, here in flow_with(problem, substeps=1):
        half_square = x * x / 2
        losses = here.losses.double() - pushed * at.couplings + half_square * at.curvatures
        yield theta - pushed * at.slope, {**problem.losses(losses), "sharpness": threshold + y, "oscillation": abs(x)}
        pushed += lr * half_square
        x, y = -(1 + lr * y) * x, y + lr * (at.alpha - at.beta * half_square)
        if not (math.isfinite(x) and math.isfinite(pushed)):
            raise DivergenceError(f"optimizer.lr: was {lr:g}; the cubic model diverged")
