"""Figures of quantities over training: sharpness, group losses, what the groups gain, alignment and influence."""

from dataclasses import replace

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

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
    group_keys,
    group_look,
    key,
    mark_level,
    mark_onset,
    mark_step,
    sheet,
    spoken,
)

Tables = dict[str, pd.DataFrame]

REAL = (-np.inf, np.inf)

SINCE_ONSET = "steps since onset t*"
ALIGNMENT = "alignment cos²θ$_k$"
INFLUENCE = "curvature influence C$_k$"

#: What is compared in each pair of branches (`comparison.PAIRS`), and what the columns of Δℓ begin with.
COMPARED = {
    "exit": ("", "baseline against exit"),
    "flow": ("flow_", "baseline against gradient flow"),
    "enter": ("enter_", "coming back against staying away"),
}


def branches_in(table: pd.DataFrame) -> list[str]:
    """The branches that have a column, or a column a group, in a table."""
    return [branch for branch in BRANCH_STYLES if any(str(c).split("_")[0] == branch for c in table.columns)]


def sharpness(tables: Tables, about: About) -> Figure:
    """λ_1 and κ of all branches over steps, with the thresholds: the run reaches the edge and stays there."""
    branches = branches_in(tables["sharpness"])
    keys = [key(branch_look(branch), BRANCH_LABELS[branch]) for branch in branches]
    title = "Sharpness of every branch against the stability threshold"
    figure, panels = sheet((1, 2), title, about.mean_of_checkpoints, keys, size=(11, 4.2))
    _sharpness_panel(panels[0, 0], tables["sharpness"], branches, "sharpness λ$_1$")
    _sharpness_panel(panels[0, 1], tables["secant_sharpness"], branches, "secant sharpness κ", robust=True)
    return figure


def _sharpness_panel(
    panel: Axes, table: pd.DataFrame, branches: list[str], label: str, *, robust: bool = False
) -> None:
    """Curves of the branches, the threshold, and that of the exit branch where it comes near its own."""
    threshold = table["stability_threshold"].iloc[0]
    # The one at the edge on top.
    looks = {branch: branch_look(branch) for branch in reversed(branches)}
    if len(branches) == 1:
        looks = {branches[0]: replace(looks[branches[0]], since=-np.inf)}
    curves(panel, table, looks, bounds=(0, np.inf), robust=robust, within=[0, threshold])
    mark_onset(panel)
    mark_level(panel, threshold, f"threshold {threshold:.6g}")
    if "exit_stability_threshold" in table and "exit" in branches:
        own = table["exit_stability_threshold"].iloc[0]
        if own < panel.get_ylim()[1]:
            mark_level(panel, own, f"exit branch's threshold {own:.6g}")
        crossed = table.index[(table.index > 0) & (table["exit"] >= own)]
        if len(crossed):
            mark_step(panel, crossed[0], "t**")
    panel.set(xlabel=SINCE_ONSET, ylabel=label)


def group_loss(tables: Tables, about: About) -> Figure:
    """Loss of every group along every branch."""
    table = tables["group_loss"]
    branches = branches_in(table)
    keys = [key(Look(GREY, BRANCH_STYLES[branch]), BRANCH_LABELS[branch]) for branch in branches]
    caption = f"{about.mean}. What looks like a thick line goes up and down at every step"
    figure, panels = sheet((2, 2), "Loss of every group", caption, keys, size=(11, 6.4), sharex=True)
    for panel, group in zip(panels.flat, GROUPS, strict=True):
        looks = {f"{branch}_{group}": group_look(group, branch) for branch in reversed(branches)}
        curves(panel, table, looks, log=True)
        mark_onset(panel)
        panel.set_title(spoken(group), color=COLORS[group], fontweight="bold")
        panel.set_ylabel("loss")
    for panel in panels[1]:
        panel.set_xlabel(SINCE_ONSET)
    return figure


