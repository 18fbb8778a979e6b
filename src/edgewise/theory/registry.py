"""The models of the edge, by name."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from edgewise.errors import DivergenceError, NoEigenpairsError
from edgewise.theory.central_flow import central_flow
from edgewise.theory.constrained import constrained
from edgewise.theory.cubic import cubic
from edgewise.theory.edge_flow import edge_flow
from edgewise.theory.gradient_flow import gradient_flow
from edgewise.theory.problem import Prediction, Problem


@dataclass(frozen=True)
class Model:
    """A model of the edge.

    Attributes
    ----------
    predict : see `Problem`
    from_onset : whether it starts from the pair of iterates at onset; if not, before the threshold, see start.py
    """

    predict: Callable[[Problem], Iterator[Prediction]]
    from_onset: bool = False


def _edge_flow(problem: Problem) -> Iterator[Prediction]:
    optimizer = problem.optimizer
    start = problem.start.alternating(optimizer.lr)
    for at, row in edge_flow(problem.objective, optimizer, start, problem.groups, problem.substeps):
        yield at.centre, row


MODELS = {
    "edge_flow": Model(_edge_flow, from_onset=True),
    "gradient_flow": Model(gradient_flow),
    "cubic": Model(cubic),
    "constrained": Model(constrained),
    "central_flow": Model(central_flow),
}


def predict(name: str, problem: Problem) -> Iterator[Prediction]:
    """Yield the prediction of a model; the column `gradients` of its records is what it cost since the one before.

    Raises
    ------
    DivergenceError
        Where the model has no finite prediction, or goes where the eigenpairs that it needs cannot be found.
    """
    spent = problem.objective.gradients
    try:
        for centre, row in MODELS[name].predict(problem):
            yield centre, {**row, "gradients": problem.objective.gradients - spent}
            spent = problem.objective.gradients
    except NoEigenpairsError as error:
        raise DivergenceError(str(error)) from error
