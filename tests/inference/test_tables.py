"""Tables of several seeds, worked out by hand."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from edgewise.inference.tables import on_grid, over_seeds, second_half, since_onset


def test_steps_are_counted_from_onset():
    table = pd.DataFrame({"step": [5, 6, 7, 8], "loss": [4.0, 3.0, 2.0, 1.0]})
    placed = since_onset(table, 7)
    assert placed.index.tolist() == [-2, -1, 0, 1]
    assert placed.index.name == "step"
    assert placed["loss"].tolist() == [4.0, 3.0, 2.0, 1.0]
    assert list(placed.columns) == ["loss"]


def test_sparse_measurements_go_to_the_nearest_multiple_and_onset_itself_to_zero():
    table = pd.DataFrame({"step": [0, 25, 50, 75, 86], "sharpness": [1.0, 2.0, 3.0, 4.0, 5.0]})
    placed = since_onset(table, 86, 25)  # 86, 61, 36, 11 and 0 steps before onset
    assert placed.index.tolist() == [-75, -50, -25, 0]
    assert placed["sharpness"].tolist() == [1.0, 2.0, 3.0, 5.0]


@given(t_star=st.integers(1, 300), spacing=st.integers(1, 30))
def test_no_measurement_before_onset_is_lost_but_one_that_meets_a_nearer_one(t_star, spacing):
    """The run is measured at multiples of the spacing, at onset and, for what tells who gains, a step before it."""
    measured = sorted({*range(0, t_star + 1, spacing), t_star - 1, t_star})
    placed = since_onset(pd.DataFrame({"step": measured, "value": measured}), t_star, spacing)
    kept = set(placed["value"])
    assert t_star in kept
    assert {step for step in range(0, t_star, spacing) if t_star - step > spacing / 2} <= kept
    assert (np.abs(placed.index - (placed["value"] - t_star)) <= spacing / 2).all()
    assert (placed.index % spacing == 0).all()


@given(t_star=st.integers(1, 300), spacing=st.integers(2, 30))
def test_the_measurement_a_step_before_onset_displaces_none(t_star, spacing):
    regular = sorted({*range(0, t_star, spacing), t_star})
    extra = sorted({*regular, t_star - 1})
    with_it, without = (
        since_onset(pd.DataFrame({"step": steps, "value": steps}), t_star, spacing) for steps in (extra, regular)
    )
    pd.testing.assert_frame_equal(with_it.loc[without.index], without)


def test_of_several_rows_for_one_place_the_nearest_is_kept():
    table = pd.DataFrame({"value": [0, 1, 2, 3]})
    placed = on_grid(table, np.array([0.0, 0.1, 0.8, 1.1]))
    assert placed.index.tolist() == [0, 1]
    assert placed["value"].tolist() == [0, 3]
    assert on_grid(table, np.array([0.0, 2.5, 7.5 - 1e-13, 9.0])).index.tolist() == [0, 3, 8, 9]


def test_seeds_are_averaged_on_the_rows_that_all_have():
    first = pd.DataFrame({"a": [1.0, 2.0, 3.0], "b": [0.0, 0.0, 1.0]}, index=pd.Index([-1, 0, 1], name="step"))
    second = pd.DataFrame({"a": [6.0, 7.0, 9.0], "b": [4.0, 5.0, 6.0]}, index=pd.Index([0, 1, 2], name="step"))
    table = over_seeds([first, second])
    assert table.index.tolist() == [0, 1]
    assert list(table.columns) == ["a", "a_low", "a_high", "b", "b_low", "b_high"]
    assert table["a"].tolist() == [4.0, 5.0]
    low, high = stats.t.interval(0.95, 1, loc=5, scale=stats.sem([3.0, 7.0]))
    assert (table.loc[1, "a_low"], table.loc[1, "a_high"]) == pytest.approx((low, high))


def test_one_seed_keeps_its_values_and_has_empty_intervals():
    table = over_seeds([pd.DataFrame({"a": [2.0, 1.0]}, index=[1, 0])])
    assert table.index.tolist() == [0, 1]
    assert table["a"].tolist() == [1.0, 2.0]
    assert table[["a_low", "a_high"]].isna().all(axis=None)


@pytest.mark.parametrize(("rows", "later"), [(4, [2, 3]), (5, [2, 3, 4]), (1, [0]), (0, [])])
def test_the_second_half_is_the_later_one(rows, later):
    assert second_half(pd.DataFrame({"a": range(rows)}))["a"].tolist() == later
