"""The constrained trajectory: gradient flow that may not be sharper than the threshold (Damian et al. 2023).

Self-stabilisation makes the average of gradient descent follow gradient descent projected to where S <= 2 / lr and
grad L . v_1 = 0 (arXiv 2209.15594). Here gradient flow is followed for a substep, which keeps to grad L . v_1 = 0 by
itself, and then projected: as long as S is above the threshold, Newton steps on S go along grad S without its part
along v_1, which would leave the floor of the valley. Below the threshold it is gradient flow.

There is no oscillation in this model. One eigenvalue is held; where a second one is at the threshold, the projection
goes to and fro between both.
"""

from collections.abc import Iterator

from torch import Tensor

from edgewise.dynamics.eigen import EigenTracker
from edgewise.errors import DivergenceError
from edgewise.theory.problem import Prediction, Problem, flow_with

#: How far above the threshold S may be, relative to it, and how many Newton steps may be needed.
TOLERANCE, NEWTON_STEPS = 1e-4, 20


def constrained(problem: Problem) -> Iterator[Prediction]:
    """Yield the trajectory from the centre of the start.

    Raises
    ------
    DivergenceError
        When no point with S <= threshold is found, or theta is no longer finite.
    """
    tracker = EigenTracker(problem.objective, tolerance=problem.tolerance)
    threshold = problem.optimizer.stability_threshold
    sharpness = tracker.measure(problem.start.centre).values[0].item()

    def project(theta: Tensor) -> Tensor:
        nonlocal sharpness
        for _ in range(NEWTON_STEPS):
            if not bool(theta.isfinite().all()):
                break
            pairs = tracker.measure(theta)
            sharpness, v1 = pairs.values[0].item(), pairs.vectors[0]
            if sharpness <= (1 + TOLERANCE) * threshold:
                return theta
            slope = problem.objective.sharpness_gradient(theta, v1)
            slope = slope - (slope @ v1) * v1
            theta = theta - (sharpness - threshold) / (slope @ slope) * slope
        lr = problem.optimizer.lr
        raise DivergenceError(
            f"optimizer.lr: was {lr:g}; the constrained trajectory finds no point below the threshold"
        )

    for theta, here in flow_with(problem, problem.substeps, project):
        yield theta, {**problem.losses(here.losses), "sharpness": sharpness}
