"""Figures of the edge itself: step sizes and optimisers beside gradient flow, and the curvature over a finite step."""

from collections.abc import Mapping

import numpy as np
import pandas as pd
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.colors import to_hex
from matplotlib.figure import Figure

from edgewise.plotting.curves import (
    draw_curves,
    mark_step,
    mark_threshold,
    plain_log_ticks,
)
from edgewise.plotting.style import (
    BLACK,
    COLORS,
    GREY,
    RULE_COLOR,
    SHARPNESS_CAPTION,
    STEPS_LABEL,
    THRESHOLD_COLOR,
    Captions,
    CurveStyle,
    Tables,
    legend_entry,
    marker_entry,
    new_figure,
)

#: The optimisers of a sweep, in the order of the panels: in words, and the marker of its points.
OPTIMIZERS = {"gd": ("gradient descent", "o"), "momentum": ("heavy ball", "s"), "nesterov": ("Nesterov", "^")}

#: What the table of the moments of a sweep says of each run.
RUN_COLUMNS = ("optimizer", "step_size", "stability_threshold")
MOMENT_COLUMNS = ("onset_secant", "parting", "sharpness_ratio", "secant_sharpness_ratio")

TRAINING_TIME_LABEL = "training time"

#: The run of the sweep that the others are put beside.
FLOW = "flow"

FLOW_STYLE = CurveStyle(BLACK, linewidth=1.2)


