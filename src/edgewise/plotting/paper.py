"""Figures for print: as wide as a page or a column, with text of 8 points."""

import textwrap
from typing import Literal

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.legend import Legend
from matplotlib.lines import Line2D
from matplotlib.text import Text
from matplotlib.transforms import ScaledTranslation

from edgewise.plotting.style import add_legend

Size = Literal["screen", "page", "column"]

#: Width in inches of a page of text and of one of its two columns.
WIDTHS = {"page": 6.75, "column": 3.25}

#: Points of the smallest and of the largest text.
SMALLEST, LARGEST = 8.0, 8.5
#: Inches of a letter of that size on average, of a line, of the numbers along an axis, and beside a panel.
LETTER, LINE, NUMBERS, BESIDE = 0.062, 0.14, 0.3, 0.65

#: Of lines and markers, beside those on a screen.
THINNER = 0.75

#: How wide a panel must be at least, in widths that it has on a screen; and how high, in inches.
NARROWEST, LOWEST = 0.45, 1.5


def lay_out(figure: Figure, size: Size) -> None:
    """Give a figure of `style.new_figure` the width of a page or a column; on the screen it stays as it is.

    Title and caption go: a paper has its own. Panels that would be too narrow go into more rows, in their order.
    """
    if size == "screen":
        return
    width, (screen_width, screen_height) = WIDTHS[size], figure.get_size_inches()
    (body,) = figure.subfigs
    panels: list[Axes] = body.axes
    for text in figure.texts:
        text.set(visible=False, in_layout=False)
    for text in body.findobj(Text):
        text.set_fontsize(min(max(text.get_fontsize(), SMALLEST), LARGEST))
    for line in body.findobj(Line2D):
        line.set(linewidth=THINNER * line.get_linewidth(), markersize=THINNER * line.get_markersize())

    place = panels[0].get_subplotspec()
    assert place is not None  # all were made by `Figure.subplots`
    rows, columns = place.get_gridspec().get_geometry()
    ratio = min(1, screen_height / rows / (screen_width / columns))
    if screen_width / columns > 2:  # not the images of figure 2, which stay beside each other
        fit = min(columns, max(1, int(width / (NARROWEST * screen_width / columns))))
        if fit < columns:
            rows, columns = -(-len(panels) // fit), fit
            grid = body.add_gridspec(rows, columns)
            for number, panel in enumerate(panels):
                panel.set_subplotspec(grid[number])
                panel.tick_params(labelbottom=True, labelleft=True)
        height = max(LOWEST, width / columns * ratio)
    else:
        height = width / columns
    figure.set_size_inches(width, rows * (height + 1) + 1)  # with room for labels and legends
    with matplotlib.rc_context({"legend.fontsize": SMALLEST}):
        for legend in body.legends:
            entries = _entries_of(legend, width - BESIDE)
            legend.remove()
            add_legend(body, entries)
        for panel in panels:
            _fit_words(panel, figure, width / columns - BESIDE, height)
        figure.draw_without_rendering()  # now it is known how wide each has become
        lines = max(_fit_words(panel, figure, panel.get_window_extent().width / figure.dpi, height) for panel in panels)
    above = sum(legend.get_window_extent().height / figure.dpi for legend in body.legends)
    figure.set_size_inches(width, rows * (height + lines * LINE) + above)


def _fit_words(panel: Axes, figure: Figure, width: float, height: float) -> int:
    """Break all words of a panel into lines as long as it is wide or high, in inches; the lines that this adds."""
    label, title = _wrapped(panel.get_xlabel(), width), _wrapped(panel.get_title("left"), width)
    panel.set_xlabel(label)
    panel.set_ylabel(_wrapped(panel.get_ylabel(), height - NUMBERS))
    panel.set_title(title, loc="left", fontsize=LARGEST)
    return label.count("\n") + title.count("\n") + _below(panel, figure, width)


def _wrapped(text: str, width: float) -> str:
    letters = max(8, int(width / LETTER))
    return textwrap.fill(text, letters, break_long_words=False, break_on_hyphens=False)


def _entries_of(legend: Legend, width: float) -> list[Line2D]:
    """The entries of a legend, with words that are at most so wide, in inches."""
    entries = [handle for handle in legend.legend_handles if isinstance(handle, Line2D)]
    for entry, text in zip(entries, legend.texts, strict=True):
        entry.set_label(_wrapped(text.get_text(), width))
    return entries


def _below(panel: Axes, figure: Figure, width: float) -> int:
    """Put the legend of a panel below it and its label, in lines of that width; the number of lines."""
    legend = panel.get_legend()
    if legend is None:
        return 0
    length = 2.0 if legend.handlelength else 0.0
    entries = _entries_of(legend, width - length * LINE)
    down = NUMBERS + LINE * (1 + panel.get_xlabel().count("\n"))
    panel.legend(
        handles=entries,
        loc="upper left",
        bbox_to_anchor=(0, 0),
        bbox_transform=panel.transAxes + ScaledTranslation(0, -down, figure.dpi_scale_trans),
        handlelength=length,
        handletextpad=0.4 * length,
        borderaxespad=0,
    )
    return sum(1 + str(entry.get_label()).count("\n") for entry in entries)