def delta_loss(tables: Tables, about: About) -> Figure:
    """Δℓ_k at equal step and, beside it, at equal training time (figure 4)."""
    step, time = tables["delta_loss"], tables["delta_loss_equal_time"]
    pairs = [branch for branch, (prefix, _) in COMPARED.items() if f"{prefix}{GROUPS[0]}" in step]
    title = "Who gains from the edge: Δℓ$_k$ = ℓ$_k$(away) − ℓ$_k$(at the edge)"
    caption = f"{about.mean}. Above zero the group gains from the edge. Averages of two steps"
    size = (11, 3.7 * len(pairs) + 0.3)
    figure, panels = sheet((len(pairs), 2), title, caption, group_keys(), size=size)
    for row, branch in zip(panels, pairs, strict=True):
        prefix, words = COMPARED[branch]
        for panel, table, terms in zip(row, (step, time), ("step", "time"), strict=True):
            columns = {f"{prefix}{group}": group_look(group) for group in GROUPS}
            known = table[table[list(columns)].notna().any(axis=1)]
            curves(panel, known, columns, within=[0])
            panel.axhline(0, color="#444444", linewidth=1, zorder=1.5)
            panel.set_title(f"{words}, at equal {terms}", fontsize=10.5)
            since = "branching" if branch == "enter" else "onset t*"
            unit = f"steps since {since}" if terms == "step" else f"time since {since}, in steps of size η"
            panel.set(xlabel=unit, ylabel="Δℓ$_k$")
            panel.xaxis.set_major_locator(MaxNLocator(integer=True))
    return figure


def alignment(tables: Tables, about: About) -> Figure:
    """cos²θ_k along the baseline and the exit branch, over the sharpness of each (figure 5)."""
    title = "Alignment with the sharpest direction, at the edge and away from it"
    size = (11, 6.4)
    figure, panels = sheet((2, 2), title, about.mean_of_checkpoints, group_keys(), size=size, sharex=True, sharey=False)
    for column, branch in enumerate(("baseline", "exit")):
        upper, lower = panels[:, column]
        table = tables["alignment"]
        looks = {f"{branch}_{g}": replace(group_look(g, branch), since=-np.inf) for g in GROUPS}
        curves(upper, table, looks, bounds=(0, 1))
        mark_onset(upper)
        upper.set_title(BRANCH_LABELS[branch])
        upper.set_ylabel(ALIGNMENT)
        _sharpness_panel(lower, tables["sharpness"], [branch], "sharpness λ$_1$")
    for row in panels:
        low, high = zip(*(panel.get_ylim() for panel in row), strict=True)
        for panel in row:
            panel.set_ylim(min(low), max(high))
    for panel in panels[0]:
        panel.set_xlabel("")
    return figure


def persistence(tables: Tables, about: About) -> Figure:
    """Influence, its two factors and the probability of the label, by group (figure 7)."""
    quantities = {
        "curvature_influence": (INFLUENCE, True, REAL),
        "gradient_norm": ("gradient norm ‖∇ℓ$_k$‖", True, REAL),
        "alignment": (ALIGNMENT, False, (0.0, 1.0)),
        "label_probability": ("probability of the label", False, (0.0, 1.0)),
    }
    title = "Influence is alignment times gradient norm squared: who keeps both?"
    figure, panels = sheet((2, 2), title, f"Baseline branch. {about.mean_of_checkpoints}", group_keys(), size=(11, 6.8))
    for panel, (name, (label, log, bounds)) in zip(panels.flat, quantities.items(), strict=True):
        looks = {f"baseline_{group}": group_look(group) for group in GROUPS}
        curves(panel, tables[name], looks, log=log, bounds=bounds)
        mark_onset(panel)
        panel.set(xlabel=SINCE_ONSET, ylabel=label)
    return figure


