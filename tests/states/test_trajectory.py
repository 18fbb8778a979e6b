"""How a run is stored: what comes back, and what damage does."""

import hashlib
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from edgewise.data.files import pack, unpack, write_atomically, write_rows
from edgewise.errors import EdgewiseError
from edgewise.states.optimizers import State
from edgewise.states.trajectory import Journal, checkpoints, load_state

THETA = torch.tensor([1.0, -2.5, 1 / 3], dtype=torch.float64)
ROWS = [
    {"step": 0, "time": 0.0, "loss": 1 / 3, "secant_sharpness": math.nan},
    {"step": 1, "time": 0.1, "loss": 1e-300, "secant_sharpness": 7.0},
]


def journal(folder, fingerprint: str = "f") -> Journal:
    return Journal(folder / "run", fingerprint, State(torch.zeros_like(THETA)))


def written(folder, fingerprint: str = "f") -> Journal:
    """A run with two records and a snapshot, not yet complete."""
    run = journal(folder, fingerprint)
    run.checkpoint(State(THETA - 1))
    run.rows.extend(dict(row) for row in ROWS)
    run.memory["subspace"] = torch.eye(3, dtype=torch.float64)[:2]
    run.snapshot(State(THETA, 1, 0.1, {"momentum": 2 * THETA}))
    return run


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


def test_a_run_of_another_fingerprint_is_discarded_with_its_checkpoints(tmp_path):
    written(tmp_path)
    other = journal(tmp_path, "g")
    assert is_fresh(other)
    assert list(other.partial.iterdir()) == []


def test_a_new_run_starts_at_its_initial_state(tmp_path):
    assert is_fresh(journal(tmp_path))


@pytest.mark.parametrize("fraction", [0.0, 0.01, 0.3, 0.7, 0.95, 0.999])
def test_a_snapshot_cut_short_means_a_fresh_start(tmp_path, fraction):
    path = written(tmp_path).partial / "snapshot.npz"
    content = path.read_bytes()
    path.write_bytes(content[: int(fraction * len(content))])
    assert is_fresh(journal(tmp_path))


def test_publishing_leaves_the_checkpoints_and_the_last_state_and_nothing_else(tmp_path):
    written(tmp_path).publish()
    assert [path.name for path in tmp_path.iterdir()] == ["run"]
    assert [path.name for path in checkpoints(tmp_path / "run")] == ["step-000000.npz", "step-000001.npz"]
    state = load_state(tmp_path / "run" / "step-000001.npz", THETA)
    assert torch.equal(state.theta, THETA)
    assert (state.step, state.time) == (1, 0.1)
    assert torch.equal(state.buffers["momentum"], 2 * THETA)


def test_publishing_replaces_an_older_run_whole(tmp_path):
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "step-999999.npz").write_bytes(b"of an older run")
    written(tmp_path).publish()
    assert [path.name for path in checkpoints(tmp_path / "run")] == ["step-000000.npz", "step-000001.npz"]


def test_a_state_is_read_in_the_type_that_is_asked_for(tmp_path):
    written(tmp_path).publish()
    state = load_state(tmp_path / "run" / "step-000001.npz", THETA.float())
    assert torch.equal(state.theta, THETA.float())


@pytest.mark.parametrize("fraction", [0.0, 0.01, 0.3, 0.7, 0.95, 0.999])
def test_a_checkpoint_cut_short_is_an_error_that_names_the_file(tmp_path, fraction):
    written(tmp_path).publish()
    path = tmp_path / "run" / "step-000001.npz"
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
    written(tmp_path).publish()
    with pytest.raises(EdgewiseError, match="has 3 parameters; the network has 5"):
        load_state(tmp_path / "run" / "step-000001.npz", torch.zeros(5))


@pytest.mark.parametrize("exists", [True, False])
def test_a_folder_without_checkpoints_is_an_error_that_names_it(tmp_path, exists):
    if exists:
        (tmp_path / "run").mkdir()
    with pytest.raises(EdgewiseError, match="run: holds no checkpoints of a complete run"):
        checkpoints(tmp_path / "run")


def test_checkpoints_come_in_the_order_of_their_steps(tmp_path):
    run = journal(tmp_path)
    for step in (1000, 25, 100_000, 0):
        run.checkpoint(State(THETA, step))
    assert [load_state(path, THETA).step for path in checkpoints(run.partial)] == [0, 25, 1000, 100_000]


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
    whole_write = Path.write_bytes

    def half_write(self, content):
        whole_write(self, content[: len(content) // 2])
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Path, "write_bytes", half_write)
        with pytest.raises(KeyboardInterrupt):
            write_atomically(path, b"the new content")
    assert path.read_bytes() == b"the old content"
    write_atomically(path, b"the new content")
    assert [file.name for file in tmp_path.iterdir()] == ["snapshot.npz"]
    assert path.read_bytes() == b"the new content"
