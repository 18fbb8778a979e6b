"""Figures of single points."""

from made_up import made_up_tables

from edgewise.plotting import Captions, draw


def titles(tables):
    return [panel.get_title(loc="left") for panel in draw("figure_08_examples", tables, Captions("", [0])).axes]


def test_correlations_are_those_of_the_points_shown():
    tables = made_up_tables(1)
    tables["examples"]["alignment"] = tables["examples"]["centroid_distance"] ** 2
    assert all(title.endswith("ρ = 1.00") for title in titles(tables))


def test_a_constant_has_no_correlation(recwarn):
    tables = made_up_tables(1)
    tables["examples"]["alignment"] = 0.5
    assert all(title.endswith("ρ = nan") for title in titles(tables))
    assert not recwarn
