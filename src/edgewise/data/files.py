"""How things are kept in files: arrays as one self-describing .npz, records as CSV; equal content gives equal bytes."""

import io
import json
import math
import os
import shutil
import uuid
import zipfile
import zlib
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from edgewise.errors import EdgewiseError, ParameterError

Array = npt.NDArray[Any]
Row = dict[str, float]

#: How the name of a file ends while it is written, and of a folder of checkpoints. DVC sees neither, whatever became of
#: the process.
UNFINISHED, PUBLISHING = ".writing", ".publishing"

#: Columns of records that have no number in some rows; all others have one in every row.
MAY_LACK = (
    "secant_sharpness",
    "oscillation",
    "sharpness",
    "distance",
    "covered",
    "flow_distance",
    "flow_travelled",
    "centroid_correlation",
    "centroid_correlation_low",
    "centroid_correlation_high",
)

#: What numpy raises for a file that is no .npz, or is a damaged one, depending on where the damage is.
UNREADABLE_NPZ = (
    OSError,
    ValueError,
    KeyError,
    EOFError,
    TypeError,
    RuntimeError,
    MemoryError,
    zlib.error,
    zipfile.BadZipFile,
)


def pack(arrays: dict[str, Array], about: dict[str, Any]) -> bytes:
    """Arrays and a description as the bytes of one .npz; equal content gives equal bytes.

    Under every Python too, or DVC would not find what it has cached: `numpy.savez` writes zip headers that differ.
    """
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, array in {**arrays, "about": np.array(json.dumps(about, sort_keys=True))}.items():
            content = io.BytesIO()
            np.save(content, array, allow_pickle=False)
            archive.writestr(zipfile.ZipInfo(f"{name}.npy"), content.getbuffer())
    return buffer.getvalue()


def unpack(content: bytes) -> tuple[dict[str, Array], dict[str, Any]]:
    """The arrays and the description that `pack` wrote.

    Raises
    ------
    EdgewiseError
        If the content is not such a file, or is cut short.
    """
    try:
        with np.load(io.BytesIO(content), allow_pickle=False) as file:
            arrays = {key: file[key] for key in file.files}
        return arrays, json.loads(str(arrays.pop("about")))
    except UNREADABLE_NPZ as error:
        raise EdgewiseError("not a file of edgewise, or a damaged one") from error


def require_memory(name: str, value: object, needed: int) -> None:
    """Raise a `ParameterError` of the parameter `name` if this machine does not have so many bytes of memory."""
    there = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    if needed > there:
        raise ParameterError(
            name, value, f"needs {needed / 1e9:.1f} GB of memory or more; this machine has {there / 1e9:.1f}"
        )


def read_npz(parameter: str, path: Path, names: Sequence[str]) -> list[Array]:
    """The arrays of these names in an .npz of the user's, which a parameter names.

    Raises
    ------
    ParameterError
        Names the parameter, if that is no such file, lacks one of them, or would not fit into memory.
    """
    try:
        if not path.is_file():
            raise FileNotFoundError("there is no such file")
        with zipfile.ZipFile(path) as archive:
            require_memory(parameter, str(path), sum(member.file_size for member in archive.infolist()))
        with np.load(path, allow_pickle=False) as file:
            return [file[name] for name in names]
    except UNREADABLE_NPZ as error:
        allowed = f"must be a readable .npz file with the array{'s' * (len(names) > 1)} {', '.join(names)}: {error}"
        raise ParameterError(parameter, str(path), allowed) from error


def write_atomically(path: Path, content: bytes) -> None:
    """Write a file so that it is there whole or not at all, whoever else writes it at the same time.

    Raises
    ------
    EdgewiseError
        If it cannot be written; what was there stays.
    """
    beside = path.with_name(f"{path.name}.{uuid.uuid4().hex[:8]}{UNFINISHED}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with beside.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(beside, path)
    except OSError as error:
        free = f" and {shutil.disk_usage(path.parent).free:,} are free" if path.parent.is_dir() else ""
        raise EdgewiseError(
            f"{path}: cannot be written ({error.strerror}); {len(content):,} bytes are needed{free}"
        ) from error
    finally:
        with suppress(OSError):
            beside.unlink(missing_ok=True)


def write_rows(path: Path, rows: Sequence[Mapping[str, float | str]]) -> None:
    """Write records as CSV, one row each, every digit of each number; nan is an empty field.

    Raises
    ------
    EdgewiseError
        If a number is not finite, but for nan in the columns `MAY_LACK`; nothing is written.
    """
    for row in rows:
        for name, value in row.items():
            if isinstance(value, float) and not math.isfinite(value) and not (name in MAY_LACK and value != value):
                about = ", ".join(f"{key} {row[key]}" for key in ("step", "iterate", "alpha") if key in row)
                raise EdgewiseError(f"{path}: {name} is {value} at {about}: a measurement that is not a finite number")
    _write_csv(path, pd.DataFrame(rows), index=False)


def write_table(path: Path, table: pd.DataFrame) -> None:
    """Write a table for people as CSV, its index first, with six significant digits; nan is an empty field."""
    _write_csv(path, table, float_format="%.6g")


def _write_csv(path: Path, table: pd.DataFrame, **options: Any) -> None:
    write_atomically(path, table.to_csv(lineterminator="\n", **options).encode())
