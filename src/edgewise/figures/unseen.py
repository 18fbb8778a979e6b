"""Figures of what the branches are worth on inputs that were not trained on: attacked, displaced, corrupted."""

import pandas as pd
from matplotlib import colormaps
from matplotlib.colors import to_hex
from matplotlib.figure import Figure

from edgewise.figures.style import (
    BRANCH_LABELS,
    BRANCH_STYLES,
    GREY,
    About,
    Look,
    branch_look,
    curves,
    key,
    sheet,
    spoken,
)

Tables = dict[str, pd.DataFrame]


def variants(table: pd.DataFrame) -> dict[str, dict[str, str]]:
    """The columns <branch>_<variant> of a table, as {variant: {branch: column}}.

    Bounds, differences of branches, and the accuracies beside losses are left out.
    """
    found: dict[str, dict[str, str]] = {}
    for column in map(str, table.columns):
        branch, _, variant = column.partition("_")
        left_out = variant.startswith("minus_") or variant.endswith(("low", "high", "_accuracy"))
        if branch in BRANCH_STYLES and variant and not left_out:
            found.setdefault(variant, {})[branch] = column
    return found


def robustness(tables: Tables, about: About) -> Figure:
    """Accuracy under attack: over training at each strength, and over strength (figure 9)."""
    over_time, over_strength = tables["robustness"], tables["robustness_epsilon"]
    strengths = variants(over_time)
    colors = {
        strength: to_hex(colormaps["viridis"](0.85 * i / max(1, len(strengths) - 1)))
        for i, strength in enumerate(strengths)
    }
    branches = ("baseline", "exit")
    keys = [key(Look(GREY, BRANCH_STYLES[b]), BRANCH_LABELS[b]) for b in branches]
    keys += [key(Look(colors[s]), f"ε = {s.removeprefix('eps')}/255") for s in strengths]
    figure, panels = sheet((1, 2), "Accuracy under attack", f"Test images. {about.mean}", keys, size=(11, 4.2))
    left, right = panels[0]
    looks = {
        column: Look(colors[strength], BRANCH_STYLES[branch])
        for strength, columns in strengths.items()
        for branch, column in columns.items()
        if branch in branches
    }
    curves(left, over_time, looks, bounds=(0, 1))
    left.set(xlabel="steps since onset t*", ylabel="adversarial accuracy")
    looks = {f"{branch}_test": Look(GREY, BRANCH_STYLES[branch]) for branch in branches}
    curves(right, over_strength, looks, bounds=(0, 1))
    right.set(xlabel="strength of the attack ε, in 1/255", ylabel="adversarial accuracy")
    right.set_title("late in the branches")
    return figure


def ood(tables: Tables, about: About) -> Figure:
    """Test loss on displaced inputs over alpha, by direction, and on corrupted ones over severity (figure 10)."""
    shifts = [("ood", variant, columns) for variant, columns in variants(tables["ood"]).items()]
    if "corruptions" in tables:
        shifts += [("corruptions", variant, columns) for variant, columns in variants(tables["corruptions"]).items()]
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
