"""Looking things up in the records of a seed."""

import pytest
from synthetic import FOUR, T_STAR, records


def test_the_base_run_ends_at_onset():
    assert records().t_star == T_STAR


def test_the_branches_are_the_runs_but_base_in_the_order_declared():
    assert records().branches == ["baseline", "exit"]
    assert records(branches=FOUR[::-1]).branches == list(FOUR[::-1])


def test_the_control_is_looked_up_at_the_displacement_of_the_run():
    one = records()
    assert one.at_alpha("alignment_coherent") == pytest.approx(0.4)  # 0.1 (1 + alpha)
    assert one.at_alpha("curvature_influence_random") == pytest.approx(0.5)
