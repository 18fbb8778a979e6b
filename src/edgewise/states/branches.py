"""The branches: how long each is, where it is measured, and which are compared.

All branches cover the same training time, that of `steps` steps of the baseline. Comparisons are made at equal step,
within the first `steps` steps of each, and at equal time, over the whole of each. Steps count from onset.
"""

from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor

from edgewise.params import BranchParams
from edgewise.states.flow import GradientFlow
from edgewise.states.optimizers import Optimizer

#: What a branch is compared with, as (the run at the edge, the run away from it). Each pair starts from one state.
PAIRS = {"exit": ("baseline", "exit"), "flow": ("baseline", "flow"), "enter": ("enter", "exit")}


@dataclass(frozen=True)
class Leg:
    """A part of a branch with one step size.

    Attributes
    ----------
    end : the step since onset at which it ends
    lr_factor : on the step size
    flow_tolerance : of the integrator, where the part follows gradient flow
    """

    end: int
    lr_factor: float = 1.0
    flow_tolerance: float | None = None

    def optimizer(self, base: Optimizer, gradient: Callable[[Tensor], Tensor]) -> Optimizer:
        """The optimiser of this part, from that of the base run and the gradient [P] as a function of theta [P]."""
        if self.flow_tolerance is not None:
            return GradientFlow(base.time_per_step, base.weight_decay, gradient=gradient, tolerance=self.flow_tolerance)
        return base.with_lr(self.lr_factor * base.lr)


def covering(factor: float, params: BranchParams) -> int:
    """Steps at a factor of the step size that cover the training time of `params.steps` steps of the baseline."""
    return round(params.steps / factor)


def legs(branch: str, params: BranchParams) -> list[Leg]:
    """The parts of a branch, one after the other."""
    last = length(branch, params)
    if branch == "exit":
        return [Leg(last, params.exit_factor)]
    if branch == "enter":
        return [Leg(params.enter_step, params.exit_factor), Leg(last)]
    if branch == "flow":
        return [Leg(last, flow_tolerance=params.flow_tolerance)]
    return [Leg(last)]


def leg_before(legs: list[Leg], steps: int) -> Leg:
    """The part that led to the state so many steps after onset.

    A branch begins in a state of another run. Measured with the optimiser that led to it, the state is the same in
    both: at onset, and before it, that is the optimiser of the base run.
    """
    return Leg(0) if steps <= 0 else next(leg for leg in legs if steps <= leg.end)


def length(branch: str, params: BranchParams) -> int:
    """Steps of a branch: as many as it takes to cover the training time of `params.steps` steps of the baseline."""
    if branch == "exit":
        return covering(params.exit_factor, params)
    if branch == "enter":
        return params.enter_step + round(params.steps - params.exit_factor * params.enter_step)
    return params.steps


def measured_steps(branch: str, params: BranchParams) -> tuple[list[int], list[int]]:
    """Steps at which a branch is measured, for comparison at equal step and at equal time.

    They are `spaced` in steps, and in training time: there is one for each of the baseline.
    """
    equal_step = spaced(params.steps, params)
    if branch == "exit":
        return equal_step, spaced(length(branch, params), params, params.exit_factor)
    if branch == "enter":
        rest = spaced(length(branch, params) - params.enter_step, params)
        return equal_step, [params.enter_step + step for step in rest]
    return equal_step, equal_step


def shared_steps(branch: str, params: BranchParams) -> set[int]:
    """Steps since onset at which the state of a branch is that of another run too, where it is measured there."""
    return {0, params.enter_step} if branch in PAIRS["enter"] else {0}


def kept_steps(branch: str, params: BranchParams, last: int) -> set[int]:
    """Steps up to `last` whose states are kept while a branch is trained, whatever `params.steps` is.

    So the run can go on to a larger `steps`, with the same checkpoints as if it had had it from the start.
    """
    kept = set(spaced(last, params))
    if branch == "exit":
        kept |= set(spaced(last, params, params.exit_factor))
    if branch == "enter":
        kept |= {params.enter_step + step for step in spaced(last - params.enter_step, params)}
    return kept


def spaced(last: int, params: BranchParams, factor: float = 1.0) -> list[int]:
    """Steps up to `last`, at a factor of the step size, at which the training time is that of a checkpoint; rounded.

    They are at multiples of `checkpoint_every` steps of the baseline: at all, or at the first 2 `per_doubling` and then
    at `per_doubling` in each doubling.

    >>> spaced(400, BranchParams(checkpoint_every=10, per_doubling=4))
    [0, 10, 20, 30, 40, 50, 60, 70, 80, 100, 120, 140, 160, 200, 240, 280, 320, 400]
    """
    found, multiple = [], 0
    while (step := round(multiple * (params.checkpoint_every / factor))) <= last:
        found.append(step)
        doublings = 0 if params.per_doubling == "all" else max(1, multiple // params.per_doubling).bit_length() - 1
        multiple += 2**doublings
    return found
