"""The groups that are tracked: the four prototypes (paper, section 3, figures 1, 2, 18), your own, label noise; strata.

All distances are Euclidean in normalised pixel space, from an image to the nearest centroid of a class. The *other
class* of a class is the one whose mean is nearest to its own; of two classes, as in the paper, it is the other one.

* inlier: an image nearest to the centroid of its own class, with its own label;
* output_outlier: such an image with the label of the other class;
* input_outlier: such an image moved by alpha * |v_diff|, away from the other class (`direction` coherent) or along a
  random direction orthogonal to v_diff (the control), with its own label;
* boundary: an image nearest to the centroid of the other class, with its own label.

The first three are made from the same images, so that they differ only in what is done to them; with `disjoint`, from
different ones. An image can be among the nearest to both centroids: `Prototypes.shared` counts those.

The four are added to the natural training data, so a group's image is there as itself too. "Held out" candidates are
held out of the groups: of inlier and boundary candidates the natural originals stay in the training data.

Other groups are natural training images themselves, and nothing is added: those of the user's own (`Dataset.groups`),
whose members that the seed does not train on are held out; and with label noise the images that got another label
(mislabelled) and those that did not (clean). An image can be in several.
"""

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, Self

import numpy as np
from threadpoolctl import threadpool_limits

from edgewise.data.displacement import DIRECTIONS, Direction, displace
from edgewise.data.examples import Dataset
from edgewise.data.files import Array, pack, unpack
from edgewise.errors import ParameterError
from edgewise.params import NOISE_GROUPS, PAPERS_GROUPS, GroupParams, PrototypeParams, images_a_class

GROUPS = PAPERS_GROUPS
NATURAL = "natural"

#: The groups that are made from the images nearest to the centroid of their own class.
TYPICAL = ("inlier", "output_outlier", "input_outlier")

#: The images of the trained input-outliers under each displacement.
CONTROLS = tuple(f"control_{direction}" for direction in DIRECTIONS)

#: What seeds differ in: everything that is drawn, or the initialisation of the network alone.
Replicate = Literal["all", "initialisation"]


@dataclass(frozen=True)
class Examples:
    """Some examples and where they lie.

    Attributes
    ----------
    x : float32 [n, C, H, W], or [n, d] of the rows of a table
    y : int64 [n], the labels that are trained on or scored
    members : for "natural" and for each group, a mask bool [n] of the examples in it
    distance : float32 [n], to the nearest centroid of the class that the image is of
    position : float32 [n, 2], coordinate along the axis from the mean of one class to that of the other, and distance
        from that axis, both in units of |v_diff| (figure 1): of the image's class and its other class the one with the
        smaller label has its mean at 0, and the one with the larger at 1
    """

    x: Array
    y: Array
    members: Mapping[str, Array]
    distance: Array
    position: Array


