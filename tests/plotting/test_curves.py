"""Bands, and the range that a panel shows."""

import numpy as np
import pandas as pd
import pytest
from made_up import made_up_tables
from matplotlib.figure import Figure

from edgewise.plotting import Captions, draw
from edgewise.plotting.curves import draw_curves
from edgewise.plotting.style import CurveStyle


def test_bands_are_there_with_several_seeds_only():
    def bands(seeds):
        figure = draw("figure_05_alignment", made_up_tables(seeds), Captions("", [0]))
        return sum(len(panel.collections) for panel in figure.axes)

    assert bands(1) == 0
    assert bands(3) == 15  # four groups and the sharpness, in two branches, one of them over training time too


def test_wide_bands_do_not_squash_the_curves():
    tables = made_up_tables(2)
    for column in [c for c in tables["delta_loss"] if c.endswith(("_low", "_high"))]:
        tables["delta_loss"][column] *= 1000
    panel = draw("figure_04_delta_loss", tables, Captions("", [0, 1])).axes[0]
    low, high = panel.get_ylim()
    assert high - low < 2


@pytest.mark.parametrize("log", [False, True])
def test_a_curve_has_the_finite_values_from_its_start_and_the_positive_ones_on_a_logarithmic_axis(log):
    table = pd.DataFrame({"loss": [5.0, 1.0, np.nan, -1.0, 2.0]}, index=[-1, 0, 1, 2, 3])
    panel = Figure().subplots()
    draw_curves(panel, table, {"loss": CurveStyle("black", start=0)}, log=log)
    (line,) = panel.lines
    assert line.get_xydata().tolist() == ([[0, 1], [3, 2]] if log else [[0, 1], [2, -1], [3, 2]])
