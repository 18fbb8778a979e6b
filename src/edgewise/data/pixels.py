"""Between normalised inputs and pixels: attacks are stated in pixels, networks see (pixel - mean) / std."""

from dataclasses import dataclass
from typing import Self

import torch
from torch import Tensor

from edgewise.data.examples import Dataset


@dataclass(frozen=True)
class PixelSpace:
    """The pixels behind normalised inputs, and the range in which they are valid.

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
        """The pixels of `dataset`, with vectors of the type and device of `like`.

        Images have pixels from 0 to 1. A source whose training pixels go beyond that (an .npz of other numbers) is
        valid as far as they go.
        """
        mean, std = (torch.from_numpy(statistic).to(like)[:, None, None] for statistic in (dataset.mean, dataset.std))
        seen = dataset.train_x * dataset.std[:, None, None] + dataset.mean[:, None, None]
        rounding = 1e-4
        low, high = float(seen.min()), float(seen.max())
        return cls(mean, std, low if low < -rounding else 0.0, high if high > 1 + rounding else 1.0)

    def pixels(self, x: Tensor) -> Tensor:
        """Pixels [n, C, H, W] of normalised inputs x [n, C, H, W]."""
        return x * self.std + self.mean

    def inputs(self, pixels: Tensor) -> Tensor:
        """Normalised inputs [n, C, H, W] of pixels [n, C, H, W]."""
        return (pixels - self.mean) / self.std

    def moved(self, x: Tensor, perturbation: Tensor) -> Tensor:
        """Normalised inputs x [n, C, H, W] after a perturbation in pixels; a zero perturbation leaves x as it is."""
        return x + perturbation / self.std

    def room(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """The smallest and the largest change, in pixels, that every pixel of x [n, C, H, W] may undergo.

        The valid range of a pixel is [low, high], extended to hold its clean value: a displaced input lies outside the
        range already, and may be brought back towards it but not moved further out. So no change is always allowed.
        """
        pixels = self.pixels(x)
        return (self.low - pixels).clamp(max=0), (self.high - pixels).clamp(min=0)
