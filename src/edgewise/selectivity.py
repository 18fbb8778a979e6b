"""Which groups gain from the edge, and what marks them out: alignment, influence, and the difference of branches."""

from collections.abc import Mapping

import numpy as np
from torch import Tensor

from edgewise.files import Array
from edgewise.objective import Objective


def alignment(group_gradient: Tensor, v1: Tensor) -> float:
    """cos^2 theta_k = (grad l_k . v1)^2 / |grad l_k|^2 for a gradient [P] and a unit vector [P] (paper, figure 5)."""
    squared_norm = (group_gradient @ group_gradient).item()
    return curvature_influence(group_gradient, v1) / squared_norm if squared_norm > 0 else 0.0


def curvature_influence(group_gradient: Tensor, v1: Tensor) -> float:
    """C_k = (grad l_k . v1)^2 for a gradient [P] and a unit vector [P] (paper, section 3)."""
    return (group_gradient @ v1).item() ** 2


def measure_groups(objectives: Mapping[str, Objective], theta: Tensor, v1: Tensor) -> dict[str, float]:
    """alignment, curvature_influence, gradient_norm and mean label_probability of every group.

    The columns are named <quantity>_<group>; the last two show saturation, where influence dies and alignment stays.

    Parameters
    ----------
    objectives : the objective of each group alone
    theta, v1 : [P]
    """
    columns: dict[str, float] = {}
    for name, objective in objectives.items():
        evaluation = objective.evaluate(theta)
        gradient = evaluation.gradient
        columns[f"alignment_{name}"] = alignment(gradient, v1)
        columns[f"curvature_influence_{name}"] = curvature_influence(gradient, v1)
        columns[f"gradient_norm_{name}"] = gradient.norm().item()
        columns[f"label_probability_{name}"] = evaluation.label_probability.double().mean().item()
    return columns


def two_step_average(series: Array) -> Array:
    """(s[t] + s[t+1]) / 2 for a series [T, ...], as [T-1, ...].

    At the edge consecutive iterates sit on opposite walls of the valley; a single step's value flips with its parity.
    """
    return (series[:-1] + series[1:]) / 2


def delta_loss(baseline: Array, branch: Array) -> Array:
    """Delta l_k(t) at equal step: two-step averaged loss on the branch minus that on the baseline (figure 4).

    Parameters
    ----------
    baseline, branch : [T, groups], losses at the same steps since branching

    Returns
    -------
    [T-1, groups]; positive where the group gains from staying at the edge
    """
    return two_step_average(branch) - two_step_average(baseline)


def delta_loss_equal_time(
    baseline: Array, baseline_time: Array, branch: Array, branch_time: Array
) -> tuple[Array, Array]:
    """Delta l_k at equal training time lr * t, on the times of the run with the larger steps.

    Parameters
    ----------
    baseline, branch : [T, groups] and [U, groups], losses by step
    baseline_time, branch_time : [T] and [U], training time since branching

    Returns
    -------
    (time [S], difference [S, groups]): two-step averages, that of the finer run interpolated linearly, up to the end of
    the shorter run
    """
    runs = [
        (two_step_average(time), two_step_average(losses))
        for time, losses in ((baseline_time, baseline), (branch_time, branch))
    ]
    first = max(time[0] for time, _ in runs)
    last = min(time[-1] for time, _ in runs)
    coarse = max(runs, key=lambda run: float(np.diff(run[0]).mean()))[0]
    times = coarse[(coarse >= first) & (coarse <= last)]
    on_times = [
        np.stack([np.interp(times, time, losses[:, group]) for group in range(losses.shape[1])], axis=1)
        for time, losses in runs
    ]
    return times, on_times[1] - on_times[0]