@dataclass(frozen=True)
class Prototypes:
    """Which training images of a dataset a seed trains on, with which labels, and which of them are in its groups.

    Attributes
    ----------
    natural : int64 [n], indices of the natural training images, class by class
    labels : int64 [n], what the natural images are trained on: their classes, but for label noise
    stratum : int64 [n], of each natural image: its class times the strata a class, plus its quantile of distance
    of_natural : for each group of natural images, a mask bool [n] of them
    made : whether the four of the paper are among the groups and in the training data
    sources : for each of the four, int64 [K, candidates]: indices of the images of each class that it is made from
    trained : of those, the first so many go into training; the rest are held out
    alpha, direction : the displacement of the input-outliers
    entropy : seeds the random directions
    centroids : float32 [K, clusters, C, H, W]
    other : int64 [K], the other class of each class
    v_diff : float32 [K, C, H, W], mu_c - mu_o of each class c and its other class o, differences of the class means,
        not normalised; of two classes v_diff[1] is the paper's, and v_diff[0] the opposite
    """

    natural: Array
    labels: Array
    stratum: Array
    of_natural: Mapping[str, Array]
    made: bool
    sources: Mapping[str, Array]
    trained: int
    alpha: float
    direction: Direction
    entropy: tuple[int, ...]
    centroids: Array
    other: Array
    v_diff: Array

    def to_bytes(self) -> bytes:
        """The self-describing file of the prototypes stage."""
        arrays = {
            name: getattr(self, name) for name in ("natural", "labels", "stratum", "centroids", "other", "v_diff")
        }
        arrays |= {f"of_natural.{group}": mask for group, mask in self.of_natural.items()}
        arrays |= {f"sources.{group}": indices for group, indices in self.sources.items()}
        about = {name: getattr(self, name) for name in ("made", "trained", "alpha", "direction", "entropy")}
        return pack(arrays, about)

    @classmethod
    def from_bytes(cls, content: bytes) -> Self:
        """Read what `to_bytes` wrote."""
        arrays, about = unpack(content)
        of_natural, sources = (
            {key.removeprefix(kind): arrays.pop(key) for key in list(arrays) if key.startswith(kind)}
            for kind in ("of_natural.", "sources.")
        )
        about["entropy"] = tuple(about["entropy"])
        return cls(of_natural=of_natural, sources=sources, **arrays, **about)  # type: ignore[arg-type]

    @property
    def groups(self) -> tuple[str, ...]:
        """The names of all groups."""
        return (*(GROUPS if self.made else ()), *self.of_natural)

    def shared(self) -> dict[str, int]:
        """How many trained images the groups of a pair have in common, by "<group> & <group>"; none left out."""
        trained = {group: self.sources[group][:, : self.trained] for group in GROUPS} if self.made else {}
        trained |= {group: self.natural[mask] for group, mask in self.of_natural.items()}
        pairs = itertools.combinations(self.groups, 2)
        return {f"{one} & {other}": len(np.intersect1d(trained[one], trained[other])) for one, other in pairs}

    @property
    def strata(self) -> tuple[str, ...]:
        """Names of the strata in the order of `stratum`: class0_q1, nearest to the centroid, class0_q2, and so on."""
        classes = len(self.other)
        each = (int(self.stratum.max()) + 1) // classes
        return tuple(f"class{label}_q{quantile}" for label in range(classes) for quantile in range(1, each + 1))


@dataclass(frozen=True)
class GroupedData:
    """The examples that `Prototypes` describes, and the names of its groups.

    Attributes
    ----------
    train : the natural training data, then the groups that are added
    heldout : examples of the groups that are not trained on
    control_coherent, control_random : the images of the trained input-outliers under each displacement; the one that
        `direction` does not name is in no training set
    """

    train: Examples
    heldout: Examples
    control_coherent: Examples
    control_random: Examples
    groups: tuple[str, ...]


