"""Figures of causes and effects: gain against the dose of leaving the edge, and who pays for whom."""

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from edgewise.plotting.curves import mark_zero
from edgewise.plotting.points import draw_named, mark_equality
from edgewise.plotting.style import (
    BLACK,
    Captions,
    CurveStyle,
    Tables,
    group_colors,
    group_looks,
    group_points,
    in_words,
    legend_entry,
    marker_entry,
    new_figure,
    remove_from,
    strata_entry,
)

#: The ways in which a group is left out, in words.
WAYS = {"at_centre": "one group at the centre", "removed": "one group removed"}


def dose(tables: Tables, captions: Captions) -> Figure:
    """Each group's settled gain against the factor on the step size, measured and predicted."""
    table = tables["dose"]
    colors = group_colors(tables)
    predicted = f"predicted_{next(iter(colors))}" in table
    entries = [marker_entry(BLACK, "measured")]
    entries += [legend_entry(CurveStyle(BLACK, "--"), "edge flow at both step sizes, from onset")] if predicted else []
    caption = f"Settled part, at equal training time. {captions.mean_with('bar')}"
    title = "Does more of the cause do more? Gain against how far the step size is lowered"
    figure, panels = new_figure((-(-len(colors) // 4), 4), title, caption, entries, panel_size=(3.6, 3.6), sharex=True)
    factors = table.index.to_numpy(float)
    for panel, (group, color) in zip(panels.flat, colors.items(), strict=False):
        means = table[f"measured_{group}"].to_numpy(float)
        low, high = (table[f"measured_{group}_{end}"].to_numpy(float) for end in ("low", "high"))
        panel.vlines(factors, low, high, color=color, linewidth=1.4, alpha=0.7)
        panel.plot(factors, means, "o", color=color, markersize=6)
        if predicted:
            panel.plot(factors, table[f"predicted_{group}"].to_numpy(float), color=BLACK, linestyle="--")
        mark_zero(panel)
        panel.set_title(in_words(group), color=color)
        panel.set(xlabel="factor on the step size", ylabel="settled Δℓ$_k$", xlim=(0, 1))
    remove_from(panels, len(colors))
    return figure


def counterfactuals(tables: Tables, captions: Captions) -> Figure:
    """Who pays for whom, as a matrix; and what leaving a group out does, measured against predicted."""
    points = tables["left_out"]
    strata = points.loc[points["kind"] == "stratum", "name"].unique()
    looks = group_looks(tables)
    entries = group_points(tables)
    entries += [strata_entry(f"{len(strata)} strata of natural examples")] if len(strata) else []
    caption = f"Settled losses at the edge, against those with all groups. {captions.mean_with('in brackets')}"
    title = "Who pays for whom: the losses with another group left out"
    figure, panels = new_figure((1, 3), title, caption, entries, panel_size=(5.6, 4.4))
    matrix, *checks = panels[0]
    _draw_matrix(matrix, 1000 * tables["counterfactuals"], list(looks))
    for panel, (way, words) in zip(checks, WAYS.items(), strict=True):
        of_way = points[points["way"] == way]
        draw_named(panel, of_way, "predicted", "measured", looks)
        mark_equality(panel, of_way[["predicted", "measured"]].to_numpy())
        panel.set(xlabel="predicted: how much lower ℓ$_k$ is", ylabel="measured: how much lower ℓ$_k$ is")
        panel.set_title(f"{words}: all others, every seed")
    return figure


def _draw_matrix(panel: Axes, table: pd.DataFrame, groups: list[str]) -> None:
    """Draw the changes, a row a group left out, with their values and intervals in the cells."""
    means = table[groups].to_numpy(float)
    limit = float(np.abs(means).max()) or 1.0
    panel.imshow(means, cmap="RdBu", vmin=-limit, vmax=limit, aspect="auto")
    for row, left_out in enumerate(table.index):
        for column, group in enumerate(groups):
            low, high = (float(table.loc[left_out, f"{group}_{end}"]) for end in ("low", "high"))
            interval = f"\n[{low:.2g},\n{high:.2g}]" if np.isfinite([low, high]).all() else ""
            value = means[row, column]
            color = "white" if abs(value) > 0.6 * limit else BLACK
            text = f"{value:.2g}{interval}"
            panel.text(column, row, text, ha="center", va="center", fontsize=9.5, color=color)
    panel.set_xticks(range(len(groups)), [in_words(group).replace("-", "-\n") for group in groups])
    panel.set_yticks(range(len(table)), [in_words(group) for group in table.index])
    panel.grid(visible=False)
    panel.set(xlabel="whose Δℓ$_k$ changes", ylabel="left out: its gradient taken at the centre")
    panel.set_title("predicted change, in units of 0.001 (blue: gains)")
