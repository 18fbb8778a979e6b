"""What marks out the groups that gain from the edge: alignment, influence, coupling, and their chance values."""

from collections.abc import Mapping
from statistics import NormalDist

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from edgewise.data.files import Array
from edgewise.network.objective import Objective


def alignment(group_gradient: Tensor, v1: Tensor) -> float:
    """cos^2 theta_k = (grad l_k . v1)^2 / |grad l_k|^2 for a gradient [P] and a unit vector [P] (paper, figure 5)."""
    squared_norm = (group_gradient @ group_gradient).item()
    return curvature_influence(group_gradient, v1) / squared_norm if squared_norm > 0 else 0.0


def curvature_influence(group_gradient: Tensor, v1: Tensor) -> float:
    """C_k = (grad l_k . v1)^2 for a gradient [P] and a unit vector [P] (paper, section 3)."""
    return (group_gradient @ v1).item() ** 2


def coupling(group_gradient: Tensor, sharpness_gradient: Tensor) -> float:
    """<grad l_k, grad S> for two gradients [P]; its square is Q_k^2 (paper, figure 22).

    Self-stabilisation moves theta along -grad S, so the loss of a group falls where this is positive.
    """
    return (group_gradient @ sharpness_gradient).item()


def measure_groups(
    objectives: Mapping[str, Objective], theta: Tensor, eigenvectors: Tensor, sharpness_gradients: Mapping[str, Tensor]
) -> dict[str, float]:
    """Every quantity of every group, as columns named <quantity>_<group>: a new measurement is one line here.

    Gradient norm and label probability show saturation, where influence dies and alignment stays (figure 7). The
    gradient's component along a fixed random direction tells whether two processes found the same direction.

    Parameters
    ----------
    objectives : the objective of each group alone
    theta : [P]
    eigenvectors : [k, P], unit vectors, v1 first; where k > 1 the influence of all of them together is measured too
    sharpness_gradients : for the name of each coupling, the gradient [P] of the sharpness that it is with
    """
    columns: dict[str, float] = {}
    probe = torch.randn(len(theta), generator=torch.Generator().manual_seed(0), dtype=torch.float64).to(theta)
    probe /= probe.norm()
    for name, objective in objectives.items():
        evaluation = objective.evaluate(theta)
        gradient = evaluation.gradient
        columns[f"alignment_{name}"] = alignment(gradient, eigenvectors[0])
        columns[f"curvature_influence_{name}"] = curvature_influence(gradient, eigenvectors[0])
        columns[f"gradient_norm_{name}"] = gradient.norm().item()
        columns[f"gradient_probe_{name}"] = (gradient @ probe).item()
        columns[f"label_probability_{name}"] = evaluation.label_probability.double().mean().item()
        for kind, sharpness_gradient in sharpness_gradients.items():
            columns[f"{kind}_{name}"] = coupling(gradient, sharpness_gradient)
        if len(eigenvectors) > 1:
            columns[f"subspace_alignment_{name}"] = sum(alignment(gradient, v) for v in eigenvectors)
            columns[f"subspace_influence_{name}"] = sum(curvature_influence(gradient, v) for v in eigenvectors)
    return columns


def measure_examples(objective: Objective, theta: Tensor, v1: Tensor) -> tuple[Array, Array]:
    """Per-example influence (grad l_i . v1)^2 and alignment cos^2(grad l_i, v1), each [n] (paper, figures 8, 20, 21).

    All the projections are one Jacobian-vector product; an example without a gradient has alignment 0.
    """
    influence = objective.projections(theta, v1).square().double().cpu().numpy()
    squared_norm = objective.gradient_norms(theta).square().double().cpu().numpy()
    return influence, np.divide(influence, squared_norm, out=np.zeros_like(influence), where=squared_norm > 0)


def rank_correlation(x: Array, y: Array) -> tuple[float, float, float]:
    """Spearman's rank correlation of x [n] and y [n], and its 95 % interval: (estimate, low, high).

    By Fisher's transformation, as for the Pearson correlation that it is of the ranks. All three are nan where x or y
    is constant or there are fewer than four pairs.
    """
    if len(x) < 4 or np.ptp(x) == 0 or np.ptp(y) == 0:
        return float("nan"), float("nan"), float("nan")
    estimate = np.corrcoef(pd.Series(x).rank(), pd.Series(y).rank())[0, 1]
    half_width = NormalDist().inv_cdf(0.975) / np.sqrt(len(x) - 3)
    with np.errstate(divide="ignore"):  # of a perfect correlation, which is certain
        middle = np.arctanh(estimate)
    return float(estimate), float(np.tanh(middle - half_width)), float(np.tanh(middle + half_width))


def permutation_null(
    objective: Objective, theta: Tensor, v1: Tensor, size: int, draws: int, seed: int
) -> tuple[Array, Array]:
    """Alignment and influence [draws] of groups of `size` examples drawn at random from the objective's data.

    The null distribution of a group that is no group: its members are interchangeable with any others.
    """
    rng = np.random.default_rng(seed)
    found = []
    for _ in range(draws):
        gradient = objective.subset(torch.from_numpy(rng.choice(len(objective), size, replace=False))).gradient(theta)
        found.append((alignment(gradient, v1), curvature_influence(gradient, v1)))
    alignments, influences = np.array(found).T
    return alignments, influences


def permutation_p_value(value: float, null: Array) -> float:
    """One-sided p-value of `value` among draws [m] from its null distribution; the value itself counts as a draw.

    What is not a number has the p-value nan: it is never significant.
    """
    if not (np.isfinite(value) and np.isfinite(null).all()):
        return float("nan")
    return float((1 + np.count_nonzero(null >= value)) / (1 + len(null)))
