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
SPLITS = ("train", "heldout", "control_coherent", "control_random")


@dataclass(frozen=True)
class Examples:
    """Some examples and where they lie.

    Attributes
    ----------
    x : float32 [n, C, H, W]
    y : int64 [n], the labels that are trained on or scored
    group : str [n], "natural" or one of `GROUPS`
    distance : float32 [n], to the nearest centroid of the class that the image is of
    position : float32 [n, 2], coordinate along v_diff (0 at mu_0, 1 at mu_1) and distance from that axis, both in units
        of |v_diff| (figure 1)
    """

    x: Array
    y: Array
    group: Array
    distance: Array
    position: Array


@dataclass(frozen=True)
class Prototypes:
    """Training set with the groups added, the held-out candidates, and the geometry that made them.

    Attributes
    ----------
    train : the natural training data, then the groups
    heldout : the candidates that are not trained on
    control_coherent, control_random : the seed images of the trained input-outliers, displaced in either way; the one
        that `direction` does not name is in no training set
    centroids : float32 [2, clusters, C, H, W]
    v_diff : float32 [C, H, W], mu_1 - mu_0, the difference of the class means, not normalised
    """

    train: Examples
    heldout: Examples
    control_coherent: Examples
    control_random: Examples
    centroids: Array
    v_diff: Array

    def to_bytes(self) -> bytes:
        """The self-describing file of the prototypes stage."""
        arrays = {"centroids": self.centroids, "v_diff": self.v_diff}
        for name in SPLITS:
            arrays |= {f"{name}.{column}": values for column, values in vars(getattr(self, name)).items()}
        return pack(arrays, {"groups": GROUPS})

    @classmethod
    def from_bytes(cls, content: bytes) -> Self:
        """Read what `to_bytes` wrote."""
        arrays, _ = unpack(content)
        splits = {name: {key: arrays[f"{name}.{key}"] for key in Examples.__annotations__} for name in SPLITS}
        examples = {name: Examples(**columns) for name, columns in splits.items()}
        return cls(**examples, centroids=arrays["centroids"], v_diff=arrays["v_diff"])


def build_prototypes(dataset: Dataset, params: PrototypeParams, alpha: float, direction: Direction) -> Prototypes:
    """Make the groups from the training images of `dataset` and add the trained ones to it (spec, section 3)."""
    flat = dataset.train_x.reshape(len(dataset.train_x), -1)
    by_class = [flat[dataset.train_y == label] for label in (0, 1)]
    centroids = [find_centroids(x, params.clusters, params.seed) for x in by_class]
    v_diff = by_class[1].mean(axis=0, dtype=np.float64) - by_class[0].mean(axis=0, dtype=np.float64)

    origin = by_class[0].mean(axis=0, dtype=np.float64)
    shape = dataset.train_x.shape[1:]
    parts: dict[str, list[Examples]] = {name: [] for name in SPLITS}

    def add(split: str, group: str, label: int, target: int, x: Array) -> None:
        """Add images x [m, d] of class `label`, to be given the label `target`."""
        columns = (centroid_distance(x, centroids[label]), axis_position(x, origin, v_diff))
        parts[split].append(Examples(x.reshape(-1, *shape), np.full(len(x), target), np.full(len(x), group), *columns))

    for label in (0, 1):
        add("train", NATURAL, label, label, by_class[label])
    for label in (0, 1):
        x = by_class[label]
        order = np.random.default_rng([params.seed, label]).permutation(params.candidates)
        typical = x[np.argsort(centroid_distance(x, centroids[label]), kind="stable")[order]]
        atypical = x[np.argsort(centroid_distance(x, centroids[1 - label]), kind="stable")[order]]
        displaced = {
            "coherent": displace(typical, label, alpha, v_diff),
            "random": displace(typical, label, alpha, v_diff, np.random.default_rng([params.seed, label, 1])),
        }
        for group, target, candidates in (
            ("inlier", label, typical),
            ("boundary", label, atypical),
            ("output_outlier", 1 - label, typical),
            ("input_outlier", label, displaced[direction]),
        ):
            add("train", group, label, target, candidates[: params.trained])
            add("heldout", group, label, target, candidates[params.trained :])
        for way, candidates in displaced.items():
            add(f"control_{way}", "input_outlier", label, label, candidates[: params.trained])

    return Prototypes(
        **{name: _joined(members) for name, members in parts.items()},
        centroids=np.stack(centroids).reshape(2, params.clusters, *shape).astype(np.float32),
        v_diff=v_diff.reshape(shape).astype(np.float32),
    )


def _joined(parts: list[Examples]) -> Examples:
    columns = [vars(part) for part in parts]
    return Examples(**{key: np.concatenate([column[key] for column in columns]) for key in columns[0]})


def displace(x: Array, label: int, alpha: float, v_diff: Array, rng: np.random.Generator | None = None) -> Array:
    """Examples x [m, d] of class `label` moved by alpha * |v_diff|, as float32 (paper, section 3 and figure 18).

    Away from the other class, x - alpha v_diff for class 0 and x + alpha v_diff for class 1; or, with an `rng`, each
    along a random direction orthogonal to v_diff.
    """
    away = (v_diff if label == 1 else -v_diff) if rng is None else random_orthogonal(v_diff, len(x), rng)
    moved: Array = (x + alpha * away).astype(np.float32)
    return moved


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
