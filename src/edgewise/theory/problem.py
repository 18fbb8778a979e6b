"""What every model of the edge is given, what it yields, and what it costs.

A model is a function of a `Problem` that yields one `Prediction` a step of the optimiser, beginning with the start. It
sees the loss and its derivatives, and nothing of the run after the start.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

from torch import Tensor

from edgewise.data.files import Row
from edgewise.errors import DivergenceError
from edgewise.network.objective import Evaluation, Objective, mean_losses
from edgewise.states.flow import GradientFlow
from edgewise.states.optimizers import Optimizer, State
from edgewise.theory.edge_flow import Oscillation

#: Where a model puts the centre of the oscillation [P], and its record: loss and loss_<group>, averaged over both sides
#: where the model has an oscillation, sharpness, and the amplitude of the oscillation where it has one.
Prediction = tuple[Tensor, Row]

#: Costs in gradients. A product with the Hessian differentiates the gradient once more, and so costs twice as much; a
#: gradient of the sharpness differentiates that product, and costs twice as much again.
PRODUCT, SHARPNESS_GRADIENT = 2, 4


class Metered(Objective):
    """An objective that counts what is asked of it, in gradients; forward passes without one are not counted.

    Attributes
    ----------
    unmetered : the objective itself, for what is recorded and not needed to go on
    gradients : the count
    """

    def __init__(self, objective: Objective) -> None:
        vars(self).update(vars(objective))  # what is not counted is as it was
        self.unmetered, self.gradients = objective, 0

    def evaluate(self, theta: Tensor) -> Evaluation:
        """As `Objective.evaluate`."""
        self.gradients += 1
        return self.unmetered.evaluate(theta)

    def hessian(self, theta: Tensor) -> Callable[[Tensor], Tensor]:
        """As `Objective.hessian`."""
        product = self.unmetered.hessian(theta)

        def counted(v: Tensor) -> Tensor:
            self.gradients += PRODUCT
            return product(v)

        return counted

    def sharpness_gradient(self, theta: Tensor, v: Tensor) -> Tensor:
        """As `Objective.sharpness_gradient`."""
        self.gradients += SHARPNESS_GRADIENT
        return self.unmetered.sharpness_gradient(theta, v)


@dataclass(frozen=True)
class Problem:
    """What a model is given.

    Attributes
    ----------
    objective : of the training data
    optimizer : whose run is predicted
    start : the oscillation between two consecutive iterates
    groups : for each group's name, a mask or index of its examples
    substeps : of the model, for a step of the optimiser
    tolerance : relative residual of eigenpairs
    flow_tolerance : of the integrator of gradient flow, relative to the distance covered in one step's time
    """

    objective: Metered
    optimizer: Optimizer
    start: Oscillation
    groups: Mapping[str, Tensor]
    substeps: int = 2
    tolerance: float = 1e-3
    flow_tolerance: float = 1e-2

    def followed(self, theta: Tensor, gradient: Tensor) -> Tensor:
        """The gradient [P] with weight decay, at theta [P]."""
        return gradient + self.optimizer.weight_decay * theta

    def losses(self, losses: Tensor) -> Row:
        """The columns loss and loss_<group> of the examples' losses [n]."""
        return mean_losses(losses, self.groups)


def flow_with(
    problem: Problem, substeps: int, push: Callable[[Tensor], Tensor] | None = None
) -> Iterator[tuple[Tensor, Evaluation]]:
    """Gradient flow from the start, where a `push` moves theta [P] after every substep.

    Yields
    ------
    theta [P] and the losses and gradient there, at every step

    Raises
    ------
    DivergenceError
        When theta is no longer finite.
    """
    optimizer, gradient = problem.optimizer, problem.objective.gradient
    time = optimizer.time_per_step / substeps
    flow = GradientFlow(time, optimizer.weight_decay, gradient=gradient, tolerance=problem.flow_tolerance)
    theta = problem.start.centre
    while True:
        here = problem.objective.evaluate(theta)
        yield theta, here
        for substep in range(substeps):
            slope = gradient(theta) if substep else here.gradient
            theta = flow.step(State(theta), slope).theta
            theta = push(theta) if push else theta
            if not bool(theta.isfinite().all()):
                raise DivergenceError(f"optimizer.lr: was {optimizer.lr:g}; a model of the edge diverged")
