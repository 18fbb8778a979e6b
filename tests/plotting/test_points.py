"""Figures of single points."""

import numpy as np
import pytest
from made_up import MODELS, made_up_tables

from edgewise.data.groups import GROUPS
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


def legend_of(panel):
    return [text.get_text() for text in panel.get_legend().get_texts()]


def test_the_selector_has_the_rank_correlations_of_groups_and_strata():
    tables = made_up_tables(2)
    table = tables["selector"]
    sign = table["kind"].map({"group": 1, "stratum": -1})
    tables["selector"] = table.assign(gain_step=sign * table["curvature_influence"], gain_time=1.0)
    at_step, at_time = draw("figure_selector", tables, Captions("", [0, 1])).axes
    assert legend_of(at_step)[:2] == ["groups: ρ = 1.00", "strata: ρ = -1.00"]
    assert legend_of(at_time) == ["groups: ρ = nan", "strata: ρ = nan", "both: ρ = nan"]


def test_predicted_gains_are_drawn_against_measured_ones_and_both_over_time():
    tables = made_up_tables(2)
    points, over_time = tables["predicted_gains"], tables["prediction"]
    figure = draw("figure_edge_flow", tables, Captions("", [0, 1]))
    caption = " ".join(text.get_text() for text in figure.texts)
    assert "The loss away from the edge is as measured; that at the edge is predicted." in caption
    scatter, *by_group, error = figure.axes
    drawn = np.vstack([part.get_offsets() for part in scatter.collections])
    wanted = points[["predicted", "measured"]].to_numpy()
    assert sorted(map(tuple, drawn)) == sorted(map(tuple, wanted))
    (diagonal,) = scatter.lines
    assert diagonal.get_xydata() == pytest.approx(np.array([[wanted.min()] * 2, [wanted.max()] * 2]))
    for panel, group in zip(by_group, GROUPS, strict=True):
        measured, predicted, _ = panel.lines
        assert (measured.get_linestyle(), predicted.get_linestyle()) == ("-", "--")
        assert measured.get_ydata() == pytest.approx(over_time[f"measured_{group}"])
        assert predicted.get_ydata() == pytest.approx(over_time[f"predicted_{group}"])
        assert len(panel.collections) == 1  # the band of what was measured
    assert error.get_yscale() == "log"
    assert error.lines[0].get_ydata() == pytest.approx(over_time["error"].iloc[1:])


def test_every_model_has_a_curve_of_each_kind_and_a_panel_of_its_gains():
    tables = made_up_tables(2)
    over_time, points = tables["models"], tables["models_gains"]
    sharpness, distance, *scatters = draw("figure_models", tables, Captions("", [0, 1])).axes
    *curves, measured, _ = sharpness.lines
    for name, curve in zip(MODELS, curves, strict=True):
        assert curve.get_ydata() == pytest.approx(over_time[f"sharpness_{name}"])
    assert measured.get_xydata() == pytest.approx(
        over_time["sharpness_measured"].dropna().reset_index().to_numpy(float)
    )
    for name, curve in zip(MODELS, distance.lines, strict=True):
        assert curve.get_ydata() == pytest.approx(over_time[f"distance_{name}"].dropna())
    for name, panel in zip(MODELS, scatters, strict=True):
        drawn = np.vstack([part.get_offsets() for part in panel.collections])
        wanted = points.loc[name, ["predicted", "measured"]].to_numpy()
        assert sorted(map(tuple, drawn)) == sorted(map(tuple, wanted))
        (diagonal,) = panel.lines
        assert diagonal.get_xydata() == pytest.approx(np.array([[wanted.min()] * 2, [wanted.max()] * 2]))


def test_the_coupling_has_a_median_ratio_of_either_kind_and_the_signs_that_agree():
    tables = made_up_tables(1)
    table = tables["coupling"]
    table["sharpness_coupling"] = 100 * table["curvature_influence"]
    table["sharpness_coupling_over_step"] = 25 * table["curvature_influence"]
    chosen = tables["selector"]
    tables["selector"] = chosen.assign(coupling=chosen["gain_time"], coupling_over_step=-chosen["gain_time"])
    derivative, over_step, signed = draw("figure_22_coupling", tables, Captions("", [0])).axes
    assert legend_of(derivative) == ["median ratio: Q$_k$² = 100 C$_k$"]
    assert legend_of(over_step) == ["median ratio: Q$_k$² = 25 C$_k$"]
    assert legend_of(signed) == [
        "signs agree, from the derivative: 8 of 8",
        "signs agree, over half a step: 0 of 8",
    ]