def sweep(tables: Tables, captions: Captions) -> Figure:
    """λ_1 over training time at several step sizes, each with its threshold, and where a run leaves gradient flow."""
    over_time, moments = tables["sweep"], tables["sweep_moments"]
    sizes = sorted(moments["step_size"].unique())
    colors = {lr: to_hex(colormaps["viridis"](0.92 * i / max(1, len(sizes) - 1))) for i, lr in enumerate(sizes)}
    optimizers = [name for name in OPTIMIZERS if name in set(moments["optimizer"])]
    entries = [legend_entry(CurveStyle(color), f"η = {lr:g}") for lr, color in colors.items()]
    entries += [legend_entry(FLOW_STYLE, "gradient flow"), legend_entry(CurveStyle(GREY, "--", 1.0), "threshold")]
    if len(optimizers) > 1:
        entries += [marker_entry(GREY, words, marker) for words, marker in (OPTIMIZERS[name] for name in optimizers)]
    caption = (
        "From the initialisation on, all over the same training time. Of the distance: • at t*, the first step with κ"
        " at the threshold; ✕ where it grows at an eighth of the flow's own speed, and the run parts from gradient"
        f" flow. {captions.mean_of_pairs}"
    )
    title = "Every step size has an edge of its own, and there it leaves gradient flow"
    columns = -(-(len(optimizers) + 3) // 2)
    figure, panels = new_figure((2, columns), title, caption, entries, panel_size=(4.3, 3.4))
    sharpness = _by_run(over_time, "sharpness")
    for panel, name in zip(panels.flat, optimizers, strict=False):
        _thresholds_panel(panel, sharpness, moments[moments["optimizer"] == name], colors)
        panel.set_title(OPTIMIZERS[name][0])
    first = moments[moments["optimizer"] == optimizers[0]]
    distance, partings, levels = panels.flat[len(optimizers) : len(optimizers) + 3]
    _distance_panel(distance, _by_run(over_time, "flow_distance"), first, colors)
    _partings_panel(partings, first, colors)
    _levels_panel(levels, moments, colors)
    for panel in (distance, partings):
        panel.set_title(f"{OPTIMIZERS[optimizers[0]][0]} and gradient flow")
    for panel in panels.flat[len(optimizers) + 3 :]:
        panel.set_axis_off()
    return figure


def _by_run(over_time: pd.DataFrame, quantity: str) -> pd.DataFrame:
    """One quantity of the sweep as a table over time: a column a run, with its _low and _high."""
    parts = []
    for run, rows in over_time.groupby(level=0, sort=False):
        names = {f"{quantity}{end}": f"{run}{end}" for end in ("", "_low", "_high")}
        parts.append(rows.set_index("time")[list(names)].rename(columns=names))
    return pd.concat(parts, axis=1)


def _thresholds_panel(panel: Axes, sharpness: pd.DataFrame, runs: pd.DataFrame, colors: Mapping[float, str]) -> None:
    """Draw λ_1 of runs and of gradient flow, and the threshold of each run."""
    styles = {FLOW: FLOW_STYLE} | {str(run): CurveStyle(colors[row["step_size"]]) for run, row in runs.iterrows()}
    draw_curves(panel, sharpness, styles)
    # Gradient flow may go on far above what the runs reach.
    highest = 1.25 * sharpness[[str(run) for run in runs.index]].to_numpy().max()
    for threshold, lr in zip(runs["stability_threshold"], runs["step_size"], strict=True):
        panel.axhline(threshold, color=colors[lr], linestyle="--", linewidth=1, zorder=1.5)
    panel.set_ylim(0, highest)
    panel.set(xlabel=TRAINING_TIME_LABEL, ylabel="sharpness λ$_1$")


def _distance_panel(panel: Axes, distance: pd.DataFrame, runs: pd.DataFrame, colors: Mapping[float, str]) -> None:
    """Draw how far each run is from gradient flow, with its t* and the moment of parting."""
    styles = {str(run): CurveStyle(colors[row["step_size"]]) for run, row in runs.iterrows()}
    draw_curves(panel, distance, styles, bounds=(0, np.inf))
    for run, row in runs.iterrows():
        for moment, marker in (("onset_secant", "o"), ("parting", "X")):
            at = np.interp(row[moment], distance.index, distance[run])
            panel.plot(row[moment], at, marker, color=colors[row["step_size"]], markeredgecolor="white", markersize=8)
    panel.set(xlabel=TRAINING_TIME_LABEL, ylabel="distance ‖θ − θ$_{flow}$‖")


def _partings_panel(panel: Axes, runs: pd.DataFrame, colors: Mapping[float, str]) -> None:
    """Draw the time at which each run parts from gradient flow against its t*; on the line they are the same."""
    for _, row in runs.dropna(subset=["onset_secant", "parting"]).iterrows():
        x, y = ([[row[q] - row[f"{q}_low"]], [row[f"{q}_high"] - row[q]]] for q in ("onset_secant", "parting"))
        at, color = (row["onset_secant"], row["parting"]), colors[row["step_size"]]
        panel.errorbar(*at, xerr=x, yerr=y, fmt="o", color=color, markersize=8, elinewidth=1, alpha=0.9)
    ends = [0, 1.1 * np.nanmax(runs[["onset_secant", "parting"]].to_numpy(), initial=0.1)]
    panel.plot(ends, ends, color=RULE_COLOR, linewidth=1, zorder=1.5)
    panel.set(xlim=ends, ylim=ends, xlabel="t*, by κ, in training time", ylabel="parts from gradient flow at")


def _levels_panel(panel: Axes, moments: pd.DataFrame, colors: Mapping[float, str]) -> None:
    """Draw κ and λ_1 after onset, over the threshold, against the step size."""
    for _, row in moments.iterrows():
        for quantity, face in (("secant_sharpness_ratio", colors[row["step_size"]]), ("sharpness_ratio", "none")):
            panel.plot(
                row["step_size"],
                row[quantity],
                OPTIMIZERS[row["optimizer"]][1],
                color=colors[row["step_size"]],
                markerfacecolor=face,
                markersize=7,
            )
    panel.axhline(1, color=THRESHOLD_COLOR, linewidth=1, zorder=1.5)
    sizes = moments["step_size"]
    panel.set_xlim(0.9 * sizes.min(), 1.1 * sizes.max())  # also where no run came to its edge, and no point is drawn
    panel.set_xscale("log")
    plain_log_ticks(panel.xaxis)
    panel.set(xlabel="step size η", ylabel="over the threshold, after t*")
    panel.set_title("filled: κ, hollow: λ$_1$")


def kinks(tables: Tables, captions: Captions) -> Figure:
    """λ_1 and κ over the threshold along the baseline, and the curvature over a finite step at its end."""
    table = tables["kinks"]
    curvature = CurveStyle(COLORS["input_outlier"], linewidth=2.2)
    limit = CurveStyle(COLORS["input_outlier"], "-.", 1.2)
    of_iterates, of_centre = CurveStyle(COLORS["inlier"], "--"), CurveStyle(COLORS["boundary"], ":", 2.0)
    entries = [
        legend_entry(CurveStyle(BLACK), "secant sharpness κ"),
        legend_entry(CurveStyle(COLORS["inlier"]), "sharpness λ$_1$"),
        legend_entry(curvature, "curvature s(ℓ) along the step"),
        legend_entry(limit, "s(0): the Hessian at the centre, along the step"),
        legend_entry(of_iterates, "λ$_1$ at the two iterates"),
        legend_entry(of_centre, "λ$_1$ at their centre"),
    ]
    caption = (
        "Right, at the baseline's last checkpoint: s(ℓ) = u·(∇L(c + ℓu) − ∇L(c − ℓu)) / 2ℓ about the centre c of two"
        f" iterates, which are at ℓ = r: there s is κ. Left: {SHARPNESS_CAPTION}. {captions.mean}"
    )
    title = "The curvature between the iterates, and that of the Hessian"
    figure, ((over_time, over_length),) = new_figure((1, 2), title, caption, entries, panel_size=(5.5, 4.0))
    ratios = {}
    for name in ("sharpness", "secant_sharpness"):
        since = tables[name][tables[name].index > 0]
        ratios[name] = since[["baseline", "baseline_low", "baseline_high"]].div(since["stability_threshold"], axis=0)
    draw_curves(over_time, ratios["sharpness"], {"baseline": CurveStyle(COLORS["inlier"])})
    within = [1, *ratios["sharpness"]["baseline"]]
    draw_curves(over_time, ratios["secant_sharpness"], {"baseline": CurveStyle(BLACK)}, robust=True, within=within)
    mark_threshold(over_time, 1, "threshold")
    over_time.set(xlabel=STEPS_LABEL, ylabel="over the threshold", title="along the baseline")
    over_length.set_xscale("log")
    lengths = table[table.index > 0].assign(limit=table["curvature_ratio"].loc[0])
    styles = {
        "limit": limit,
        "sharpness_ratio_iterates": of_iterates,
        "sharpness_ratio_centre": of_centre,
        "curvature_ratio": curvature,
    }
    draw_curves(over_length, lengths, styles, within=[1])
    mark_step(over_length, 1, "the step")
    over_length.axhline(1, color=THRESHOLD_COLOR, linewidth=1, zorder=1.5)
    over_length.set(xlabel="length ℓ / r, in half-steps", ylabel="over the threshold", title="over a finite step")
    return figure
