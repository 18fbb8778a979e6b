"""Curves with their bands, and the lines that mark a step or a level."""

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.ticker import FormatStrFormatter, LogLocator, MaxNLocator, NullLocator

from edgewise.data.files import Array
from edgewise.plotting.style import (
    GREY,
    MARKER_EVERY,
    MARKER_SIZE,
    RULE_COLOR,
    THRESHOLD_COLOR,
    CurveStyle,
    in_words,
)

UNBOUNDED = (-np.inf, np.inf)

#: Coordinates of a label that follows the data along one axis, and is at a fixed place of the panel along the other.
AT_X, AT_Y = ("data", "axes fraction"), ("axes fraction", "data")


def draw_curves(
    panel: Axes,
    table: pd.DataFrame,
    styles: Mapping[str, CurveStyle],
    *,
    log: bool = False,
    bounds: tuple[float, float] = UNBOUNDED,
    robust: bool = False,
    within: Sequence[float] = (),
) -> None:
    """Draw columns of a table over its index, each with the band between <column>_low and <column>_high if it has one.

    The vertical range follows the curves. It includes a band only so far that the curves stay readable, since the
    intervals of two seeds can be a hundred times as wide as the curves are apart.

    Parameters
    ----------
    styles : of the columns to draw; later ones lie on top
    log : logarithmic vertical axis; values that are not positive are not drawn
    bounds : least and largest value that the quantity can have
    robust : the lowest and the highest half per cent of the values may lie outside the panel
    within : values that the panel must show, such as a threshold
    """
    x = table.index.to_numpy(float)
    means, bands = [np.asarray(within, float)], [np.empty(0)]
    for number, (column, style) in enumerate(styles.items()):
        mean = table[column].to_numpy(float)
        shown = np.isfinite(mean) & ((mean > 0) | (not log)) & (x >= style.start)
        panel.plot(
            x[shown],
            mean[shown],
            color=style.color,
            linestyle=style.linestyle,
            linewidth=style.linewidth,
            marker=style.marker,
            markersize=MARKER_SIZE,
            markevery=(number / len(styles) * MARKER_EVERY, MARKER_EVERY),
            label=in_words(column),
        )
        values = mean[shown]
        means.append(np.quantile(values, [0.005, 0.995]) if robust and len(values) else values)
        if style.band and {f"{column}_low", f"{column}_high"} <= set(table.columns):
            low, high = (table[f"{column}_{end}"].to_numpy(float) for end in ("low", "high"))
            known = shown & np.isfinite(low) & np.isfinite(high)
            if known.any():
                if log:
                    low = np.maximum(low, 1e-30)
                panel.fill_between(x[known], low[known], high[known], color=style.color, alpha=0.12, linewidth=0)
                bands += [low[known], high[known]]
    if log:
        panel.set_yscale("log")
    set_vertical_range(panel, np.concatenate(means), np.concatenate(bands), log=log, bounds=bounds)
    if len(x) > 1:
        panel.set_xlim(x.min(), x.max())


def set_vertical_range(panel: Axes, means: Array, bands: Array, *, log: bool, bounds: tuple[float, float]) -> None:
    """Give a panel its `vertical_range`, if there is anything to show."""
    if (shown := vertical_range(means, bands, log=log, bounds=bounds)) is not None:
        panel.set_ylim(*shown)
        if log:
            plain_log_ticks(panel.yaxis)


