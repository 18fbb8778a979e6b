"""What all figures share: colours, markers, line styles, captions, the empty figure, and its file.

A group has the same colour and marker in every figure. The colours of the groups are those of Okabe and Ito, which
colour-blind readers can tell apart, the pink a little darker: all pairs differ by a ΔE of at least 20, also under
deuteranopia and protanopia. The markers tell them apart in grey. A branch has the same line style in every figure:
solid for the baseline, which stays at the edge, and broken for the others.
"""

import io
import itertools
import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import matplotlib.style
import numpy as np
import pandas as pd
from matplotlib import colormaps
from matplotlib.artist import Artist
from matplotlib.colors import to_hex
from matplotlib.figure import Figure, SubFigure
from matplotlib.lines import Line2D

from edgewise.data.files import Array
from edgewise.data.groups import GROUPS

Tables = Mapping[str, pd.DataFrame]

BLACK = "#1a1a1a"
GREY = "#555555"
RULE_COLOR = "#444444"
THRESHOLD_COLOR = "#b22222"

#: Of groups, of the directions of displacement, of branches, and of natural examples by their typicality.
COLORS = {
    "natural": "#8c8c8c",
    "inlier": "#0072b2",
    "boundary": "#009e73",
    "output_outlier": "#d55e00",
    "input_outlier": "#c37fae",
    "coherent": "#c37fae",
    "random": "#56b4e9",
    "baseline": BLACK,
    "exit": "#a6761d",
    "enter": "#7570b3",
    "flow": "#999999",
    "typical": "#56b4e9",
    "atypical": "#882255",
    "all": "#8c8c8c",
}

#: Of groups; others than the paper's four have them by turns. Strata of natural examples have one of their own.
GROUP_MARKERS = {"inlier": "o", "boundary": "s", "output_outlier": "^", "input_outlier": "D"}
STRATUM_MARKER = "P"

#: How far apart the markers of a curve are, as a fraction of the panel's diagonal, and how large, in points.
MARKER_EVERY, MARKER_SIZE = 0.16, 4.5

#: Every branch, in the order of the legends.
BRANCH_LINESTYLES = {"baseline": "-", "exit": "--", "enter": "-.", "flow": ":"}

BRANCH_LABELS = {
    "baseline": "baseline: stays at the edge",
    "exit": "exit: leaves it",
    "enter": "enter: leaves and comes back",
    "flow": "flow: gradient flow",
}

#: Every model of the edge, in the order of the legends.
MODEL_STYLES = {
    "edge_flow": ("#0072b2", "-"),
    "gradient_flow": ("#999999", ":"),
    "cubic": ("#d55e00", "-."),
    "constrained": ("#009e73", "--"),
    "central_flow": ("#cc79a7", (0, (5, 1))),
}

#: The branches that every run has; figures with many curves show these alone.
MAIN_BRANCHES = ("baseline", "exit")

STEPS_LABEL = "steps since onset t*"
TIME_LABEL = "training time since onset t*, in steps of size η"
ALPHA_LABEL = "displacement α, in units of v$_{diff}$"
ALIGNMENT_LABEL = "alignment cos²θ$_k$"
EXAMPLE_ALIGNMENT_LABEL = "alignment cos²(∇ℓ$_i$, v$_1$)"
INFLUENCE_LABEL = "curvature influence C$_k$"
DISTANCE_LABEL = "distance to the centroid, normalised pixels"

#: What a caption says of both sharpnesses.
SHARPNESS_CAPTION = "λ$_1$ is measured at pairs of consecutive iterates, κ at every step"

#: What seeds differ in, by the parameter `replicate`.
DIFFERENCES = {"all": "data, groups and initialisation", "initialisation": "the initialisation alone"}

#: Space around the figure and between its panels, in inches.
MARGIN = 0.1

#: Height that `new_figure` adds to the panels, in inches: about that of a title, a legend and a caption.
SURROUNDINGS = 1.3

Format = Literal["png", "pdf", "svg"]

#: What matplotlib would write into a file of its version and of the day.
NAMES_THE_DAY = {"png": ["Software"], "pdf": ["Creator", "Producer", "CreationDate"], "svg": ["Creator", "Date"]}