def choose_prototypes(
    dataset: Dataset,
    params: PrototypeParams,
    n: int,
    alpha: float,
    direction: Direction,
    *,
    seed: int = 0,
    replicate: Replicate = "all",
    groups: GroupParams | None = None,
) -> Prototypes:
    """Choose a seed's training images, and the images of its groups (paper, section 3).

    Parameters
    ----------
    n : training images of all K classes together
    seed, replicate : with "all", the seed draws its images, its trained candidates and its random directions; with
        "initialisation" they are the same for every seed, and the images are the first n/K of each class
    groups : which there are; if nothing is said, the four of the paper

    Raises
    ------
    ParameterError
        If n is not a multiple of the classes, a class has too few images, or a group none of the seed's.
    """
    entropy = (params.seed, seed) if replicate == "all" else (params.seed,)
    labels = range(len(dataset.class_names))
    per_class = images_a_class(n, len(labels), params)
    counts = [np.count_nonzero(dataset.train_y == label) for label in labels]
    if min(counts) < per_class:
        scarcer = dataset.class_names[counts.index(min(counts))]
        allowed = f"class {scarcer!r} has {min(counts)} training images: at most {len(labels) * min(counts)}"
        raise ParameterError("dataset.n", n, allowed)
    natural = []
    for label in labels:
        members = np.flatnonzero(dataset.train_y == label)
        if replicate == "all":
            members = np.sort(np.random.default_rng([*entropy, label, 2]).choice(members, per_class, replace=False))
        natural.append(members[:per_class])

    flat = dataset.train_x.reshape(len(dataset.train_x), -1)
    by_class = [flat[members] for members in natural]
    means = [x.mean(axis=0, dtype=np.float64) for x in by_class]
    other = other_classes(np.stack(means))
    centroids = [find_centroids(x, params.clusters, params.seed) for x in by_class]
    chosen = [
        _sources(by_class[label], label, centroids[label], centroids[other[label]], params, entropy) for label in labels
    ]
    shape = dataset.train_x.shape[1:]
    params_of_groups = groups or GroupParams()
    everyone = np.concatenate(natural)
    own = {group: mask[everyone] for group, mask in dataset.groups.items()} if params_of_groups.has_file else {}
    if empty := [group for group, mask in own.items() if not mask.any()]:
        allowed = f"group {empty[0]!r} has none of the {n} training images of seed {seed}: raise dataset.n"
        raise ParameterError("groups.file", params_of_groups.file, allowed)
    trained_labels = with_noise(dataset.train_y[everyone], params_of_groups.noise, entropy)
    wrong = trained_labels != dataset.train_y[everyone]
    return Prototypes(
        natural=everyone,
        labels=trained_labels,
        stratum=np.concatenate(
            [
                label * params.strata + quantile_of(centroid_distance(by_class[label], centroids[label]), params.strata)
                for label in labels
            ]
        ),
        of_natural=own | (dict(zip(NOISE_GROUPS, (wrong, ~wrong), strict=True)) if params_of_groups.noise else {}),
        made=params_of_groups.has_prototypes,
        sources={group: np.stack([natural[label][chosen[label][group]] for label in labels]) for group in GROUPS},
        trained=params.trained,
        alpha=alpha,
        direction=direction,
        entropy=entropy,
        centroids=np.stack(centroids).reshape(len(labels), params.clusters, *shape).astype(np.float32),
        other=other,
        v_diff=(np.stack(means) - np.stack(means)[other]).reshape(len(labels), *shape).astype(np.float32),
    )


def with_noise(y: Array, noise: float, entropy: Sequence[int]) -> Array:
    """The labels y [n], 0 to K - 1, of which in each class a fraction `noise` are another label, each as likely.

    Raises
    ------
    ParameterError
        If that is none, or all, of a class.
    """
    labels, classes = y.copy(), int(y.max()) + 1
    if noise == 0:
        return labels
    for label in range(classes):
        members = np.flatnonzero(y == label)
        count = round(noise * len(members))
        if not 0 < count < len(members):
            allowed = f"must change some and leave some of the {len(members)} training images of a class"
            raise ParameterError("groups.noise", noise, allowed)
        rng = np.random.default_rng([*entropy, label, 4])
        chosen = rng.choice(members, count, replace=False)
        labels[chosen] = (label + rng.integers(1, classes, count)) % classes
    return labels


def other_classes(means: Array) -> Array:
    """The other class [K] of each class: the one whose mean, of means [K, d], is nearest to its own.

    >>> other_classes(np.array([[0.0], [1.0], [5.0]]))
    array([1, 0, 1])
    """
    between = np.linalg.norm(means[:, None] - means[None], axis=2)
    np.fill_diagonal(between, np.inf)
    nearest: Array = between.argmin(axis=1)
    return nearest


def _sources(
    x: Array, label: int, own: Array, other: Array, params: PrototypeParams, entropy: Sequence[int]
) -> dict[str, Array]:
    """Which of the images x [m, d] of a class each group is made from, in a random order: indices [candidates].

    Parameters
    ----------
    own, other : [clusters, d] each, the centroids of the class and of its other class
    """
    nearest_own = np.argsort(centroid_distance(x, own), kind="stable")
    nearest_other = np.argsort(centroid_distance(x, other), kind="stable")
    if params.disjoint:
        if 4 * params.candidates > len(x):
            allowed = f"must be at most a quarter of the {len(x)} images of a class with prototypes.disjoint"
            raise ParameterError("prototypes.candidates", params.candidates, allowed)
        # Dealt by turns, so that the three are equally near.
        dealt = nearest_own[: 3 * params.candidates].reshape(params.candidates, 3)
        sources = {group: dealt[:, i] for i, group in enumerate(TYPICAL)}
        nearest_other = nearest_other[~np.isin(nearest_other, dealt)]
    else:
        sources = dict.fromkeys(TYPICAL, nearest_own[: params.candidates])
    sources["boundary"] = nearest_other[: params.candidates]
    order = np.random.default_rng([*entropy, label]).permutation(params.candidates)
    return {group: indices[order] for group, indices in sources.items()}


