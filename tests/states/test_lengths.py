"""How long each branch is, where it is measured, and which optimiser leads to which of its states."""

import math
from itertools import pairwise

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from edgewise.params import BranchParams, Params
from edgewise.states.branches import PAIRS, Leg, kept_steps, leg_before, legs, length, measured_steps, spaced
from edgewise.states.flow import GradientFlow
from edgewise.states.optimizers import GradientDescent, Momentum, State

BRANCHES = ("baseline", "exit", "enter", "flow")


@st.composite
def parameters(draw: st.DrawFn, regular: bool | None = None) -> BranchParams:
    """Parameters that are allowed where all four branches are declared; with regular checkpoints, without, or either.

    Those that are not regular are closer at first, so that there are some.
    """
    regular = draw(st.booleans()) if regular is None else regular
    per_doubling = "all" if regular else draw(st.integers(4, 9))
    every = draw(st.integers(1, 40 if regular else 3))
    steps = draw(st.integers(max(8, 2 * every), 400))
    enter_at_most = steps // (2 * every) if per_doubling == "all" else min(steps // (2 * every), 2 * per_doubling)
    branch = BranchParams(
        steps=steps,
        exit_factor=draw(st.floats(0.01, 0.99)),
        enter_step=every * draw(st.integers(1, enter_at_most)),
        checkpoint_every=every,
        per_doubling=per_doubling,
    )
    return Params(branches=list(BRANCHES), branch=branch).branch


def times(branch: str, params: BranchParams) -> list[float]:
    """The training time after each step of a branch, in steps of the baseline."""
    found, parts = [0.0], legs(branch, params)
    for leg in parts:
        while len(found) <= leg.end:
            found.append(found[-1] + leg.lr_factor)
    return found


@given(params=parameters())
def test_all_branches_share_the_training_time_to_within_half_of_their_last_step(params):
    for branch in BRANCHES:
        time = times(branch, params)
        assert len(time) == 1 + length(branch, params)
        assert abs(time[-1] - params.steps) <= 0.5 * legs(branch, params)[-1].lr_factor + 1e-6


@given(params=parameters(regular=True))
def test_measured_steps_are_regular_in_steps_and_in_time_and_serve_both_comparisons(params):
    every = params.checkpoint_every
    for branch in BRANCHES:
        equal_step, equal_time = measured_steps(branch, params)
        assert equal_step == list(range(0, params.steps + 1, every))
        time = times(branch, params)
        # The enter branch is measured from where it meets the edge again.
        begin = params.enter_step if branch == "enter" else 0
        assert equal_time[0] == begin
        for i, step in enumerate(equal_time):
            assert abs(time[step] - time[begin] - i * every) <= 0.5 * legs(branch, params)[-1].lr_factor + 1e-6
        assert time[-1] - time[equal_time[-1]] < every + 1e-6
        assert {*equal_step, *equal_time} <= set(range(length(branch, params) + 1))


@given(params=parameters(regular=True))
def test_where_the_horizon_is_a_whole_number_of_checkpoints_the_end_is_measured(params):
    every = params.checkpoint_every
    whole = params.model_copy(update={"steps": params.steps - params.steps % every})
    for branch in ("baseline", "exit", "flow"):
        assert abs(measured_steps(branch, whole)[1][-1] - length(branch, whole)) <= 1
    assert measured_steps("baseline", whole)[1][-1] == length("baseline", whole)