#: Settings of matplotlib, on top of its defaults.
SETTINGS = {
    "axes.axisbelow": True,
    "axes.edgecolor": RULE_COLOR,
    "axes.grid": True,
    "axes.labelsize": 10.5,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "axes.titlelocation": "left",
    "axes.titlesize": 11,
    "figure.constrained_layout.h_pad": MARGIN,
    "figure.constrained_layout.use": True,
    "figure.constrained_layout.w_pad": MARGIN,
    "figure.dpi": 110,
    "figure.labelsize": 9.5,
    "figure.titlesize": 13,
    "figure.titleweight": "bold",
    "font.size": 10,
    "grid.color": "#e6e6e6",
    "legend.borderpad": 0.2,
    "legend.fontsize": 9.5,
    "legend.frameon": False,
    "legend.handlelength": 2.6,
    "lines.linewidth": 1.6,
    "pdf.fonttype": 42,  # letters stay letters
    "svg.hashsalt": "edgewise",  # equal figures have equal names of their parts
}


@contextmanager
def figure_style() -> Iterator[None]:
    """Apply `SETTINGS`, whatever the reader's own matplotlibrc says."""
    with matplotlib.style.context(["default", SETTINGS]):
        yield


@dataclass(frozen=True)
class Captions:
    """What the captions say of the run and of its seeds.

    Attributes
    ----------
    setting : data, training and displacement in a few words
    seeds : those of the run
    replicate : what seeds differ in: all, or initialisation
    """

    setting: str
    seeds: Sequence[int]
    replicate: str = "all"

    @property
    def mean(self) -> str:
        """For curves, which are means over the seeds."""
        return self.mean_with("band")

    def mean_with(self, mark: str) -> str:
        """For means over the seeds, whose intervals are drawn as a band, a bar, ..."""
        if len(self.seeds) == 1:
            return f"{self.setting}; one seed ({self.seeds[0]}), so no interval"
        return f"{self.setting}; mean of {len(self.seeds)} seeds, {mark}: 95 % t interval; {self.difference}"

    @property
    def difference(self) -> str:
        """What seeds differ in."""
        return f"seeds differ in {DIFFERENCES[self.replicate]}"

    @property
    def mean_of_pairs(self) -> str:
        """For curves through checkpoints."""
        return f"{self.mean}. Measured at pairs of consecutive iterates"

    @property
    def first_seed(self) -> str:
        """For points that come from the first seed alone."""
        return f"{self.setting}; seed {self.seeds[0]}"

    @property
    def every_seed(self) -> str:
        """For points that come from all seeds."""
        if len(self.seeds) == 1:
            return f"{self.setting}; one seed ({self.seeds[0]})"
        return f"{self.setting}; {len(self.seeds)} seeds; {self.difference}"


@dataclass(frozen=True)
class CurveStyle:
    """How a curve is drawn.

    Attributes
    ----------
    color, linestyle, linewidth, marker : as in matplotlib
    start : the curve is drawn from this x on
    band : whether the interval is drawn too
    """

    color: str
    linestyle: Any = "-"
    linewidth: float = 1.6
    marker: str = ""
    start: float = -np.inf
    band: bool = True


class Look(NamedTuple):
    """The colour and the marker of a group."""

    color: str
    marker: str


def group_looks(tables: Tables) -> dict[str, Look]:
    """The groups of a run and how they look."""
    return looks_of([str(name) for name in tables["groups"].index])


def group_colors(tables: Tables) -> dict[str, str]:
    """The groups of a run and their colours."""
    return {name: look.color for name, look in group_looks(tables).items()}


def looks_of(groups: Sequence[str]) -> dict[str, Look]:
    """How groups look beside each other: the paper's four have their own look, others are spread over a colormap."""
    others = [name for name in groups if name not in GROUPS]
    spread = zip(others, colormaps["turbo"](np.linspace(0.05, 0.95, len(others))), strict=True)
    colors = COLORS | {name: to_hex(color) for name, color in spread}
    markers = itertools.cycle(GROUP_MARKERS.values())
    return {name: Look(colors[name], GROUP_MARKERS.get(name) or next(markers)) for name in groups}


def group_style(look: Look, branch: str = "baseline") -> CurveStyle:
    """The look of a group with the line style of the branch."""
    return CurveStyle(look.color, BRANCH_LINESTYLES[branch], marker=look.marker, start=_start(branch))


