"""`edgewise report`: one HTML file of one or several runs, which opens anywhere and needs no network."""

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from edgewise.data.files import write_atomically
from edgewise.study.reported import Run
from edgewise.study.revisions import WORKSPACE
from edgewise.study.webpage import page

if TYPE_CHECKING:  # at run time argparse's class takes no parameter
    Commands = argparse._SubParsersAction[argparse.ArgumentParser]


def add_command(commands: "Commands") -> None:
    """Add `edgewise report` to the command line."""
    parser = commands.add_parser(
        "report",
        help="one HTML file of a run, or of several experiments side by side",
        description="Write one HTML file that needs no network: what was found, the claims, every figure, and what"
        " makes each number.",
    )
    parser.add_argument(
        "revisions",
        nargs="*",
        default=[WORKSPACE],
        metavar="REV",
        help=f"a commit, branch, tag or DVC experiment; {WORKSPACE}, the default, is the working tree",
    )
    parser.add_argument("--output", type=Path, default=Path("report.html"), help="the file (default: %(default)s)")
    parser.set_defaults(run=lambda options: write_report(options.revisions, options.output))


def write_report(revisions: Sequence[str], output: Path) -> str:
    """Write the report of these revisions, and say where it is.

    Raises
    ------
    EdgewiseError
        If a revision is unknown, or lacks what a run leaves.
    """
    runs = [Run.read(revision) for revision in dict.fromkeys(revisions)]
    write_atomically(output, page(runs, "edgewise").encode())
    return f"{output.resolve().as_uri()}"
