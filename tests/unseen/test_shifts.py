"""Displaced and corrupted test data against the construction of the prototypes, torchvision and closed forms."""

import numpy as np
import pytest
import torch
from conftest import assert_one_parameter_error
from torchvision.transforms import functional as tv

from edgewise.data.groups import choose_prototypes, grouped_data
from edgewise.data.pixels import PixelSpace
from edgewise.params import DatasetParams, OodParams, PrototypeParams
from edgewise.sources import load_dataset
from edgewise.unseen.shifts import CORRUPTIONS, corrupt, displacements, shifted_inputs


@pytest.fixture(scope="module")
def dataset():
    return load_dataset(DatasetParams(name="digits"))


@pytest.fixture(scope="module")
def prototypes(dataset):
    return choose_prototypes(dataset, PrototypeParams(candidates=10, trained=5), 100, 3.0, "coherent")


@pytest.fixture(scope="module")
def pixels(dataset):
    return PixelSpace.of(dataset, torch.zeros(1))


@pytest.fixture
def photos():
    return torch.rand((4, 3, 9, 12), generator=torch.Generator().manual_seed(0), dtype=torch.float64)


def test_displacement_is_that_of_the_input_outliers(dataset, prototypes):
    data = grouped_data(dataset, prototypes)
    for split in ("train", "heldout"):
        x, y, members = (getattr(getattr(data, split), part) for part in ("x", "y", "members"))
        seeds = members["inlier"]
        moved = x[seeds] + 3.0 * displacements(y[seeds], prototypes.v_diff, "coherent", (0,))
        np.testing.assert_allclose(moved, x[members["input_outlier"]], atol=1e-5)


def test_random_displacement_is_as_long_and_orthogonal(prototypes):
    y = np.array([0, 1, 1, 0, 1])
    away = displacements(y, prototypes.v_diff, "random", (0, 5)).reshape(5, -1)
    v_diff = prototypes.v_diff[1].reshape(-1).astype(float)
    np.testing.assert_allclose(np.linalg.norm(away, axis=1), np.linalg.norm(v_diff))
    np.testing.assert_allclose(away @ v_diff, 0, atol=1e-9)
    assert np.abs(np.corrcoef(away) - np.eye(5)).max() < 0.9
    assert np.array_equal(away, displacements(y, prototypes.v_diff, "random", (0, 5)).reshape(5, -1))
    for entropy in ((0, 6), (1, 5), (0,)):
        other = displacements(y, prototypes.v_diff, "random", entropy).reshape(5, -1)
        assert np.abs(other - away).max(axis=1).min() > 0.01 * np.linalg.norm(v_diff)


def test_every_shift_once_and_none_at_zero(dataset, prototypes, pixels):
    x, y = torch.from_numpy(dataset.test_x), torch.from_numpy(dataset.test_y)
    params = OodParams(alphas=[0, 2.5])
    shifts = list(shifted_inputs(x, y, prototypes.v_diff, pixels, params, (0, 1)))
    names = [(one.shift, one.strength) for one in shifts]
    displaced = [(direction, alpha) for direction in ("coherent", "random") for alpha in (0, 2.5)]
    assert names == displaced + [(corruption, severity) for corruption in CORRUPTIONS for severity in range(6)]
    for one in shifts:
        assert one.x.shape == x.shape
        assert one.x.dtype == x.dtype
        assert one.x.isfinite().all()
        assert torch.equal(one.x, x) == (one.strength == 0)
        if one.shift in CORRUPTIONS:
            assert -1e-4 <= pixels.pixels(one.x).min() <= pixels.pixels(one.x).max() <= 1 + 1e-4


