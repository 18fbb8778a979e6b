"""Figures of where the examples lie and how they look: taxonomy, images, displacement, centroid distances."""

from collections.abc import Mapping

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from edgewise.data.displacement import DIRECTIONS
from edgewise.data.examples import Dataset
from edgewise.data.files import Array
from edgewise.data.groups import GROUPS, NATURAL, Examples
from edgewise.plotting.style import (
    COLORS,
    DISTANCE_LABEL,
    GREY,
    Captions,
    CurveStyle,
    Tables,
    group_colors,
    in_words,
    legend_entry,
    marker_entry,
    new_figure,
)

#: Of examples, by their label; with more labels they begin again.
MARKERS = "o^sDv<>Pp*"

#: Pairs of groups that a caption names.
PAIRS_LISTED = 10

#: Columns of images in figure 2: as many for each label, and of many labels one for each.
IMAGES_SHOWN = 10


def taxonomy(tables: Tables, captions: Captions) -> Figure:
    """Where the groups lie, along the axis of the centroids and away from it (figure 1)."""
    colors = {NATURAL: COLORS[NATURAL], **group_colors(tables)}
    entries = [marker_entry(color, in_words(g), hollow=g == "output_outlier") for g, color in colors.items()]
    labels = " Output-outliers have the other label." if "output_outlier" in colors else ""
    caption = f"{captions.first_seed}.{labels} {images_in_common(_shared_in_first_seed(tables))}"
    table = tables["taxonomy"]
    figure, panel = _position_figure(f"The {the_groups(tables)} in input space", caption, entries, table)
    for group, color in colors.items():
        # Output-outliers lie where inliers do, so they are rings around them.
        face, size = ("none", 75) if group == "output_outlier" else (color, 14 if group == NATURAL else 34)
        alpha = 0.35 if group == NATURAL else 0.85
        for label, marker in _markers(table).items():
            rows = _of(table, group, label)
            panel.scatter(
                rows["along"], rows["away"], size, marker=marker, facecolors=face, edgecolors=color, alpha=alpha
            )
    _draw_centroids(panel)
    return figure


def displacement(tables: Tables, captions: Captions) -> Figure:
    """The source images of the input-outliers displaced coherently and as far in random directions (figure 18)."""
    # Without the paper's groups the source images are not among the examples shown.
    shown = {NATURAL: COLORS[NATURAL]} | {name: c for name, c in group_colors(tables).items() if name == "inlier"}
    inliers = _inliers_in_words(tables)
    entries = [marker_entry(c, inliers if name == "inlier" else name) for name, c in shown.items()]
    entries += [marker_entry(COLORS["coherent"], "coherent"), marker_entry(COLORS["random"], "random directions")]
    table = tables["taxonomy"]
    title = "Equally far, along v$_{diff}$ or orthogonal to it"
    figure, panel = _position_figure(title, f"Trained images. {captions.first_seed}", entries, table)
    shown |= {f"control_{direction}": COLORS[direction] for direction in DIRECTIONS}
    for label, marker in _markers(table).items():
        sources = _of(table, "inlier", label)
        for group, color in shown.items():
            rows = _of(table, group, label)
            size, alpha = (12, 0.3) if group == NATURAL else (30, 0.85)
            panel.scatter(rows["along"], rows["away"], size, marker=marker, color=color, alpha=alpha, linewidths=0)
            if group.startswith("control") and _of_same_images(tables) and len(rows) == len(sources):
                # The table has the displaced images in the order of the inliers.
                ends = (np.stack([sources[axis], rows[axis]]) for axis in ("along", "away"))
                panel.plot(*ends, color=color, linewidth=0.5, alpha=0.4, zorder=1)
    _draw_centroids(panel)
    return figure


