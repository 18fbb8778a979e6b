"""Inputs that are not as in training: displaced as the input-outliers are (paper, figure 10), or corrupted.

Displacement acts on normalised inputs, like that of the input-outliers. The corruptions keep the label and act on
pixels, in five severities in the spirit of Hendrycks & Dietterich 2019; what leaves the valid range is clipped.
"""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from edgewise.data.displacement import Direction, random_orthogonal
from edgewise.data.files import Array
from edgewise.data.pixels import PixelSpace
from edgewise.network.objective import Objective
from edgewise.params import OodParams

DIRECTIONS: tuple[Direction, ...] = ("coherent", "random")
CORRUPTIONS = ("gaussian_noise", "contrast", "gaussian_blur")


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


def shifted_inputs(x: Tensor, y: Tensor, v_diff: Array, pixels: PixelSpace, params: OodParams) -> Iterator[Shifted]:
    """Every shift of the test inputs x [n, C, H, W] with labels y [n], one after the other.

    Parameters
    ----------
    v_diff : [C, H, W], the difference of the class means, not normalised
    """
    for direction in DIRECTIONS:
        away = torch.from_numpy(displacements(y.cpu().numpy(), v_diff, direction, params.seed)).to(x)
        for alpha in params.alphas:
            yield Shifted(direction, alpha, x + alpha * away)
    for corruption in CORRUPTIONS:
        yield Shifted(corruption, 0, x)
        for severity, strength in enumerate(getattr(params, corruption), start=1):
            corrupted = corrupt(pixels.pixels(x), corruption, strength, params.seed)
            yield Shifted(corruption, severity, pixels.inputs(corrupted.clamp(pixels.low, pixels.high)))


def displacements(y: Array, v_diff: Array, direction: Direction, seed: int) -> Array:
    """What is added to an input of each label in y [n] a unit of alpha, as float64 [n, *v_diff.shape] (section 3).

    Coherent: -v_diff for class 0 and +v_diff for class 1, away from the other class, the same for all. Random: for each
    example a direction of its own, orthogonal to v_diff and of its length. As the input-outliers are made.
    """
    if direction == "coherent":
        return np.where(y == 1, 1.0, -1.0).reshape(-1, *[1] * v_diff.ndim) * v_diff.astype(np.float64)
    flat = v_diff.astype(np.float64).reshape(-1)
    return random_orthogonal(flat, len(y), np.random.default_rng(seed)).reshape(-1, *v_diff.shape)


def corrupt(pixels: Tensor, corruption: str, strength: float, seed: int) -> Tensor:
    """Images [n, C, H, W] after a corruption; not clipped.

    gaussian_noise: of standard deviation `strength`, the same draw for every strength. contrast: the deviation from
    each channel's mean, times `strength`. gaussian_blur: of standard deviation `strength`, in pixels.
    """
    return CORRUPT[corruption](pixels, strength, seed)


def _gaussian_noise(pixels: Tensor, strength: float, seed: int) -> Tensor:
    noise = torch.randn(pixels.shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return pixels + strength * noise.to(pixels)


def _contrast(pixels: Tensor, strength: float, seed: int) -> Tensor:
    mean = pixels.mean(dim=(2, 3), keepdim=True)
    return mean + strength * (pixels - mean)


def _gaussian_blur(pixels: Tensor, strength: float, seed: int) -> Tensor:
    for dim in (2, 3):
        # Three standard deviations on either side, but no more than the reflected border of a small image can give.
        reach = min(math.ceil(3 * strength), pixels.shape[dim] - 1)
        offsets = torch.arange(-reach, reach + 1).to(pixels)
        kernel = torch.softmax(-(offsets**2) / (2 * strength**2), dim=0)
        last = pixels.transpose(dim, 3)
        padded = F.pad(last, (reach, reach, 0, 0), mode="reflect")
        pixels = (padded.unfold(3, len(kernel), 1) @ kernel).transpose(dim, 3)
    return pixels


CORRUPT: dict[str, Callable[[Tensor, float, int], Tensor]] = {
    "gaussian_noise": _gaussian_noise,
    "contrast": _contrast,
    "gaussian_blur": _gaussian_blur,
}


def loss_and_accuracy(objective: Objective, theta: Tensor) -> tuple[float, float]:
    """Mean loss, and fraction of the examples whose larger output is the label's, at theta [P]; forward passes only."""
    loss, correct = 0.0, 0
    with torch.no_grad():
        for x, y in zip(objective.x.split(objective.chunk_size), objective.y.split(objective.chunk_size), strict=True):
            outputs = objective.outputs(theta, x)
            loss += objective.example_losses(outputs, y).double().sum().item()
            correct += int((outputs.argmax(dim=1) == y).sum())
    return loss / len(objective), correct / len(objective)
