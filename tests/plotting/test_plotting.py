"""Every figure is drawn from the tables that it declares, and from nothing else."""

import pytest
from made_up import ALL_BRANCHES, SETTING, made_up_tables
from matplotlib.text import Text

from edgewise.data.groups import GROUPS
from edgewise.errors import EdgewiseError
from edgewise.plotting import FIGURES, Captions, draw, to_file
from edgewise.plotting.style import COLORS, group_colors


@pytest.mark.parametrize("name", FIGURES)
@pytest.mark.parametrize("seeds", [1, 3])
def test_every_figure_is_drawn_and_its_bytes_are_the_same_twice(name, seeds):
    captions = Captions(SETTING, list(range(seeds)))
    first, second = (to_file(draw(name, made_up_tables(seeds, ALL_BRANCHES), captions)) for _ in range(2))
    assert first.startswith(b"\x89PNG")
    assert first == second


def test_nothing_but_the_tables_that_a_figure_declares_reaches_it():
    captions = Captions(SETTING, [0])
    for name, spec in FIGURES.items():
        tables = made_up_tables(2)
        for table in spec.needs:
            columns = spec.columns(table, GROUPS)
            with pytest.raises(EdgewiseError, match=f"needs the table plots/tables/{table}.csv"):
                draw(name, {k: v for k, v in tables.items() if k != table}, captions)
            if columns:
                with pytest.raises(EdgewiseError, match=f"plots/tables/{table}.csv: lacks the columns {columns[0]};"):
                    draw(name, {**tables, table: tables[table].drop(columns=columns[0])}, captions)
            with pytest.raises(EdgewiseError, match="has no rows"):
                draw(name, {**tables, table: tables[table].iloc[:0]}, captions)
        draw(name, {table: tables[table] for table in spec.needs}, captions)


#: Figures that show some of the groups alone: those with held-out examples, and the images that are displaced.
OF_SOME = {"figure_09_robustness", "figure_18_displacement"}


@pytest.mark.parametrize("groups", [("rare",), ("rare", "inlier", *(f"g{i}" for i in range(8)))], ids=["one", "ten"])
@pytest.mark.parametrize("name", [name for name, spec in FIGURES.items() if "groups" in spec.needs])
def test_figures_of_groups_show_any_number_of_them(name, groups):
    figure = draw(name, made_up_tables(2, groups=groups), Captions(SETTING, [0, 1]))
    words = " ".join(artist.get_text() for artist in figure.findobj(Text))
    assert all(group in words for group in groups) or name in OF_SOME


@pytest.mark.parametrize("name", [name for name, spec in FIGURES.items() if "shared_images" in spec.needs])
def test_one_group_alone_shares_no_images(name):
    tables = made_up_tables(2, groups=("rare",))
    tables["shared_images"] = tables["shared_images"].iloc[:0]
    figure = draw(name, tables, Captions(SETTING, [0, 1]))
    assert not [text for text in figure.texts if "in common" in text.get_text()]


def test_every_group_has_a_colour_of_its_own_and_the_papers_have_theirs():
    colors = group_colors(made_up_tables(1, groups=("a", "inlier", *(f"g{i}" for i in range(48)))))
    assert len(set(colors.values())) == 50
    assert colors["inlier"] == COLORS["inlier"]
