"""Figures of causes and effects."""

import numpy as np
import pytest
from made_up import made_up_tables

from edgewise.data.groups import GROUPS
from edgewise.plotting import Captions, draw


@pytest.mark.parametrize("seeds", [1, 2])
def test_gains_are_drawn_over_the_factor_with_their_prediction(seeds):
    tables = made_up_tables(seeds)
    panels = draw("figure_dose", tables, Captions("", range(seeds))).axes
    assert len(panels) == len(GROUPS)
    for panel, group in zip(panels, GROUPS, strict=True):
        measured, predicted, _ = panel.lines
        assert measured.get_xdata().tolist() == predicted.get_xdata().tolist() == [0.1, 0.25, 0.9]
        assert measured.get_ydata() == pytest.approx(tables["dose"][f"measured_{group}"])
        assert predicted.get_ydata() == pytest.approx(tables["dose"][f"predicted_{group}"])
        (bars,) = panel.collections
        ends = [segment[:, 1].tolist() for segment in bars.get_segments() if len(segment)]
        bounds = tables["dose"][[f"measured_{group}_low", f"measured_{group}_high"]].dropna().to_numpy()
        assert len(ends) == (3 if seeds > 1 else 0)  # one seed has no interval
        assert np.ravel(ends) == pytest.approx(bounds.ravel())


def test_without_a_prediction_the_measured_gains_are_drawn_alone():
    tables = made_up_tables(2)
    tables["dose"] = tables["dose"].filter(regex="^measured")
    figure = draw("figure_dose", tables, Captions("", [0, 1]))
    assert all(len(panel.lines) == 2 for panel in figure.axes)


@pytest.mark.parametrize("seeds", [1, 2])
def test_the_matrix_says_in_each_cell_what_its_colour_shows(seeds):
    tables = made_up_tables(seeds)
    matrix, *checks = draw("figure_counterfactuals", tables, Captions("", range(seeds))).axes
    values = tables["counterfactuals"][list(GROUPS)].to_numpy()
    (image,) = matrix.images
    assert np.asarray(image.get_array()) == pytest.approx(1000 * values)
    low, high = image.get_clim()
    assert -low == high == pytest.approx(1000 * np.abs(values).max())
    written = [text.get_text().split("\n") for text in matrix.texts]
    assert [float(first) for first, *_ in written] == pytest.approx((1000 * values).ravel(), rel=0.05)
    assert all(len(lines) == {1: 1, 2: 3}[seeds] for lines in written)  # one seed has no interval
    for panel, way in zip(checks, ("at_centre", "removed"), strict=True):
        points = np.vstack([part.get_offsets() for part in panel.collections])
        assert len(points) == (tables["left_out"]["way"] == way).sum()
