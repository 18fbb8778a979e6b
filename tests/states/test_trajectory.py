"""How a run is stored: what comes back, and what damage does."""

import errno
import hashlib
import math
import os
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from edgewise.data.files import pack, unpack, write_atomically, write_rows
from edgewise.errors import EdgewiseError
from edgewise.states.branches import Leg
from edgewise.states.optimizers import State
from edgewise.states.trajectory import (
    MANIFEST,
    Journal,
    Manifest,
    checkpoint_at,
    checkpoints,
    last_checkpoint,
    load_state,
    manifest_of,
)

THETA = torch.tensor([1.0, -2.5, 1 / 3], dtype=torch.float64)
ROWS = [
    {"step": 0, "time": 0.0, "loss": 1 / 3, "secant_sharpness": math.nan},
    {"step": 1, "time": 0.1, "loss": 1e-300, "secant_sharpness": 7.0},
]


def journal(folder, fingerprint: str = "f") -> Journal:
    return Journal(folder / "journal", fingerprint, State(torch.zeros_like(THETA)))


def written(folder, fingerprint: str = "f") -> Journal:
    """A run with two records, a checkpoint of each and a snapshot."""
    run = journal(folder, fingerprint)
    last = State(THETA, 1, 0.1, {"momentum": 2 * THETA})
    run.checkpoint(State(THETA - 1))
    run.checkpoint(last)
    for row in ROWS:
        run.record(dict(row))
    run.memory["subspace"] = torch.eye(3, dtype=torch.float64)[:2]
    run.snapshot(last)
    return run


BOTH = Manifest({"equal_step": [0, 1], "equal_time": [1]}, [Leg(1, 0.25), Leg(3, flow_tolerance=0.01)])


def published(folder) -> Path:
    """The folder of a complete run of two checkpoints."""
    written(folder).publish(folder / "run", BOTH)
    return folder / "run"


def is_fresh(run: Journal) -> bool:
    return run.rows == [] and run.memory == {} and run.state.step == 0 and not run.state.theta.any()


def test_a_snapshot_is_taken_up_with_everything_in_it(tmp_path):
    written(tmp_path)
    again = journal(tmp_path)
    assert torch.equal(again.state.theta, THETA)
    assert again.state.theta.dtype == THETA.dtype
    assert (again.state.step, again.state.time) == (1, 0.1)
    assert torch.equal(again.state.buffers["momentum"], 2 * THETA)
    assert torch.equal(again.memory["subspace"], torch.eye(3, dtype=torch.float64)[:2])
    assert [list(row) for row in again.rows] == [list(row) for row in ROWS]
    np.testing.assert_equal(again.rows, ROWS)
    assert all(type(row["step"]) is int for row in again.rows)


def test_the_snapshots_of_a_long_run_hold_a_hundred_times_its_records_and_not_their_square(tmp_path):
    run, held = journal(tmp_path), []
    for step in range(5_000):
        run.record({"step": step})
        if run.has_much_that_is_new():
            run.snapshot(State(THETA, step))
            held.append(len(run.rows))
    assert held[:100] == list(range(1, 101))  # a short run has one whenever it is asked
    assert 5_000 - held[-1] <= 50
    assert sum(held) < 101 * 5_000
    assert len(journal(tmp_path).rows) == held[-1]


def test_after_going_back_the_next_snapshot_is_due(tmp_path):
    run = long_run(tmp_path)
    assert not run.has_much_that_is_new()
    run.go_back_to(7)
    assert run.has_much_that_is_new()


def test_a_run_of_another_fingerprint_is_discarded_with_its_checkpoints(tmp_path):
    written(tmp_path)
    other = journal(tmp_path, "g")
    assert is_fresh(other)
    assert list(other.folder.iterdir()) == []


def test_a_new_run_starts_at_its_initial_state(tmp_path):
    assert is_fresh(journal(tmp_path))


