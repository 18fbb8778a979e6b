"""Did two runs, in two processes, record the same of one state?"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd

from edgewise.data.files import Array


@dataclass(frozen=True)
class Recorded:
    """What one run kept and recorded of a state.

    Attributes
    ----------
    vectors : the parameters and the optimiser's own vectors, by name, as stored
    steps : the step's record
    hessian : the measurements at both iterates
    """

    vectors: Mapping[str, Array]
    steps: pd.Series
    hessian: pd.DataFrame


def differences(one: Recorded, other: Recorded) -> dict[str, float]:
    """How far apart two runs' records of a state are; nan where one of them is nan.

    parameters : largest absolute difference of the stored vectors; one that a run does not have is zero
    losses : largest relative difference of the losses of the whole set, of groups and of strata
    gradient_norms : the same of the norms of the groups' gradients, at both iterates
    gradient_directions : the same of their components along a fixed direction, relative to their norms
    """
    names = {**one.vectors, **other.vectors}
    vectors = [_difference(one.vectors.get(name), other.vectors.get(name)) for name in names]
    norms, probes = (
        [str(name) for name in one.hessian if str(name).startswith(f"gradient_{kind}_")] for kind in ("norm", "probe")
    )
    lengths = other.hessian[norms].to_numpy()
    return {
        "parameters": float(np.max(vectors)),
        "losses": difference_of_losses(one.steps, other.steps),
        "gradient_norms": _relative(one.hessian[norms].to_numpy(), lengths),
        "gradient_directions": _relative(one.hessian[probes].to_numpy(), other.hessian[probes].to_numpy(), lengths),
    }


def difference_of_losses(one: pd.Series, other: pd.Series) -> float:
    """Largest relative difference of the losses in two records of a step; nan where one of them is nan."""
    losses = [name for name in one.index if str(name).startswith("loss")]
    return _relative(one[losses].to_numpy(float), other[losses].to_numpy(float))


def _difference(one: Array | None, other: Array | None) -> float:
    one, other = (np.zeros(1) if vector is None else vector.astype(np.float64) for vector in (one, other))
    return float(np.abs(one - other).max())


def _relative(one: Array, other: Array, scale: Array | None = None) -> float:
    scale = other if scale is None else scale
    return float(np.max(np.abs(one - other) / np.maximum(np.abs(scale), np.finfo(float).tiny)))
