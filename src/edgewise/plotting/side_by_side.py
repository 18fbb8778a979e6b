"""Several runs on one sheet: the paper's comparisons, such as α = 3 beside 10, or networks and optimisers."""

import itertools
from collections.abc import Mapping

from matplotlib.figure import Figure

from edgewise.plotting.curves import draw_curves, mark_onset, mark_zero, share_vertical_range
from edgewise.plotting.over_training import GAIN_CAPTION
from edgewise.plotting.style import (
    ALIGNMENT_LABEL,
    INFLUENCE_LABEL,
    STEPS_LABEL,
    Tables,
    group_style,
    in_words,
    legend_entry,
    looks_of,
    new_figure,
)

#: What each column shows, and the label of its axis.
COLUMNS = {
    "Δℓ$_k$ at equal step": STEPS_LABEL,
    "Δℓ$_k$ at equal time": "time since t*, in steps of size η",
    ALIGNMENT_LABEL: STEPS_LABEL,
    INFLUENCE_LABEL: STEPS_LABEL,
}


def side_by_side(runs: Mapping[str, Tables]) -> Figure:
    """A row a run: its gains at equal step and at equal time, alignment and influence along the baseline.

    Parameters
    ----------
    runs : for each run's name its tables, among them delta_loss, delta_loss_equal_time, alignment, curvature_influence
        and groups, each indexed by its first column
    """
    groups = {name: [str(group) for group in tables["groups"].index] for name, tables in runs.items()}
    looks = looks_of(list(dict.fromkeys(itertools.chain(*groups.values()))))
    entries = [legend_entry(group_style(look), in_words(group)) for group, look in looks.items()]
    caption = f"Means over the seeds of each run, band: 95 % t interval. {GAIN_CAPTION}"
    figure, panels = new_figure((len(runs), 4), "Runs side by side", caption, entries, panel_size=(3.6, 2.8))
    for row, (name, tables) in zip(panels, runs.items(), strict=True):
        styles = {group: group_style(looks[group]) for group in groups[name]}
        of_baseline = {f"baseline_{group}": style for group, style in styles.items()}
        for panel, table in zip(row[:2], ("delta_loss", "delta_loss_equal_time"), strict=True):
            known = tables[table].dropna(subset=list(styles), how="all")
            draw_curves(panel, known.set_axis(known.index + 0.5), styles, within=[0])
            panel.set_xscale("log")
            mark_zero(panel)
        draw_curves(row[2], tables["alignment"], of_baseline, bounds=(0, 1))
        draw_curves(row[3], tables["curvature_influence"], of_baseline, log=True)
        for panel in row[2:]:
            mark_onset(panel)
        row[0].set_ylabel(name, fontweight="bold")
    for top, bottom, (title, label) in zip(panels[0], panels[-1], COLUMNS.items(), strict=True):
        top.set_title(title)
        bottom.set_xlabel(label)
    for column in panels.T:
        share_vertical_range(column)
    return figure
