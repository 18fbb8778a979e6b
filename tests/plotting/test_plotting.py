"""Every figure is drawn from the tables that it declares, and from nothing else."""

import pytest
from made_up import ALL_BRANCHES, SETTING, made_up_tables

from edgewise.errors import EdgewiseError
from edgewise.plotting import FIGURES, Captions, draw, to_png


@pytest.mark.parametrize("name", FIGURES)
@pytest.mark.parametrize("seeds", [1, 3])
def test_every_figure_is_drawn_and_its_bytes_are_the_same_twice(name, seeds):
    captions = Captions(SETTING, list(range(seeds)))
    first, second = (to_png(draw(name, made_up_tables(seeds, ALL_BRANCHES), captions)) for _ in range(2))
    assert first.startswith(b"\x89PNG")
    assert first == second


def test_nothing_but_the_tables_that_a_figure_declares_reaches_it():
    captions = Captions(SETTING, [0])
    for name, spec in FIGURES.items():
        tables = made_up_tables(2)
        for table, columns in spec.needs.items():
            with pytest.raises(EdgewiseError, match=f"needs the table plots/tables/{table}.csv"):
                draw(name, {k: v for k, v in tables.items() if k != table}, captions)
            if columns:
                with pytest.raises(EdgewiseError, match=f"plots/tables/{table}.csv: lacks the columns {columns[0]};"):
                    draw(name, {**tables, table: tables[table].drop(columns=columns[0])}, captions)
            with pytest.raises(EdgewiseError, match="has no rows"):
                draw(name, {**tables, table: tables[table].iloc[:0]}, captions)
        draw(name, {table: tables[table] for table in spec.needs}, captions)
