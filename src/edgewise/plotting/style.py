"""What all figures share: colours, line styles, the sheet with its title, legend and caption, and curves with bands.

A colour is a group everywhere (the palette of Okabe and Ito, which colour-blind readers can tell apart), a line style
is a branch: solid at the edge, dashed away from it.
"""

import io
import textwrap
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import matplotlib.style
import numpy as np
import pandas as pd
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FormatStrFormatter, LogLocator, MaxNLocator, NullLocator

from edgewise.data.files import Array
from edgewise.data.groups import GROUPS

COLORS = {
    "natural": "#8c8c8c",
    "inlier": "#0072b2",
    "boundary": "#009e73",
    "output_outlier": "#d55e00",
    "input_outlier": "#cc79a7",
    "coherent": "#cc79a7",
    "random": "#56b4e9",
    "baseline": "#1a1a1a",
    "exit": "#a6761d",
    "enter": "#7570b3",
    "flow": "#999999",
    "typical": "#56b4e9",
    "atypical": "#882255",
    "all": "#8c8c8c",
}

#: In the order drawn and listed; the first is at the edge.
BRANCH_STYLES = {"baseline": "-", "exit": "--", "enter": "-.", "flow": ":"}

BRANCH_LABELS = {
    "baseline": "baseline: stays at the edge",
    "exit": "exit: leaves it",
    "enter": "enter: leaves and comes back",
    "flow": "flow: gradient flow",
}

#: Independent of what the reader's own matplotlibrc says.
STYLE = {
    "axes.axisbelow": True,
    "axes.edgecolor": "#444444",
    "axes.grid": True,
    "axes.labelsize": 10.5,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "axes.titlelocation": "left",
    "axes.titlesize": 11,
    "font.size": 10,
    "grid.color": "#e6e6e6",
    "legend.frameon": False,
    "lines.linewidth": 1.6,
}

DPI = 110
MARGIN = 0.1  # inches
GREY = "#555555"


@dataclass(frozen=True)
class About:
    """What a caption says of the run.

    Attributes
    ----------
    setting : data, loss and displacement in a few words
    seeds : the seeds averaged over
    """

    setting: str
    seeds: Sequence[int]

    @property
    def mean(self) -> str:
        """What lines and bands are."""
        if len(self.seeds) == 1:
            return f"{self.setting}; one seed ({self.seeds[0]}), so no interval"
        return f"{self.setting}; mean of {len(self.seeds)} seeds, band: 95 % t interval"

    @property
    def mean_of_checkpoints(self) -> str:
        """The same for what is measured at checkpoints (`tables.without_alternation`)."""
        return f"{self.mean}. Neighbouring checkpoints averaged"

    @property
    def first_seed(self) -> str:
        """What single points are, where one seed is shown."""
        return f"{self.setting}; seed {self.seeds[0]}"

    @property
    def every_seed(self) -> str:
        """What single points are, where all seeds are shown."""
        return f"{self.setting}; {'one seed' if len(self.seeds) == 1 else f'{len(self.seeds)} seeds'}"


@dataclass(frozen=True)
class Look:
    """How a curve is drawn.

    Attributes
    ----------
    color, style, width : as matplotlib has them; the width in points
    since : where it begins
    band : whether its interval is drawn
    """

    color: str
    style: Any = "-"
    width: float = 1.6
    since: float = -np.inf
    band: bool = True


def group_look(group: str, branch: str = "baseline") -> Look:
    """Colour of the group, line style of the branch; the past that all branches share is the baseline's."""
    return Look(COLORS[group], BRANCH_STYLES[branch], since=-np.inf if branch == "baseline" else 0)


def branch_look(branch: str) -> Look:
    """The same where there are no groups."""
    return Look(COLORS[branch], BRANCH_STYLES[branch], since=-np.inf if branch == "baseline" else 0)


def spoken(name: str) -> str:
    """A column's name as text."""
    return name.replace("_outlier", "-outlier").replace("_", " ")


def key(look: Look, label: str) -> Line2D:
    """An entry of a legend for a curve."""
    return Line2D([], [], color=look.color, linestyle=look.style, linewidth=look.width + 0.4, label=label)


def group_keys() -> list[Line2D]:
    """Legend entries of the four groups."""
    return [key(group_look(group), spoken(group)) for group in GROUPS]


@contextmanager
def house_style() -> Iterator[None]:
    """The style, whatever the reader's own settings."""
    with matplotlib.style.context(["default", STYLE]):
        yield