def branch_style(branch: str) -> CurveStyle:
    """The colour and the line style of the branch, for curves that belong to no group."""
    return CurveStyle(COLORS[branch], BRANCH_LINESTYLES[branch], start=_start(branch))


def _start(branch: str) -> float:
    """Where the curve of a branch begins: all share the steps before onset, which the baseline's curve shows."""
    return -np.inf if branch == "baseline" else 0


def in_words(name: str) -> str:
    """A name from a table as a reader would write it.

    >>> in_words("output_outlier"), in_words("gaussian_noise")
    ('output-outlier', 'gaussian noise')
    """
    return name.replace("_outlier", "-outlier").replace("_", " ")


def legend_entry(style: CurveStyle, label: str) -> Line2D:
    """A curve's entry in a legend."""
    # In a legend a line is short, so it is a little wider there.
    look = {"color": style.color, "linestyle": style.linestyle, "linewidth": style.linewidth + 0.4}
    return Line2D([], [], marker=style.marker, markersize=MARKER_SIZE, label=label, **look)


def marker_entry(color: str, label: str, marker: str = "o", *, hollow: bool = False) -> Line2D:
    """An entry in a legend for points."""
    face = "none" if hollow else color
    return Line2D([], [], color=color, linestyle="", marker=marker, markerfacecolor=face, markersize=6, label=label)


def group_entries(tables: Tables) -> list[Line2D]:
    """The legend entries of the groups."""
    return [legend_entry(group_style(look), in_words(group)) for group, look in group_looks(tables).items()]


def group_points(tables: Tables) -> list[Line2D]:
    """The legend entries of the groups, where they are points."""
    return [marker_entry(look.color, in_words(group), look.marker) for group, look in group_looks(tables).items()]


def strata_entry(words: str) -> Line2D:
    """The legend entry of the strata of natural examples, where they are points."""
    return marker_entry(COLORS["natural"], words, STRATUM_MARKER)


def grid(panels: int) -> tuple[int, int]:
    """Rows and columns for so many panels, about as many of each.

    >>> grid(4), grid(7)
    ((2, 2), (3, 3))
    """
    columns = math.ceil(math.sqrt(panels))
    return -(-panels // columns), columns


def new_figure(
    shape: tuple[int, int],
    title: str,
    caption: str,
    entries: Sequence[Artist] = (),
    *,
    panel_size: tuple[float, float] = (5.5, 3.5),
    sharex: bool = False,
    sharey: bool = False,
) -> tuple[Figure, Array]:
    """A figure of empty panels, with the title and the legend above them and the caption below.

    Parameters
    ----------
    shape : rows and columns of panels
    entries : of the legend
    panel_size : width and height of a panel with its labels, in inches

    Returns
    -------
    figure : the figure
    panels : the axes [rows, columns]
    """
    rows, columns = shape
    width, height = columns * panel_size[0], rows * panel_size[1] + SURROUNDINGS
    figure = Figure(figsize=(width, height))
    left = {"x": MARGIN / width, "horizontalalignment": "left"}
    figure.suptitle(title, **left)
    figure.supxlabel(caption, **left, wrap=True, color=GREY)
    # The layout would put a title and a legend of one and the same figure on top of each other.
    body = figure.add_subfigure(figure.add_gridspec()[0, 0])
    add_legend(body, entries)
    return figure, body.subplots(rows, columns, squeeze=False, sharex=sharex, sharey=sharey)


def add_legend(body: SubFigure, entries: Sequence[Artist]) -> None:
    """Add a legend above the panels, in as few rows as the width of the figure allows."""
    for rows in range(1, len(entries) + 1):
        columns = -(-len(entries) // rows)
        legend = body.legend(handles=entries, loc="outside upper left", ncols=columns)
        if legend.get_window_extent().width <= body.bbox.width or columns == 1:
            break
        legend.remove()


def remove_from(panels: Array, used: int) -> None:
    """Take away the panels [rows, columns] from the one of this number on, which show nothing."""
    for panel in panels.flat[used:]:
        panel.remove()


def to_file(figure: Figure, format_: Format = "png") -> bytes:
    """The figure as a file of that format; equal figures give equal bytes."""
    buffer = io.BytesIO()
    with figure_style():
        figure.savefig(buffer, format=format_, metadata=dict.fromkeys(NAMES_THE_DAY[format_]))
    return buffer.getvalue()
