"""Your own groups: which training examples a file says are in which."""

import re
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NoReturn

import numpy as np
import pandas as pd

from edgewise.data.files import UNREADABLE_NPZ, Array, require_memory
from edgewise.errors import ParameterError

MOST = 50

#: What other columns of the tables are called by, or end with.
RESERVED = {"natural", "test", "inlier", "boundary", "output_outlier", "input_outlier", "mislabelled", "clean"}
RESERVED_ENDS = ("_low", "_high", "_accuracy", "_fgsm", "_subspace")


def read_groups(path: Path, names: Sequence[str]) -> dict[str, Array]:
    """For each group in a file a mask of its examples, bool [n], of those called `names` [n]; in the file's order.

    A CSV has the columns example and group, a row for each membership, so that an example can be in several groups. A
    .npz has the array train_group [n], the name of each example's group; "" is none.

    Raises
    ------
    ParameterError
        Names groups.file, what is wrong there and what is allowed.
    """
    if path.exists() and not path.is_file():
        _fail(path, "must be a regular file")
    memberships = _of_array(path, len(names)) if path.suffix == ".npz" else _of_csv(path, names)
    wrong = [group for group in memberships if not _is_name(group)]
    if wrong:
        _fail(
            path,
            f"group {wrong[0]!r}: a name has letters, digits, '.', '-' and '_', is none of"
            f" {', '.join(sorted(RESERVED))}, and does not end with {', '.join(RESERVED_ENDS)}",
        )
    if not 1 <= len(memberships) <= MOST:
        _fail(path, f"names {len(memberships)} groups; 1 to {MOST} are allowed")
    masks = {group: np.zeros(len(names), dtype=bool) for group in memberships}
    for group, members in memberships.items():
        masks[group][members] = True
    return masks


def _of_csv(path: Path, names: Sequence[str]) -> Mapping[str, Array]:
    """The places of each group's examples."""
    try:
        require_memory("groups.file", str(path), path.stat().st_size)
        table = pd.read_csv(path, dtype=str, keep_default_na=False)
    except (OSError, ValueError) as error:
        _fail(path, f"must be a readable CSV with the columns example and group: {' '.join(str(error).split())}")
    if not {"example", "group"} <= set(table.columns):
        _fail(path, f"must have the columns example and group, has {', '.join(map(str, table.columns))}")
    place = {name: i for i, name in enumerate(names)}
    unknown = [example for example in table["example"] if example not in place]
    if unknown:
        allowed = f"{names[0]} to {names[-1]}" if names else "none"
        _fail(path, f"example {unknown[0]!r} is not among the {len(names)} training examples: {allowed}")
    places = table["example"].map(place).to_numpy()
    return {str(group): places[rows] for group, rows in table.groupby("group", sort=False).indices.items()}


def _of_array(path: Path, count: int) -> Mapping[str, Array]:
    """The places of each group's examples."""
    try:
        with zipfile.ZipFile(path) as archive:
            require_memory("groups.file", str(path), sum(member.file_size for member in archive.infolist()))
        with np.load(path, allow_pickle=False) as file:
            group = file["train_group"]
    except UNREADABLE_NPZ as error:
        _fail(path, f"must be a readable .npz file with the array train_group: {error}")
    if group.shape != (count,) or group.dtype.kind not in "iuU":
        _fail(path, f"train_group is {group.dtype} {group.shape}; must be names or whole numbers of shape ({count},)")
    named = group.astype(str)
    return {str(name): np.flatnonzero(named == name) for name in dict.fromkeys(named.tolist()) if name != ""}


def _is_name(group: str) -> bool:
    fits = re.fullmatch(r"[A-Za-z0-9][\w.-]{0,39}", group) is not None
    of_tables = group in RESERVED or group.endswith(RESERVED_ENDS) or re.match(r"control_|minus_|class\d+_q", group)
    return fits and not of_tables


def _fail(path: Path, allowed: str) -> NoReturn:
    raise ParameterError("groups.file", str(path), allowed)