def _position_figure(title: str, caption: str, entries: list[Line2D], table: pd.DataFrame) -> tuple[Figure, Axes]:
    """A figure of one panel of positions, whose legend also has the markers of the labels and of the centroids."""
    markers = _markers(table)
    entries = entries + [marker_entry(GREY, f"label {label}", marker) for label, marker in markers.items()]
    means = "class means μ$_0$, μ$_1$" if len(markers) == 2 else "means of a class and its other class"
    star = Line2D([], [], color="black", linestyle="", marker="*", markersize=11, label=means)
    figure, panels = new_figure((1, 1), title, caption, [*entries, star], panel_size=(10, 4.6))
    panel = panels[0, 0]
    at_ends = "μ$_0$ at 0, μ$_1$ at 1" if len(markers) == 2 else "of the two means that of the smaller label at 0"
    panel.set_xlabel(f"position along v$_{{diff}}$ ({at_ends})")
    panel.set_ylabel("distance from that axis, in units of ‖v$_{diff}$‖")
    return figure, panel


def images_in_common(shared: Mapping[str, int]) -> str:
    """What a caption says of the trained images that groups have in common, by "<group> & <group>".

    >>> images_in_common({"inlier & boundary": 0, "inlier & output_outlier": 10})
    'Trained images in common: inlier & output-outlier 10; others 0'
    """
    if not shared:
        return ""  # there is one group
    pairs = [f"{in_words(pair)} {count}" for pair, count in shared.items() if count]
    if len(pairs) > PAIRS_LISTED:
        return f"{len(pairs)} of {len(shared)} pairs of groups have trained images in common"
    if not pairs:
        return "The groups have no trained image in common"
    others = "" if len(pairs) == len(shared) else "; others 0"
    return f"Trained images in common: {', '.join(pairs)}{others}"


def _shared_in_first_seed(tables: Tables) -> dict[str, int]:
    """How many trained images of the first seed groups have in common, by "<group> & <group>"."""
    shared = tables["shared_images"]
    return dict(shared[shared["seed"].isin(shared["seed"].iloc[:1])]["images"])


def _of_same_images(tables: Tables) -> bool:
    """Whether inliers and displaced images are made from the same ones; with `prototypes.disjoint` none is shared."""
    return _shared_in_first_seed(tables).get("inlier & input_outlier", 0) > 0


def _inliers_in_words(tables: Tables) -> str:
    """What a legend calls the inliers beside displaced images."""
    return "source images (inliers)" if _of_same_images(tables) else "inliers, of other images"


def the_groups(tables: Tables) -> str:
    """How a title calls the groups."""
    return "four groups" if tuple(tables["groups"].index) == GROUPS else "groups"


def _markers(table: pd.DataFrame) -> dict[int, str]:
    """The marker of each label in the table."""
    return {label: MARKERS[label % len(MARKERS)] for label in range(int(table["label"].max()) + 1)}


def _of(table: pd.DataFrame, group: str, label: int) -> pd.DataFrame:
    return table[(table.index == group) & (table["label"] == label)]


def _draw_centroids(panel: Axes) -> None:
    panel.scatter([0, 1], [0, 0], 170, marker="*", color="black", edgecolors="white", zorder=4, clip_on=False)
    panel.set_ylim(bottom=-0.03 * panel.get_ylim()[1])


