"""Figures of quantities over training: sharpness, group losses, what the groups gain, alignment and influence."""

from dataclasses import replace

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from edgewise.data.displacement import DIRECTIONS
from edgewise.data.groups import GROUPS
from edgewise.plotting.curves import UNBOUNDED, draw_curves, mark_onset, mark_step, mark_threshold, mark_zero
from edgewise.plotting.style import (
    ALIGNMENT_LABEL,
    ALPHA_LABEL,
    BLACK,
    BRANCH_LABELS,
    BRANCH_LINESTYLES,
    COLORS,
    EXAMPLE_ALIGNMENT_LABEL,
    GREY,
    INFLUENCE_LABEL,
    MAIN_BRANCHES,
    STEPS_LABEL,
    Captions,
    CurveStyle,
    Tables,
    branch_style,
    group_entries,
    group_style,
    in_words,
    legend_entry,
    new_figure,
)

#: What Δℓ compares on each branch: the prefix of its columns in the table, and the title of its panels.
DELTA_LOSS_PAIRS = {
    "exit": ("", "baseline against exit"),
    "flow": ("flow_", "baseline against gradient flow"),
    "enter": ("enter_", "coming back against staying away"),
}

#: The tables of figure 7: label of the axis, whether it is logarithmic, and the bounds of the quantity.
PERSISTENCE = {
    "curvature_influence": (INFLUENCE_LABEL, True, UNBOUNDED),
    "gradient_norm": ("gradient norm ‖∇ℓ$_k$‖", True, UNBOUNDED),
    "alignment": (ALIGNMENT_LABEL, False, (0.0, 1.0)),
    "label_probability": ("probability of the label", False, (0.0, 1.0)),
}


def branches_in(table: pd.DataFrame) -> list[str]:
    """The branches that have a column in the table, or a column a group."""
    present = {str(column).split("_")[0] for column in table.columns}
    return [branch for branch in BRANCH_LINESTYLES if branch in present]


def sharpness(tables: Tables, captions: Captions) -> Figure:
    """λ_1 and κ of all branches over steps, with the thresholds: the run reaches the edge and stays there."""
    branches = branches_in(tables["sharpness"])
    entries = [legend_entry(branch_style(branch), BRANCH_LABELS[branch]) for branch in branches]
    title = "Sharpness of every branch against the stability threshold"
    figure, panels = new_figure((1, 2), title, captions.mean_of_checkpoints, entries)
    _sharpness_panel(panels[0, 0], tables["sharpness"], branches, "sharpness λ$_1$")
    _sharpness_panel(panels[0, 1], tables["secant_sharpness"], branches, "secant sharpness κ", robust=True)
    return figure


def _sharpness_panel(
    panel: Axes, table: pd.DataFrame, branches: list[str], ylabel: str, *, robust: bool = False
) -> None:
    """Draw the branches and the threshold, and the exit branch's own threshold where the panel reaches so far up.

    t** is the first step at which the exit branch has reached its own threshold.
    """
    threshold = table["stability_threshold"].iloc[0]
    # The baseline lies on top.
    styles = {branch: branch_style(branch) for branch in reversed(branches)}
    if len(branches) == 1:
        # No baseline shows the steps before onset.
        styles = {branch: replace(style, start=-np.inf) for branch, style in styles.items()}
    draw_curves(panel, table, styles, bounds=(0, np.inf), robust=robust, within=[0, threshold])
    mark_onset(panel)
    mark_threshold(panel, threshold, f"threshold {threshold:.6g}")
    if "exit_stability_threshold" in table and "exit" in branches:
        own = table["exit_stability_threshold"].iloc[0]
        if own < panel.get_ylim()[1]:
            mark_threshold(panel, own, f"exit branch's threshold {own:.6g}")
        crossed = table.index[(table.index > 0) & (table["exit"] >= own)]
        if len(crossed):
            mark_step(panel, crossed[0], "t**")
    panel.set(xlabel=STEPS_LABEL, ylabel=ylabel)


