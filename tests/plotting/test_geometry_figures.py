"""Figures of where the examples lie and how they look."""

import numpy as np
import pytest
from made_up import SETTING, made_up_tables

from edgewise.data.examples import Dataset
from edgewise.data.groups import GROUPS, NATURAL, Examples
from edgewise.plotting import Captions, draw_images, to_file


@pytest.mark.parametrize("channels", [1, 3])
def test_images_are_shown_as_pixels(channels):
    rng = np.random.default_rng(0)
    x = rng.normal(size=(20, channels, 4, 4)).astype(np.float32)
    y = np.tile([0, 1], 10)
    members = {group: np.arange(20) // 4 == i for i, group in enumerate((NATURAL, *GROUPS))}
    train = Examples(x, y, members, np.zeros(20), np.zeros((20, 2)))
    mean, std = np.full(channels, 0.5, np.float32), np.full(channels, 0.2, np.float32)
    dataset = Dataset(x, y, x, y, mean, std, ("cat", "dog"), "made-up")
    figure = draw_images(train, dataset, {"inlier & boundary": 3}, made_up_tables(1), Captions(SETTING, [0]))
    assert "inlier & boundary 3" in " ".join(text.get_text() for text in figure.texts)
    shown = [image.get_array() for panel in figure.axes for image in panel.get_images()]
    assert len(shown) == 20
    expected = np.clip(0.5 + 0.2 * x[0], 0, 1)
    np.testing.assert_allclose(shown[0], expected[0] if channels == 1 else np.moveaxis(expected, 0, -1), rtol=1e-6)
    assert to_file(figure).startswith(b"\x89PNG")
