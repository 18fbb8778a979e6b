"""Looking things up in the records of a seed."""

import pandas as pd
import pytest
from synthetic import FOUR, STEPS, T_STAR, records

from edgewise.errors import EdgewiseError
from edgewise.inference.records import at_equal_step, over_iterates, require_steps


def test_the_base_run_ends_at_onset():
    assert records().t_star == T_STAR


def test_the_branches_are_the_runs_but_base_in_the_order_declared():
    assert records().branches == ["baseline", "exit"]
    assert records(branches=FOUR[::-1]).branches == list(FOUR[::-1])


def test_the_control_is_looked_up_at_the_displacement_of_the_run():
    one = records()
    assert one.at_alpha("alignment_coherent") == pytest.approx(0.4)  # 0.1 (1 + alpha)
    assert one.at_alpha("curvature_influence_random") == pytest.approx(0.5)


def test_measurements_are_averaged_over_both_iterates_in_the_order_of_the_table():
    table = pd.DataFrame(
        {"step": [9, 9, 2, 2], "iterate": [0, 1, 0, 1], "alignment": [1.0, 2.0, 5.0, 9.0], "norm": "linf"}
    )
    averaged = over_iterates(table, ["step", "norm"], [2, 9])
    assert list(averaged.columns) == ["step", "norm", "alignment"]
    assert averaged["step"].tolist() == [9, 2]
    assert averaged["alignment"].tolist() == [1.5, 7.0]


def test_at_equal_step_a_branch_has_the_baselines_checkpoints_and_no_others():
    one = records(exit_factor=0.3)
    measured = one.hessian["exit"]
    assert (measured["step"] - T_STAR).tolist() == [0, 4, 8, 13, 27]
    shared = at_equal_step(one, measured, one.hessian["baseline"])
    assert (shared["step"] - T_STAR).tolist() == [0, 4, STEPS]


@pytest.mark.parametrize("rows", [[0, 1, 2], [0, 1, 2, 2], [0, 1, 2, 3, 3]])
def test_a_checkpoint_without_both_of_its_iterates_is_an_error(rows):
    table = pd.DataFrame({"step": [2, 2, 9, 9], "iterate": [0, 1, 0, 1], "a": 1.0})
    with pytest.raises(EdgewiseError, match="not both iterates of every checkpoint are there"):
        over_iterates(table.iloc[rows], ["step"], [2, 9])


@pytest.mark.parametrize(
    ("rows", "expected"), [([0, 1], [2, 9]), ([0, 1, 2, 3, 4, 5], [2, 9]), ([0, 1, 2, 3], [2]), ([], [2])]
)
def test_a_checkpoint_or_a_condition_that_is_gone_is_an_error(rows, expected):
    table = pd.DataFrame(
        {"step": [2, 2, 9, 9, 9, 9], "norm": ["a"] * 4 + ["b"] * 2, "iterate": [0, 1] * 3, "loss": 1.0}
    )
    with pytest.raises(EdgewiseError, match="rows are missing"):
        over_iterates(table.iloc[rows], ["step", "norm"], expected)


@pytest.mark.parametrize("steps", [[5, 6, 8], [5, 6, 6, 7], [6, 5], [5, 6], [6, 7], [4, 5, 6, 7], [5, 6, 7, 8]])
def test_step_records_with_a_step_missing_or_doubled_are_an_error(steps):
    with pytest.raises(EdgewiseError, match="must have one for each of 3 steps"):
        require_steps(pd.DataFrame({"step": steps}), [5, 6, 7])
    assert require_steps(pd.DataFrame({"step": [5, 6, 7]}), [5, 6, 7])["step"].tolist() == [5, 6, 7]