def vertical_range(means: Array, bands: Array, *, log: bool, bounds: tuple[float, float]) -> tuple[float, float] | None:
    """The range that shows the values of curves or points whole, and the bands up to a third of their span beyond.

    Parameters
    ----------
    means, bands : finite values of curves or points, and of the ends of their intervals
    log : whether the axis is logarithmic; values that are not positive are then left out
    bounds : least and largest value that the quantity can have

    Returns
    -------
    The lowest and the highest value shown, or None if there is nothing to show.
    """
    if log:
        means, bands = np.log10(means[means > 0]), np.log10(bands[bands > 0])
    if not len(means):
        return None
    low, high = means.min(), means.max()
    span = high - low if high > low else max(abs(high), 1.0) * 0.5
    low_end = max(min(low, bands.min(initial=low)), low - span / 3) - 0.05 * span
    high_end = min(max(high, bands.max(initial=high)), high + span / 3) + 0.05 * span
    beyond = 0.03 * (high_end - low_end)
    if log:
        high_end = min(high_end, np.log10(bounds[1]) + beyond)
        return float(10**low_end), float(10**high_end)
    return float(max(low_end, bounds[0] - beyond)), float(min(high_end, bounds[1] + beyond))


def share_vertical_range(panels: Sequence[Axes] | Array) -> None:
    """Give panels that are compared one range, which holds what each shows."""
    low, high = zip(*(panel.get_ylim() for panel in panels), strict=True)
    for panel in panels:
        panel.set_ylim(min(low), max(high))


def plain_log_ticks(axis: Axis) -> None:
    """Label a logarithmic axis of less than two decades with plain numbers.

    Powers of ten alone would leave it with one tick or none.
    """
    low, high = np.log10(axis.get_view_interval())
    if high - low < 2:
        axis.set_major_locator(LogLocator(subs=(1, 2, 5)) if high - low > 0.7 else MaxNLocator(5))
        axis.set_major_formatter(FormatStrFormatter("%g"))
        axis.set_minor_locator(NullLocator())


def mark_onset(panel: Axes) -> None:
    """Draw the vertical line at onset, from which steps are counted."""
    mark_step(panel, 0, "t*")


def mark_step(panel: Axes, step: float, label: str) -> None:
    """Draw a vertical line, labelled at the top of the panel."""
    panel.axvline(step, color=RULE_COLOR, linewidth=1, linestyle=(0, (1, 1.5)), zorder=1.5)
    _annotate(panel, label, (step, 1), AT_X, (3, -2), va="top")


def mark_transient(panel: Axes, end: float) -> None:
    """Shade the steps before `end`, in which the oscillation grows."""
    left, right = panel.get_xlim()
    panel.axvspan(left, min(end, right), color=GREY, alpha=0.1, linewidth=0, zorder=0.5)
    _annotate(panel, "transient", (left, 0), AT_X, (3, 5))


def mark_settled(panel: Axes, start: float) -> None:
    """Draw a bar along the bottom from `start` to the end of the panel, where a difference is averaged."""
    end = panel.get_xlim()[1]
    bottom = panel.get_xaxis_transform()
    panel.hlines(0, start, end, color=GREY, linewidth=5, transform=bottom, clip_on=False)
    _annotate(panel, "settled", (end, 0), AT_X, (-2, 5), ha="right")


def mark_zero(panel: Axes) -> None:
    """Draw the horizontal line at zero."""
    panel.axhline(0, color=RULE_COLOR, linewidth=1, zorder=1.5)


def mark_threshold(panel: Axes, threshold: float, label: str) -> None:
    """Draw a horizontal line, labelled at its left end, where the sharpness is still far below it."""
    panel.axhline(threshold, color=THRESHOLD_COLOR, linewidth=1, zorder=1.5)
    _annotate(panel, label, (0, threshold), AT_Y, (4, 2), color=THRESHOLD_COLOR)


def _annotate(
    panel: Axes,
    label: str,
    position: tuple[float, float],
    coordinates: tuple[str, str],
    offset: tuple[float, float],
    *,
    ha: str = "left",
    va: str = "bottom",
    color: str = GREY,
) -> None:
    """Write the label of a mark, `offset` points from its position."""
    panel.annotate(
        label,
        position,
        xycoords=coordinates,
        xytext=offset,
        textcoords="offset points",
        ha=ha,
        va=va,
        fontsize=9,
        color=color,
    )