def grouped_data(dataset: Dataset, prototypes: Prototypes) -> GroupedData:
    """The examples themselves, from the images of `dataset`."""
    flat = dataset.train_x.reshape(len(dataset.train_x), -1)
    labels = range(len(prototypes.other))
    centroids = prototypes.centroids.reshape(*prototypes.centroids.shape[:2], -1)
    v_diff = prototypes.v_diff.reshape(len(labels), -1).astype(np.float64)
    natural = [prototypes.natural[dataset.train_y[prototypes.natural] == label] for label in labels]
    pairs = [sorted((label, int(prototypes.other[label]))) for label in labels]
    origins = [flat[natural[smaller]].mean(axis=0, dtype=np.float64) for smaller, _ in pairs]
    axes = [v_diff[label] if label == larger else -v_diff[label] for label, (_, larger) in enumerate(pairs)]
    parts: dict[str, list[Examples]] = {name: [] for name in ("train", "heldout", *CONTROLS)}

    def add(name: str, members: Mapping[str, Array | bool], label: int, y: Array | int, x: Array) -> None:
        """Add images x [m, d] of class `label`, to be given the labels y, as `members` of some groups."""
        everyone = {
            group: np.full(len(x), False) | members.get(group, False) for group in (NATURAL, *prototypes.groups)
        }
        columns = (centroid_distance(x, centroids[label]), axis_position(x, origins[label], axes[label]))
        images = x.reshape(-1, *dataset.train_x.shape[1:])
        parts[name].append(Examples(images, np.full(len(x), y), everyone, *columns))

    classes = dataset.train_y[prototypes.natural]
    for label in labels:
        of_natural = {group: mask[classes == label] for group, mask in prototypes.of_natural.items()}
        add("train", {NATURAL: True, **of_natural}, label, prototypes.labels[classes == label], flat[natural[label]])
    for label in labels:
        for group in GROUPS:
            x = flat[prototypes.sources[group][label]]
            if group == "input_outlier":
                displaced = {d: displace(x, label, prototypes.alpha, v_diff, d, prototypes.entropy) for d in DIRECTIONS}
                for direction, images in displaced.items():
                    add(f"control_{direction}", {group: True}, label, label, images[: prototypes.trained])
                x = displaced[prototypes.direction]
            if prototypes.made:
                target = int(prototypes.other[label]) if group == "output_outlier" else label
                add("train", {group: True}, label, target, x[: prototypes.trained])
                add("heldout", {group: True}, label, target, x[prototypes.trained :])
    own = {group: mask for group, mask in dataset.groups.items() if group in prototypes.groups}
    untrained = np.any([np.zeros(len(flat), bool), *own.values()], axis=0)
    untrained[prototypes.natural] = False
    for label in labels:
        rows = untrained & (dataset.train_y == label)
        add("heldout", {group: mask[rows] for group, mask in own.items()}, label, label, flat[rows])
    return GroupedData(**{name: _joined(some) for name, some in parts.items()}, groups=prototypes.groups)


def _joined(parts: list[Examples]) -> Examples:
    def column(name: str) -> Array:
        return np.concatenate([getattr(part, name) for part in parts])

    members = {name: np.concatenate([part.members[name] for part in parts]) for name in parts[0].members}
    return Examples(column("x"), column("y"), members, column("distance"), column("position"))


def quantile_of(values: Array, parts: int) -> Array:
    """The part, 0 to parts - 1, that each of the values [n] falls into when they are cut into parts of equal size."""
    rank = np.empty(len(values), dtype=np.int64)
    rank[np.argsort(values, kind="stable")] = np.arange(len(values))
    return rank * parts // len(values)


def find_centroids(x: Array, clusters: int, seed: int) -> Array:
    """k-means centroids [clusters, d] of the rows of x [n, d]; with one cluster, their mean."""
    from sklearn.cluster import KMeans

    with threadpool_limits(limits=1):  # the last digits depend on them; of the libraries that scikit-learn has loaded
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
