"""The figures, from the tables under plots/ alone (the paper's numbers; its figure 2 shows images, not a table).

A new figure is one function of the tables and one line of `FIGURES`.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import pandas as pd
from matplotlib.figure import Figure

from edgewise.data.groups import GROUPS, NATURAL
from edgewise.errors import EdgewiseError
from edgewise.plotting import geometry, over_training, points, shifted
from edgewise.plotting.style import About, house_style, to_png

__all__ = ["FIGURES", "IMAGES", "About", "FigureOfTables", "check_table", "draw", "house_style", "to_png"]

Tables = Mapping[str, pd.DataFrame]

#: File of figure 2, which `geometry.examples` draws.
IMAGES = "figure_02_images"


@dataclass(frozen=True)
class FigureOfTables:
    """How one figure is made.

    Attributes
    ----------
    function : from the tables, by name, and what the caption says
    needs : the tables that it is made of, each with the columns that it cannot do without
    """

    function: Callable[[dict[str, pd.DataFrame], About], Figure]
    needs: dict[str, list[str]]


def _by(*branches: str) -> list[str]:
    return [f"{branch}_{group}" for branch in branches for group in GROUPS]


BOTH = ["baseline", "exit"]
WAYS = [f"{quantity}_{way}" for quantity in ("alignment", "curvature_influence") for way in ("coherent", "random")]
WHERE = ["label", "along", "away"]
DISTANCES = [NATURAL, *GROUPS, "control_coherent", "control_random"]

#: Every figure that is made of tables, by the name of its file under plots/.
FIGURES = {
    "figure_01_taxonomy": FigureOfTables(geometry.taxonomy, {"taxonomy": WHERE}),
    "figure_04_delta_loss": FigureOfTables(
        over_training.delta_loss, {"delta_loss": list(GROUPS), "delta_loss_equal_time": list(GROUPS)}
    ),
    "figure_05_alignment": FigureOfTables(
        over_training.alignment, {"alignment": _by(*BOTH), "sharpness": [*BOTH, "stability_threshold"]}
    ),
    "figure_06_control": FigureOfTables(over_training.control, {"control": WAYS, "control_alpha": WAYS}),
    "figure_07_persistence": FigureOfTables(
        over_training.persistence,
        {name: _by("baseline") for name in ("curvature_influence", "gradient_norm", "alignment", "label_probability")},
    ),
    "figure_08_examples": FigureOfTables(points.examples, {"examples": ["centroid_distance", "alignment"]}),
    "figure_09_robustness": FigureOfTables(
        shifted.robustness, {"robustness": [], "robustness_epsilon": ["baseline_test", "exit_test"]}
    ),
    "figure_10_ood": FigureOfTables(shifted.ood, {"ood": [], "corruptions": []}),
    "figure_15_19_centroid_distance": FigureOfTables(geometry.centroid_distance, {"centroid_distance": DISTANCES}),
    "figure_16_17_influence": FigureOfTables(
        over_training.influence,
        {
            "curvature_influence": _by(*BOTH),
            "control_alpha": ["curvature_influence_coherent"],
        },
    ),
    "figure_18_displacement": FigureOfTables(geometry.displacement, {"taxonomy": WHERE}),
    "figure_20_21_typicality": FigureOfTables(
        over_training.typicality, {"centroid_correlation": BOTH, "example_alignment": ["typical", "atypical", "all"]}
    ),
    "figure_22_coupling": FigureOfTables(
        points.coupling, {"coupling": ["step", "curvature_influence", "sharpness_coupling"]}
    ),
    "figure_group_loss": FigureOfTables(over_training.group_loss, {"group_loss": _by(*BOTH)}),
    "figure_sharpness": FigureOfTables(
        over_training.sharpness, {name: [*BOTH, "stability_threshold"] for name in ("sharpness", "secant_sharpness")}
    ),
}


def draw(name: str, tables: Tables, about: About) -> Figure:
    """Draw the figure of that name from the tables, which are indexed by their first column.

    Raises
    ------
    EdgewiseError
        If a table or a column that the figure needs is missing, or a table is empty.
    """
    figure = FIGURES[name]
    chosen = {}
    for table, columns in figure.needs.items():
        if table not in tables:
            raise EdgewiseError(f"{name}: needs the table plots/{table}.csv")
        check_table(table, tables[table], columns)
        chosen[table] = tables[table]
    with house_style():
        return figure.function(chosen, about)


def check_table(name: str, table: pd.DataFrame, columns: list[str]) -> None:
    """Stop with one clear error where a table cannot be drawn."""
    missing = [column for column in columns if column not in table.columns]
    if missing:
        raise EdgewiseError(f"plots/{name}.csv: lacks the columns {', '.join(missing)}; `dvc repro` makes them")
    if table.empty:
        raise EdgewiseError(f"plots/{name}.csv: has no rows")
