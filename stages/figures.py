"""Draw the figures: all of them from the tables under plots/tables/, but for the one of images."""

import io
from collections.abc import Iterable

import pandas as pd

from common import DATASET, FIGURES, TABLES, load, prototypes_file, read, stage
from edgewise.data.examples import Dataset
from edgewise.data.files import write_atomically
from edgewise.data.groups import Prototypes, grouped_data
from edgewise.params import Params
from edgewise.plotting import FIGURES as MADE_OF_TABLES
from edgewise.plotting import IMAGES, Captions, FigureSpec, draw, draw_images, to_png


def main(params: Params) -> None:
    captions = run_captions(params)
    has_prediction = (TABLES / "prediction.csv").exists()
    figures = {name: spec for name, spec in MADE_OF_TABLES.items() if has_prediction or not spec.of_the_model}
    tables = read_tables(figures.values())
    for name in figures:
        write_atomically(FIGURES / f"{name}.png", to_png(draw(name, tables, captions)))
    dataset = load(DATASET, Dataset.from_bytes)
    prototypes = load(prototypes_file(params.seeds[0]), Prototypes.from_bytes)
    train = grouped_data(dataset, prototypes).train
    write_atomically(FIGURES / f"{IMAGES}.png", to_png(draw_images(train, dataset, prototypes.shared(), captions)))


def run_captions(params: Params) -> Captions:
    """What every caption says of the run, in the words of params.yaml."""
    data = params.dataset
    pair = " / ".join(map(str, data.classes))
    training = f"{params.model.name}, {params.loss}, {params.optimizer.name}"
    setting = f"{data.name}, classes {pair}, n = {data.n}; {training}; α = {params.alpha:g}"
    displaced = setting if params.direction == "coherent" else f"{setting} in random directions"
    return Captions(displaced, params.seeds, params.replicate)


def read_tables(figures: Iterable[FigureSpec]) -> dict[str, pd.DataFrame]:
    """The tables of the figures, by name, indexed by their first column."""
    wanted = {name for figure in figures for name in figure.needs}
    contents = {name: read(TABLES / f"{name}.csv") for name in sorted(wanted)}
    return {name: pd.read_csv(io.BytesIO(content), index_col=0) for name, content in contents.items()}


if __name__ == "__main__":
    stage(main)