def test_the_entropy_draws_noise_and_random_directions_and_nothing_else(dataset, prototypes, pixels):
    x, y = torch.from_numpy(dataset.test_x), torch.from_numpy(dataset.test_y)

    def shifted(*entropy: int) -> dict[tuple[str, float], torch.Tensor]:
        params = OodParams(alphas=[0, 2.5])
        found = shifted_inputs(x, y, prototypes.v_diff, pixels, params, entropy)
        return {(one.shift, one.strength): one.x for one in found}

    one, again, other, initialisation = shifted(0, 1), shifted(0, 1), shifted(0, 2), shifted(0)
    for (shift, strength), inputs in one.items():
        assert torch.equal(inputs, again[shift, strength])
        for differs in (other, initialisation):
            drawn = shift in ("random", "gaussian_noise") and strength > 0
            assert torch.equal(inputs, differs[shift, strength]) != drawn


@pytest.mark.parametrize("corruption", CORRUPTIONS)
def test_severity_takes_images_further_away(photos, corruption):
    strengths = getattr(OodParams(), corruption)
    distances = [(corrupt(photos, corruption, s, (0,)) - photos).norm().item() for s in strengths]
    assert distances == sorted(distances)
    assert distances[0] > 0
    assert torch.equal(corrupt(photos, corruption, strengths[0], (0,)), corrupt(photos, corruption, strengths[0], (0,)))


def test_noise_has_its_standard_deviation(photos):
    noise = corrupt(photos.repeat(20, 1, 1, 1), "gaussian_noise", 0.2, (0,)) - photos.repeat(20, 1, 1, 1)
    assert noise.std().item() == pytest.approx(0.2, rel=0.02)
    assert noise.mean().item() == pytest.approx(0, abs=0.01)


def test_contrast_scales_the_deviation_from_the_channel_mean(photos):
    grey = corrupt(photos, "contrast", 0.3, (0,))
    torch.testing.assert_close(grey.mean((2, 3)), photos.mean((2, 3)))
    torch.testing.assert_close(grey.std((2, 3)), 0.3 * photos.std((2, 3)))
    # With one channel, the peer's mean is the same.
    one = photos[:, :1]
    peer = torch.stack([tv.adjust_contrast(image, 0.3) for image in one])
    torch.testing.assert_close(corrupt(one, "contrast", 0.3, (0,)).clamp(0, 1), peer)


@pytest.mark.parametrize("sigma", [0.5, 1.0, 2.0, 10.0])
def test_blur_is_that_of_torchvision(photos, sigma):
    reach = [min(int(np.ceil(3 * sigma)), size - 1) for size in (12, 9)]
    peer = tv.gaussian_blur(photos, [2 * size + 1 for size in reach], [sigma, sigma])
    torch.testing.assert_close(corrupt(photos, "gaussian_blur", sigma, (0,)), peer)


def test_blur_of_vectors():
    """Sources of [n, d] are images one pixel high."""
    row = torch.rand((3, 1, 1, 6), dtype=torch.float64)
    assert corrupt(row, "gaussian_blur", 1.0, (0,)).shape == row.shape
    constant = torch.full((1, 1, 1, 5), 0.4, dtype=torch.float64)
    torch.testing.assert_close(corrupt(constant, "gaussian_blur", 3.0, (0,)), constant)


@pytest.mark.parametrize(
    ("text", "name", "allowed"),
    [
        ("alphas: []", "ood.alphas", "at least 1"),
        ("alphas: [-1]", "ood.alphas[0]", "greater than or equal to 0"),
        ("alphas: [3, 1]", "ood.alphas", "ascend"),
        ("gaussian_noise: [0]", "ood.gaussian_noise[0]", "greater than 0"),
        ("contrast: [0.1, 0.2, 0.3, 0.4, 0.5]", "ood.contrast", "descend"),
        ("contrast: [2]", "ood.contrast[0]", "less than or equal to 1"),
        ("gaussian_blur: [1, 2]", "ood.gaussian_noise", "as many severities"),
        ("every: 0", "ood.every", "greater than or equal to 1"),
    ],
)
def test_bad_parameters_are_one_clear_error(text, name, allowed):
    assert_one_parameter_error(f"ood: {{{text}}}", name, allowed)
