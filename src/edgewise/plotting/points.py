"""Figures of single points: examples at three moments, coupling against influence, gains against influence."""

from collections.abc import Mapping

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import NullLocator

from edgewise.data.files import Array
from edgewise.inference.intervals import correlation, estimate, spearman
from edgewise.plotting.curves import draw_curves, mark_zero, plain_log_ticks
from edgewise.plotting.style import (
    BLACK,
    COLORS,
    DISTANCE_LABEL,
    EXAMPLE_ALIGNMENT_LABEL,
    GREY,
    INFLUENCE_LABEL,
    MODEL_STYLES,
    RULE_COLOR,
    STEPS_LABEL,
    STRATUM_MARKER,
    THRESHOLD_COLOR,
    Captions,
    CurveStyle,
    Look,
    Tables,
    group_looks,
    group_points,
    in_words,
    legend_entry,
    marker_entry,
    new_figure,
    remove_from,
    strata_entry,
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
        panel.set_title(f"{words}: ρ = {spearman(distance, alignment):.2f}")
        panel.set_xlabel(DISTANCE_LABEL)
    panels[0, 0].set_ylabel(EXAMPLE_ALIGNMENT_LABEL)
    return figure


def coupling(tables: Tables, captions: Captions) -> Figure:
    """Q_k² against C_k, from the derivative and over a step's length, and who gains against the sign (figure 22)."""
    looks = group_looks(tables)
    entries = group_points(tables)
    entries += [
        marker_entry(COLORS["natural"], "before onset", hollow=True),
        strata_entry("stratum of natural examples"),
    ]
    where = "Q$_k$²: every group and checkpoint up to onset and along the baseline"
    caption = f"{where}. Gains: settled, at equal time. {captions.every_seed}"
    title = "Does influence stand for the coupling to the sharpness, and does the coupling tell who gains?"
    figure, panels = new_figure((1, 3), title, caption, entries, panel_size=(4.7, 4.2))
    squared, over_step, signed = panels[0]
    _squared_panel(squared, tables["coupling"], "sharpness_coupling", "from the derivative", looks)
    _squared_panel(over_step, tables["coupling"], "sharpness_coupling_over_step", "over half a step's length", looks)
    _signed_panel(signed, tables["selector"], looks)
    return figure


def _squared_panel(panel: Axes, table: pd.DataFrame, column: str, title: str, looks: Mapping[str, Look]) -> None:
    """Draw Q_k² against C_k, both on logarithmic axes, with the line of their median ratio."""
    table = table[(table["curvature_influence"] > 0) & (table[column] > 0)]
    ratio = float((table[column] / table["curvature_influence"]).median())
    for group, (color, marker) in looks.items():
        rows = table[table.index == group]
        for before_onset, face in ((True, "none"), (False, color)):
            some = rows[(rows["step"] < 0) == before_onset]
            at = some["curvature_influence"], some[column]
            panel.scatter(*at, 26, marker=marker, facecolors=face, edgecolors=color, alpha=0.75)
    if len(table):
        ends = table["curvature_influence"].agg(["min", "max"]).to_numpy()
        panel.plot(ends, ratio * ends, color=BLACK, linestyle="--")
    label = f"median ratio: Q$_k$² = {_scientific(ratio)} C$_k$"
    below_the_panel(panel, [legend_entry(CurveStyle(BLACK, "--"), label)])
    panel.set(xscale="log", yscale="log", xlabel=INFLUENCE_LABEL, ylabel="sharpness coupling Q$_k$²")
    panel.set_title(title)


def _signed_panel(panel: Axes, table: pd.DataFrame, looks: Mapping[str, Look]) -> None:
    """Draw gains against the signed coupling before onset; shaded where a positive coupling means a gain."""
    column, gain = "coupling_over_step", table["gain_time"]
    draw_named(panel, table, column, "gain_time", looks)
    # Linear as far as half of the points lie, so that those near zero have room.
    typical = float(table[column].abs().median()) or 1.0
    panel.set_xscale("symlog", linthresh=10 ** np.floor(np.log10(typical)))
    panel.xaxis.set_minor_locator(NullLocator())
    (left, right), (bottom, top) = panel.get_xlim(), panel.get_ylim()
    bottom, top = min(bottom, -0.05 * top), max(top, -0.05 * bottom)
    for quadrant in ((0, right, 0, top), (left, 0, bottom, 0)):
        x0, x1, y0, y1 = quadrant
        panel.fill_between([x0, x1], y0, y1, color=COLORS["natural"], alpha=0.15, linewidth=0, zorder=0)
    panel.set(xlim=(left, right), ylim=(bottom, top))
    entries = []
    for name, words in (("coupling", "from the derivative"), (column, "over half a step")):
        agree = int((np.sign(table[name]) == np.sign(gain)).sum())
        entries.append(Line2D([], [], linestyle="", label=f"signs agree, {words}: {agree} of {len(table)}"))
    below_the_panel(panel, entries, columns=1)
    panel.set(xlabel="coupling ⟨∇ℓ$_k$, ∇S⟩ before onset, over half a step", ylabel="settled Δℓ$_k$")
    panel.set_title("who gains (shaded: the same sign)")


def selector(tables: Tables, captions: Captions) -> Figure:
    """Who gains against influence before onset: groups and strata of every seed, at equal step and equal time."""
    table = tables["selector"]
    names = table.loc[table["kind"] == "stratum", "name"].unique()
    entries = group_points(tables)
    entries += [strata_entry(f"{len(names)} strata of natural examples")] if len(names) else []
    caption = (
        "C$_k$ is measured before any branch begins. ρ: Spearman, within a seed, averaged over the seeds."
        f" {captions.every_seed}"
    )
    title = "Is who gains who had influence before onset?"
    figure, panels = new_figure((1, 2), title, caption, entries, panel_size=(5.5, 4.4))
    for panel, held in zip(panels[0], ("step", "time"), strict=True):
        gain = f"gain_{held}"
        draw_named(panel, table, "curvature_influence", gain, group_looks(tables))
        panel.axhline(0, color=RULE_COLOR, linewidth=1, zorder=1.5)
        found = []
        for kind, words in (("group", "groups"), ("stratum", "strata"), ("", "both")):
            rows = table[table["kind"] == kind] if kind else table
            seeds = [one[["curvature_influence", gain]].to_numpy().T for _, one in rows.groupby("seed")]
            points = min((len(one[0]) for one in seeds), default=0)
            mean = estimate([spearman(*one) for one in seeds], correlation(points)).value
            found.append(Line2D([], [], linestyle="", label=f"{words}: ρ = {mean:.2f}"))
        below_the_panel(panel, found)
        panel.set(xscale="log", xlabel=f"{INFLUENCE_LABEL} before onset", ylabel="settled Δℓ$_k$")
        plain_log_ticks(panel.xaxis)
        panel.set_title(f"gain at equal {held}")
    return figure


def edge_flow(tables: Tables, captions: Captions) -> Figure:
    """Gains measured against gains predicted by edge flow, and both and their distance over training time."""
    looks = group_looks(tables)
    entries = [*group_points(tables), strata_entry("strata of natural examples")]
    entries += [legend_entry(CurveStyle(GREY), "measured"), legend_entry(CurveStyle(BLACK, "--"), "predicted")]
    caption = (
        "Edge flow starts from the two iterates at onset and sees nothing later; nothing is fitted. The loss away from"
        " the edge is as measured; that at the edge is predicted. Above zero the group gains from the edge, at equal"
        f" training time. {captions.mean}"
    )
    title = "Who gains from the edge, measured and predicted"
    count = len(looks) + 2
    figure, panels = new_figure((-(-count // 3), 3), title, caption, entries, panel_size=(3.9, 3.4))
    points, over_time = tables["predicted_gains"], tables["prediction"]
    panel = panels[0, 0]
    draw_named(panel, points, "predicted", "measured", looks)
    mark_equality(panel, points[["predicted", "measured"]].to_numpy())
    panel.set(xlabel="predicted settled Δℓ$_k$", ylabel="measured settled Δℓ$_k$")
    panel.set_title("every group, stratum and seed")
    for panel, (group, (color, _)) in zip(panels.flat[1:], looks.items(), strict=False):
        styles = {
            f"measured_{group}": CurveStyle(color),
            f"predicted_{group}": CurveStyle(BLACK, "--", band=False),
        }
        draw_curves(panel, over_time, styles, within=[0])
        mark_zero(panel)
        panel.set_title(in_words(group), color=color)
        panel.set(xlabel="time since t*, in steps of size η", ylabel="Δℓ$_k$")
    panel = panels.flat[count - 1]
    # At the start the prediction is the measurement.
    draw_curves(panel, over_time[over_time.index > 0], {"error": CurveStyle(BLACK)}, log=True)
    panel.set_title(f"error of the {'four' if len(looks) == 4 else 'groups'} together, over Δℓ")
    panel.set(xlabel="time since t*, in steps of size η", ylabel="relative error")
    remove_from(panels, count)
    return figure


def models(tables: Tables, captions: Captions) -> Figure:
    """The models of the edge beside the run: sharpness, distance from the centre, and the gains of each model."""
    over_time, points = tables["models"], tables["models_gains"]
    names = [name for name in MODEL_STYLES if name in points.index]
    styles = {name: CurveStyle(color, line, band=False) for name, (color, line) in MODEL_STYLES.items()}
    entries = [legend_entry(styles[name], in_words(name)) for name in names]
    entries += [marker_entry(BLACK, "measured")]
    entries += [*group_points(tables), strata_entry("strata of natural examples")]
    caption = (
        "Edge flow starts at onset, the other models where λ$_1$ first reaches the threshold; nothing is fitted. Gains:"
        " settled, at equal training time; the loss away from the edge is as measured, that at the edge is predicted."
        f" {captions.mean}"
    )
    title = "The models of the edge beside the run"
    rows = -(-(2 + len(names)) // 3)
    figure, panels = new_figure((rows, 3), title, caption, entries, panel_size=(3.9, 3.4))
    sharpness, distance, *scatters = panels.flat
    draw_curves(sharpness, over_time, {f"sharpness_{name}": styles[name] for name in names})
    known = over_time["sharpness_measured"].dropna()
    sharpness.plot(known.index, known, color=BLACK, linestyle="", marker="o", markersize=5)
    sharpness.axhline(1, color=THRESHOLD_COLOR, linestyle="--", linewidth=1, zorder=1.5)
    sharpness.set(xlabel=STEPS_LABEL, ylabel="sharpness / threshold")
    sharpness.set_title("sharpness")
    apart = over_time[[f"distance_{name}" for name in names]].dropna()
    draw_curves(distance, apart, {f"distance_{name}": styles[name] for name in names})
    distance.set(xlabel=STEPS_LABEL, ylabel="distance / way of the run")
    distance.set_title("distance from the centre of the run")
    for panel, name in zip(scatters, names, strict=False):
        table = points[points.index == name]
        draw_named(panel, table, "predicted", "measured", group_looks(tables))
        mark_equality(panel, table[["predicted", "measured"]].to_numpy())
        panel.set(xlabel="predicted settled Δℓ$_k$", ylabel="measured settled Δℓ$_k$")
        panel.set_title(in_words(name), color=styles[name].color)
    remove_from(panels, 2 + len(names))
    return figure


def mark_equality(panel: Axes, points: Array) -> None:
    """Draw the line on which both coordinates are equal, as far as the points [n, 2] go."""
    ends = [points.min(), points.max()]
    panel.plot(ends, ends, color=RULE_COLOR, linewidth=1, zorder=1.5)


def draw_named(panel: Axes, table: pd.DataFrame, x: str, y: str, looks: Mapping[str, Look]) -> None:
    """Draw two columns of the selector table against each other, groups as they look over strata in grey."""
    of_strata = table[table["kind"] == "stratum"]
    grey = COLORS["natural"]
    panel.scatter(of_strata[x], of_strata[y], 24, marker=STRATUM_MARKER, facecolors=grey, alpha=0.6, linewidths=0)
    for group, (color, marker) in looks.items():
        rows = table[table["name"] == group]
        panel.scatter(rows[x], rows[y], 40, marker=marker, color=color, edgecolors="white", linewidths=0.5)


def below_the_panel(panel: Axes, entries: list[Line2D], columns: int = 3) -> None:
    """A legend of one panel, below it and the label of its x axis."""
    words_alone = all(entry.get_linestyle() == "None" for entry in entries)
    length, space = (0.0, 0.0) if words_alone else (2.6, 0.8)
    panel.legend(
        handles=entries,
        loc="upper left",
        bbox_to_anchor=(0, -0.15),
        ncols=columns,
        fontsize=9,
        handlelength=length,
        handletextpad=space,
    )


def _scientific(value: float) -> str:
    """A positive number with two digits, for a label; very small and very large ones with a power of ten.

    >>> _scientific(0.123), _scientific(100.0), _scientific(61500.0)
    ('0.12', '100', '6.2·10$^{4}$')
    """
    if not np.isfinite(value) or 0.01 <= value < 1000:
        return f"{float(f'{value:.2g}'):g}"
    mantissa, exponent = f"{value:.1e}".split("e")
    return f"{mantissa}·10$^{{{int(exponent)}}}$"
