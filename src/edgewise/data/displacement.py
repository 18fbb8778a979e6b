"""Displacement of images along the axis between class and other class, or as far at random (paper, section 3)."""

from collections.abc import Sequence
from typing import Literal, get_args

import numpy as np

from edgewise.data.files import Array
from edgewise.errors import ParameterError

Direction = Literal["coherent", "random"]
DIRECTIONS: tuple[Direction, ...] = get_args(Direction)


def displace(
    x: Array,
    label: int,
    alpha: float,
    v_diff: Array,
    direction: Direction = "coherent",
    entropy: Sequence[int] = (),
) -> Array:
    """Examples x [m, d] of class `label` moved by alpha * |v_diff|, as float32 (paper, section 3 and figure 18).

    v_diff [K, d] has for each class its mean less that of its other class. Coherent: away from the other class, x +
    alpha v_diff. Random: each example along a direction of its own, orthogonal to v_diff, that `entropy`, the label and
    its place among x decide.

    >>> displace(np.zeros((1, 2)), label=1, alpha=3, v_diff=np.array([[0.0, -2.0], [0.0, 2.0]]))
    array([[0., 6.]], dtype=float32)
    """
    away = v_diff[label]
    if direction == "random":
        away = random_orthogonal(away, len(x), np.random.default_rng([*entropy, label, 1]))
    moved: Array = (x + alpha * away).astype(np.float32)
    return moved


def random_orthogonal(v: Array, count: int, rng: np.random.Generator) -> Array:
    """`count` random directions [count, d], each orthogonal to v [d] and of its length (figure 18).

    Raises
    ------
    ParameterError
        If there are none: images of one value, or classes of the same mean.
    """
    if len(v) < 2 or not v.any():
        allowed = "images must have at least two values, and the classes different means, to be displaced at random"
        raise ParameterError("dataset.name", f"images of {len(v)}", allowed)
    directions = rng.standard_normal((count, len(v)))
    directions -= np.outer(directions @ v, v) / (v @ v)
    directions *= np.linalg.norm(v) / np.linalg.norm(directions, axis=1, keepdims=True)
    return directions
