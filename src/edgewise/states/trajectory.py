"""How a run is stored and read back: step records, checkpoints, and the state to branch from.

A run being written lives in a folder beside its final place and moves there when it is complete. Killed at any
moment, it goes on from its last snapshot and ends with the same bytes.
"""

import shutil
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from edgewise.data.files import Row, pack, unpack, write_atomically
from edgewise.errors import EdgewiseError
from edgewise.states.optimizers import State


class Journal:
    """A run being written, taken up again where an earlier process left it.

    Parameters
    ----------
    folder : where the checkpoints will be when the run is complete
    fingerprint : of everything that the run depends on; an unfinished run of another fingerprint is discarded
    initial : where a new run starts

    Attributes
    ----------
    state : where the run goes on from
    rows : the records of all steps up to and including that of `state`; empty for a new run
    memory : vectors that must survive an interruption for the result to be the same
    """

    def __init__(self, folder: Path, fingerprint: str, initial: State) -> None:
        self.folder, self.fingerprint = folder, fingerprint
        self.partial = folder.with_name(folder.name + ".partial")
        self.state = initial
        self.rows: list[Row] = []
        self.memory: dict[str, Tensor] = {}
        if not self._take_up():
            shutil.rmtree(self.partial, ignore_errors=True)
            self.partial.mkdir(parents=True)

    def is_new(self, state: State) -> bool:
        """Whether the step of `state` has yet to be recorded."""
        return not self.rows or state.step > self.rows[-1]["step"]

    def steps_since_start(self, state: State) -> int:
        """Steps from the first one recorded to that of `state`."""
        return state.step - int(self.rows[0]["step"]) if self.rows else 0

    def record(self, row: Row) -> None:
        """Add the record of a step."""
        self.rows.append(row)

    def snapshot(self, state: State) -> None:
        """Make `state`, with the records so far, the place from which an interrupted run goes on."""
        self.state = state
        arrays, about = _state_to_arrays(state)
        arrays |= {f"memory.{name}": vector.cpu().numpy() for name, vector in self.memory.items()}
        arrays["rows"] = np.array([list(row.values()) for row in self.rows])
        about |= {"fingerprint": self.fingerprint, "columns": list(self.rows[0])}
        write_atomically(self.partial / "snapshot.npz", pack(arrays, about))

    def checkpoint(self, state: State) -> None:
        """Keep `state` for good."""
        write_atomically(self.partial / f"step-{state.step:06d}.npz", pack(*_state_to_arrays(state)))

    def publish(self) -> None:
        """Keep the last state, and move the complete run to its final place."""
        self.checkpoint(self.state)
        (self.partial / "snapshot.npz").unlink()
        shutil.rmtree(self.folder, ignore_errors=True)
        self.partial.rename(self.folder)

    def _take_up(self) -> bool:
        """Go on from the snapshot, if there is a sound one of the same fingerprint."""
        try:
            arrays, about = unpack((self.partial / "snapshot.npz").read_bytes())
        except (OSError, EdgewiseError):
            return False
        if about["fingerprint"] != self.fingerprint:
            return False
        like = self.state.theta
        self.state = _state_from_arrays(arrays, about, like)
        columns = zip(about["columns"], arrays["rows"].T, strict=True)
        values = {name: column.astype(int) if name == "step" else column for name, column in columns}
        self.rows = [
            dict(zip(values, row, strict=True)) for row in zip(*(v.tolist() for v in values.values()), strict=True)
        ]
        self.memory = {
            name.removeprefix("memory."): torch.from_numpy(array).to(like)
            for name, array in arrays.items()
            if name.startswith("memory.")
        }
        return True


def checkpoints(folder: Path) -> list[Path]:
    """The checkpoint files of a complete run, in the order of their steps.

    Raises
    ------
    EdgewiseError
        If there are none.
    """
    files = sorted(folder.glob("step-*.npz"))
    if not files:
        raise EdgewiseError(f"{folder}: holds no checkpoints of a complete run")
    return files


def checkpoint_at(folder: Path, step: int) -> Path:
    """The checkpoint of a given step.

    Raises
    ------
    EdgewiseError
        If there is none.
    """
    path = folder / f"step-{step:06d}.npz"
    if not path.exists():
        raise EdgewiseError(f"{path}: there is no checkpoint of that step")
    return path


def load_state(path: Path, like: Tensor) -> State:
    """The state in a checkpoint file, with vectors of the type and device of `like`.

    Raises
    ------
    EdgewiseError
        If the file is damaged or of a network of another size.
    """
    try:
        arrays, about = unpack(path.read_bytes())
        state = _state_from_arrays(arrays, about, like)
    except (EdgewiseError, KeyError) as error:
        raise EdgewiseError(f"{path}: not a checkpoint, or a damaged one: {error}") from error
    if state.theta.shape != like.shape:
        raise EdgewiseError(f"{path}: has {len(state.theta)} parameters; the network has {len(like)}")
    return state


def _state_to_arrays(state: State) -> tuple[dict[str, np.ndarray], dict[str, object]]:
    vectors = {"theta": state.theta, **{f"buffer.{name}": vector for name, vector in state.buffers.items()}}
    return {name: v.cpu().numpy() for name, v in vectors.items()}, {"step": state.step, "time": state.time}


def _state_from_arrays(arrays: dict[str, np.ndarray], about: dict[str, object], like: Tensor) -> State:
    vectors = {name: torch.from_numpy(array).to(like) for name, array in arrays.items() if name != "rows"}
    buffers = {name.removeprefix("buffer."): v for name, v in vectors.items() if name.startswith("buffer.")}
    return State(vectors["theta"], int(str(about["step"])), float(str(about["time"])), buffers)