def assert_refused(folder, name):
    """The journal is not begun anew: one line names the file at fault, and nothing is removed."""
    before = sorted(path.name for path in (folder / "journal").iterdir())
    with pytest.raises(EdgewiseError) as caught:
        journal(folder)
    assert str(caught.value).startswith(f"{folder / 'journal' / name}: missing or damaged; restore it, or remove ")
    assert "\n" not in str(caught.value)
    assert sorted(path.name for path in (folder / "journal").iterdir()) == before


@pytest.mark.parametrize("fraction", [0.0, 0.01, 0.3, 0.7, 0.95, 0.999])
def test_a_snapshot_cut_short_is_refused(tmp_path, fraction):
    path = written(tmp_path).folder / "snapshot.npz"
    content = path.read_bytes()
    path.write_bytes(content[: int(fraction * len(content))])
    assert_refused(tmp_path, "snapshot.npz")


@pytest.mark.parametrize("step", [0, 1])
def test_a_journal_that_lacks_a_checkpoint_is_refused(tmp_path, step):
    path = checkpoint_at(written(tmp_path).folder, step)
    path.unlink()
    assert_refused(tmp_path, path.name)


@pytest.mark.parametrize("damage", [b"", b"cut", pack({"theta": THETA.numpy()}, {"step": 0, "time": 0.0})])
def test_a_journal_whose_published_checkpoint_was_changed_in_place_is_refused(tmp_path, damage):
    """The published file and that of the journal are one: what was done to the one must not be published again."""
    (published(tmp_path) / "step-000000.npz").write_bytes(damage)
    assert_refused(tmp_path, "step-000000.npz")


@pytest.mark.parametrize("removed", range(4))
def test_a_journal_that_was_being_removed_means_a_fresh_start(tmp_path, monkeypatch, removed):
    run = written(tmp_path)
    count, unlink = 0, os.unlink

    def counted(*arguments, **options):
        nonlocal count
        if count == removed:
            raise KeyboardInterrupt
        count += 1
        unlink(*arguments, **options)

    with monkeypatch.context() as patch:
        patch.setattr(os, "unlink", counted)
        with suppress(KeyboardInterrupt):
            run.discard()
    if removed == 0:
        assert journal(tmp_path).state.step == 1
    else:
        assert is_fresh(journal(tmp_path))


def test_a_file_of_another_name_in_the_journal_is_left_out(tmp_path):
    run = written(tmp_path)
    (run.folder / "step-000001 (copy).npz").write_bytes(b"of the user")
    run.snapshot(run.state)
    again = journal(tmp_path)
    assert again.state.step == 1
    again.go_back_to(0)
    assert again.state.step == 0


def test_a_checkpoint_after_the_snapshot_is_not_waited_for(tmp_path):
    run = written(tmp_path)
    run.checkpoint(State(THETA, 2))
    run.snapshot(run.state)
    checkpoint_at(run.folder, 2).unlink()
    assert journal(tmp_path).state.step == 1


def test_publishing_leaves_what_the_manifest_names_and_nothing_else(tmp_path):
    run = written(tmp_path)
    run.checkpoint(State(THETA, 7))
    run.publish(tmp_path / "deep" / "run", BOTH)
    assert {path.name for path in (tmp_path / "deep").iterdir()} == {"run"}
    assert {path.name for path in (tmp_path / "deep/run").iterdir()} == {"step-000000.npz", "step-000001.npz", MANIFEST}
    assert [path.name for path in checkpoints(tmp_path / "deep/run")] == ["step-000000.npz", "step-000001.npz"]
    assert last_checkpoint(tmp_path / "deep/run").name == "step-000001.npz"
    state = load_state(tmp_path / "deep/run/step-000001.npz", THETA)
    assert torch.equal(state.theta, THETA)
    assert (state.step, state.time) == (1, 0.1)
    assert torch.equal(state.buffers["momentum"], 2 * THETA)


def test_a_manifest_comes_back_as_it_was_written(tmp_path):
    found = manifest_of(published(tmp_path))
    assert found == BOTH
    assert found.all_steps() == [0, 1]
    assert Manifest({"a": [100, 2], "b": [2, 30]}, legs=()).all_steps() == [2, 30, 100]


