"""Captions say what is shown, and the layout of a figure leaves nothing covered or cut off."""

import itertools

import pytest
from made_up import ALL_BRANCHES, SETTING, made_up_tables
from matplotlib.transforms import Bbox

from edgewise.plotting import FIGURES, Captions, draw
from edgewise.plotting.style import CurveStyle, figure_style, legend_entry, new_figure


def texts(figure):
    return " ".join(text.get_text() for text in figure.texts)


def test_captions_say_what_bands_are():
    one, three = (texts(draw("figure_sharpness", made_up_tables(n), Captions(SETTING, list(range(n))))) for n in (1, 3))
    assert "one seed (0), so no interval" in one
    assert "mean of 3 seeds, band: 95 % t interval; seeds differ in data, groups and initialisation" in three
    assert "differ" not in one
    assert SETTING in one


def test_captions_say_when_seeds_differ_in_the_initialisation_alone():
    captions = Captions(SETTING, [0, 1, 2], "initialisation")
    for name in ("figure_sharpness", "figure_selector"):
        assert "seeds differ in the initialisation alone" in texts(draw(name, made_up_tables(3), captions))


def test_the_taxonomy_says_which_images_groups_share_in_the_seed_shown():
    tables = made_up_tables(2)
    tables["shared_images"]["images"] = [0, 10, 7, 7]
    caption = texts(draw("figure_01_taxonomy", tables, Captions(SETTING, [4, 5])))
    assert "seed 4" in caption
    assert "Trained images in common: inlier & output-outlier 10; others 0" in caption


def boxes(figure):
    """The title, the legend if there is one, all panels together and the caption, from the top; and each panel."""
    figure.draw_without_rendering()
    title, caption = (text.get_window_extent() for text in figure.texts)
    legends = [legend.get_window_extent() for body in figure.subfigs for legend in body.legends]
    panels = [panel.get_tightbbox() for panel in figure.axes]
    return [title, *legends, Bbox.union(panels), caption], panels


def assert_nothing_is_covered_or_cut_off(figure):
    rows, panels = boxes(figure)
    for box in [*rows, *panels]:
        assert box.x0 >= -1
        assert box.y0 >= -1
        assert box.x1 <= figure.bbox.x1 + 1
        assert box.y1 <= figure.bbox.y1 + 1
    for upper, lower in itertools.pairwise(rows):
        assert upper.y0 >= lower.y1 - 1
    for one, other in itertools.combinations(panels, 2):
        assert not one.padded(-1).overlaps(other.padded(-1))


@pytest.mark.parametrize("branches", [("baseline", "exit"), ALL_BRANCHES])
@pytest.mark.parametrize("name", FIGURES)
def test_nothing_is_covered_or_cut_off(name, branches):
    captions = Captions(
        "cifar10, classes cat / dog, n = 10000; resnet, ce, momentum; α = 10 in random directions", [0, 1]
    )
    assert_nothing_is_covered_or_cut_off(draw(name, made_up_tables(2, branches), captions))


@pytest.mark.parametrize("entries", [0, 1, 4, 11])
def test_long_captions_and_legends_make_room_for_themselves(entries):
    legend = [legend_entry(CurveStyle("black"), "baseline: stays at the edge") for _ in range(entries)]
    with figure_style():
        figure, panels = new_figure((2, 3), "Title", "A caption of many words. " * 30, legend, panel_size=(3, 2.5))
    assert panels.shape == (2, 3)
    assert_nothing_is_covered_or_cut_off(figure)
