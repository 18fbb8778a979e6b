"""Figures of quantities over training."""

import numpy as np
import pytest
from made_up import made_up_tables

from edgewise.data.groups import GROUPS
from edgewise.plotting import Captions, draw


def texts(figure):
    return " ".join(text.get_text() for text in figure.texts)


def marks(panel, label):
    return [text.xy[0] for text in panel.texts if text.get_text() == label]


@pytest.mark.parametrize("name", ["figure_sharpness", "figure_05_alignment"])
def test_t_star_star_is_the_median_of_the_seeds_that_reach_it_and_is_marked_where_a_panel_goes_so_far(name):
    """In the records it is at 30 and 34 steps since onset, beyond the comparison at equal step, which ends at 8."""
    tables = made_up_tables(3)
    tables["moments"]["t_star_star"] = [30, 34, np.nan]
    tables["moments"]["t_star_star_equal_time"] = [3.0, 3.4, np.nan]
    figure = draw(name, tables, Captions("", [0, 1, 2]))
    assert "2 of 3 seeds" in texts(figure)
    over_time = [panel for panel in figure.axes if panel.get_xlabel().startswith("training time")]
    assert len(over_time) == 2
    for panel in figure.axes:
        assert marks(panel, "t**") == ([pytest.approx(3.2)] if panel in over_time else [])


def test_where_no_seed_reaches_its_second_onset_the_caption_says_so():
    figure = draw("figure_sharpness", made_up_tables(2), Captions("", [0, 1]))
    assert "in no seed" in texts(figure)


def test_the_threshold_of_the_exit_branch_is_a_line_or_is_said_to_lie_above_the_panel():
    tables = made_up_tables(2)
    for name in ("sharpness", "sharpness_equal_time"):
        tables[name] = tables[name].assign(exit_stability_threshold=80.0)
    figure = draw("figure_sharpness", tables, Captions("", [0, 1]))
    assert "↑: above the panel" in texts(figure)
    for panel, drawn in zip(figure.axes, (False, True, False, True), strict=True):
        levels = {line.get_ydata()[0] for line in panel.lines if len(set(line.get_ydata())) == 1}
        labels = {text.get_text() for text in panel.texts}
        assert levels == ({0.5, 0.8} if drawn else {0.5})
        assert ({"threshold 0.5", "exit: 0.8"} if drawn else {"threshold 0.5, exit 80↑"}) <= labels


@pytest.mark.parametrize("name", ["figure_sharpness", "figure_kinks"])
def test_captions_say_at_which_steps_each_sharpness_is_measured(name):
    caption = texts(draw(name, made_up_tables(2), Captions("", [0, 1])))
    assert "λ$_1$ is measured at pairs of consecutive iterates, κ at every step" in caption


def test_gains_of_both_kinds_are_said_to_have_scales_of_their_own():
    tables = made_up_tables(2)
    tables["delta_loss_equal_time"] = tables["delta_loss_equal_time"] / 10
    figure = draw("figure_04_delta_loss", tables, Captions("", [0, 1]))
    at_step, at_time = (np.ptp(panel.get_ylim()) for panel in figure.axes)
    assert at_time < at_step / 5
    assert "The vertical scales differ" in texts(figure)
    assert "Verdicts are of the settled part, the later half, above the bar" in texts(figure)


@pytest.mark.parametrize(("name", "panels"), [("figure_04_delta_loss", 2), ("figure_strata", 1)])
def test_differences_lie_over_a_logarithmic_axis_with_the_transient_and_the_settled_half(name, panels):
    figure = draw(name, made_up_tables(3), Captions("", [0, 1, 2]))
    assert "(2 to 3 steps, median shaded)" in texts(figure)
    for panel in figure.axes[:panels]:
        assert panel.get_xscale() == "log"
        assert panel.get_xlim() == pytest.approx((0.5, 7.5))  # from the middle of the first pair of steps to the last
        (shade,) = panel.patches
        assert (shade.get_x(), shade.get_x() + shade.get_width()) == pytest.approx((0.5, 3))
        (bar,) = [lines for lines in panel.collections if len(lines.get_paths()) == 1 and lines.get_linewidth()[0] == 5]
        assert bar.get_segments()[0][:, 0].tolist() == [4.5, 7.5]  # of eight rows, the later four


def test_the_split_has_the_oscillation_as_it_is_in_the_table_and_a_band_of_the_whole_alone():
    tables = made_up_tables(2)
    table = tables["decomposition"]
    figure = draw("figure_decomposition", tables, Captions("", [0, 1]))
    assert "band, of Δℓ alone: 95 % t interval" in texts(figure)
    for panel, group in zip(figure.axes, GROUPS, strict=True):
        whole, path, cost, _ = panel.lines
        assert whole.get_ydata() == pytest.approx(table[f"delta_{group}"])
        assert path.get_ydata() == pytest.approx(table[f"path_{group}"])
        assert cost.get_ydata() == pytest.approx(table[f"oscillation_{group}"])
        assert len(panel.collections) == 1


def test_strata_are_drawn_with_their_values():
    tables = made_up_tables(2)
    figure = draw("figure_strata", tables, Captions("", [0, 1]))
    by_quantile, by_influence = figure.axes[1:]
    for panel, expected in ((by_quantile, None), (by_influence, tables["strata"]["curvature_influence"])):
        points = [line.get_xydata()[0] for line in panel.lines if line.get_marker() in ("o", "^")]
        assert [y for _, y in points] == pytest.approx(tables["strata"]["gain_time"].tolist())
        if expected is not None:
            assert [x for x, _ in points] == pytest.approx(expected.tolist())