def test_a_journal_stays_after_publishing_until_it_is_discarded(tmp_path):
    published(tmp_path)
    again = journal(tmp_path)
    assert again.state.step == 1
    again.discard()
    assert [path.name for path in tmp_path.iterdir()] == ["run"]
    assert is_fresh(journal(tmp_path))


def test_publishing_replaces_an_older_run_whole(tmp_path):
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "step-999999.npz").write_bytes(b"of an older run")
    (tmp_path / "run.publishing").mkdir()
    (tmp_path / "run.publishing" / "step-000003.npz").write_bytes(b"of a run that was killed")
    folder = published(tmp_path)
    assert {path.name for path in folder.iterdir()} == {"step-000000.npz", "step-000001.npz", MANIFEST}
    assert not (tmp_path / "run.publishing").exists()


def test_publishing_needs_no_hard_links(tmp_path, monkeypatch):
    def refused(source, target):
        raise PermissionError("no hard links here")

    linked = {path.name: path.read_bytes() for path in published(tmp_path / "linked").iterdir()}
    monkeypatch.setattr(os, "link", refused)
    assert {path.name: path.read_bytes() for path in published(tmp_path / "copied").iterdir()} == linked


def test_a_step_recorded_again_does_not_reach_what_was_published(tmp_path):
    """The published files are links; writing a checkpoint replaces the name and not the content."""
    folder = published(tmp_path)
    before = (folder / "step-000001.npz").read_bytes()
    journal(tmp_path).checkpoint(State(THETA + 5, 1))
    assert (folder / "step-000001.npz").read_bytes() == before


@pytest.mark.parametrize("missing", ["step-000000.npz", "step-000001.npz"])
def test_a_checkpoint_taken_out_of_a_complete_run_is_one_line_that_names_it(tmp_path, missing):
    folder = published(tmp_path)
    (folder / missing).unlink()
    for reading in (manifest_of, checkpoints, last_checkpoint):
        with pytest.raises(EdgewiseError) as caught:
            reading(folder)
        assert str(caught.value).startswith(f"{folder / missing}: the checkpoint is missing; ")
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\xff\xfe",
        b"null",
        b"[]",
        b"{}",
        b'{"steps": {"before_onset": [0, 1]}}',
        b'{"steps": [0, 1], "legs": []}',
        b'{"steps": {"before_onset": ["one"]}, "legs": []}',
        b'{"steps": {"before_onset": 3}, "legs": []}',
        b'{"steps": {}, "legs": []}',
        b'{"steps": {"before_onset": []}, "legs": []}',
        b'{"steps": {"before_onset": [0, 1]}, "legs": [{"end": "x"}]}',
        b'{"steps": {"before_onset": [0, 1]}, "legs": [{"start": 3}]}',
        b'{"steps": {"before_onset": [0, 1',
        b'{"steps": {"before_onset": [0, 1.5]}, "legs": []}',
        b'{"steps": {"before_onset": [0, true]}, "legs": []}',
        b'{"steps": {"before_onset": [0, 1]}, "legs": [{"end": 0}]}',
        b'{"steps": {"before_onset": [0, 1]}, "legs": [{"end": 1}, {"end": 1}]}',
        b'{"steps": {"before_onset": [0, 1]}, "legs": [{"end": 1, "lr_factor": "fast"}]}',
        b'{"steps": {"before_onset": [0, 1]}, "legs": [{"end": 1, "lr_factor": null}]}',
        b'{"steps": {"before_onset": [0, 1]}, "legs": {"end": 1}}',
        b'{"steps": {"before_onset": [0, 1]}, "legs": null}',
        b"[" * 100_000,
    ],
)
def test_a_damaged_manifest_is_one_line_that_names_it(tmp_path, content):
    folder = published(tmp_path)
    (folder / MANIFEST).write_bytes(content)
    for reading in (manifest_of, checkpoints, last_checkpoint):
        with pytest.raises(EdgewiseError) as caught:
            reading(folder)
        assert str(caught.value).startswith(f"{folder / MANIFEST}: damaged; ")
        assert "\n" not in str(caught.value)