def images(train: Examples, dataset: Dataset, shared: Mapping[str, int], tables: Tables, captions: Captions) -> Figure:
    """A few images of every group and label, as pixels (figure 2)."""
    clipped = "Pixels outside the display's range, as displacement makes them, are clipped"
    caption = f"{captions.first_seed}. {clipped}. {images_in_common(shared)}"
    colors = {NATURAL: COLORS[NATURAL], **group_colors(tables)}
    classes = len(dataset.class_names)
    shown = max(1, IMAGES_SHOWN // classes)
    shape = (len(colors), classes * shown)
    figure, panels = new_figure(shape, f"Images of the {the_groups(tables)}", caption, panel_size=(1.14, 1.0))
    for panel in panels.flat:
        panel.set(xticks=[], yticks=[])
        panel.spines[:].set_visible(False)
        panel.grid(visible=False)
    for row, (group, color) in zip(panels, colors.items(), strict=True):
        for label in range(classes):
            members = np.flatnonzero(train.members[group] & (train.y == label))
            # A small group leaves panels empty.
            for panel, member in zip(row[label * shown :], members[:shown], strict=False):
                pixels = _to_pixels(train.x[member], dataset)
                panel.imshow(pixels, cmap="gray", vmin=0, vmax=1, interpolation="nearest")
        row[0].set_ylabel(
            in_words(group),
            rotation=0,
            ha="right",
            va="center",
            labelpad=8,
            color=color,
            fontweight="bold",
        )
    for label, name in enumerate(dataset.class_names):
        panels[0, label * shown].set_title(f'label {label}: "{name}"' if shown > 1 else f'"{name}"')
    return figure


def _to_pixels(x: Array, dataset: Dataset) -> Array:
    """A normalised image [C, H, W] as pixels between 0 and 1: [H, W], or [H, W, 3] of three channels."""
    column = (slice(None), None, None)
    pixels: Array = np.clip(x * dataset.std[column] + dataset.mean[column], 0, 1)
    return np.moveaxis(pixels, 0, -1) if len(pixels) == 3 else pixels[0]


def centroid_distance(tables: Tables, captions: Captions) -> Figure:
    """Distribution of distances to the own centroid, by group (figure 15) and under both controls (figure 19)."""
    table = tables["centroid_distance"]
    over_seeds = "" if len(captions.seeds) == 1 else " Quantiles are means over the seeds."
    sets = "Groups, also inliers on the right: trained and held-out images; displaced: trained ones alone."
    caption = f"{captions.every_seed}.{over_seeds} {sets} In the legends: median distance"
    figure, panels = new_figure((1, 2), "Distance to the centroid of the own class", caption)
    colors = {NATURAL: COLORS[NATURAL], **group_colors(tables)}
    groups = {name: (color, in_words(name)) for name, color in colors.items()}
    controls = {"inlier": (COLORS["inlier"], _inliers_in_words(tables))} if "inlier" in colors else {}
    controls |= {
        "control_coherent": (COLORS["coherent"], "displaced coherently"),
        "control_random": (COLORS["random"], "displaced at random"),
    }
    _distribution_panel(panels[0, 0], table, groups, "by group")
    _distribution_panel(panels[0, 1], table, controls, "under both displacements")
    return figure


def _distribution_panel(panel: Axes, table: pd.DataFrame, shown: Mapping[str, tuple[str, str]], title: str) -> None:
    """Draw cumulative distributions from their quantiles, with the medians.

    Parameters
    ----------
    table : the quantiles, by level; one column a distribution
    shown : the colour and the label of each distribution to draw
    title : of the panel
    """
    level = table.index.to_numpy(float)
    entries = []
    for name, (color, label) in shown.items():
        # The curves of inliers and output-outliers coincide; through a dashed one both are visible.
        style = CurveStyle(color, (0, (3, 3)) if name == "output_outlier" else "-", 1.8)
        distance = table[name].to_numpy(float)
        panel.plot(distance, level, color=style.color, linestyle=style.linestyle, linewidth=style.linewidth)
        median = float(np.interp(0.5, level, distance))
        panel.plot([median], [0.5], marker="o", color=color, markersize=5)
        entries.append(legend_entry(style, f"{label}: {median:.3g}"))
    # Curves fill the panel, so the legend lies below it and the label of its x axis.
    panel.legend(handles=entries, loc="upper left", bbox_to_anchor=(0, -0.17), ncols=2, fontsize=9)
    panel.set_title(title)
    panel.set(xlabel=DISTANCE_LABEL, ylabel="fraction of the images", ylim=(0, 1.02))
