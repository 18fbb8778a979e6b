"""Gradient flow as a model of gradient descent: what a run would do if it had no edge (Cohen et al. 2021)."""

from collections.abc import Iterator

from edgewise.dynamics.eigen import EigenTracker
from edgewise.theory.problem import Prediction, Problem, flow_with


def gradient_flow(problem: Problem) -> Iterator[Prediction]:
    """Yield d theta / dt = - grad L, from the centre of the start; its sharpness is recorded, and not needed."""
    tracker = EigenTracker(problem.objective.unmetered, tolerance=problem.tolerance)
    for theta, here in flow_with(problem, substeps=1):
        yield theta, {**problem.losses(here.losses), "sharpness": tracker.measure(theta).values[0].item()}
