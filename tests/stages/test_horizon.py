"""Branches of one length after another: what is trained again, and that no one can tell from the outputs."""

import shutil
from pathlib import Path

import pandas as pd
import pytest
from small import (
    FOUR,
    OPTIMIZERS,
    SEED,
    Killed,
    checkpoints_of,
    configuration,
    evaluations,
    files_under,
    in_a_copy,
    onset_of,
    published,
    records_of,
    up_to_base,
    with_branch,
)

import branch
from edgewise.params import Params
from edgewise.states.branches import kept_steps, legs, length, measured_steps
from edgewise.states.trajectory import manifest_of

#: Checkpoints that are not regular, within the few steps of these runs.
SPARSE = {"checkpoint_every": 2, "per_doubling": 4}
#: Each branch, the exit branch where neither its length nor the spacing of its checkpoints is a whole number, and
#: checkpoints that are not regular.
KINDS = [(name, {"exit_factor": 0.25}) for name in FOUR]
KINDS += [("exit", {"exit_factor": 0.37}), ("exit", {"exit_factor": 0.37, **SPARSE}), ("enter", SPARSE)]


@pytest.fixture(scope="module", params=list(OPTIMIZERS))
def onset(request, tmp_path_factory) -> Path:
    """The folder of a run up to onset, which is not to be changed."""
    folder = tmp_path_factory.mktemp(request.param)
    up_to_base(folder, configuration(request.param))
    return folder


@pytest.fixture
def at_onset(onset, tmp_path, monkeypatch) -> Params:
    """The parameters, in a copy of the run up to onset to work in."""
    return in_a_copy(onset, tmp_path, monkeypatch)


only_gd = pytest.mark.parametrize("onset", ["gd"], indirect=True)
only_momentum = pytest.mark.parametrize("onset", ["momentum"], indirect=True)


def trained(params: Params, name: str) -> int:
    """Train a branch; the steps that were evaluated for it."""
    with evaluations() as count:
        branch.main(params, seed=SEED, branch=name)
    return count()


def from_the_start(params: Params, name: str, folder: Path) -> dict[str, bytes]:
    """What a branch publishes that is trained in one go."""
    shutil.copytree("data", folder / "data")
    shutil.rmtree(folder / "data/journals", ignore_errors=True)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        branch.main(params, seed=SEED, branch=name)
    return published(name, folder)


@pytest.mark.parametrize(("name", "options"), KINDS)
def test_a_longer_horizon_trains_the_further_steps_alone_and_ends_with_the_bytes_of_a_long_run(
    at_onset, tmp_path, name, options
):
    short, long = (with_branch(at_onset, steps=steps, **options) for steps in (30, 60))
    whole = [from_the_start(params, name, tmp_path / f"of-{params.branch.steps}") for params in (short, long)]
    parts = len(legs(name, short.branch))  # where a part begins or is taken up, a state is evaluated once more
    of_short, of_long = (length(name, params.branch) for params in (short, long))
    kept = max(kept_steps(name, short.branch, of_short))
    for params, expected, further in (
        (short, whole[0], of_short),
        (long, whole[1], of_long - of_short),
        (short, whole[0], of_short - kept),
        (long, whole[1], of_long - of_short),
        (long, whole[1], 0),
    ):
        assert trained(params, name) == parts + further
        assert published(name) == expected
    assert len(whole[1]) > len(whole[0])


@only_momentum
@pytest.mark.parametrize(("name", "options"), KINDS)
def test_a_change_of_the_horizon_that_is_killed_anywhere_ends_with_the_same_bytes(at_onset, tmp_path, name, options):
    options = {"flow_tolerance": 0.1, **options}
    short, long = (with_branch(at_onset, steps=steps, **options) for steps in (25, 48))
    whole = [from_the_start(params, name, tmp_path / f"of-{params.branch.steps}") for params in (short, long)]
    branch.main(short, seed=SEED, branch=name)
    killed, moments = 0, (2, 15) if name == "flow" else (1, 2, 3, 15, 23)
    for moment in moments:
        for params, expected in ((long, whole[1]), (short, whole[0])):
            with evaluations(killed_at=moment):
                try:
                    branch.main(params, seed=SEED, branch=name)
                except Killed:
                    killed += 1
            branch.main(params, seed=SEED, branch=name)
            assert published(name) == expected
    assert killed > len(moments)


