"""Figures of quantities over training: sharpness, group losses, what the groups gain, alignment and influence."""

from dataclasses import replace

import numpy as np
import pandas as pd
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.colors import to_hex
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from edgewise.data.displacement import DIRECTIONS
from edgewise.plotting.curves import (
    UNBOUNDED,
    draw_curves,
    mark_onset,
    mark_settled,
    mark_step,
    mark_threshold,
    mark_transient,
    mark_zero,
    plain_log_ticks,
    set_vertical_range,
    share_vertical_range,
)
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
    SHARPNESS_CAPTION,
    STEPS_LABEL,
    TIME_LABEL,
    Captions,
    CurveStyle,
    Look,
    Tables,
    branch_style,
    grid,
    group_colors,
    group_entries,
    group_looks,
    group_style,
    in_words,
    legend_entry,
    new_figure,
    remove_from,
)

#: What Δℓ compares on each branch: the prefix of its columns in the table, and the title of its panels.
DELTA_LOSS_PAIRS = {
    "exit": ("", "baseline against exit"),
    "flow": ("flow_", "baseline against gradient flow"),
    "enter": ("enter_", "coming back against staying away"),
}

#: What figures of differences say of their sign.
GAIN_CAPTION = "Above zero it gains from the edge; averages of two steps."

#: By what is held equal: the end of the tables' names, and the label of the axis.
CLOCKS = {"step": ("", STEPS_LABEL), "time": ("_equal_time", TIME_LABEL)}

#: The tables of sharpness, with the labels of their axes.
SHARPNESS = {"sharpness": "sharpness λ$_1$", "secant_sharpness": "secant sharpness κ"}

#: Line styles and markers of strata, by class; with more classes they begin again.
CLASS_STYLES = [("-", "o"), ("--", "^"), ("-.", "s"), (":", "D")]

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
    """λ_1 and κ of all branches over steps and over training time: the run reaches the edge and stays there."""
    branches = branches_in(tables["sharpness"])
    entries = [legend_entry(branch_style(branch), BRANCH_LABELS[branch]) for branch in branches]
    title = "Sharpness of every branch against the stability threshold"
    caption = f"{captions.mean}. {SHARPNESS_CAPTION}. ↑: above the panel{_second_onset_in_words(tables['moments'])}"
    figure, panels = new_figure((2, 2), title, caption, entries)
    for row, held in zip(panels, CLOCKS, strict=True):
        for panel, (name, ylabel) in zip(row, SHARPNESS.items(), strict=True):
            _sharpness_panel(panel, tables, name, held, branches, ylabel, robust=name != "sharpness")
    return figure


def _sharpness_panel(
    panel: Axes, tables: Tables, name: str, held: str, branches: list[str], ylabel: str, *, robust: bool = False
) -> None:
    """Draw the branches and their thresholds; that of the exit branch as a line if the panel reaches it.

    Parameters
    ----------
    name : sharpness or secant_sharpness
    held : the key of `CLOCKS` that the panel is over
    """
    suffix, xlabel = CLOCKS[held]
    table = tables[f"{name}{suffix}"]
    of_baseline, of_exit = table[["stability_threshold", "exit_stability_threshold"]].iloc[0].astype(float)
    threshold = of_exit if branches == ["exit"] else of_baseline
    # The baseline lies on top.
    styles = {branch: branch_style(branch) for branch in reversed(branches)}
    if len(branches) == 1:
        # No baseline shows the steps before onset.
        styles = {branch: replace(style, start=-np.inf) for branch, style in styles.items()}
    draw_curves(panel, table, styles, bounds=(0, np.inf), robust=robust, within=[0, threshold])
    mark_onset(panel)
    label = f"threshold {threshold:.6g}"
    if "exit" in branches:
        if threshold < of_exit <= panel.get_ylim()[1]:
            mark_threshold(panel, of_exit, f"exit: {of_exit:.6g}")
        elif threshold < of_exit:
            label = f"{label}, exit {of_exit:.6g}↑"
        _mark_second_onset(panel, tables["moments"], held)
    mark_threshold(panel, threshold, label)
    panel.set(xlabel=xlabel, ylabel=ylabel)


def _mark_second_onset(panel: Axes, moments: pd.DataFrame, held: str) -> None:
    """Draw a line at t**, the median of the seeds that reach it, where the panel goes so far."""
    second = moments[f"t_star_star{CLOCKS[held][0]}"].median()
    if second <= panel.get_xlim()[1]:
        mark_step(panel, second, "t**")