def group_loss(tables: Tables, captions: Captions) -> Figure:
    """Loss of every group along every branch."""
    table = tables["group_loss"]
    branches = branches_in(table)
    entries = [legend_entry(CurveStyle(GREY, BRANCH_LINESTYLES[branch]), BRANCH_LABELS[branch]) for branch in branches]
    caption = f"{captions.mean}. What looks like a thick line goes up and down at every step"
    figure, panels = new_figure((2, 2), "Loss of every group", caption, entries, sharex=True)
    for panel, group in zip(panels.flat, GROUPS, strict=True):
        styles = {f"{branch}_{group}": group_style(group, branch) for branch in reversed(branches)}
        draw_curves(panel, table, styles, log=True)
        mark_onset(panel)
        panel.set_title(in_words(group), color=COLORS[group], fontweight="bold")
        panel.set_ylabel("loss")
    for panel in panels[1]:
        panel.set_xlabel(STEPS_LABEL)
    return figure


def delta_loss(tables: Tables, captions: Captions) -> Figure:
    """Δℓ_k at equal step and, beside it, at equal training time (figure 4)."""
    step, time = tables["delta_loss"], tables["delta_loss_equal_time"]
    compared = [branch for branch, (prefix, _) in DELTA_LOSS_PAIRS.items() if f"{prefix}{GROUPS[0]}" in step]
    title = "Who gains from the edge: Δℓ$_k$ = ℓ$_k$(away) − ℓ$_k$(at the edge)"
    caption = f"{captions.mean}. Above zero the group gains from the edge. Averages of two steps"
    figure, panels = new_figure((len(compared), 2), title, caption, group_entries())
    for row, branch in zip(panels, compared, strict=True):
        prefix, pair = DELTA_LOSS_PAIRS[branch]
        start = "branching" if branch == "enter" else "onset t*"
        xlabels = {"step": f"steps since {start}", "time": f"time since {start}, in steps of size η"}
        styles = {f"{prefix}{group}": group_style(group) for group in GROUPS}
        for panel, table, (equal, xlabel) in zip(row, (step, time), xlabels.items(), strict=True):
            # At equal time the table ends earlier for some branches than for others.
            known = table[table[list(styles)].notna().any(axis=1)]
            draw_curves(panel, known, styles, within=[0])
            mark_zero(panel)
            panel.set_title(f"{pair}, at equal {equal}")
            panel.set(xlabel=xlabel, ylabel="Δℓ$_k$")
            panel.xaxis.set_major_locator(MaxNLocator(integer=True))
    return figure


def alignment(tables: Tables, captions: Captions) -> Figure:
    """cos²θ_k along the baseline and the exit branch, above the sharpness of each (figure 5)."""
    title = "Alignment with the sharpest direction, at the edge and away from it"
    figure, panels = new_figure((2, 2), title, captions.mean_of_checkpoints, group_entries(), sharex=True)
    for (upper, lower), branch in zip(panels.T, MAIN_BRANCHES, strict=True):
        # Each branch has a panel of its own, so the steps before onset are shown in both.
        styles = {f"{branch}_{group}": replace(group_style(group, branch), start=-np.inf) for group in GROUPS}
        draw_curves(upper, tables["alignment"], styles, bounds=(0, 1))
        mark_onset(upper)
        upper.set_title(BRANCH_LABELS[branch])
        upper.set_ylabel(ALIGNMENT_LABEL)
        _sharpness_panel(lower, tables["sharpness"], [branch], "sharpness λ$_1$")
    for row in panels:
        low, high = zip(*(panel.get_ylim() for panel in row), strict=True)
        for panel in row:
            panel.set_ylim(min(low), max(high))
    return figure


def persistence(tables: Tables, captions: Captions) -> Figure:
    """Influence, its two factors and the probability of the label, by group (figure 7)."""
    title = "Influence is alignment times gradient norm squared: who keeps both?"
    caption = f"Baseline branch. {captions.mean_of_checkpoints}"
    figure, panels = new_figure((2, 2), title, caption, group_entries())
    styles = {f"baseline_{group}": group_style(group) for group in GROUPS}
    for panel, (name, (ylabel, log, bounds)) in zip(panels.flat, PERSISTENCE.items(), strict=True):
        draw_curves(panel, tables[name], styles, log=log, bounds=bounds)
        mark_onset(panel)
        panel.set(xlabel=STEPS_LABEL, ylabel=ylabel)
    return figure


