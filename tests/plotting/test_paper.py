"""Figures for print have the width of a page or a column, legible text, and nothing covered or cut off."""

import itertools

import numpy as np
import pytest
from made_up import ALL_BRANCHES, SETTING, made_up_tables
from matplotlib.text import Text

from edgewise.plotting import FIGURES, Captions, draw, draw_side_by_side, to_file
from edgewise.plotting.paper import LARGEST, SMALLEST, WIDTHS
from edgewise.plotting.style import GROUP_MARKERS

CAPTIONS = Captions(SETTING, [0, 1])


@pytest.fixture(scope="module", params=itertools.product(FIGURES, WIDTHS), ids="-".join)
def printed(request):
    name, size = request.param
    figure = draw(name, made_up_tables(2, ALL_BRANCHES), CAPTIONS, size)
    figure.draw_without_rendering()
    return size, figure


def test_it_is_as_wide_as_the_page_or_the_column(printed):
    size, figure = printed
    assert figure.get_size_inches()[0] == WIDTHS[size]


def test_its_text_is_of_the_size_of_print_and_has_no_title_and_caption(printed):
    _, figure = printed
    shown = [text for text in figure.findobj(Text) if text.get_visible() and text.get_text()]
    sizes = {text.get_fontsize() for text in shown}
    assert min(sizes) >= SMALLEST
    assert max(sizes) <= LARGEST
    assert not any(text.get_visible() for text in figure.texts)


def test_nothing_is_covered_or_cut_off(printed):
    _, figure = printed
    legends = [legend.get_window_extent() for body in figure.subfigs for legend in body.legends]
    panels = [panel.get_tightbbox() for panel in figure.axes]
    tolerance = 0.03 * figure.dpi
    for box in [*legends, *panels]:
        assert box.x0 >= -tolerance
        assert box.y0 >= -tolerance
        assert box.x1 <= figure.bbox.x1 + tolerance
        assert box.y1 <= figure.bbox.y1 + tolerance
    for one, other in itertools.combinations([*legends, *panels], 2):
        assert not one.padded(-tolerance).overlaps(other.padded(-tolerance))


def test_panels_are_wide_and_high_enough_to_be_read(printed):
    _, figure = printed
    for panel in figure.axes:
        box = panel.get_window_extent()
        assert box.width / figure.dpi > 0.8
        assert box.height / figure.dpi > 0.6


@pytest.mark.parametrize("name", ["figure_04_delta_loss", "figure_05_alignment", "figure_07_persistence"])
def test_groups_differ_in_grey(name):
    figure = draw(name, made_up_tables(2), CAPTIONS, "page")
    markers = [{line.get_marker() for line in panel.lines} & set(GROUP_MARKERS.values()) for panel in figure.axes]
    assert set(GROUP_MARKERS.values()) in markers
    assert len(set(GROUP_MARKERS.values())) == len(GROUP_MARKERS)


@pytest.mark.parametrize(("format_", "begin"), [("png", b"\x89PNG"), ("pdf", b"%PDF"), ("svg", b"<?xml")])
def test_equal_figures_are_equal_files_of_each_format(format_, begin):
    tables = made_up_tables(2)
    first, second = (to_file(draw("figure_04_delta_loss", tables, CAPTIONS, "column"), format_) for _ in range(2))
    assert first == second
    assert first.startswith(begin)
    assert b"20" + str(np.datetime64("today"))[2:4].encode() + b"-" not in first  # it does not name the day


@pytest.mark.parametrize("size", ["screen", *WIDTHS])
def test_runs_side_by_side_are_a_row_each_with_the_ranges_shared(size):
    one, other = made_up_tables(2), made_up_tables(3)
    other["delta_loss"] = 10 * other["delta_loss"]
    figure = draw_side_by_side({"alpha-3": one, "alpha-10": other}, size)
    figure.draw_without_rendering()
    panels = np.array(figure.axes).reshape(2, 4)
    assert [row[0].get_ylabel() for row in panels] == ["alpha-3", "alpha-10"]
    for first, second in panels.T:
        assert first.get_ylim() == second.get_ylim()
    group = str(one["groups"].index[0])
    for row, tables in zip(panels, (one, other), strict=True):
        drawn = {tuple(line.get_ydata()) for line in row[0].lines}
        assert tuple(tables["delta_loss"][group].dropna()) in drawn


def test_a_group_looks_the_same_in_every_run_and_others_look_otherwise():
    runs = {"one": made_up_tables(2, groups=("a", "b")), "other": made_up_tables(2, groups=("c", "b", "inlier", "d"))}
    figure = draw_side_by_side(runs, "page")
    (legend,) = (legend for body in figure.subfigs for legend in body.legends)
    looks = {line.get_label(): (line.get_color(), line.get_marker()) for line in legend.legend_handles}
    assert list(looks) == ["a", "b", "c", "inlier", "d"]
    assert len({color for color, _ in looks.values()}) == 5
    for row, tables in zip(np.array(figure.axes).reshape(2, 4), runs.values(), strict=True):
        for group in tables["groups"].index:
            drawn = {tuple(line.get_ydata()): (line.get_color(), line.get_marker()) for line in row[0].lines}
            assert drawn[tuple(tables["delta_loss"][group])] == looks[group]