def _second_onset_in_words(moments: pd.DataFrame) -> str:
    """What a caption says of t**."""
    reached = int(moments["t_star_star"].notna().sum())
    if not reached:
        return ". The exit branch reaches its own threshold in no seed"
    return f". t**: the exit branch is at its own threshold ({reached} of {len(moments)} seeds; median)"


def group_loss(tables: Tables, captions: Captions) -> Figure:
    """Loss of every group along every branch."""
    table = tables["group_loss"]
    branches = branches_in(table)
    entries = [legend_entry(CurveStyle(GREY, BRANCH_LINESTYLES[branch]), BRANCH_LABELS[branch]) for branch in branches]
    caption = f"{captions.mean}. What looks like a thick line goes up and down at every step"
    colors = group_colors(tables)
    figure, panels = new_figure(grid(len(colors)), "Loss of every group", caption, entries, sharex=True)
    for panel, (group, color) in zip(panels.flat, colors.items(), strict=False):
        unmarked = Look(color, marker="")
        styles = {f"{branch}_{group}": group_style(unmarked, branch) for branch in reversed(branches)}
        draw_curves(panel, table, styles, log=True)
        mark_onset(panel)
        panel.set_title(in_words(group), color=color, fontweight="bold")
        panel.set_ylabel("loss")
    for panel in panels[-1]:
        panel.set_xlabel(STEPS_LABEL)
    remove_from(panels, len(colors))
    return figure


def delta_loss(tables: Tables, captions: Captions) -> Figure:
    """Δℓ_k at equal step and, beside it, at equal training time (figure 4)."""
    names = {"step": "delta_loss", "time": "delta_loss_equal_time"}
    compared = compared_in(tables["delta_loss"], str(tables["groups"].index[0]))
    title = "Who gains from the edge: Δℓ$_k$ = ℓ$_k$(away) − ℓ$_k$(at the edge)"
    caption = f"{captions.mean}. The vertical scales differ. {GAIN_CAPTION} {_transient_in_words(tables['moments'])}"
    figure, panels = new_figure((len(compared), 2), title, caption, group_entries(tables))
    for row, branch in zip(panels, compared, strict=True):
        looks = group_looks(tables).items()
        styles = {f"{DELTA_LOSS_PAIRS[branch][0]}{group}": group_style(look) for group, look in looks}
        for panel, (held, name) in zip(row, names.items(), strict=True):
            _delta_panel(panel, tables[name], tables["moments"], branch, held, styles)
    return figure


def compared_in(table: pd.DataFrame, name: str) -> list[str]:
    """The branches that have a column of this group or stratum in a table of differences."""
    return [branch for branch, (prefix, _) in DELTA_LOSS_PAIRS.items() if f"{prefix}{name}" in table]


