"""Figures of quantities over training."""

import numpy as np
from made_up import made_up_tables

from edgewise.plotting import Captions, draw


def test_t_star_star_is_where_the_exit_branch_reaches_its_own_threshold():
    tables = made_up_tables(1)
    tables["sharpness"]["exit"] = np.linspace(0, 0.9, 8)  # 0.8 is passed at the last step
    figure = draw("figure_sharpness", tables, Captions("", [0]))
    marks = [text.xy[0] for text in figure.axes[0].texts if text.get_text() == "t**"]
    assert marks == [8]
