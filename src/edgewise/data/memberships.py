"""Your own groups: which training examples a file says are in which."""

import csv
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NoReturn

import numpy as np

from edgewise.data.files import Array, read_npz, require_memory
from edgewise.errors import ParameterError, said_by, shown
from edgewise.params import GROUP_NAME, NOISE_GROUPS, PAPERS_GROUPS

MOST = 50

#: The names of other groups, and of other columns of the tables in which groups have one.
RESERVED = {
    *(*PAPERS_GROUPS, *NOISE_GROUPS, "natural", "test"),
    *("step", "time", "seed", "quantile", "left_out", "input", "output", "accuracy", "loss"),
    *("coherent", "random", "gaussian_noise", "contrast", "gaussian_blur", "fgsm", "pgd"),
}
#: What is no text where a table is read.
NO_TEXT = {"na", "nan", "none", "null", "inf", "infinity", "true", "false"}
#: How other columns begin and end.
RESERVED_BEGINNINGS = ("baseline_", "exit_", "enter_", "flow_", "minus_", "over_step_", "control_")
RESERVED_ENDS = ("_low", "_high", "_accuracy", "_fgsm", "_subspace")


def read_groups(path: Path, names: Sequence[str]) -> dict[str, Array]:
    """For each group in a file a mask of its examples, bool [n], of those called `names` [n]; in the file's order.

    A CSV has the columns example and group, a row for each membership, so that an example can be in several groups. A
    .npz has the array train_group [n], the name of each example's group; "" is none. A whole number k there is the
    group group-k, one below 0 none.

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
            f"group {shown(wrong[0])}: a name begins with a letter, has letters, digits, '.', '-' and '_', is none of"
            f" {', '.join(sorted(RESERVED | NO_TEXT))}, does not begin with {', '.join(RESERVED_BEGINNINGS)}, and does"
            f" not end with {', '.join(RESERVED_ENDS)}",
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
        with path.open(encoding="utf-8-sig", newline="") as file:
            table = csv.DictReader(file, strict=True)
            rows, columns = [(table.line_num, row) for row in table], list(table.fieldnames or [])
    except (OSError, ValueError, csv.Error) as error:
        _fail(path, f"must be a readable CSV with the columns example and group: {said_by(error)}")
    if columns.count("example") != 1 or columns.count("group") != 1:
        _fail(path, f"must have the columns example and group, once each; has {shown(columns)}")
    place = {name: i for i, name in enumerate(names)}
    members: dict[str, list[int]] = {}
    for line, row in rows:
        if None in row or None in row.values():
            _fail(path, f"line {line} has more or fewer fields than the {len(columns)} columns")
        if row["example"] not in place:
            ends = f": {shown(names[0])} to {shown(names[-1])}" if names else ""
            _fail(
                path,
                f"line {line}: example {shown(row['example'])} is not among the {len(names)} training examples{ends}",
            )
        members.setdefault(row["group"], []).append(place[row["example"]])
    return {group: np.array(places) for group, places in members.items()}


def _of_array(path: Path, count: int) -> Mapping[str, Array]:
    """The places of each group's examples."""
    (group,) = read_npz("groups.file", path, ["train_group"])
    if group.shape != (count,) or group.dtype.kind not in "iuU":
        _fail(path, f"train_group is {group.dtype} {group.shape}; must be names or whole numbers of shape ({count},)")
    numbered = group.dtype.kind in "iu"
    named = [f"group-{k}" if k >= 0 else "" for k in group.tolist()] if numbered else group.tolist()
    return {name: np.flatnonzero(np.array(named) == name) for name in dict.fromkeys(named) if name}


def _is_name(group: str) -> bool:
    fits = re.fullmatch(GROUP_NAME, group) is not None
    of_tables = group in RESERVED or group.startswith(RESERVED_BEGINNINGS) or group.endswith(RESERVED_ENDS)
    return fits and not of_tables and group.lower() not in NO_TEXT and not re.match(r"class\d+_q\d", group)


def _fail(path: Path, allowed: str) -> NoReturn:
    raise ParameterError("groups.file", str(path), allowed)
