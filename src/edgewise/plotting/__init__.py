"""The figures, numbered as in the paper (arXiv 2606.04212), each drawn from tables alone.

Modules
-------
style : colours, markers, line styles, captions, the empty figure and its file
paper : how a figure is laid out for a page or a column of print
curves : curves with their bands, and the lines that mark a step or a level
over_training, points, edges, causes, geometry, unseen_data : one function for each figure
side_by_side : several runs on one sheet

To add a figure, write a function of `Tables` and `Captions` in the module whose subject it is. It calls
`style.new_figure`, draws on the panels and returns the figure. Then add a line to `FIGURES`: the name of the figure's
file, the function, and the tables and columns that the function reads. The stage `figures` then draws it.

Figure 2 shows images and not a table, so `draw_images` draws it from the data itself.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

import pandas as pd
from matplotlib.figure import Figure

from edgewise.data.displacement import DIRECTIONS
from edgewise.data.examples import Dataset
from edgewise.data.groups import NATURAL, Examples
from edgewise.errors import EdgewiseError
from edgewise.plotting import causes, edges, geometry, over_training, points, unseen_data
from edgewise.plotting.paper import Size, lay_out
from edgewise.plotting.side_by_side import side_by_side
from edgewise.plotting.style import MAIN_BRANCHES, Captions, Format, Tables, figure_style, to_file

__all__ = [
    "FIGURES",
    "IMAGES",
    "Captions",
    "FigureSpec",
    "Format",
    "Size",
    "Tables",
    "draw",
    "draw_images",
    "draw_side_by_side",
    "to_file",
]

#: Name of the file of figure 2.
IMAGES = "figure_02_images"


@dataclass(frozen=True)
class FigureSpec:
    """How one figure is made.

    Attributes
    ----------
    function : draws the figure from its tables
    needs : the tables that the function reads, by name, each with the columns that must be there; "{group}" in a
        column's name stands for every group of the table groups
    optional : whether a run may lack its tables, as one without a model of the edge, a sweep or attacks
    """

    function: Callable[[Tables, Captions], Figure]
    needs: dict[str, list[str]]
    optional: bool = False

    def columns(self, table: str, groups: Iterable[str]) -> list[str]:
        """The columns of a table that must be there, if these are the groups."""
        named = dict.fromkeys(column.format(group=group) for column in self.needs[table] for group in groups)
        return list(named)


def _by_group(branches: Sequence[str]) -> list[str]:
    return [f"{branch}_{{group}}" for branch in branches]


#: The table that names the groups, for the figures that show them.
GROUPS: dict[str, list[str]] = {"groups": ["trained"]}

#: The table of the images that groups share, for the figures that say which are the same.
SHARED_IMAGES: dict[str, list[str]] = {"shared_images": ["seed", "images"]}

BRANCH_COLUMNS = list(MAIN_BRANCHES)
SHARPNESS_COLUMNS = [*MAIN_BRANCHES, "stability_threshold", "exit_stability_threshold"]
SECOND_ONSET_COLUMNS = ["t_star_star", "t_star_star_equal_time"]
GROUP_COLUMNS = _by_group(MAIN_BRANCHES)
CONTROL_COLUMNS = [
    f"{quantity}_{direction}" for quantity in ("alignment", "curvature_influence") for direction in DIRECTIONS
]
POSITION_COLUMNS = ["label", "along", "away"]
DISTANCE_COLUMNS = [NATURAL, "{group}", *(f"control_{direction}" for direction in DIRECTIONS)]

#: Every figure that is drawn from tables, by the name of its file.
FIGURES = {
    "figure_01_taxonomy": FigureSpec(geometry.taxonomy, {"taxonomy": POSITION_COLUMNS, **SHARED_IMAGES, **GROUPS}),
    "figure_04_delta_loss": FigureSpec(
        over_training.delta_loss,
        {"delta_loss": ["{group}"], "delta_loss_equal_time": ["{group}"], "moments": ["transient"], **GROUPS},
    ),
    "figure_05_alignment": FigureSpec(
        over_training.alignment,
        {
            "alignment": GROUP_COLUMNS,
            "alignment_equal_time": _by_group(["exit"]),
            "sharpness": SHARPNESS_COLUMNS,
            "sharpness_equal_time": SHARPNESS_COLUMNS,
            "moments": SECOND_ONSET_COLUMNS,
            **GROUPS,
        },
    ),
    "figure_06_control": FigureSpec(
        over_training.control, {"control": CONTROL_COLUMNS, "control_alpha": CONTROL_COLUMNS}
    ),
    "figure_07_persistence": FigureSpec(
        over_training.persistence, {name: _by_group(["baseline"]) for name in over_training.PERSISTENCE} | GROUPS
    ),
    "figure_08_examples": FigureSpec(points.examples, {"examples": ["centroid_distance", "alignment"]}),
    "figure_09_robustness": FigureSpec(
        unseen_data.robustness,
        {"robustness": [], "robustness_epsilon": ["baseline_test", "exit_test"], **GROUPS},
        optional=True,
    ),
    "figure_10_ood": FigureSpec(unseen_data.ood, {"ood": [], "corruptions": []}),
    "figure_15_19_centroid_distance": FigureSpec(
        geometry.centroid_distance, {"centroid_distance": DISTANCE_COLUMNS, **SHARED_IMAGES, **GROUPS}
    ),
    "figure_16_17_influence": FigureSpec(
        over_training.influence,
        {"curvature_influence": GROUP_COLUMNS, "control_alpha": ["curvature_influence_coherent"], **GROUPS},
    ),
    "figure_18_displacement": FigureSpec(
        geometry.displacement, {"taxonomy": POSITION_COLUMNS, **SHARED_IMAGES, **GROUPS}
    ),
    "figure_20_21_typicality": FigureSpec(
        over_training.typicality,
        {"centroid_correlation": BRANCH_COLUMNS, "example_alignment": ["typical", "atypical", "all"]},
    ),
    "figure_22_coupling": FigureSpec(
        points.coupling,
        {
            "coupling": ["step", "curvature_influence", "sharpness_coupling", "sharpness_coupling_over_step"],
            "selector": ["name", "kind", "coupling", "coupling_over_step", "gain_time"],
            **GROUPS,
        },
    ),
    "figure_counterfactuals": FigureSpec(
        causes.counterfactuals,
        {
            "counterfactuals": ["{group}"],
            "left_out": ["way", "left_out", "name", "kind", "measured", "predicted"],
            **GROUPS,
        },
        optional=True,
    ),
    "figure_decomposition": FigureSpec(
        over_training.decomposition,
        {"decomposition": [f"{part}_{{group}}" for part in ("delta", "path", "oscillation")], **GROUPS},
    ),
    "figure_dose": FigureSpec(causes.dose, {"dose": ["measured_{group}"], **GROUPS}, optional=True),
    "figure_edge_flow": FigureSpec(
        points.edge_flow,
        {
            "predicted_gains": ["name", "kind", "measured", "predicted"],
            "prediction": ["measured_{group}", "predicted_{group}", "error"],
            **GROUPS,
        },
        optional=True,
    ),
    "figure_group_loss": FigureSpec(over_training.group_loss, {"group_loss": GROUP_COLUMNS, **GROUPS}),
    "figure_kinks": FigureSpec(
        edges.kinks,
        {
            "kinks": ["sharpness_ratio_iterates", "sharpness_ratio_centre", "curvature_ratio"],
            "sharpness": SHARPNESS_COLUMNS,
            "secant_sharpness": SHARPNESS_COLUMNS,
        },
    ),
    "figure_models": FigureSpec(
        points.models,
        {"models": ["sharpness_measured"], "models_gains": ["seed", "name", "kind", "measured", "predicted"], **GROUPS},
        optional=True,
    ),
    "figure_selector": FigureSpec(
        points.selector, {"selector": ["name", "kind", "curvature_influence", "gain_step", "gain_time"], **GROUPS}
    ),
    "figure_sharpness": FigureSpec(
        over_training.sharpness,
        {
            f"{name}{suffix}": SHARPNESS_COLUMNS
            for name in over_training.SHARPNESS
            for suffix, _ in over_training.CLOCKS.values()
        }
        | {"moments": SECOND_ONSET_COLUMNS},
    ),
    "figure_strata": FigureSpec(
        over_training.strata,
        {
            "strata": ["label", "quantile", "curvature_influence", "gain_time"],
            "delta_loss_strata": [],
            "moments": ["transient"],
        },
    ),
    "figure_sweep": FigureSpec(
        edges.sweep,
        {
            "sweep": ["time", "sharpness", "flow_distance"],
            "sweep_moments": [*edges.RUN_COLUMNS, *edges.MOMENT_COLUMNS],
        },
        optional=True,
    ),
}


def draw(name: str, tables: Tables, captions: Captions, size: Size = "screen") -> Figure:
    """Draw one of `FIGURES`.

    Parameters
    ----------
    name : of the figure
    tables : by name, each indexed by its first column
    captions : what the caption says of the run
    size : where the figure is to be seen

    Raises
    ------
    EdgewiseError
        If a table or a column that the figure needs is missing, or a table is empty.
    """
    spec = FIGURES[name]
    if missing := [table for table in spec.needs if table not in tables]:
        raise EdgewiseError(f"{name}: needs the table plots/tables/{missing[0]}.csv")
    groups = tables["groups"].index if "groups" in spec.needs else [""]
    for table in spec.needs:
        # One group has no pairs.
        _check_table(
            table, tables[table], spec.columns(table, groups), empty=table in SHARED_IMAGES and len(groups) == 1
        )
    with figure_style():
        figure = spec.function({table: tables[table] for table in spec.needs}, captions)
        lay_out(figure, size)
    return figure


def draw_images(
    train: Examples,
    dataset: Dataset,
    shared: Mapping[str, int],
    tables: Tables,
    captions: Captions,
    size: Size = "screen",
) -> Figure:
    """Draw figure 2: a few training images of every group and label.

    Parameters
    ----------
    train : the training data, with the group of each image
    dataset : supplies the normalisation, which is undone, and the names of the classes
    shared : trained images that the groups of a pair have in common, by "<group> & <group>"
    tables : with the table groups
    captions : what the caption says of the run
    """
    with figure_style():
        figure = geometry.images(train, dataset, shared, tables, captions)
        lay_out(figure, size)
    return figure


def draw_side_by_side(runs: Mapping[str, Tables], size: Size) -> Figure:
    """Draw several runs on one sheet, from the tables of each by its name."""
    with figure_style():
        figure = side_by_side(runs)
        lay_out(figure, size)
    return figure


def _check_table(name: str, table: pd.DataFrame, columns: list[str], *, empty: bool) -> None:
    """Raise an error that names the table if it cannot be drawn; it may have no rows if `empty`."""
    missing = [column for column in columns if column not in table.columns]
    if missing:
        raise EdgewiseError(f"plots/tables/{name}.csv: lacks the columns {', '.join(missing)}; `dvc repro` makes them")
    if not len(table) and not empty:
        raise EdgewiseError(f"plots/tables/{name}.csv: has no rows")
