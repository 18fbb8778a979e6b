"""Figures of single points: examples at three moments, and coupling against influence."""

import numpy as np
from matplotlib.figure import Figure
from scipy import stats

from edgewise.data.files import Array
from edgewise.data.groups import GROUPS
from edgewise.plotting.style import (
    BLACK,
    COLORS,
    DISTANCE_LABEL,
    EXAMPLE_ALIGNMENT_LABEL,
    INFLUENCE_LABEL,
    Captions,
    CurveStyle,
    Tables,
    in_words,
    legend_entry,
    marker_entry,
    new_figure,
)

#: The moments in the table of examples, in order, with the titles of their panels.
MOMENTS = {"sharpening": "halfway to onset", "onset": "at onset t*", "late": "at the baseline's end"}

#: A trend line joins the medians of so many equal parts of the examples.
PARTS = 12


def examples(tables: Tables, captions: Captions) -> Figure:
    """Alignment of single natural examples against centroid distance, at three moments (figure 8)."""
    entries = [
        marker_entry(COLORS["natural"], "one natural example"),
        legend_entry(CurveStyle(BLACK), "median of each twelfth of the examples"),
    ]
    title = "Alignment of single examples against centroid distance"
    figure, panels = new_figure(
        (1, 3), title, captions.first_seed, entries, panel_size=(4, 3.5), sharex=True, sharey=True
    )
    table = tables["examples"]
    for panel, (moment, words) in zip(panels[0], MOMENTS.items(), strict=True):
        rows = table[table.index == moment].sort_values("centroid_distance", kind="stable")
        distance, alignment = rows["centroid_distance"].to_numpy(float), rows["alignment"].to_numpy(float)
        panel.scatter(distance, alignment, 9, color=COLORS["natural"], alpha=0.45, linewidths=0)
        parts = [part for part in np.array_split(np.arange(len(rows)), PARTS) if len(part)]
        panel.plot([np.median(distance[p]) for p in parts], [np.median(alignment[p]) for p in parts], color=BLACK)
        panel.set_title(f"{words}: ρ = {_rank_correlation(distance, alignment):.2f}")
        panel.set_xlabel(DISTANCE_LABEL)
    panels[0, 0].set_ylabel(EXAMPLE_ALIGNMENT_LABEL)
    return figure


def _rank_correlation(x: Array, y: Array) -> float:
    """Spearman's rank correlation; nan where scipy would warn: of a constant, or of fewer than two pairs."""
    if len(x) < 2 or np.ptp(x) == 0 or np.ptp(y) == 0:
        return float("nan")
    return float(stats.spearmanr(x, y).statistic)


def coupling(tables: Tables, captions: Captions) -> Figure:
    """Q_k² against C_k of every group and checkpoint, with the line of their median ratio (figure 22)."""
    table = tables["coupling"]
    # Both axes are logarithmic.
    table = table[(table["curvature_influence"] > 0) & (table["sharpness_coupling"] > 0)]
    ratio = float((table["sharpness_coupling"] / table["curvature_influence"]).median())
    entries = [marker_entry(COLORS[group], in_words(group)) for group in GROUPS]
    entries += [
        marker_entry(COLORS["natural"], "before onset", hollow=True),
        legend_entry(CurveStyle(BLACK, "--"), f"median ratio: Q$_k$² = {_scientific(ratio)} C$_k$"),
    ]
    caption = f"Every group and checkpoint up to onset and along the baseline. {captions.every_seed}"
    title = "Does curvature influence stand for the coupling to the sharpness?"
    figure, panels = new_figure((1, 1), title, caption, entries, panel_size=(8.5, 4.9))
    panel = panels[0, 0]
    for group in GROUPS:
        rows = table[table.index == group]
        for before_onset, face in ((True, "none"), (False, COLORS[group])):
            some = rows[(rows["step"] < 0) == before_onset]
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
        panel.plot(ends, ratio * ends, color=BLACK, linestyle="--")
    panel.set(xscale="log", yscale="log", xlabel=INFLUENCE_LABEL, ylabel="sharpness coupling Q$_k$²")
    return figure


def _scientific(value: float) -> str:
    """A positive number with two digits, for a label; very small and very large ones with a power of ten.

    >>> _scientific(0.123), _scientific(61500.0)
    ('0.12', '6.2·10$^{4}$')
    """
    if not np.isfinite(value) or 0.01 <= value < 1000:
        return f"{value:.2g}"
    mantissa, exponent = f"{value:.1e}".split("e")
    return f"{mantissa}·10$^{{{int(exponent)}}}$"