@only_momentum
@pytest.mark.parametrize("moment", [4, 11, 12, 13, 30])
def test_an_enter_branch_killed_on_either_part_ends_with_the_same_bytes(at_onset, tmp_path, moment):
    whole = from_the_start(at_onset, "enter", tmp_path / "whole")
    with evaluations(killed_at=moment), pytest.raises(Killed):
        branch.main(at_onset, seed=SEED, branch="enter")
    branch.main(at_onset, seed=SEED, branch="enter")
    assert published("enter") == whole


@only_momentum
@pytest.mark.parametrize("steps", [20, 50])
def test_a_killed_branch_of_another_length_ends_as_if_it_had_never_been(at_onset, tmp_path, steps):
    wanted = with_branch(at_onset, steps=steps)
    whole = from_the_start(wanted, "baseline", tmp_path / "whole")
    with evaluations(killed_at=35), pytest.raises(Killed):
        branch.main(with_branch(at_onset, steps=40), seed=SEED, branch="baseline")
    assert not checkpoints_of("baseline").exists()
    assert trained(wanted, "baseline") == (1 if steps == 20 else 1 + 50 - 30)
    assert published("baseline") == whole
    assert len((records_of("baseline") / "steps.csv").read_text().splitlines()) == steps + 2


@pytest.mark.parametrize(
    ("change", "again"),
    [
        ({"steps": 20}, set()),
        ({"exit_factor": 0.5}, {"exit", "enter"}),
        ({"enter_step": 5, "checkpoint_every": 5}, set(FOUR)),
        ({"per_doubling": 4}, set(FOUR)),
        ({"steps": 40, "enter_step": 20}, {"enter"}),
        ({"flow_tolerance": 0.02}, {"flow"}),
    ],
    ids=["steps", "exit_factor", "checkpoint_every", "per_doubling", "enter_step", "flow_tolerance"],
)
@only_gd
def test_a_branch_begins_anew_only_where_its_states_depend_on_what_changed(at_onset, change, again):
    for name in FOUR:
        branch.main(at_onset, seed=SEED, branch=name)
    changed = with_branch(at_onset, **change)
    begun = set()
    for name in FOUR:
        parts, last = len(legs(name, changed.branch)), length(name, changed.branch)
        count = trained(changed, name)
        if count == parts + last:
            begun.add(name)
    assert begun == again


def test_the_exit_factor_leaves_the_baseline_and_the_flow_as_they_are(at_onset):
    names = ("baseline", "flow")
    for name in names:
        branch.main(at_onset, seed=SEED, branch=name)
    before = files_under(Path("data"))
    for name in names:
        assert trained(with_branch(at_onset, exit_factor=0.6), name) == 1  # the last state, and no step
    assert files_under(Path("data")) == before
    assert any(name.startswith(f"journals/seed-{SEED}/baseline/") for name in before)


@pytest.mark.parametrize("factor", [0.25, 0.37])
def test_all_branches_cover_the_same_time_and_are_measured_at_equal_steps_and_at_equal_times(at_onset, factor):
    params = with_branch(at_onset, exit_factor=factor)
    for name in FOUR:
        branch.main(params, seed=SEED, branch=name)
    tables = {name: pd.read_csv(records_of(name) / "steps.csv").set_index("step") for name in FOUR}
    t_star = onset_of()
    one_step = tables["baseline"]["time"].diff().iloc[-1]
    begin = tables["baseline"]["time"].iloc[0]
    for name, table in tables.items():
        assert table.index[0] == t_star
        assert len(table) == 1 + length(name, params.branch)
        rounding = one_step * (factor if name == "exit" else 1) / 2
        assert table["time"].iloc[-1] - begin == pytest.approx(30 * one_step, abs=rounding + 1e-9)
        manifest = manifest_of(checkpoints_of(name))
        equal_step, equal_time = (
            [step - t_star for step in manifest.steps[f"equal_{held}"]] for held in ("step", "time")
        )
        assert (equal_step, equal_time) == measured_steps(name, params.branch)
        assert equal_step == [0, 10, 20, 30]
        times = (
            table["time"].loc[[t_star + step for step in equal_time]].to_numpy()
            - table["time"].loc[t_star + equal_time[0]]
        )
        for i, time in enumerate(times):
            assert time == pytest.approx(10 * i * one_step, abs=rounding + 1e-9)
        assert len(times) == (3 if name == "enter" else 4)