def test_a_step_of_which_there_is_no_checkpoint_is_named(tmp_path):
    with pytest.raises(EdgewiseError, match=r"run/step-000005\.npz: the checkpoint is missing"):
        checkpoint_at(published(tmp_path), 5)


def long_run(folder) -> Journal:
    """A run with a checkpoint at every third step up to 12, and a snapshot at 13."""
    run = journal(folder)
    for step in range(14):
        state = State(THETA + step, step, step / 10)
        run.record({"step": step, "loss": step / 7})
        if step % 3 == 0:
            run.checkpoint(state)
    run.snapshot(state)
    return run


@pytest.mark.parametrize(("last", "expected"), [(20, 13), (13, 13), (12, 12), (11, 9), (3, 3), (2, 0), (0, 0)])
def test_a_run_that_has_gone_further_is_taken_up_at_its_last_checkpoint(tmp_path, last, expected):
    long_run(tmp_path)
    run = journal(tmp_path)
    run.go_back_to(last)
    assert (run.state.step, run.state.time) == (expected, expected / 10)
    assert torch.equal(run.state.theta, THETA + expected)
    assert [row["step"] for row in run.rows] == list(range(expected + 1))
    assert [row["loss"] for row in run.rows] == [step / 7 for step in range(expected + 1)]
    assert run.is_new(State(THETA, expected + 1))
    assert not run.is_new(run.state)


def test_a_state_is_read_in_the_type_that_is_asked_for(tmp_path):
    state = load_state(published(tmp_path) / "step-000001.npz", THETA.float())
    assert torch.equal(state.theta, THETA.float())


@pytest.mark.parametrize("fraction", [0.0, 0.01, 0.3, 0.7, 0.95, 0.999])
def test_a_checkpoint_cut_short_is_an_error_that_names_the_file(tmp_path, fraction):
    path = published(tmp_path) / "step-000001.npz"
    content = path.read_bytes()
    path.write_bytes(content[: int(fraction * len(content))])
    with pytest.raises(EdgewiseError, match=r"step-000001\.npz: not a checkpoint, or a damaged one"):
        load_state(path, THETA)


def test_a_file_of_another_kind_is_not_a_checkpoint(tmp_path):
    path = tmp_path / "step-000000.npz"
    path.write_bytes(pack({"x": np.ones(3)}, {"name": "digits"}))
    with pytest.raises(EdgewiseError, match="not a checkpoint"):
        load_state(path, THETA)


def test_a_checkpoint_of_another_network_is_an_error_that_says_both_sizes(tmp_path):
    path = published(tmp_path) / "step-000001.npz"
    with pytest.raises(EdgewiseError, match="has 3 parameters; the network has 5"):
        load_state(path, torch.zeros(5))


@pytest.mark.parametrize("exists", [True, False])
def test_a_folder_without_checkpoints_is_an_error_that_names_it(tmp_path, exists):
    if exists:
        (tmp_path / "run").mkdir()
    for reading in (manifest_of, checkpoints, last_checkpoint):
        with pytest.raises(EdgewiseError, match="run: holds no checkpoints of a complete run"):
            reading(tmp_path / "run")


def test_checkpoints_come_in_the_order_of_their_steps_beyond_a_million_too(tmp_path):
    run, steps = journal(tmp_path), [0, 25, 1000, 100_000, 999_999, 1_000_000, 2_000_000, 10_000_000]
    for step in (1000, 25, 10_000_000, 100_000, 2_000_000, 0, 1_000_000, 999_999):
        run.checkpoint(State(THETA, step))
        run.record({"step": step})
    run.publish(tmp_path / "run", Manifest({"some": steps[::-1]}, legs=()))
    assert [load_state(path, THETA).step for path in checkpoints(tmp_path / "run")] == steps
    assert load_state(last_checkpoint(tmp_path / "run"), THETA).step == 10_000_000
    for last, expected in ((9_999_999, 2_000_000), (1_500_000, 1_000_000), (999_999, 999_999), (999_998, 100_000)):
        run.state = State(THETA, 10_000_000)
        run.go_back_to(last)
        assert run.state.step == expected


