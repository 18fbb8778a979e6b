"""Test inputs under a shift: displaced as the input-outliers are (paper, figure 10), or corrupted.

A displacement acts on normalised inputs, as that of the input-outliers does. The corruptions act on pixels, in
severities that increase from 1 (after Hendrycks and Dietterich 2019), and the result is clipped to the valid range.
Labels stay as they are.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from edgewise.data.displacement import DIRECTIONS, Direction, random_orthogonal
from edgewise.data.files import Array
from edgewise.data.pixels import PixelSpace
from edgewise.params import OodParams


@dataclass(frozen=True)
class Shifted:
    """Test inputs after one shift.

    Attributes
    ----------
    shift : one of `DIRECTIONS` or `CORRUPTIONS`
    strength : alpha, or the severity from 1; 0 is no shift
    x : [n, C, H, W], normalised
    """

    shift: str
    strength: float
    x: Tensor


def shifted_inputs(
    x: Tensor, y: Tensor, v_diff: Array, pixels: PixelSpace, params: OodParams, entropy: Sequence[int]
) -> Iterator[Shifted]:
    """Every shift of `DIRECTIONS` and `CORRUPTIONS`, at every strength, of inputs x [n, C, H, W] with labels y [n].

    Inputs that are no images, x [n, d], are displaced alone: the corruptions do not apply.

    Parameters
    ----------
    v_diff : [K, C, H, W], for each class its mean less that of its other class, not normalised
    entropy : seeds the random directions and the noise
    """
    for direction in DIRECTIONS:
        away = torch.from_numpy(displacements(y.cpu().numpy(), v_diff, direction, entropy)).to(x)
        for alpha in params.alphas:
            yield Shifted(direction, alpha, x + alpha * away)
    for corruption in CORRUPTIONS if x.ndim == 4 else ():
        yield Shifted(corruption, 0, x)
        for severity, strength in enumerate(getattr(params, corruption), start=1):
            corrupted = corrupt(pixels.pixels(x), corruption, strength, entropy)
            yield Shifted(corruption, severity, pixels.inputs(corrupted.clamp(pixels.low, pixels.high)))


def displacements(y: Array, v_diff: Array, direction: Direction, entropy: Sequence[int]) -> Array:
    """The displacement per unit of alpha of an input of each label in y [n], as float64 [n, C, H, W].

    As for the input-outliers (paper, section 3). Coherent: v_diff of its class, away from the other class. Random: a
    different direction for each example, orthogonal to v_diff of its class and of its length.
    """
    away = v_diff.astype(np.float64)[y]
    if direction == "random":
        for label, of_class in enumerate(v_diff.astype(np.float64).reshape(len(v_diff), -1)):
            directions = random_orthogonal(of_class, len(y), np.random.default_rng(entropy))
            away[y == label] = directions[y == label].reshape(-1, *v_diff.shape[1:])
    return away


def corrupt(pixels: Tensor, corruption: str, strength: float, entropy: Sequence[int]) -> Tensor:
    """Images [n, C, H, W] after one of `CORRUPTIONS`, of the given strength; not clipped.

    Parameters
    ----------
    entropy : seeds the noise; the other corruptions are not random
    """
    return CORRUPTIONS[corruption](pixels, strength, entropy)


def _gaussian_noise(pixels: Tensor, strength: float, entropy: Sequence[int]) -> Tensor:
    """Noise of standard deviation `strength`; for every strength the same draw, scaled."""
    noise = torch.from_numpy(np.random.default_rng(entropy).standard_normal(pixels.shape))
    return pixels + strength * noise.to(pixels)


def _contrast(pixels: Tensor, strength: float, entropy: Sequence[int]) -> Tensor:
    """The deviation of each channel from its mean over the image, times `strength`."""
    mean = pixels.mean(dim=(2, 3), keepdim=True)
    return mean + strength * (pixels - mean)


def _gaussian_blur(pixels: Tensor, strength: float, entropy: Sequence[int]) -> Tensor:
    """A Gaussian kernel of standard deviation `strength`, in pixels, applied along each axis."""
    for dim in (2, 3):
        # Three standard deviations on either side; reflection can pad an axis by at most its length less one.
        reach = min(math.ceil(3 * strength), pixels.shape[dim] - 1)
        offsets = torch.arange(-reach, reach + 1).to(pixels)
        kernel = torch.softmax(-(offsets**2) / (2 * strength**2), dim=0)
        last = pixels.transpose(dim, 3)
        padded = F.pad(last, (reach, reach, 0, 0), mode="reflect")
        pixels = (padded.unfold(3, len(kernel), 1) @ kernel).transpose(dim, 3)
    return pixels


CORRUPTIONS: dict[str, Callable[[Tensor, float, Sequence[int]], Tensor]] = {
    "gaussian_noise": _gaussian_noise,
    "contrast": _contrast,
    "gaussian_blur": _gaussian_blur,
}
