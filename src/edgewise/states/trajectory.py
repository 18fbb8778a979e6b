"""How a run is stored and read back: step records, checkpoints, and the state to branch from.

A run is written in a working folder, its journal. Killed at any moment, it goes on from its last snapshot and ends with
the same bytes. When it is complete, the checkpoints that are wanted of it are published: linked into their final place.
A journal that is damaged is refused and not begun anew: what is left of a long run may be worth restoring.
The journal of a branch stays, and goes on from there when more steps are wanted.
"""

import hashlib
import json
import os
import shutil
import sys
from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

import numpy as np
import torch
from pydantic import TypeAdapter, ValidationError
from torch import Tensor

from edgewise.data.files import PUBLISHING, Row, pack, unpack, write_atomically
from edgewise.errors import EdgewiseError
from edgewise.network.ranks import leads
from edgewise.states.branches import Leg
from edgewise.states.optimizers import State

#: Beside the checkpoints of a complete run: what its `Manifest` says.
MANIFEST = "run.json"


@dataclass(frozen=True)
class Manifest:
    """What is to be known of a complete run beside its checkpoints.

    Attributes
    ----------
    steps : the steps of the checkpoints that there must be, by what they are for
    legs : the parts of a branch; none for the base run
    unpublished : of the checkpoints that stay in the run's journal alone, the digest, by step
    """

    steps: Mapping[str, Sequence[int]]
    legs: Sequence[Leg]
    unpublished: Mapping[int, str] = field(default_factory=dict)

    def all_steps(self) -> list[int]:
        """Every step of which there is a checkpoint, in order."""
        return sorted({step for some in self.steps.values() for step in some})

    def every(self, count: int) -> list[int]:
        """Of the steps for each purpose every so many and the last, in order."""
        return sorted({step for some in self.steps.values() for step in (*some[::count], some[-1])})

    def is_sound(self) -> bool:
        """Whether there are steps for every purpose, and the parts of the branch reach to the last of them."""
        if not self.steps or not all(self.steps.values()):
            return False
        steps, ends = self.all_steps(), [leg.end for leg in self.legs]
        if not self.unpublished.keys() <= set(steps):
            return False
        return ends == sorted(set(ends)) and (not ends or ends[-1] >= steps[-1] - steps[0])


_MANIFEST = TypeAdapter(Manifest)