@given(params=parameters(regular=False))
def test_every_branch_is_measured_at_the_same_multiples_of_time_so_many_for_each_doubling(params):
    every, count = params.checkpoint_every, params.per_doubling
    multiples = [step // every for step in measured_steps("baseline", params)[0]]
    assert multiples[: 2 * count + 1] == list(range(min(2 * count, params.steps // every) + 1))
    for begin in (count * 2**k for k in range(8)):
        within = [multiple for multiple in multiples if begin < multiple <= 2 * begin]
        assert len(within) == count or multiples[-1] < 2 * begin
        assert len({after - before for before, after in pairwise([begin, *within])}) <= 1
    # What lies between the last checkpoint and the end is less than one for each of so many parts of it.
    assert params.steps - every * multiples[-1] < max(every, params.steps / count)
    for branch in BRANCHES:
        equal_step, equal_time = measured_steps(branch, params)
        assert equal_step == [every * multiple for multiple in multiples]
        assert {*equal_step} <= {*measured_steps(branch, params.model_copy(update={"per_doubling": "all"}))[0]}
        time = times(branch, params)
        begin = params.enter_step if branch == "enter" else 0
        assert equal_time[0] == begin
        for step, multiple in zip(equal_time, multiples, strict=False):
            assert abs(time[step] - time[begin] - multiple * every) <= 0.5 * legs(branch, params)[-1].lr_factor + 1e-6
        if branch == "enter":  # its partner is measured where it begins
            assert begin in equal_step
        else:
            assert len(equal_time) in (len(multiples), len(multiples) - 1)  # the end may round to before the last


@given(params=parameters(), further=st.integers(0, 300))
def test_what_is_kept_of_a_run_does_not_depend_on_how_long_it_is(params, further):
    longer = params.model_copy(update={"steps": params.steps + further})
    for branch in BRANCHES:
        short, long = length(branch, params), length(branch, longer)
        assert short <= long
        kept = kept_steps(branch, params, short)
        assert kept == {step for step in kept_steps(branch, longer, long) if step <= short}
        assert {step for some in measured_steps(branch, params) for step in some} <= kept
        assert 0 in kept


@given(params=parameters())
def test_entering_and_leaving_are_the_same_run_until_the_step_size_is_restored(params):
    entering, leaving = legs("enter", params), legs("exit", params)
    for step in range(-2, params.enter_step + 1):
        one, other = leg_before(entering, step), leg_before(leaving, step)
        assert (one.lr_factor, one.flow_tolerance) == (other.lr_factor, other.flow_tolerance)
    assert leg_before(entering, params.enter_step + 1).lr_factor == 1
    assert leg_before(leaving, params.enter_step + 1).lr_factor == params.exit_factor


@given(params=parameters())
def test_at_onset_every_branch_is_measured_with_the_optimiser_of_the_base_run(params):
    for branch in BRANCHES:
        parts = legs(branch, params)
        assert [leg.end for leg in parts] == sorted({leg.end for leg in parts})
        for step in (-100, -1, 0):
            assert leg_before(parts, step) == Leg(0)
        for step in range(1, length(branch, params) + 1):
            leg = leg_before(parts, step)
            assert leg in parts
            assert step <= leg.end
            assert all(other.end < step for other in parts[: parts.index(leg)])


def test_the_lengths_of_a_default_run_are_those_worked_out_by_hand():
    params = BranchParams(steps=300, exit_factor=0.25, enter_step=150, checkpoint_every=25)
    assert {branch: length(branch, params) for branch in BRANCHES} == {
        "baseline": 300,
        "exit": 1200,
        "enter": 150 + 262,  # 150 steps cover the time of 37.5, so 262.5 are left
        "flow": 300,
    }
    assert measured_steps("exit", params)[1] == list(range(0, 1201, 100))
    assert measured_steps("enter", params)[1] == list(range(150, 413, 25))


def test_a_spacing_that_is_no_whole_number_of_steps_is_rounded_and_does_not_drift():
    params = BranchParams(steps=60, exit_factor=0.15, checkpoint_every=10)
    spaced = measured_steps("exit", params)[1]
    assert spaced == [0, 67, 133, 200, 267, 333, 400]
    assert {after - before for before, after in pairwise(spaced)} == {66, 67}


def test_over_a_long_run_there_are_few_checkpoints_that_are_not_regular():
    params = BranchParams(steps=100_000, checkpoint_every=25, exit_factor=0.1, per_doubling=8)
    # 4,000 multiples are 16, and eight in each doubling up to 2,048; from there to 4,000 every 256th.
    assert len(spaced(100_000, params)) == 1 + 16 + 8 * 7 + 7
    assert len(kept_steps("exit", params, length("exit", params))) < 200


def test_a_part_has_the_optimiser_of_the_base_run_with_its_own_step_size():
    base = Momentum(0.1, 0.3, 0.9)
    leaving = Leg(3, 0.25).optimizer(base, torch.zeros_like)
    assert leaving == Momentum(0.025, 0.3, 0.9)
    assert Leg(3).optimizer(base, torch.zeros_like) == base
    flow = Leg(3, flow_tolerance=0.01).optimizer(base, torch.zeros_like)
    assert isinstance(flow, GradientFlow)
    assert (flow.lr, flow.weight_decay, flow.tolerance) == (pytest.approx(1.0), 0.3, 0.01)
    assert flow.time_per_step == base.time_per_step
    assert math.isinf(flow.stability_threshold)
    assert flow.step(State(torch.zeros(2)), torch.zeros(2)).time == base.time_per_step
    assert Leg(3, 0.25).optimizer(GradientDescent(0.1), torch.zeros_like).time_per_step == pytest.approx(0.025)


def test_every_pair_compares_branches_that_there_are():
    assert {branch for pair in PAIRS.values() for branch in pair} <= set(BRANCHES)
    assert all(name in pair for name, pair in PAIRS.items())
