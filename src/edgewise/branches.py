"""The branches: how long each is, where it is measured, and which are compared.

All branches cover the same training time, that of `steps` steps of the baseline. Comparisons are made at equal step,
within the first `steps` steps of each, and at equal time, over the whole of each. Steps count from onset.
"""

from edgewise.params import BranchParams

#: What a branch is compared with, as (the run at the edge, the run away from it). Each pair starts from one state.
PAIRS = {"exit": ("baseline", "exit"), "flow": ("baseline", "flow"), "enter": ("enter", "exit")}


def length(branch: str, params: BranchParams) -> int:
    """Steps of a branch: as many as it takes to cover the training time of `params.steps` steps of the baseline."""
    if branch == "exit":
        return round(params.steps / params.exit_factor)
    if branch == "enter":
        return params.enter_step + round(params.steps - params.exit_factor * params.enter_step)
    return params.steps


def measured_steps(branch: str, params: BranchParams) -> tuple[list[int], list[int]]:
    """Steps at which a branch is measured, for comparison at equal step and at equal time.

    Both are regular: a checkpoint every `checkpoint_every` steps, and one every so much training time.
    """
    every, factor = params.checkpoint_every, params.exit_factor
    equal_step = list(range(0, params.steps + 1, every))
    if branch == "exit":
        return equal_step, _up_to(length(branch, params), every / factor)
    if branch == "enter":
        rest = _up_to(length(branch, params) - params.enter_step, every)
        return equal_step, [params.enter_step + step for step in rest]
    return equal_step, equal_step


def kept_steps(branch: str, params: BranchParams, last: int) -> set[int]:
    """Steps up to `last` whose states are kept while a branch is trained, whatever `params.steps` is.

    So the run can go on to a larger `steps`, with the same checkpoints as if it had had it from the start.
    """
    every = params.checkpoint_every
    kept = set(range(0, last + 1, every))
    if branch == "exit":
        kept |= set(_up_to(last, every / params.exit_factor))
    if branch == "enter":
        kept |= {params.enter_step + step for step in _up_to(last - params.enter_step, every)}
    return kept


def _up_to(last: int, spacing: float) -> list[int]:
    """The multiples of `spacing` up to `last`, rounded."""
    return [step for i in range(int(last / spacing) + 2) if (step := round(i * spacing)) <= last]