def influence(tables: Tables, about: About) -> Figure:
    """C_k by group over training (figure 16), and over alpha at onset (figure 17)."""
    keys = [
        *group_keys(),
        key(Look(GREY), "baseline: stays at the edge"),
        key(Look(GREY, "--"), "exit: leaves it"),
    ]
    bands = "" if len(about.seeds) == 1 else "; bands: baseline alone"
    caption = f"{about.mean_of_checkpoints}{bands}"
    figure, panels = sheet((1, 2), "Curvature influence by group", caption, keys, size=(11, 4.2))
    training, onset = panels[0]
    looks = {f"exit_{g}": replace(group_look(g, "exit"), band=False) for g in GROUPS}
    looks |= {f"baseline_{g}": group_look(g) for g in GROUPS}
    curves(training, tables["curvature_influence"], looks, log=True)
    mark_onset(training)
    training.set(xlabel=SINCE_ONSET, ylabel=INFLUENCE)
    curves(onset, tables["control_alpha"], {"curvature_influence_coherent": group_look("input_outlier")}, log=True)
    onset.set(xlabel="displacement α, in units of v$_{diff}$", ylabel=INFLUENCE)
    onset.set_title("input-outliers at onset")
    return figure


def control(tables: Tables, about: About) -> Figure:
    """Coherent against random displacement: along the baseline, and over alpha at onset (figure 6)."""
    keys = [
        key(Look(COLORS["coherent"]), "displaced along v$_{diff}$ (coherent)"),
        key(Look(COLORS["random"]), "as far, in random directions"),
    ]
    if "alignment_null" in tables["control_alpha"]:
        keys.append(key(Look(COLORS["natural"], ":"), "median of random groups"))
    if "alignment_chance" in tables["control_alpha"]:
        keys.append(key(Look("#1a1a1a", (0, (1, 3))), "chance level 1/P"))
    title = "Is it the direction of the displacement, or its length?"
    figure, panels = sheet((2, 2), title, about.mean_of_checkpoints, keys, size=(11, 6.8))
    quantities = {"alignment": (ALIGNMENT, (0.0, 1.0)), "curvature_influence": (INFLUENCE, REAL)}
    for row, (quantity, (label, bounds)) in zip(panels, quantities.items(), strict=True):
        looks = {f"{quantity}_{way}": Look(COLORS[way]) for way in ("random", "coherent")}
        curves(row[0], tables["control"], looks, log=True, bounds=bounds)
        mark_onset(row[0])
        row[0].set(xlabel=SINCE_ONSET, ylabel=label)
        levels = {"null": Look(COLORS["natural"], ":"), "chance": Look("#1a1a1a", (0, (1, 3)), 1.2)}
        looks |= {f"{quantity}_{n}": look for n, look in levels.items() if f"{quantity}_{n}" in tables["control_alpha"]}
        curves(row[1], tables["control_alpha"], looks, log=True, bounds=bounds)
        row[1].set(xlabel="displacement α, in units of v$_{diff}$", ylabel=label)
    panels[0, 0].set_title("along the baseline")
    panels[0, 1].set_title("at onset")
    return figure


def typicality(tables: Tables, about: About) -> Figure:
    """Rank correlation of alignment with centroid distance (figure 20); typical and atypical examples (figure 21)."""
    keys = [
        key(branch_look("baseline"), BRANCH_LABELS["baseline"]),
        key(branch_look("exit"), BRANCH_LABELS["exit"]),
        key(Look(COLORS["typical"]), "nearest tenth (typical)"),
        key(Look(COLORS["atypical"]), "farthest tenth (atypical)"),
        key(Look(COLORS["all"], ":"), "all natural examples"),
    ]
    title = "Do examples far from their centroid align more?"
    figure, panels = sheet((1, 2), title, f"Natural examples. {about.mean_of_checkpoints}", keys, size=(11, 4.2))
    left, right = panels[0]
    curves(
        left,
        tables["centroid_correlation"],
        {b: branch_look(b) for b in ("exit", "baseline")},
        bounds=(-1, 1),
        within=[0],
    )
    left.axhline(0, color="#444444", linewidth=1, zorder=1.5)
    left.set_ylabel("Spearman ρ (alignment, distance)")
    looks = {
        "all": Look(COLORS["all"], ":"),
        "typical": Look(COLORS["typical"]),
        "atypical": Look(COLORS["atypical"]),
    }
    curves(right, tables["example_alignment"], looks, bounds=(0, 1))
    right.set_ylabel("mean alignment cos²(∇ℓ$_i$, v$_1$)")
    right.set_title("along the baseline")
    for panel in (left, right):
        mark_onset(panel)
        panel.set_xlabel(SINCE_ONSET)
    return figure
