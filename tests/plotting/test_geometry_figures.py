"""Figures of where the examples lie and how they look."""

import numpy as np
import pandas as pd
import pytest
from made_up import SETTING, made_up_tables

from edgewise.data.examples import Dataset
from edgewise.data.groups import GROUPS, NATURAL, Examples
from edgewise.plotting import Captions, draw, draw_images, to_file


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


def with_shared(images):
    """Tables of two seeds, of which the first has so many images in common between inliers and displaced images."""
    tables = made_up_tables(2)
    index = pd.Index(["inlier & boundary", "inlier & input_outlier"] * 2, name="groups")
    tables["shared_images"] = pd.DataFrame({"seed": [4, 4, 5, 5], "images": [2, images, 2, 4]}, index=index)
    return tables


def drawn(name, tables):
    """The figure, and what its legends and its caption say."""
    figure = draw(name, tables, Captions(SETTING, [4, 5]))
    legends = [legend for body in figure.subfigs for legend in body.legends]
    legends += [panel.get_legend() for panel in figure.axes if panel.get_legend()]
    entries = [text.get_text() for legend in legends for text in legend.get_texts()]
    return figure, entries, " ".join(text.get_text() for text in figure.texts)


def test_lines_lead_from_each_source_image_to_where_it_is_displaced():
    tables = with_shared(4)
    figure, entries, caption = drawn("figure_18_displacement", tables)
    places = {group: rows[["along", "away"]].to_numpy() for group, rows in tables["taxonomy"].groupby("group")}
    ends = {(tuple(line.get_xydata()[0]), tuple(line.get_xydata()[1])) for line in figure.axes[0].lines}
    assert ends == {
        (tuple(start), tuple(end))
        for group in ("control_coherent", "control_random")
        for start, end in zip(places["inlier"], places[group], strict=True)
    }
    assert "source images (inliers)" in entries
    assert "Trained images" in caption
    assert "seed 4" in caption


def test_no_lines_join_groups_that_are_made_from_different_images():
    """As with prototypes.disjoint; the groups are as large then too."""
    figure, entries, _ = drawn("figure_18_displacement", with_shared(0))
    assert len(figure.axes[0].lines) == 0
    assert "inliers, of other images" in entries
    assert not any("source" in entry for entry in entries)


@pytest.mark.parametrize(("shared", "words"), [(4, "source images (inliers)"), (0, "inliers, of other images")])
def test_distances_say_of_which_images_they_are(shared, words):
    _, entries, caption = drawn("figure_15_19_centroid_distance", with_shared(shared))
    assert [entry for entry in entries if entry.startswith(words)]
    assert any("source" in entry for entry in entries) == bool(shared)
    assert "means over the seeds" in caption
    assert "displaced: trained ones alone" in caption