def influence(tables: Tables, captions: Captions) -> Figure:
    """C_k by group over training (figure 16), and over alpha at onset (figure 17)."""
    entries = group_entries()
    entries += [legend_entry(CurveStyle(GREY, BRANCH_LINESTYLES[b]), BRANCH_LABELS[b]) for b in MAIN_BRANCHES]
    bands = "" if len(captions.seeds) == 1 else "; bands: baseline alone"
    caption = f"{captions.mean_of_checkpoints}{bands}"
    figure, panels = new_figure((1, 2), "Curvature influence by group", caption, entries)
    training, onset = panels[0]
    styles = {f"exit_{group}": replace(group_style(group, "exit"), band=False) for group in GROUPS}
    styles |= {f"baseline_{group}": group_style(group) for group in GROUPS}
    draw_curves(training, tables["curvature_influence"], styles, log=True)
    mark_onset(training)
    training.set(xlabel=STEPS_LABEL, ylabel=INFLUENCE_LABEL)
    styles = {"curvature_influence_coherent": group_style("input_outlier")}
    draw_curves(onset, tables["control_alpha"], styles, log=True)
    onset.set(xlabel=ALPHA_LABEL, ylabel=INFLUENCE_LABEL)
    onset.set_title("input-outliers at onset")
    return figure


def control(tables: Tables, captions: Captions) -> Figure:
    """Coherent against random displacement: along the baseline, and over alpha at onset (figure 6)."""
    over_time, over_alpha = tables["control"], tables["control_alpha"]
    references = {
        "null": (CurveStyle(COLORS["natural"], ":"), "median of random groups"),
        "chance": (CurveStyle(BLACK, (0, (1, 3)), 1.2), "chance level 1/P"),
    }
    entries = [
        legend_entry(CurveStyle(COLORS["coherent"]), "displaced along v$_{diff}$ (coherent)"),
        legend_entry(CurveStyle(COLORS["random"]), "as far, in random directions"),
    ]
    entries += [
        legend_entry(style, label) for n, (style, label) in references.items() if f"alignment_{n}" in over_alpha
    ]
    title = "Is it the direction of the displacement, or its length?"
    figure, panels = new_figure((2, 2), title, captions.mean_of_checkpoints, entries)
    quantities = {"alignment": (ALIGNMENT_LABEL, (0.0, 1.0)), "curvature_influence": (INFLUENCE_LABEL, UNBOUNDED)}
    for (training, onset), (quantity, (ylabel, bounds)) in zip(panels, quantities.items(), strict=True):
        # The coherent one lies on top.
        styles = {f"{quantity}_{direction}": CurveStyle(COLORS[direction]) for direction in reversed(DIRECTIONS)}
        draw_curves(training, over_time, styles, log=True, bounds=bounds)
        mark_onset(training)
        training.set(xlabel=STEPS_LABEL, ylabel=ylabel)
        known = {f"{quantity}_{n}": style for n, (style, _) in references.items() if f"{quantity}_{n}" in over_alpha}
        draw_curves(onset, over_alpha, styles | known, log=True, bounds=bounds)
        onset.set(xlabel=ALPHA_LABEL, ylabel=ylabel)
    panels[0, 0].set_title("along the baseline")
    panels[0, 1].set_title("at onset")
    return figure


def typicality(tables: Tables, captions: Captions) -> Figure:
    """Rank correlation of alignment with centroid distance (figure 20); typical and atypical examples (figure 21)."""
    of_branches = {branch: branch_style(branch) for branch in MAIN_BRANCHES}
    of_examples = {
        "all": CurveStyle(COLORS["all"], ":"),
        "typical": CurveStyle(COLORS["typical"]),
        "atypical": CurveStyle(COLORS["atypical"]),
    }
    entries = [legend_entry(style, BRANCH_LABELS[branch]) for branch, style in of_branches.items()]
    entries += [
        legend_entry(of_examples["typical"], "nearest tenth (typical)"),
        legend_entry(of_examples["atypical"], "farthest tenth (atypical)"),
        legend_entry(of_examples["all"], "all natural examples"),
    ]
    title = "Do examples far from their centroid align more?"
    caption = f"Natural examples. {captions.mean_of_checkpoints}"
    figure, panels = new_figure((1, 2), title, caption, entries)
    left, right = panels[0]
    baseline_on_top = dict(reversed(of_branches.items()))
    draw_curves(left, tables["centroid_correlation"], baseline_on_top, bounds=(-1, 1), within=[0])
    mark_zero(left)
    left.set_ylabel("Spearman ρ (alignment, distance)")
    draw_curves(right, tables["example_alignment"], of_examples, bounds=(0, 1))
    right.set_ylabel(f"mean {EXAMPLE_ALIGNMENT_LABEL}")
    right.set_title("along the baseline")
    for panel in (left, right):
        mark_onset(panel)
        panel.set_xlabel(STEPS_LABEL)
    return figure
