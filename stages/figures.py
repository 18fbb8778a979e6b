"""Draw the figures: all of them from the tables under plots/tables/, but for the one of images."""

from collections.abc import Iterable
from dataclasses import replace
from typing import TYPE_CHECKING

from common import DATASET, FIGURES, TABLES, load, load_table, prototypes_file, stage
from edgewise.data.examples import Dataset
from edgewise.data.files import write_atomically
from edgewise.data.groups import Prototypes, grouped_data
from edgewise.params import Params
from edgewise.plotting import FIGURES as MADE_OF_TABLES
from edgewise.plotting import IMAGES, Captions, FigureSpec, draw, draw_images, to_file

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure


def main(params: Params) -> None:
    def write(name: str, figure: "Figure") -> None:
        format_ = params.figures.format
        write_atomically(FIGURES / f"{name}.{format_}", to_file(figure, format_))

    captions = run_captions(params)
    figures = {name: spec for name, spec in MADE_OF_TABLES.items() if not spec.optional or has_tables(spec)}
    tables = read_tables(figures.values())
    for name in figures:
        about = replace(captions, seeds=params.sweep.seeds) if name == "figure_sweep" else captions
        write(name, draw(name, tables, about, params.figures.size))
    dataset = load(DATASET, Dataset.from_bytes)
    prototypes = load(prototypes_file(params.seeds[0]), Prototypes.from_bytes)
    train = grouped_data(dataset, prototypes).train
    if dataset.of_images:
        shared = prototypes.shared()
        write(IMAGES, draw_images(train, dataset, shared, tables, captions, params.figures.size))


def has_tables(figure: FigureSpec) -> bool:
    """Whether the run has the tables of an optional figure."""
    return all((TABLES / f"{name}.csv").exists() for name in figure.needs)


def run_captions(params: Params) -> Captions:
    """What every caption says of the run, in the words of params.yaml."""
    data = params.dataset
    classes = "all" if data.classes == "all" else " / ".join(map(str, data.classes))
    training = f"{params.model.name}, {params.loss}, {params.optimizer.name}"
    setting = f"{data.name}, classes {classes}, n = {data.n}; {training}; α = {params.alpha:g}"
    displaced = setting if params.direction == "coherent" else f"{setting} in random directions"
    return Captions(displaced, params.seeds, params.replicate)


def read_tables(figures: Iterable[FigureSpec]) -> "dict[str, pd.DataFrame]":
    """The tables of the figures, by name, indexed by their first column."""
    wanted = {name for figure in figures for name in figure.needs}
    tables = {name: load_table(TABLES / f"{name}.csv") for name in sorted(wanted)}
    return {name: table.set_index(table.columns[0]) for name, table in tables.items()}


if __name__ == "__main__":
    stage(main)