@given(seed=st.integers(0, 1000), position=st.integers(0, 10_000), flip=st.integers(1, 255))
def test_a_damaged_byte_is_noticed_or_does_not_reach_the_numbers(seed, position, flip):
    array = np.random.default_rng(seed).standard_normal(20)
    content = bytearray(pack({"theta": array}, {"step": seed}))
    content[position % len(content)] ^= flip
    try:
        arrays, about = unpack(bytes(content))
    except EdgewiseError:
        return
    assert about == {"step": seed}
    for found in arrays.values():
        np.testing.assert_array_equal(found, array)


def test_equal_content_has_equal_bytes_whatever_the_order_of_its_description():
    array = np.arange(3.0)
    assert pack({"a": array}, {"x": 1, "y": [2]}) == pack({"a": array.copy()}, {"y": [2], "x": 1})


def test_the_bytes_depend_on_neither_the_python_nor_the_numpy_that_wrote_them():
    content = pack({"x": np.arange(6, dtype="<f4").reshape(2, 3)}, {"a": 1})
    known = "c9c15afc0a0dcfe6d568ceed3d5d17e0fc5e74df27848b973b2753a7d3f9c794"
    assert hashlib.sha256(content).hexdigest() == known  # the same under 3.10 to 3.13; numpy.savez's is not


def test_records_are_plain_csv_that_reads_back_exactly(tmp_path):
    write_rows(tmp_path / "deep" / "steps.csv", ROWS)
    header, first, second = (tmp_path / "deep" / "steps.csv").read_text().splitlines()
    assert header == "step,time,loss,secant_sharpness"
    assert first.endswith(",")
    assert [float(field) for field in second.split(",")] == list(ROWS[1].values())


def test_a_write_that_is_cut_short_leaves_the_old_file_whole(tmp_path, monkeypatch):
    path = tmp_path / "snapshot.npz"
    write_atomically(path, b"the old content")

    def killed(descriptor):
        os.truncate(descriptor, 3)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", killed)
        with pytest.raises(KeyboardInterrupt):
            write_atomically(path, b"the new content")
    assert path.read_bytes() == b"the old content"
    write_atomically(path, b"the new content")
    assert [file.name for file in tmp_path.iterdir()] == ["snapshot.npz"]
    assert path.read_bytes() == b"the new content"


def test_two_who_write_one_file_leave_it_whole(tmp_path):
    path, contents = tmp_path / "steps.csv", [bytes([65 + i]) * 200_000 for i in range(4)]
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda i: write_atomically(path, contents[i % 4]), range(80)))
    assert path.read_bytes() in contents
    assert [file.name for file in tmp_path.iterdir()] == ["steps.csv"]


def test_where_there_is_no_room_the_error_says_how_much_is_needed(tmp_path, monkeypatch):
    def full(descriptor):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    path = tmp_path / "steps.csv"
    path.write_bytes(b"the old content")
    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(
        EdgewiseError, match=r"steps.csv: cannot be written \(No space left on device\); 15 bytes are n"
    ):
        write_atomically(path, b"the new content")
    assert [file.read_bytes() for file in tmp_path.iterdir()] == [b"the old content"]


@pytest.mark.parametrize(
    ("name", "value"), [("alignment_inlier", math.nan), ("loss", math.inf), ("oscillation", math.inf)]
)
def test_a_measurement_that_is_not_finite_stops_with_its_name_and_is_not_written(tmp_path, name, value):
    rows = [{"step": 3, "iterate": 1, "alignment_inlier": 0.5, "loss": 1.0, "oscillation": math.nan}]
    write_rows(tmp_path / "sound.csv", rows)
    with pytest.raises(EdgewiseError, match=rf"damaged.csv: {name} is {value} at step 3, iterate 1: a measurement"):
        write_rows(tmp_path / "damaged.csv", [{**rows[0], name: value}])
    assert not (tmp_path / "damaged.csv").exists()
