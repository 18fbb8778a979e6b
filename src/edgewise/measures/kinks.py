"""The curvature over a finite step along the oscillation: why the sharpness of a ReLU network sits below the edge.

With the centre c of two consecutive iterates and the half-step delta = r u from it to either,

    s(l) = u . (grad L(c + l u) - grad L(c - l u)) / (2 l)

is the mean curvature along u over the length 2 l. At l = r it is the secant sharpness kappa of the step, which gradient
descent holds at its threshold. As l tends to 0 it is u^T H u at the centre, which is at most lambda_1. On a smooth
network the two differ by what the Hessian changes over the step. A ReLU network is piecewise smooth: its Hessian is
that of one piece, and each kink between the pieces adds to s a jump of the gradient over 2 l. The number of kinks that
are crossed grows as l does, so what they add together does not vanish with l, until l is less than from kink to kink.
"""

from torch import Tensor

from edgewise.data.files import Row
from edgewise.dynamics.edge import secant_sharpness
from edgewise.network.objective import Objective

#: Lengths at which the curvature is measured, in half-steps; at 0 it is the limit, at 1 the secant sharpness.
LENGTHS = (0.0, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 3.0)


def curvature_by_length(
    objective: Objective, first: Tensor, second: Tensor, preconditioner: Tensor | None = None
) -> list[Row]:
    """s(l) at every one of `LENGTHS`, about the centre of two consecutive iterates [P].

    Parameters
    ----------
    preconditioner : [P], of the step from `first`; the curvature is then that of P^-1/2 H P^-1/2, as in
        `secant_sharpness`

    Returns
    -------
    relative_length (l / r), length (l) and curvature (s), one row a length; nan where the iterates are the same
    """
    centre, half_step = (first + second) / 2, (second - first) / 2
    rows: list[Row] = []
    for relative in LENGTHS:
        if relative:
            displacement = relative * half_step
            change = (objective.gradient(centre + displacement) - objective.gradient(centre - displacement)) / 2
        else:
            displacement, change = half_step, objective.hessian(centre)(half_step)
        rows.append(
            {
                "relative_length": relative,
                "length": relative * half_step.norm().item(),
                "curvature": secant_sharpness(displacement, change, preconditioner),
            }
        )
    return rows
