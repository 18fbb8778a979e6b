"""Figures of where the examples lie and how they look: taxonomy, images, displacement, centroid distances."""

from collections.abc import Mapping

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from edgewise.data.examples import Dataset
from edgewise.data.files import Array
from edgewise.data.groups import GROUPS, NATURAL, Examples
from edgewise.plotting.style import COLORS, GREY, About, Look, key, sheet, spoken

Tables = dict[str, pd.DataFrame]

ALONG, AWAY = "position along v$_{diff}$ (μ$_0$ at 0, μ$_1$ at 1)", "distance from that axis, in units of ‖v$_{diff}$‖"

#: Of the class that the label names.
MARKERS = {0: "o", 1: "^"}

#: Examples of a group and label in the figure of images.
SHOWN = 5


def taxonomy(tables: Tables, about: About) -> Figure:
    """Where the groups lie, seen along the axis of the centroids (figure 1)."""
    keys = [_dot(COLORS[g], spoken(g), hollow=g == "output_outlier") for g in (NATURAL, *GROUPS)]
    keys += [_dot(GREY, f"label {label}", MARKERS[label]) for label in MARKERS] + [_star()]
    caption = f"{about.setting}. Output-outliers are the inliers' images with the other label"
    figure, panels = sheet((1, 1), "The four groups in input space", caption, keys, size=(10, 4.8))
    table, panel = tables["taxonomy"], panels[0, 0]
    for group in (NATURAL, *GROUPS):
        for label, marker in MARKERS.items():
            rows = _of(table, group, label)
            color = COLORS[group]
            face, size = ("none", 75) if group == "output_outlier" else (color, 14 if group == NATURAL else 34)
            alpha = 0.35 if group == NATURAL else 0.85
            panel.scatter(
                rows["along"], rows["away"], size, marker=marker, facecolors=face, edgecolors=color, alpha=alpha
            )
    _centroids(panel)
    return figure


def displacement(tables: Tables, about: About) -> Figure:
    """The same seed images displaced coherently and at random, as far (figure 18)."""
    keys = [_dot(COLORS[NATURAL], NATURAL), _dot(COLORS["inlier"], "seed images (inliers)")]
    keys += [_dot(COLORS["coherent"], "coherent"), _dot(COLORS["random"], "random directions")]
    keys += [_dot(GREY, f"class {label}", MARKERS[label]) for label in MARKERS] + [_star()]
    title = "Equally far, along v$_{diff}$ or orthogonal to it"
    figure, panels = sheet((1, 1), title, about.setting, keys, size=(10, 4.8))
    table, panel = tables["taxonomy"], panels[0, 0]
    shown = {
        NATURAL: COLORS[NATURAL],
        "inlier": COLORS["inlier"],
        "control_coherent": COLORS["coherent"],
        "control_random": COLORS["random"],
    }
    for label, marker in MARKERS.items():
        seeds = _of(table, "inlier", label)
        for group, color in shown.items():
            rows = _of(table, group, label)
            size, alpha = (12, 0.3) if group == NATURAL else (30, 0.85)
            panel.scatter(rows["along"], rows["away"], size, marker=marker, color=color, alpha=alpha, linewidths=0)
            if group.startswith("control") and len(rows) == len(seeds):
                # In the table both are in the order of the seed images.
                ends = (np.stack([seeds[axis], rows[axis]]) for axis in ("along", "away"))
                panel.plot(*ends, color=color, linewidth=0.5, alpha=0.4, zorder=1)
    _centroids(panel)
    return figure


def _of(table: pd.DataFrame, group: str, label: int) -> pd.DataFrame:
    return table[(table.index == group) & (table["label"] == label)]


def _dot(color: str, label: str, marker: str = "o", *, hollow: bool = False) -> Line2D:
    face = "none" if hollow else color
    return Line2D([], [], color=color, linestyle="", marker=marker, markerfacecolor=face, markersize=6, label=label)


def _star() -> Line2D:
    return Line2D([], [], color="black", linestyle="", marker="*", markersize=11, label="class means μ$_0$, μ$_1$")


