"""The four tracked groups of examples ("prototypes"; paper, section 3 and figures 1, 2, 18).

All distances are Euclidean in normalised pixel space, from an image to the nearest centroid of a class.
Three groups are made from the same seed images, those nearest to the centroid of their own class, so that they differ
only in what is done to them:

* inlier: the seed image with its own label;
* output_outlier: the seed image with the other label;
* input_outlier: the seed image moved by alpha * |v_diff|, away from the other class (`direction` coherent) or along a
  random direction orthogonal to v_diff (the control), with its own label;
* boundary: the images nearest to the centroid of the other class, with their own label.

The groups are added to the natural training data, so a seed image is there as itself too. "Held out" candidates are
held out of the groups: of inlier and boundary candidates the natural originals stay in the training data.
"""

from dataclasses import dataclass
from typing import Literal, Self

import numpy as np

from edgewise.datasets import Dataset
from edgewise.files import Array, pack, unpack
from edgewise.params import PrototypeParams

GROUPS = ("inlier", "boundary", "output_outlier", "input_outlier")
NATURAL = "natural"

Direction = Literal["coherent", "random"]


@dataclass(frozen=True)
class Prototypes:
    """Training set with the groups added, the held-out candidates, and the geometry that made them.

    Attributes
    ----------
    train_x, heldout_x : float32 [n, C, H, W]
    train_y, heldout_y : int64 [n], the labels that are trained on or scored
    train_group, heldout_group : str [n], "natural" or one of `GROUPS`
    train_distance, heldout_distance : float32 [n], distance to the nearest centroid of the class that the image is of
    train_position, heldout_position : float32 [n, 2], coordinate along v_diff (0 at mu_0, 1 at mu_1) and distance from
        that axis, in units of |v_diff| (figure 1)
    centroids : float32 [2, clusters, C, H, W]
    v_diff : float32 [C, H, W], mu_1 - mu_0, the difference of the class means, not normalised
    """

    train_x: Array
    train_y: Array
    train_group: Array
    train_distance: Array
    train_position: Array
    heldout_x: Array
    heldout_y: Array
    heldout_group: Array
    heldout_distance: Array
    heldout_position: Array
    centroids: Array
    v_diff: Array

    def to_bytes(self) -> bytes:
        """The self-describing file of the prototypes stage."""
        return pack(dict(vars(self)), {"groups": GROUPS})

    @classmethod
    def from_bytes(cls, content: bytes) -> Self:
        """Read what `to_bytes` wrote."""
        return cls(**unpack(content)[0])


def build_prototypes(dataset: Dataset, params: PrototypeParams, alpha: float, direction: Direction) -> Prototypes:
    """Make the groups from the training images of `dataset` and add the trained ones to it (spec, section 3)."""
    flat = dataset.train_x.reshape(len(dataset.train_x), -1)
    by_class = [flat[dataset.train_y == label] for label in (0, 1)]
    centroids = [find_centroids(x, params.clusters, params.seed) for x in by_class]
    v_diff = by_class[1].mean(axis=0, dtype=np.float64) - by_class[0].mean(axis=0, dtype=np.float64)

    parts: dict[str, list[tuple[str, int, int, Array]]] = {"train": [], "heldout": []}
    for label in (0, 1):
        parts["train"].append((NATURAL, label, label, by_class[label]))
    for label in (0, 1):
        x = by_class[label]
        order = np.random.default_rng([params.seed, label]).permutation(params.candidates)
        typical = x[np.argsort(centroid_distance(x, centroids[label]), kind="stable")[order]]
        atypical = x[np.argsort(centroid_distance(x, centroids[1 - label]), kind="stable")[order]]
        away = v_diff if label == 1 else -v_diff
        if direction == "random":
            away = random_orthogonal(v_diff, params.candidates, np.random.default_rng([params.seed, label, 1]))
        groups = (
            ("inlier", label, typical),
            ("boundary", label, atypical),
            ("output_outlier", 1 - label, typical),
            ("input_outlier", label, (typical + alpha * away).astype(np.float32)),
        )
        for name, target, examples in groups:
            parts["train"].append((name, label, target, examples[: params.trained]))
            parts["heldout"].append((name, label, target, examples[params.trained :]))

    columns: dict[str, Array] = {}
    origin = by_class[0].mean(axis=0, dtype=np.float64)
    for split, members in parts.items():
        x = np.concatenate([examples for _, _, _, examples in members])
        columns[f"{split}_x"] = x.reshape(-1, *dataset.train_x.shape[1:])
        columns[f"{split}_y"] = np.concatenate([np.full(len(e), target) for _, _, target, e in members])
        columns[f"{split}_group"] = np.concatenate([np.full(len(e), name) for name, _, _, e in members])
        columns[f"{split}_distance"] = np.concatenate([centroid_distance(e, centroids[c]) for _, c, _, e in members])
        columns[f"{split}_position"] = axis_position(x, origin, v_diff)
    shape = dataset.train_x.shape[1:]
    return Prototypes(
        **columns,
        centroids=np.stack(centroids).reshape(2, params.clusters, *shape).astype(np.float32),
        v_diff=v_diff.reshape(shape).astype(np.float32),
    )


def find_centroids(x: Array, clusters: int, seed: int) -> Array:
    """k-means centroids [clusters, d] of the rows of x [n, d]; with one cluster, their mean."""
    from sklearn.cluster import KMeans

    means: Array = KMeans(clusters, n_init=10, random_state=seed).fit(x.astype(np.float64)).cluster_centers_
    return means


def centroid_distance(x: Array, centroids: Array) -> Array:
    """Distance [n] from each row of x [n, d] to the nearest of the centroids [clusters, d]."""
    each = [np.linalg.norm(x - centroid, axis=1) for centroid in centroids.astype(np.float32)]
    nearest: Array = np.min(each, axis=0).astype(np.float32)
    return nearest


def random_orthogonal(v: Array, count: int, rng: np.random.Generator) -> Array:
    """`count` random directions [count, d], each orthogonal to v [d] and of its length (figure 18)."""
    directions = rng.standard_normal((count, len(v)))
    directions -= np.outer(directions @ v, v) / (v @ v)
    directions *= np.linalg.norm(v) / np.linalg.norm(directions, axis=1, keepdims=True)
    return directions


def axis_position(x: Array, origin: Array, v_diff: Array) -> Array:
    """Coordinates [n, 2] of x [n, d]: along v_diff from `origin`, and distance from that axis, in units of |v_diff|."""
    length = np.linalg.norm(v_diff)
    offset = (x - origin) / length
    along = offset @ (v_diff / length)
    away = np.sqrt(np.maximum((offset**2).sum(axis=1) - along**2, 0.0))
    position: Array = np.stack([along, away], axis=1).astype(np.float32)
    return position
