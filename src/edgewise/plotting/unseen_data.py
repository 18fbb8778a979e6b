"""Figures of the branches on inputs that were not trained on: attacked, displaced and corrupted ones."""

import numpy as np
import pandas as pd
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.colors import to_hex
from matplotlib.figure import Figure

from edgewise.plotting.curves import draw_curves
from edgewise.plotting.style import (
    ALPHA_LABEL,
    BRANCH_LABELS,
    BRANCH_LINESTYLES,
    GREY,
    MAIN_BRANCHES,
    STEPS_LABEL,
    Captions,
    CurveStyle,
    Tables,
    branch_style,
    group_looks,
    group_style,
    in_words,
    legend_entry,
    new_figure,
    remove_from,
)


def variants(table: pd.DataFrame) -> dict[str, dict[str, str]]:
    """The columns <branch>_<variant> of a table, as {variant: {branch: column}}.

    A variant is a strength of attack, a subset of the data, a direction or a corruption. Bounds, differences between
    branches, and accuracies in a table of losses are left out.
    """
    found: dict[str, dict[str, str]] = {}
    for column in map(str, table.columns):
        branch, _, variant = column.partition("_")
        left_out = variant.startswith("minus_") or variant.endswith(("_low", "_high", "_accuracy"))
        if branch in BRANCH_LINESTYLES and variant not in ("", "low", "high") and not left_out:
            found.setdefault(variant, {})[branch] = column
    return found


def robustness(tables: Tables, captions: Captions) -> Figure:
    """Accuracy under attack: over training at each strength, and over strength late in the branches (figure 9)."""
    over_time, over_strength = tables["robustness"], tables["robustness_epsilon"]
    strengths = variants(over_time)
    # Shades of grey, because a colour means a group or a branch.
    shades = np.linspace(0.35, 1, len(strengths))
    colors = {strength: to_hex(colormaps["Greys"](shade)) for strength, shade in zip(strengths, shades, strict=True)}
    late = variants(over_strength)
    groups = {group: look for group, look in group_looks(tables).items() if group in late}

    entries = [legend_entry(CurveStyle(GREY, BRANCH_LINESTYLES[b]), BRANCH_LABELS[b]) for b in MAIN_BRANCHES]
    entries += [
        legend_entry(CurveStyle(color), f"ε = {float(s.removeprefix('eps')):.3g}") for s, color in colors.items()
    ]
    entries += [legend_entry(group_style(look), f"held-out {in_words(group)}") for group, look in groups.items()]
    columns = 3 if groups else 2
    caption = f"The branches at equal step. {captions.mean}"
    figure, panels = new_figure((1, columns), "Accuracy under attack (PGD)", caption, entries, panel_size=(4.8, 3.5))
    norm = f" ({over_strength['norm'].iloc[0]})" if "norm" in over_strength else ""
    strength_label = f"strength of the attack ε, steps of an 8-bit pixel{norm}"

    styles = {f"{b}_{s}": CurveStyle(color, BRANCH_LINESTYLES[b]) for s, color in colors.items() for b in MAIN_BRANCHES}
    _accuracy_panel(panels[0, 0], over_time, styles, "test data, over training", STEPS_LABEL)
    styles = {f"{b}_test": CurveStyle(GREY, BRANCH_LINESTYLES[b], 2.0) for b in MAIN_BRANCHES}
    _accuracy_panel(panels[0, 1], over_strength, styles, "test data, late in the branches", strength_label)
    if groups:
        styles = {
            f"{branch}_{group}": CurveStyle(look.color, BRANCH_LINESTYLES[branch], marker=look.marker)
            for group, look in groups.items()
            for branch in MAIN_BRANCHES[::-1]
        }
        _accuracy_panel(panels[0, 2], over_strength, styles, "held-out groups, late in the branches", strength_label)
    return figure


def _accuracy_panel(panel: Axes, table: pd.DataFrame, styles: dict[str, CurveStyle], title: str, xlabel: str) -> None:
    """Draw those of the curves that the table has."""
    draw_curves(panel, table, {column: style for column, style in styles.items() if column in table}, bounds=(0, 1))
    panel.set(xlabel=xlabel, ylabel="accuracy")
    panel.set_title(title)


def ood(tables: Tables, captions: Captions) -> Figure:
    """Test loss on displaced inputs over alpha, by direction, and on corrupted ones over severity (figure 10)."""
    shifts = [(n, variant, columns) for n in ("ood", "corruptions") for variant, columns in variants(tables[n]).items()]
    branches = [b for b in BRANCH_LINESTYLES if any(b in columns for _, _, columns in shifts)]
    entries = [legend_entry(branch_style(b), BRANCH_LABELS[b]) for b in branches]
    width = min(3, len(shifts))
    shape = (-(-len(shifts) // width), width)
    title = "Test loss on displaced and corrupted inputs"
    caption = f"Test images, late in the branches, at equal step. {captions.mean}"
    figure, panels = new_figure(shape, title, caption, entries, panel_size=(3.9, 3.6))
    for panel, (name, variant, columns) in zip(panels.flat, shifts, strict=False):
        styles = {columns[branch]: branch_style(branch) for branch in reversed(branches) if branch in columns}
        draw_curves(panel, tables[name], styles, log=True)
        panel.set(xlabel=ALPHA_LABEL if name == "ood" else "severity", ylabel="test loss")
        panel.set_title(f"{in_words(variant)} displacement" if name == "ood" else in_words(variant))
    remove_from(panels, len(shifts))
    return figure