def _centroids(panel: Axes) -> None:
    panel.scatter([0, 1], [0, 0], 170, marker="*", color="black", edgecolors="white", zorder=4, clip_on=False)
    panel.set(xlabel=ALONG, ylabel=AWAY)
    panel.set_ylim(bottom=-0.03 * panel.get_ylim()[1])


def examples(train: Examples, dataset: Dataset, about: About) -> Figure:
    """A few images of every group and label, as pixels (figure 2).

    Parameters
    ----------
    train : the training data with the groups
    dataset : whose mean and standard deviation undo the normalisation
    """
    title = "Images of the four groups"
    caption = f"{about.setting}. Pixels outside the display's range, as displacement makes them, are clipped"
    names = (NATURAL, *GROUPS)
    side = 0.98
    size = (1.6 + 2 * SHOWN * side, len(names) * side + 0.35)
    figure, panels = sheet((len(names), 2 * SHOWN), title, caption, size=size)
    for panel in panels.flat:
        panel.set(xticks=[], yticks=[])
        panel.spines[:].set_visible(False)
        panel.grid(visible=False)
    for row, group in zip(panels, names, strict=True):
        for label in (0, 1):
            members = np.flatnonzero((train.group == group) & (train.y == label))
            for panel, member in zip(row[label * SHOWN :], members[:SHOWN], strict=False):
                panel.imshow(_displayed(train.x[member], dataset), cmap="gray", vmin=0, vmax=1, interpolation="nearest")
        row[0].set_ylabel(
            spoken(group),
            rotation=0,
            ha="right",
            va="center",
            labelpad=8,
            color=COLORS[group],
            fontweight="bold",
        )
    for label in (0, 1):
        panels[0, label * SHOWN].set_title(f'label {label}: "{dataset.class_names[label]}"')
    return figure


def _displayed(x: Array, dataset: Dataset) -> Array:
    """A normalised image [C, H, W] as pixels from 0 to 1, [H, W] or [H, W, 3]."""
    column = (slice(None), None, None)
    pixels: Array = np.clip(x * dataset.std[column] + dataset.mean[column], 0, 1)
    return np.moveaxis(pixels, 0, -1) if len(pixels) == 3 else pixels[0]


def centroid_distance(tables: Tables, about: About) -> Figure:
    """Distribution of distances to the own centroid, by group (figure 15) and under both controls (figure 19)."""
    table = tables["centroid_distance"]
    caption = f"{about.setting}. In the legends: median distance"
    figure, panels = sheet((1, 2), "Distance to the centroid of the own class", caption, size=(11, 4.2))
    groups = {name: (COLORS[name], spoken(name)) for name in (NATURAL, *GROUPS)}
    controls = {
        "inlier": (COLORS["inlier"], "seed images (inliers)"),
        "control_coherent": (COLORS["coherent"], "displaced coherently"),
        "control_random": (COLORS["random"], "displaced at random"),
    }
    for panel, shown, title in zip(
        panels[0], (groups, controls), ("by group", "under both displacements"), strict=True
    ):
        _distributions(panel, table, shown)
        panel.set_title(title)
    return figure


def _distributions(panel: Axes, table: pd.DataFrame, shown: Mapping[str, tuple[str, str]]) -> None:
    """Cumulative distributions from quantile functions, with the medians."""
    quantile = table.index.to_numpy(float)
    keys = []
    for name, (color, label) in shown.items():
        # The coincident curves of inliers and output-outliers stay visible.
        look = Look(color, (0, (3, 3)) if name == "output_outlier" else "-", 1.8)
        distance = table[name].to_numpy(float)
        panel.plot(distance, quantile, color=look.color, linestyle=look.style, linewidth=look.width)
        median = float(np.interp(0.5, quantile, distance))
        panel.plot([median], [0.5], marker="o", color=color, markersize=5)
        keys.append(key(look, f"{label}: {median:.3g}"))
    panel.legend(handles=keys, loc="upper left", bbox_to_anchor=(0, -0.16), ncols=2, fontsize=9)
    panel.set(xlabel="distance to the centroid, normalised pixels", ylabel="fraction of the images", ylim=(0, 1.02))