class Journal:
    """A run being written, taken up again where an earlier process left it; of several ranks, by the one that leads.

    Parameters
    ----------
    folder : the working folder
    fingerprint : of everything that the run depends on but its length; a journal of another fingerprint is discarded
    initial : where a new run starts

    Attributes
    ----------
    state : where the run goes on from
    rows : the records of all steps up to and including that of `state`; empty for a new run
    memory : vectors that must survive an interruption for the result to be the same

    Raises
    ------
    EdgewiseError
        If the folder holds a journal that is damaged, or lacks a checkpoint.
    """

    def __init__(self, folder: Path, fingerprint: str, initial: State) -> None:
        self.folder, self.fingerprint = folder, fingerprint
        self._snapshot = folder / "snapshot.npz"
        self.state = initial
        self.rows: list[Row] = []
        self.memory: dict[str, Tensor] = {}
        self._digests: dict[int, str] = {}  # of the checkpoints, by step
        self._safe = 0  # records in the last snapshot
        if not self._take_up() and leads():
            self.discard()
            self.folder.mkdir(parents=True)

    def is_new(self, state: State) -> bool:
        """Whether the step of `state` has yet to be recorded."""
        return not self.rows or state.step > self.rows[-1]["step"]

    def steps_since_start(self, state: State) -> int:
        """Steps from the first one recorded to that of `state`."""
        return state.step - int(self.rows[0]["step"]) if self.rows else 0

    def record(self, row: Row) -> None:
        """Add the record of a step."""
        self.rows.append(row)

    def has_much_that_is_new(self) -> bool:
        """Whether a hundredth of the records is new since the last snapshot: one has them all, and long runs many."""
        return 100 * (len(self.rows) - self._safe) >= len(self.rows)

    def snapshot(self, state: State) -> None:
        """Make `state`, with the records so far, the place from which an interrupted run goes on."""
        self.state, self._safe = state, len(self.rows)
        if not leads():
            return
        arrays, about = _state_to_arrays(state)
        arrays |= {f"memory.{name}": vector.cpu().numpy() for name, vector in self.memory.items()}
        arrays["rows"] = np.array([list(row.values()) for row in self.rows])
        kept = {str(step): digest for step, digest in self._digests.items() if step <= state.step}
        about |= {"fingerprint": self.fingerprint, "columns": list(self.rows[0]), "checkpoints": kept}
        write_atomically(self._snapshot, pack(arrays, about))

    def checkpoint(self, state: State) -> None:
        """Keep `state`."""
        if not leads():
            return
        content = pack(*_state_to_arrays(state))
        write_atomically(self.folder / _file_of(state.step), content)
        self._digests[state.step] = _digest(content)

    def go_back_to(self, last_step: int) -> None:
        """Take up the run at its last checkpoint up to `last_step`, if it has gone further."""
        if self.state.step > last_step:
            kept = max(step for step in self._digests if step <= last_step)
            self.state = load_state(checkpoint_at(self.folder, kept), self.state.theta)
            self.rows = [row for row in self.rows if row["step"] <= self.state.step]
            self._safe = 0

    def publish(self, folder: Path, manifest: Manifest, only: Collection[int] | None = None) -> None:
        """Link the checkpoints that the manifest names into `folder`, in place of what was there, and add it.

        With `only`, those of these steps alone; of the others the manifest has the digests.
        """
        if not leads():
            return
        published = [step for step in manifest.all_steps() if only is None or step in only]
        stay = {step: self._digests[step] for step in manifest.all_steps() if step not in published}
        beside = folder.with_name(folder.name + PUBLISHING)
        shutil.rmtree(beside, ignore_errors=True)
        beside.mkdir(parents=True)
        for step in published:
            source = checkpoint_at(self.folder, step)
            try:
                os.link(source, beside / source.name)
            except OSError:  # a file system without hard links
                shutil.copyfile(source, beside / source.name)
        write_atomically(beside / MANIFEST, (json.dumps(asdict(replace(manifest, unpublished=stay))) + "\n").encode())
        shutil.rmtree(folder, ignore_errors=True)
        beside.rename(folder)

    def discard(self) -> None:
        """Remove the working folder of a run that will not go on."""
        if not leads():
            return
        self._snapshot.unlink(missing_ok=True)  # first: without it, what a killed process leaves is no journal
        if self.folder.exists():
            shutil.rmtree(self.folder)

    def _take_up(self) -> bool:
        """Go on from the snapshot, if there is one of the same fingerprint, with all checkpoints before it.

        A checkpoint must be as it was written: what is published is the same file, and may have been damaged there.
        """
        if not self._snapshot.exists():
            return False
        try:
            arrays, about = unpack(self._snapshot.read_bytes())
            if about["fingerprint"] != self.fingerprint:
                print(f"{self.folder}: of other parameters, data or code; begun anew", file=sys.stderr)
                return False
            digests = {int(step): digest for step, digest in about["checkpoints"].items()}
        except (OSError, EdgewiseError, KeyError) as error:
            raise self._damaged(self._snapshot) from error
        for step, digest in digests.items():
            path = self.folder / _file_of(step)
            if not path.is_file() or _digest(path.read_bytes()) != digest:
                raise self._damaged(path)
        self._digests = digests
        like = self.state.theta
        self.state = _state_from_arrays(arrays, about, like)
        columns = zip(about["columns"], arrays["rows"].T, strict=True)
        values = {name: column.astype(int) if name == "step" else column for name, column in columns}
        self.rows = [
            dict(zip(values, row, strict=True)) for row in zip(*(v.tolist() for v in values.values()), strict=True)
        ]
        self._safe = len(self.rows)
        self.memory = {
            name.removeprefix("memory."): torch.from_numpy(array).to(like)
            for name, array in arrays.items()
            if name.startswith("memory.")
        }
        return True

    def _damaged(self, path: Path) -> EdgewiseError:
        return EdgewiseError(f"{path}: missing or damaged; restore it, or remove {self.folder} to train the run anew")


def manifest_of(folder: Path) -> Manifest:
    """What is known of a complete run.

    Raises
    ------
    EdgewiseError
        If the run is not complete, or one of its checkpoints is missing.
    """
    path = folder / MANIFEST
    damaged = EdgewiseError(f"{path}: damaged; `dvc repro --force` makes it again")
    try:
        manifest = _MANIFEST.validate_json(path.read_bytes(), strict=True)
    except OSError as error:
        raise EdgewiseError(f"{folder}: holds no checkpoints of a complete run; `dvc repro` makes them") from error
    except ValidationError as error:
        raise damaged from error
    if not manifest.is_sound():
        raise damaged
    for step in manifest.all_steps():
        if step not in manifest.unpublished:
            checkpoint_at(folder, step)
    return manifest


def last_checkpoint(folder: Path) -> Path:
    """The last checkpoint of a complete run; raises as `manifest_of` does."""
    return checkpoint_at(folder, manifest_of(folder).all_steps()[-1])


def checkpoint_at(folder: Path, step: int) -> Path:
    """The checkpoint of a given step.

    Raises
    ------
    EdgewiseError
        If there is none.
    """
    path = folder / _file_of(step)
    if not path.is_file():
        raise EdgewiseError(f"{path}: the checkpoint is missing; `dvc repro --force` makes it again")
    return path


def journalled_checkpoint(journal: Path, step: int, digest: str) -> Path:
    """The checkpoint of a given step in the journal of its run, where it is not published.

    Raises
    ------
    EdgewiseError
        If there is none of that digest: it has been removed, or the journal is that of another run.
    """
    path = journal / _file_of(step)
    if not path.is_file() or _digest(path.read_bytes()) != digest:
        raise EdgewiseError(f"{path}: damaged, removed once measured (branch.keep), or of another run")
    return path


def checkpoints(folder: Path) -> list[Path]:
    """All checkpoints of a complete run, in the order of their steps; raises as `manifest_of` does."""
    return [checkpoint_at(folder, step) for step in manifest_of(folder).all_steps()]


def _file_of(step: int) -> str:
    return f"step-{step:06d}.npz"


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


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
    except (OSError, EdgewiseError, KeyError) as error:
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
