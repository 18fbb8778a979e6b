"""The two-step average of a loss, split into the loss at the centre and the cost of the oscillation.

With c = (theta_t + theta_t+1) / 2, the average over two consecutive iterates is the loss at c and what the oscillation
about c adds, to second order delta^T H delta / 2 with delta = (theta_t+1 - theta_t) / 2. The split is exact:
(l_k(theta_t) + l_k(theta_t+1)) / 2 = l_k(c) + O_k. The centre follows the mean of both gradients; what that differs by
from the gradient at the centre is the force that keeps the sharpness at the threshold (Damian et al. 2023).
"""

from collections.abc import Mapping

from torch import Tensor

from edgewise.network.objective import Objective


def decompose(objective: Objective, first: Tensor, second: Tensor, groups: Mapping[str, Tensor]) -> dict[str, float]:
    """The split of the losses between two consecutive iterates [P], and the stabilising force.

    Parameters
    ----------
    groups : for each group's name, a mask or index of its examples

    Returns
    -------
    centre_loss_<group>, oscillation_cost_<group>; force, the length of (grad L(theta_t) + grad L(theta_t+1)) / 2 -
    grad L(c); centre_gradient, that of grad L(c)
    """
    one, other, centre = (objective.evaluate(theta) for theta in (first, second, (first + second) / 2))
    averaged = (one.losses.double() + other.losses.double()) / 2
    columns = {
        "force": ((one.gradient + other.gradient) / 2 - centre.gradient).norm().item(),
        "centre_gradient": centre.gradient.norm().item(),
    }
    for name, members in groups.items():
        at_centre = centre.losses.double()[members].mean().item()
        columns[f"centre_loss_{name}"] = at_centre
        columns[f"oscillation_cost_{name}"] = averaged[members].mean().item() - at_centre
    return columns
