"""Figures of single points: examples at three moments, and coupling against influence."""

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from edgewise.data.groups import GROUPS
from edgewise.inference.intervals import spearman
from edgewise.plotting.style import COLORS, About, Look, key, sheet, spoken

Tables = dict[str, pd.DataFrame]

#: Moments in the table of examples, in order, with what they are.
MOMENTS = {"sharpening": "halfway to onset", "onset": "at onset t*", "late": "at the baseline's end"}

#: Points of a trend line: medians of so many parts of equal size.
PARTS = 12


def examples(tables: Tables, about: About) -> Figure:
    """Alignment of single natural examples against centroid distance, at three moments (figure 8)."""
    keys = [
        Line2D([], [], color=COLORS["natural"], linestyle="", marker="o", markersize=5, label="one natural example"),
        key(Look("#1a1a1a"), "median of each twelfth of the examples"),
    ]
    title = "Alignment of single examples against centroid distance"
    figure, panels = sheet((1, 3), title, about.first_seed, keys, size=(12, 4), sharex=True, sharey=True)
    table = tables["examples"]
    for panel, (moment, words) in zip(panels[0], MOMENTS.items(), strict=True):
        rows = table[table.index == moment].sort_values("centroid_distance", kind="stable")
        distance, alignment = rows["centroid_distance"].to_numpy(float), rows["alignment"].to_numpy(float)
        panel.scatter(distance, alignment, 9, color=COLORS["natural"], alpha=0.45, linewidths=0)
        parts = [part for part in np.array_split(np.arange(len(rows)), PARTS) if len(part)]
        panel.plot([np.median(distance[p]) for p in parts], [np.median(alignment[p]) for p in parts], color="#1a1a1a")
        panel.set_title(f"{words}: ρ = {spearman(distance, alignment):.2f}")
        panel.set_xlabel("distance to the centroid, normalised pixels")
    panels[0, 0].set_ylabel("alignment cos²(∇ℓ$_i$, v$_1$)")
    return figure


def coupling(tables: Tables, about: About) -> Figure:
    """Q_k² against C_k of every group and checkpoint, and the line of their median ratio (figure 22)."""
    table = tables["coupling"]
    table = table[(table["curvature_influence"] > 0) & (table["sharpness_coupling"] > 0)]
    factor = float((table["sharpness_coupling"] / table["curvature_influence"]).median())
    keys: list[Line2D] = [
        Line2D([], [], color=COLORS[g], linestyle="", marker="o", markersize=5, label=spoken(g)) for g in GROUPS
    ]
    keys += [
        Line2D([], [], color=COLORS["natural"], linestyle="", marker="o", markerfacecolor="none", label="before onset"),
        key(Look("#1a1a1a", "--"), f"median ratio: Q$_k$² = {_scientific(factor)} C$_k$"),
    ]
    caption = f"Every group and checkpoint up to onset and along the baseline. {about.every_seed}"
    title = "Does curvature influence stand for the coupling to the sharpness?"
    figure, panels = sheet((1, 1), title, caption, keys, size=(8.5, 5.2))
    panel = panels[0, 0]
    for group in GROUPS:
        rows = table[table.index == group]
        for early, face in ((True, "none"), (False, COLORS[group])):
            some = rows[(rows["step"] < 0) == early]
            panel.scatter(
                some["curvature_influence"],
                some["sharpness_coupling"],
                26,
                facecolors=face,
                edgecolors=COLORS[group],
                alpha=0.75,
            )
    if len(table):
        ends = table["curvature_influence"].agg(["min", "max"]).to_numpy()
        panel.plot(ends, factor * ends, color="#1a1a1a", linestyle="--")
    panel.set(xscale="log", yscale="log", xlabel="curvature influence C$_k$", ylabel="sharpness coupling Q$_k$²")
    return figure


def _scientific(value: float) -> str:
    """A positive number with its power of ten, for a label."""
    if not np.isfinite(value) or 0.01 <= value < 1000:
        return f"{value:.2g}"
    mantissa, exponent = f"{value:.1e}".split("e")
    return f"{mantissa}·10$^{{{int(exponent)}}}$"
