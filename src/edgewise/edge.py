"""Where the edge of stability is: secant sharpness and the onset rules."""

from collections.abc import Sequence
from typing import Literal

import numpy as np
from torch import Tensor

from edgewise.files import Array

Rule = Literal["secant", "sharpness"]

#: The column of a run's records that each rule looks at.
RULE_COLUMN: dict[Rule, str] = {"secant": "secant_sharpness", "sharpness": "sharpness"}


def secant_sharpness(theta: Tensor, gradient: Tensor, next_theta: Tensor, next_gradient: Tensor) -> float:
    """Kappa = <g' - g, theta' - theta> / |theta' - theta|^2, the mean curvature along a step; nan for no step.

    The inverse of the Barzilai-Borwein step, a relative of directional smoothness (Mishkin et al. 2024).
    """
    displacement = (next_theta - theta).double()
    change = (next_gradient - gradient).double()
    squared_length = (displacement @ displacement).item()
    return (change @ displacement).item() / squared_length if squared_length > 0 else float("nan")


def first_crossing(steps: Sequence[int] | Array, values: Sequence[float] | Array, threshold: float) -> int | None:
    """The first of `steps` at which a measured value reaches `threshold`; nan is "not measured"; None if never.

    Applied to secant sharpness or to sharpness, this is the onset rule of that name.
    """
    reached = np.flatnonzero(np.asarray(values, dtype=float) >= threshold)
    return int(np.asarray(steps)[reached[0]]) if len(reached) else None
