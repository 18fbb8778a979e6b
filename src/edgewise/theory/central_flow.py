"""Central flow: gradient descent at the edge, averaged over its oscillation (Cohen, Damian et al. 2025).

The oscillation delta is along the eigenvectors U = (u_1 ... u_m) whose eigenvalues are at the threshold 2 / lr, and
enters by its covariance Sigma = E[delta delta^T] = U X U^T alone (arXiv 2410.24206):

    dw/dt = - grad L - 1/2 sum_ij X_ij grad H_ij,    H_ij = u_i . H u_j with U held fixed.

X is what keeps the eigenvalues at the threshold: positive semidefinite, and only where they would otherwise rise above
it. With the slack A = 2/lr I - (H_ij) that gradient descent alone would leave after a time h, and
B_ij,kl = <grad H_ij, grad H_kl>,

    X >= 0,    A + h/2 B[X] >= 0,    <X, A + h/2 B[X]> = 0,

a semidefinite complementarity problem. These are the conditions for the least of <A, M> + <M, B[M]> / 2 over M >= 0
with M = h/2 X, a convex problem, which is left to cvxpy and Clarabel. Directions count from `NEAR` below the threshold
on: the slack of those that do not reach it leaves them without an oscillation.

The flow is followed by Euler steps, as in the paper. The predicted loss of a group is l_k(w) + tr(H_k Sigma) / 2.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from edgewise.data.files import Array
from edgewise.dynamics.eigen import EigenTracker
from edgewise.errors import DivergenceError, said_by
from edgewise.theory.problem import Prediction, Problem

#: Directions are followed whose eigenvalues are so near to the threshold, relative to it, and so many at most.
NEAR, DIRECTIONS = 0.05, 3

#: Of two eigenvalues of Sigma the smaller one counts as 0 if it is this part of the larger: that is the solver's error.
SOLVERS_ERROR = 1e-6


@dataclass(frozen=True)
class Unstable:
    """The directions near the threshold.

    Attributes
    ----------
    vectors : [m, P], orthonormal
    slack : [m], the threshold less their eigenvalues
    slopes : [m, m, P], grad H_ij
    """

    vectors: Tensor
    slack: Tensor
    slopes: Tensor


def central_flow(problem: Problem) -> Iterator[Prediction]:
    """Yield central flow from the centre of the start; oscillation is the root of tr Sigma, directions its rank.

    Raises
    ------
    DivergenceError
        When w is no longer finite.
    """
    objective, lr = problem.objective, problem.optimizer.lr
    tracker = EigenTracker(objective, DIRECTIONS, tolerance=problem.tolerance)
    time = lr / problem.substeps
    w = problem.start.centre
    modes = w.new_zeros((0, len(w)))  # the columns of a root of Sigma
    while True:
        here = objective.evaluate(w)
        sharpness, unstable = _unstable(problem, tracker, w)
        costs = [objective.unmetered.curvatures(w, mode) / 2 for mode in modes]
        yield (
            w,
            {
                **problem.losses(here.losses + sum(costs)),
                "sharpness": sharpness,
                "oscillation": modes.norm().item(),
                "directions": len(modes),
            },
        )
        for substep in range(problem.substeps):
            if substep:
                here = objective.evaluate(w)
                _, unstable = _unstable(problem, tracker, w)
            gradient = problem.followed(w, here.gradient)
            push, covariance = stabilising(unstable, gradient, time)
            w = w - time * gradient - push
            values, rotation = torch.linalg.eigh(covariance)
            oscillating = values > SOLVERS_ERROR * values.max() if len(values) else values > 0
            roots = (values[oscillating].sqrt() * rotation[:, oscillating]).T
            modes = roots.to(w) @ unstable.vectors
            if not bool(w.isfinite().all()):
                raise DivergenceError(f"optimizer.lr: was {lr:g}; central flow diverged")


def _unstable(problem: Problem, tracker: EigenTracker, w: Tensor) -> tuple[float, Unstable]:
    """The sharpness at w [P], and the directions near the threshold."""
    pairs = tracker.measure(w)
    threshold = problem.optimizer.stability_threshold
    near = pairs.values >= (1 - NEAR) * threshold
    vectors = pairs.vectors[near]
    along = [problem.objective.sharpness_gradient(w, v) for v in vectors]
    slopes = w.new_zeros((len(along), len(along), len(w)))
    for i, one in enumerate(along):
        slopes[i, i] = one
        for j, other in enumerate(along[:i]):
            between = problem.objective.sharpness_gradient(w, vectors[i] + vectors[j])
            slopes[i, j] = slopes[j, i] = (between - one - other) / 2
    return pairs.values[0].item(), Unstable(vectors, threshold - pairs.values[near], slopes)


def stabilising(unstable: Unstable, gradient: Tensor, time: float) -> tuple[Tensor, Tensor]:
    """What the oscillation does in a `time`: the push [P], to be taken away from w, and X [m, m].

    Parameters
    ----------
    gradient : [P], followed in that time
    """
    slopes = unstable.slopes.double()
    slack = torch.diag(unstable.slack.double()) + time * torch.einsum("ijp,p->ij", slopes, gradient.double())
    products = torch.einsum("ijp,klp->ijkl", slopes, slopes)
    least = torch.from_numpy(complementary(slack.cpu().numpy(), products.cpu().numpy())).to(slopes)
    return torch.einsum("ij,ijp->p", least, slopes).to(gradient), 2 / time * least


def complementary(slack: Array, products: Array) -> Array:
    """The M [m, m] >= 0 with slack + products[M] >= 0 and <M, slack + products[M]> = 0.

    Parameters
    ----------
    slack : [m, m], symmetric
    products : [m, m, m, m], positive semidefinite as a form of symmetric M

    Examples
    --------
    >>> complementary(np.array([[-3.0]]), np.array([[[[2.0]]]])).round(6).tolist()
    [[1.5]]
    >>> complementary(np.array([[3.0]]), np.array([[[[2.0]]]])).tolist()
    [[0.0]]
    """
    size = len(slack)
    if np.linalg.eigvalsh(slack).min(initial=0) >= 0:
        return np.zeros((size, size))
    import cvxpy

    form = products.reshape(size**2, size**2)
    values, basis = np.linalg.eigh((form + form.T) / 2)
    root = np.sqrt(np.maximum(values, 0))[:, None] * basis.T
    # In these units the solution is of the order of 1, as the solver's tolerances take it to be.
    unit_of_root, unit_of_slack = np.abs(root).max(), np.abs(slack).max()
    least = cvxpy.Variable((size, size), PSD=True)
    form_of_least = cvxpy.sum_squares(root / unit_of_root @ cvxpy.vec(least, order="C")) / 2
    try:
        cvxpy.Problem(cvxpy.Minimize(cvxpy.trace(slack / unit_of_slack @ least) + form_of_least)).solve(cvxpy.CLARABEL)
    except (cvxpy.SolverError, ValueError) as error:  # the latter of numbers that are not finite
        raise DivergenceError(f"central flow: no oscillation holds the eigenvalues ({said_by(error)})") from error
    if least.value is None:
        raise DivergenceError("central flow: no oscillation holds the eigenvalues at the threshold")
    found: Array = least.value * unit_of_slack / unit_of_root**2
    return found