def sheet(
    shape: tuple[int, int],
    title: str,
    caption: str,
    keys: Sequence[Artist] = (),
    *,
    size: tuple[float, float] = (10, 4),
    sharex: bool = False,
    sharey: bool = False,
) -> tuple[Figure, Array]:
    """A figure of rows x columns panels of `size` inches together, with title, caption and legend above them.

    Returns
    -------
    The figure, and its panels as [rows, columns].
    """
    width, height = size
    lines = textwrap.wrap(caption, int(width * 13.5))
    columns = max(1, min(len(keys), int(width / 2.15)))
    legend_height = 0.24 * -(-len(keys) // columns)
    head = 0.4 + 0.19 * len(lines) + legend_height + 0.08
    total = height + head
    figure = Figure(figsize=(width, total), dpi=DPI, layout="constrained")
    FigureCanvasAgg(figure)
    engine = figure.get_layout_engine()
    assert engine is not None
    engine.set(rect=(0, 0, 1, height / total), w_pad=MARGIN, h_pad=MARGIN)  # type: ignore[call-arg]
    figure.text(MARGIN / width, 1 - 0.1 / total, title, va="top", fontsize=13, fontweight="bold")
    figure.text(MARGIN / width, 1 - 0.38 / total, "\n".join(lines), va="top", fontsize=9.5, color=GREY)
    if keys:
        legend = figure.legend(
            handles=list(keys),
            loc="upper left",
            bbox_to_anchor=(MARGIN / width, 1 - (head - legend_height - 0.04) / total),
            ncols=columns,
            borderaxespad=0,
            borderpad=0.15,
            fontsize=9.5,
            handlelength=2.6,
        )
        legend.set_in_layout(False)
    return figure, figure.subplots(*shape, squeeze=False, sharex=sharex, sharey=sharey)


def curves(
    panel: Axes,
    table: pd.DataFrame,
    looks: Mapping[str, Look],
    *,
    log: bool = False,
    bounds: tuple[float, float] = (-np.inf, np.inf),
    robust: bool = False,
    within: Sequence[float] = (),
) -> None:
    """Draw columns of a table over its index, each with the band from <column>_low to <column>_high where it has one.

    The vertical range follows the curves, and the bands only as far as they leave the curves readable: the intervals
    of two seeds can be a hundred times as wide as the curves are apart.

    Parameters
    ----------
    log : logarithmic vertical axis; what is not positive is not drawn
    bounds : least and largest value that the quantity can have
    robust : let the rarest half per cent of values at either end leave the panel
    within : values that the panel must show, such as a threshold
    """
    x = table.index.to_numpy(float)
    means, bands = [np.asarray(within, float)], [np.empty(0)]
    for column, look in looks.items():
        mean = table[column].to_numpy(float)
        shown = np.isfinite(mean) & ((mean > 0) | (not log)) & (x >= look.since)
        panel.plot(
            x[shown], mean[shown], color=look.color, linestyle=look.style, linewidth=look.width, label=spoken(column)
        )
        values = mean[shown]
        means.append(np.quantile(values, [0.005, 0.995]) if robust and len(values) else values)
        if look.band and {f"{column}_low", f"{column}_high"} <= set(table.columns):
            low, high = (table[f"{column}_{end}"].to_numpy(float) for end in ("low", "high"))
            known = shown & np.isfinite(low) & np.isfinite(high)
            if known.any():
                if log:
                    low = np.maximum(low, 1e-30)
                panel.fill_between(x[known], low[known], high[known], color=look.color, alpha=0.12, linewidth=0)
                bands += [low[known], high[known]]
    if log:
        panel.set_yscale("log")
    _fit(panel, np.concatenate(means), np.concatenate(bands), log=log, bounds=bounds)
    if len(x) > 1:
        panel.set_xlim(x.min(), x.max())


def _fit(panel: Axes, means: Array, bands: Array, *, log: bool, bounds: tuple[float, float]) -> None:
    """Set the vertical range: the curves and a margin, and of the bands what lies within a third of that beyond."""
    if log:
        means, bands = np.log10(means[means > 0]), np.log10(bands[bands > 0])
    if not len(means):
        return
    low, high = means.min(), means.max()
    span = high - low if high > low else max(abs(high), 1.0) * 0.5
    low_end = max(min(low, bands.min(initial=low)), low - span / 3) - 0.05 * span
    high_end = min(max(high, bands.max(initial=high)), high + span / 3) + 0.05 * span
    beyond = 0.03 * (high_end - low_end)
    if log:
        high_end = min(high_end, np.log10(bounds[1]) + beyond)
        panel.set_ylim(10**low_end, 10**high_end)
        if high_end - low_end < 2:
            panel.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)) if high_end - low_end > 1 else MaxNLocator(5))
            panel.yaxis.set_major_formatter(FormatStrFormatter("%g"))
            panel.yaxis.set_minor_locator(NullLocator())
    else:
        panel.set_ylim(max(low_end, bounds[0] - beyond), min(high_end, bounds[1] + beyond))


def mark_onset(panel: Axes, label: str = "t*") -> None:
    """The vertical line at onset."""
    mark_step(panel, 0, label)


def mark_step(panel: Axes, step: float, label: str) -> None:
    """A vertical line with its name at the top of the panel."""
    panel.axvline(step, color="#444444", linewidth=1, linestyle=(0, (1, 1.5)), zorder=1.5)
    panel.annotate(
        label,
        (step, 1),
        xycoords=("data", "axes fraction"),
        xytext=(3, -2),
        textcoords="offset points",
        va="top",
        fontsize=9,
        color=GREY,
    )


def mark_level(panel: Axes, level: float, label: str) -> None:
    """A horizontal line with its name above its left end, where sharpness is still below its threshold."""
    panel.axhline(level, color="#b22222", linewidth=1, zorder=1.5)
    panel.annotate(
        label,
        (0, level),
        xycoords=("axes fraction", "data"),
        xytext=(4, 2),
        textcoords="offset points",
        va="bottom",
        fontsize=9,
        color="#b22222",
    )


def to_png(figure: Figure) -> bytes:
    """The figure as PNG; equal figures give equal bytes."""
    buffer = io.BytesIO()
    with house_style():
        figure.savefig(buffer, format="png", metadata={"Software": None})
    return buffer.getvalue()
