"""Conversion between pixels, in which attacks are stated, and the networks' inputs, (pixel - mean) / std."""

from dataclasses import dataclass
from typing import Self

import torch
from torch import Tensor

from edgewise.data.examples import Dataset


@dataclass(frozen=True)
class PixelSpace:
    """The normalisation of a dataset, and the range in which its pixels are valid.

    Attributes
    ----------
    mean, std : [C, 1, 1], of the normalisation
    low, high : the valid range of a pixel
    """

    mean: Tensor
    std: Tensor
    low: float
    high: float

    @classmethod
    def of(cls, dataset: Dataset, like: Tensor) -> Self:
        """The pixel space of `dataset`, with `mean` and `std` of the type and device of `like`.

        The valid range is [0, 1], extended to the smallest and the largest training pixel where those lie outside of it
        (an .npz file may hold any numbers).
        """
        column = (-1, *[1] * (like.ndim - 2))
        mean, std = (torch.from_numpy(statistic).to(like).view(column) for statistic in (dataset.mean, dataset.std))
        seen = dataset.train_x * dataset.std.reshape(column) + dataset.mean.reshape(column)
        rounding = 1e-4
        low, high = float(seen.min()), float(seen.max())
        return cls(mean, std, low if low < -rounding else 0.0, high if high > 1 + rounding else 1.0)

    def pixels(self, x: Tensor) -> Tensor:
        """Pixels [n, C, H, W] of normalised inputs x [n, C, H, W]."""
        return x * self.std + self.mean

    def inputs(self, pixels: Tensor) -> Tensor:
        """Normalised inputs [n, C, H, W] of pixels [n, C, H, W]."""
        return (pixels - self.mean) / self.std

    def perturbed(self, x: Tensor, perturbation: Tensor) -> Tensor:
        """Normalised inputs x [n, C, H, W] plus a perturbation in pixels [n, C, H, W].

        It is added in the normalised space, so that a perturbation of 0 leaves x the same to the bit.
        """
        return x + perturbation / self.std

    def feasible_change(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """The smallest and the largest change [n, C, H, W], in pixels, allowed for each pixel of x [n, C, H, W].

        The changed pixel must lie in [low, high], extended to include its clean value: a pixel of a displaced input may
        lie outside the range, and then may move towards the range but not away from it. So a change of 0 is always
        allowed: the smallest change is at most 0 and the largest at least 0.
        """
        pixels = self.pixels(x)
        return (self.low - pixels).clamp(max=0), (self.high - pixels).clamp(min=0)
