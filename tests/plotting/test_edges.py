"""Figures of where runs sit at the edge."""

import numpy as np
from made_up import made_up_tables

from edgewise.plotting import Captions, draw
from edgewise.plotting.edges import MOMENT_COLUMNS


def test_a_sweep_in_which_no_run_comes_to_its_edge_is_drawn():
    tables = made_up_tables(2)
    sizes = tables["sweep_moments"]["step_size"]
    tables["sweep_moments"].loc[:, list(MOMENT_COLUMNS)] = np.nan
    figure = draw("figure_sweep", tables, Captions("", [0, 1]))
    (levels,) = (panel for panel in figure.axes if panel.get_xlabel().startswith("step size"))
    assert levels.get_xscale() == "log"
    low, high = levels.get_xlim()
    assert 0 < low < sizes.min() < sizes.max() < high
