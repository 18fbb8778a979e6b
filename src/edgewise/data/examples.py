"""Labelled images as arrays."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Self

from edgewise.data.files import Array, pack, unpack


@dataclass(frozen=True)
class Dataset:
    """Images or rows of K classes, normalised channel by channel or feature by feature: (value - mean) / std.

    Attributes
    ----------
    train_x, test_x : float32 [n, C, H, W], images, or [n, d], rows of a table; normalised
    train_y, test_y : int64 [n], 0 to K - 1
    mean, std : float32 [C] or [d], in units of the source's pixels or features
    class_names : the K classes, in the order of their labels
    name : the source
    groups : for each group of the user's own, a mask bool [n] of the training images in it; an image may be in several
    """

    train_x: Array
    train_y: Array
    test_x: Array
    test_y: Array
    mean: Array
    std: Array
    class_names: tuple[str, ...]
    name: str
    groups: Mapping[str, Array] = field(default_factory=dict)

    @property
    def of_images(self) -> bool:
        """Whether the examples are images; what needs pixels does not apply to others."""
        return self.train_x.ndim == 4

    def to_bytes(self) -> bytes:
        """The self-describing file of the dataset stage: a .npz, the same bytes for the same content."""
        arrays = {key: getattr(self, key) for key in ("train_x", "train_y", "test_x", "test_y", "mean", "std")}
        arrays |= {f"groups.{group}": mask for group, mask in self.groups.items()}
        return pack(arrays, {"class_names": self.class_names, "name": self.name})

    @classmethod
    def from_bytes(cls, content: bytes) -> Self:
        """Read what `to_bytes` wrote."""
        arrays, about = unpack(content)
        groups = {key.removeprefix("groups."): arrays.pop(key) for key in list(arrays) if key.startswith("groups.")}
        return cls(**arrays, class_names=tuple(about["class_names"]), name=about["name"], groups=groups)
