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
from typing import Self

import numpy as np

from edgewise.data.displacement import DIRECTIONS, Direction, displace
from edgewise.data.examples import Dataset
from edgewise.data.files import Array, pack, unpack
from edgewise.params import PrototypeParams

GROUPS = ("inlier", "boundary", "output_outlier", "input_outlier")
NATURAL = "natural"

#: The sets of examples in `Prototypes`.
SETS = ("train", "heldout", *(f"control_{direction}" for direction in DIRECTIONS))


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
        for name in SETS:
            arrays |= {f"{name}.{column}": values for column, values in vars(getattr(self, name)).items()}
        return pack(arrays, {"groups": GROUPS})

    @classmethod
    def from_bytes(cls, content: bytes) -> Self:
        """Read what `to_bytes` wrote."""
        arrays, _ = unpack(content)
        splits = {name: {key: arrays[f"{name}.{key}"] for key in Examples.__annotations__} for name in SETS}
        examples = {name: Examples(**columns) for name, columns in splits.items()}
        return cls(**examples, centroids=arrays["centroids"], v_diff=arrays["v_diff"])


def build_prototypes(dataset: Dataset, params: PrototypeParams, alpha: float, direction: Direction) -> Prototypes:
    """Make the groups from the training images of `dataset` and add the trained ones to it (paper, section 3)."""
    flat = dataset.train_x.reshape(len(dataset.train_x), -1)
    by_class = [flat[dataset.train_y == label] for label in (0, 1)]
    centroids = [find_centroids(x, params.clusters, params.seed) for x in by_class]
    v_diff = by_class[1].mean(axis=0, dtype=np.float64) - by_class[0].mean(axis=0, dtype=np.float64)

    origin = by_class[0].mean(axis=0, dtype=np.float64)
    shape = dataset.train_x.shape[1:]
    parts: dict[str, list[Examples]] = {name: [] for name in SETS}

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
        displaced = {d: displace(typical, label, alpha, v_diff, d, params.seed) for d in DIRECTIONS}
        for group, target, candidates in (
            ("inlier", label, typical),
            ("boundary", label, atypical),
            ("output_outlier", 1 - label, typical),
            ("input_outlier", label, displaced[direction]),
        ):
            add("train", group, label, target, candidates[: params.trained])
            add("heldout", group, label, target, candidates[params.trained :])
        for displacement, candidates in displaced.items():
            add(f"control_{displacement}", "input_outlier", label, label, candidates[: params.trained])

    return Prototypes(
        **{name: _joined(members) for name, members in parts.items()},
        centroids=np.stack(centroids).reshape(2, params.clusters, *shape).astype(np.float32),
        v_diff=v_diff.reshape(shape).astype(np.float32),
    )


def _joined(parts: list[Examples]) -> Examples:
    columns = [vars(part) for part in parts]
    return Examples(**{key: np.concatenate([column[key] for column in columns]) for key in columns[0]})


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


def axis_position(x: Array, origin: Array, v_diff: Array) -> Array:
    """Coordinates [n, 2] of x [n, d]: along v_diff from `origin`, and distance from that axis, in units of |v_diff|."""
    length = np.linalg.norm(v_diff)
    offset = (x - origin) / length
    along = offset @ (v_diff / length)
    away = np.sqrt(np.maximum((offset**2).sum(axis=1) - along**2, 0.0))
    position: Array = np.stack([along, away], axis=1).astype(np.float32)
    return position