def _delta_panel(
    panel: Axes, table: pd.DataFrame, moments: pd.DataFrame, branch: str, held: str, styles: dict[str, CurveStyle]
) -> None:
    """Draw differences of loss over a logarithmic axis, with the transient shaded and the settled half marked."""
    # The differences are averages of two steps, so they lie between them; some branches end earlier than others.
    known = table[table[list(styles)].notna().any(axis=1)]
    known = known.set_axis(known.index + 0.5)
    draw_curves(panel, known, styles, within=[0])
    panel.set_xscale("log")
    plain_log_ticks(panel.xaxis)
    mark_zero(panel)
    if branch != "enter":
        mark_transient(panel, moments["transient"].median())
    mark_settled(panel, known.index[len(known) // 2])
    start = "branching" if branch == "enter" else "onset t*"
    xlabel = f"steps since {start}" if held == "step" else f"training time since {start}, in steps of size η"
    panel.set_title(f"{DELTA_LOSS_PAIRS[branch][1]}, at equal {held}")
    panel.set(xlabel=xlabel, ylabel="Δℓ$_k$")


def _transient_in_words(moments: pd.DataFrame) -> str:
    """What a caption says of the transient."""
    low, high = int(moments["transient"].min()), int(moments["transient"].max())
    steps = f"{low} steps" if low == high else f"{low} to {high} steps, median shaded"
    rule = "until the oscillation first has 80 % of its later mean amplitude, and at least a tenth of the steps"
    return f"Transient: {rule} ({steps}). Verdicts are of the settled part, the later half, above the bar"


def strata(tables: Tables, captions: Captions) -> Figure:
    """What natural data gain, by class and by distance to the centroid."""
    table = tables["strata"]
    compared = compared_in(tables["delta_loss_strata"], str(table.index[0]))
    each = table["quantile"].max()
    colors = {q: to_hex(colormaps["viridis"](0.9 * (q - 1) / max(1, each - 1))) for q in range(1, each + 1)}
    ends = {1: " (nearest to the centroid)", each: " (farthest)"}
    entries = [legend_entry(CurveStyle(color), f"quantile {q}{ends.get(q, '')}") for q, color in colors.items()]
    classes = int(table["label"].max()) + 1
    class_styles = [CLASS_STYLES[label % len(CLASS_STYLES)] for label in range(classes)]
    entries += [
        Line2D([], [], color=GREY, ls=linestyle, marker=marker, markersize=6, label=f"class {label}")
        for label, (linestyle, marker) in enumerate(class_styles)
    ]
    caption = f"{captions.mean_with('bar')}. At equal time. {GAIN_CAPTION} {_transient_in_words(tables['moments'])}"
    title = "What natural data gain from the edge, by distance to the centroid"
    figure, panels = new_figure((len(compared), 3), title, caption, entries, panel_size=(4.4, 3.6))
    for (over_time, by_quantile, by_influence), branch in zip(panels, compared, strict=True):
        prefix = DELTA_LOSS_PAIRS[branch][0]
        styles = {
            f"{prefix}{name}": CurveStyle(colors[row["quantile"]], class_styles[int(row["label"])][0], band=False)
            for name, row in table.iterrows()
        }
        _delta_panel(over_time, tables["delta_loss_strata"], tables["moments"], branch, "time", styles)
        over_time.set_title(DELTA_LOSS_PAIRS[branch][1])
        gain = f"{prefix}gain_time"
        for label, (_, marker) in enumerate(class_styles):
            rows = table[table["label"] == label]
            shift = 0.24 * (label / (classes - 1) - 0.5)
            _draw_points(by_quantile, rows["quantile"] + shift, rows, gain, marker, colors)
            _draw_points(by_influence, rows["curvature_influence"], rows, gain, marker, colors)
        by_quantile.set(xlabel="quantile of the distance to the centroid", xticks=list(colors))
        by_influence.set(xlabel="influence C$_k$ before onset", xscale="log")
        for panel in (by_quantile, by_influence):
            ends_of_bars = table[[f"{gain}_low", f"{gain}_high"]].to_numpy(float).ravel()
            within = np.append(table[gain].to_numpy(float), 0)
            set_vertical_range(panel, within, ends_of_bars[np.isfinite(ends_of_bars)], log=False, bounds=UNBOUNDED)
            mark_zero(panel)
            panel.set_ylabel("settled Δℓ$_k$")
        plain_log_ticks(by_influence.xaxis)
        by_quantile.set_title("settled, by distance")
        by_influence.set_title("settled, by influence")
    return figure


def _draw_points(
    panel: Axes, x: pd.Series, rows: pd.DataFrame, column: str, marker: str, colors: dict[int, str]
) -> None:
    """Draw a column of strata of one class, with its intervals."""
    bounds = rows[[f"{column}_low", f"{column}_high"]].to_numpy(float)
    for at, value, (low, high), quantile in zip(x, rows[column], bounds, rows["quantile"], strict=True):
        color = colors[quantile]
        panel.plot([at, at], [low, high], color=color, linewidth=1, alpha=0.6)
        panel.plot([at], [value], color=color, marker=marker, markersize=6, linestyle="")


def decomposition(tables: Tables, captions: Captions) -> Figure:
    """Δℓ_k over training time as where the edge leads, less what the oscillation costs, group by group."""
    table = tables["decomposition"]
    entries = [
        legend_entry(CurveStyle(GREY, linewidth=2.2), "Δℓ$_k$ = path − oscillation"),
        legend_entry(CurveStyle(GREY, "--"), "path: loss away − loss at the centre of the oscillation"),
        legend_entry(CurveStyle(GREY, ":"), "oscillation: what it adds to the loss at the edge"),
    ]
    of_whole = "" if len(captions.seeds) == 1 else ", of Δℓ alone"
    caption = f"At the baseline's checkpoints, at equal training time. {captions.mean_with(f'band{of_whole}')}"
    colors = group_colors(tables)
    title = "What the edge costs a group, and where it leads"
    figure, panels = new_figure(grid(len(colors)), title, caption, entries)
    for panel, (group, color) in zip(panels.flat, colors.items(), strict=False):
        styles = {
            f"delta_{group}": CurveStyle(color, linewidth=2.2),
            f"path_{group}": CurveStyle(color, "--", band=False),
            f"oscillation_{group}": CurveStyle(color, ":", band=False),
        }
        draw_curves(panel, table, styles, within=[0])
        mark_zero(panel)
        panel.set_title(in_words(group), color=color)
        panel.set(xlabel=TIME_LABEL, ylabel="Δℓ$_k$")
    remove_from(panels, len(colors))
    return figure


def alignment(tables: Tables, captions: Captions) -> Figure:
    """cos²θ_k along the baseline and the exit branch, above the sharpness of each (figure 5).

    The exit branch is shown over training time too: by then it may be at its own edge.
    """
    title = "Alignment with the sharpest direction, at the edge and away from it"
    caption = f"{captions.mean_of_pairs}{_second_onset_in_words(tables['moments'])}"
    shown = [("baseline", "step", ""), ("exit", "step", ", at equal step"), ("exit", "time", ", over training time")]
    figure, panels = new_figure((2, len(shown)), title, caption, group_entries(tables), panel_size=(4.4, 3.4))
    for (upper, lower), (branch, held, which) in zip(panels.T, shown, strict=True):
        # Each branch has a panel of its own, so the steps before onset are shown in both.
        looks = group_looks(tables).items()
        styles = {f"{branch}_{group}": replace(group_style(look, branch), start=-np.inf) for group, look in looks}
        suffix, xlabel = CLOCKS[held]
        draw_curves(upper, tables[f"alignment{suffix}"], styles, bounds=(0, 1))
        mark_onset(upper)
        if branch == "exit":
            _mark_second_onset(upper, tables["moments"], held)
        upper.set_title(f"{BRANCH_LABELS[branch]}{which}")
        upper.set(xlabel=xlabel, ylabel=ALIGNMENT_LABEL)
        _sharpness_panel(lower, tables, "sharpness", held, [branch], "sharpness λ$_1$")
    for compared in (panels[0], panels[1, 1:]):  # each branch's sharpness has its own threshold to be compared with
        share_vertical_range(compared)
    return figure


def persistence(tables: Tables, captions: Captions) -> Figure:
    """Influence, its two factors and the probability of the label, by group (figure 7)."""
    title = "Influence is alignment times gradient norm squared: who keeps both?"
    caption = f"Baseline branch. {captions.mean_of_pairs}"
    figure, panels = new_figure((2, 2), title, caption, group_entries(tables))
    styles = {f"baseline_{group}": group_style(look) for group, look in group_looks(tables).items()}
    for panel, (name, (ylabel, log, bounds)) in zip(panels.flat, PERSISTENCE.items(), strict=True):
        draw_curves(panel, tables[name], styles, log=log, bounds=bounds)
        mark_onset(panel)
        panel.set(xlabel=STEPS_LABEL, ylabel=ylabel)
    return figure


def influence(tables: Tables, captions: Captions) -> Figure:
    """C_k by group over training (figure 16), and over alpha at onset (figure 17)."""
    entries, looks = group_entries(tables), group_looks(tables)
    entries += [legend_entry(CurveStyle(GREY, BRANCH_LINESTYLES[b]), BRANCH_LABELS[b]) for b in MAIN_BRANCHES]
    bands = "" if len(captions.seeds) == 1 else "; bands: baseline alone"
    caption = f"{captions.mean_of_pairs}{bands}"
    figure, panels = new_figure((1, 2), "Curvature influence by group", caption, entries)
    training, onset = panels[0]
    styles = {f"exit_{group}": replace(group_style(look, "exit"), band=False) for group, look in looks.items()}
    styles |= {f"baseline_{group}": group_style(look) for group, look in looks.items()}
    draw_curves(training, tables["curvature_influence"], styles, log=True)
    mark_onset(training)
    training.set(xlabel=STEPS_LABEL, ylabel=INFLUENCE_LABEL)
    styles = {"curvature_influence_coherent": CurveStyle(COLORS["input_outlier"], marker="D")}
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
    figure, panels = new_figure((2, 2), title, captions.mean_of_pairs, entries)
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
    caption = f"Natural examples. {captions.mean_of_pairs}"
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
