"""The models by name."""

from itertools import islice
from typing import get_args

import pytest
from toys import problem_of, walls

from edgewise.errors import DivergenceError
from edgewise.params import TheoryParams
from edgewise.theory.edge_flow import edge_flow
from edgewise.theory.registry import MODELS, predict


def test_there_is_a_model_for_every_name_that_the_parameters_allow():
    (names, *_) = get_args(TheoryParams.model_fields["models"].annotation)
    assert set(MODELS) == set(get_args(names))


@pytest.mark.parametrize("name", MODELS)
def test_every_model_begins_at_the_start_and_says_what_each_of_its_steps_cost(name):
    problem = problem_of(walls((1.0, 0.5)), [0.0, -0.1, 0.0], [0.1, 0.0, 0.0])
    found = list(islice(predict(name, problem), 5))
    assert found[0][0].tolist() == pytest.approx([0.0, -0.1, 0.0])
    assert {"loss", "sharpness"} <= set(found[0][1])
    costs = [row["gradients"] for _, row in found]
    assert sum(costs) == problem.objective.gradients
    assert all(cost > 0 for cost in costs)


def test_a_model_that_goes_where_no_eigenpairs_are_found_has_diverged():
    problem = problem_of(walls((1.0, 0.5)), [0.0, -0.1, 0.0], [0.1, 0.0, 0.0])
    problem.objective.unmetered.hessian = lambda theta: lambda v: v * float("nan")
    for name in ("gradient_flow", "cubic", "constrained", "central_flow"):
        with pytest.raises(DivergenceError, match="is not finite"):
            next(predict(name, problem))


def test_edge_flow_is_as_it_is_by_itself():
    problem = problem_of(walls((1.0, 0.5)), [0.0, -0.1, 0.0], [0.1, 0.0, 0.0], substeps=3, weight_decay=0.2)
    alone = edge_flow(problem.objective.unmetered, problem.optimizer, problem.start, {}, 3)
    for (centre, row), (at, expected) in islice(zip(predict("edge_flow", problem), alone, strict=False), 5):
        assert centre.tolist() == at.centre.tolist()
        assert {key: value for key, value in row.items() if key != "gradients"} == expected
        assert row["gradients"] in (2, 6)
