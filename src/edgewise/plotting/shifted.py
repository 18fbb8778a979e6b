"""Figures of what the branches are worth on inputs that were not trained on: attacked, displaced, corrupted."""

import numpy as np
import pandas as pd
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.colors import to_hex
from matplotlib.figure import Figure

from edgewise.data.groups import GROUPS
from edgewise.plotting.style import (
    BRANCH_LABELS,
    BRANCH_STYLES,
    COLORS,
    GREY,
    About,
    Look,
    branch_look,
    curves,
    group_look,
    key,
    sheet,
    spoken,
)

Tables = dict[str, pd.DataFrame]

#: The branches shown where there are many curves.
COMPARED = ("baseline", "exit")


def variants(table: pd.DataFrame) -> dict[str, dict[str, str]]:
    """The columns <branch>_<variant> of a table, as {variant: {branch: column}}.

    Bounds, differences between branches, and accuracies beside losses are left out.
    """
    found: dict[str, dict[str, str]] = {}
    for column in map(str, table.columns):
        branch, _, variant = column.partition("_")
        left_out = variant.startswith("minus_") or variant.endswith(("_low", "_high", "_accuracy"))
        if branch in BRANCH_STYLES and variant not in ("", "low", "high") and not left_out:
            found.setdefault(variant, {})[branch] = column
    return found


def robustness(tables: Tables, about: About) -> Figure:
    """Accuracy under attack: over training at each strength, and over strength late in the branches (figure 9)."""
    over_time, over_strength = tables["robustness"], tables["robustness_epsilon"]
    strengths = variants(over_time)
    # Groups and branches have the colours.
    shades = np.linspace(0.35, 1, len(strengths))
    colors = {strength: to_hex(colormaps["Greys"](shade)) for strength, shade in zip(strengths, shades, strict=True)}
    late = variants(over_strength)
    groups = [group for group in GROUPS if group in late]

    keys = [key(Look(GREY, BRANCH_STYLES[branch]), BRANCH_LABELS[branch]) for branch in COMPARED]
    keys += [key(Look(color), f"ε = {strength.removeprefix('eps')}") for strength, color in colors.items()]
    keys += [key(group_look(group), f"held-out {spoken(group)}") for group in groups]
    shape, size = ((1, 3), (14, 4.2)) if groups else ((1, 2), (11, 4.2))
    figure, panels = sheet(shape, "Accuracy under attack (PGD)", about.mean, keys, size=size)

    def show(panel: Axes, table: pd.DataFrame, looks: dict[str, Look], title: str, unit: str) -> None:
        shown = {column: look for column, look in looks.items() if column in table}
        curves(panel, table, shown, bounds=(0, 1))
        panel.set(xlabel=unit, ylabel="accuracy")
        panel.set_title(title)

    every = {f"{b}_{s}": Look(color, BRANCH_STYLES[b]) for s, color in colors.items() for b in COMPARED}
    show(panels[0, 0], over_time, every, "test data, over training", "steps since onset t*")
    norm = f" ({over_strength['norm'].iloc[0]})" if "norm" in over_strength else ""
    strength = f"strength of the attack ε, steps of an 8-bit pixel{norm}"
    test = {f"{b}_test": Look(GREY, BRANCH_STYLES[b], 2.0) for b in COMPARED}
    show(panels[0, 1], over_strength, test, "test data, late in the branches", strength)
    if groups:
        heldout = {f"{b}_{g}": Look(COLORS[g], BRANCH_STYLES[b]) for g in groups for b in reversed(COMPARED)}
        show(panels[0, 2], over_strength, heldout, "held-out groups, late in the branches", strength)
    return figure


def ood(tables: Tables, about: About) -> Figure:
    """Test loss on displaced inputs over alpha, by direction, and on corrupted ones over severity (figure 10)."""
    shifts = [(n, variant, columns) for n in ("ood", "corruptions") for variant, columns in variants(tables[n]).items()]
    branches = [b for b in BRANCH_STYLES if any(b in columns for _, _, columns in shifts)]
    keys = [key(branch_look(b), BRANCH_LABELS[b]) for b in branches]
    columns_of_panels = min(3, len(shifts))
    rows = -(-len(shifts) // columns_of_panels)
    title = "Test loss on displaced and corrupted inputs"
    size = (3.9 * max(2, columns_of_panels), 3.6 * rows + 0.3)
    figure, panels = sheet((rows, columns_of_panels), title, f"Test images. {about.mean}", keys, size=size)
    for panel, (name, variant, columns) in zip(panels.flat, shifts, strict=False):
        looks = {columns[branch]: branch_look(branch) for branch in reversed(branches) if branch in columns}
        curves(panel, tables[name], looks, log=True)
        unit = "displacement α, in units of v$_{diff}$" if name == "ood" else "severity"
        panel.set(xlabel=unit, ylabel="test loss")
        panel.set_title(f"{spoken(variant)} displacement" if name == "ood" else spoken(variant))
    for panel in panels.flat[len(shifts) :]:
        panel.remove()
    return figure
