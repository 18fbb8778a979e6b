"""`edgewise sheet`: several runs drawn side by side on one sheet, as a paper shows them."""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, get_args

from edgewise.data.files import write_atomically
from edgewise.errors import EdgewiseError
from edgewise.plotting import draw_side_by_side, to_file
from edgewise.plotting.paper import Size
from edgewise.plotting.style import Format
from edgewise.study.plan import SIZES, read_study
from edgewise.study.report import output_file, read_run, runs_of_study, with_layout

if TYPE_CHECKING:  # at run time argparse's class takes no parameter
    Commands = argparse._SubParsersAction[argparse.ArgumentParser]


def add_command(commands: "Commands") -> None:
    """Add `edgewise sheet` to the command line."""
    parser = commands.add_parser(
        "sheet",
        help="one figure of several experiments, for print",
        description="Draw gains, alignment and influence of several experiments, a row each, as one figure.",
    )
    parser.add_argument("revisions", nargs="*", metavar="REV", help="a commit, branch, tag or DVC experiment")
    parser.add_argument("--study", type=Path, metavar="FILE", help="the experiments of a study, in place of revisions")
    parser.add_argument("--of-size", choices=SIZES, default="quick", help="of the study (default: %(default)s)")
    parser.add_argument("--size", choices=get_args(Size), default="page", help="of the sheet (default: %(default)s)")
    parser.add_argument(
        "--output",
        type=output_file(*(f".{name}" for name in get_args(Format))),
        default=Path("sheet.pdf"),
        help="the file (default: %(default)s)",
    )
    parser.set_defaults(run=_write)


def _write(options: argparse.Namespace) -> str:
    if bool(options.revisions) == bool(options.study):
        raise EdgewiseError("needs revisions, or --study, and not both")
    if options.study:
        runs = runs_of_study(read_study(options.study), options.study, options.of_size)
    else:
        runs = [read_run(revision) for revision in dict.fromkeys(options.revisions)]
    with with_layout(", ".join(run.name for run in runs)):
        tables = {run.name: {n: table.set_index(table.columns[0]) for n, table in run.frames.items()} for run in runs}
        content = to_file(draw_side_by_side(tables, options.size), options.output.suffix[1:])
    write_atomically(options.output, content)
    return str(options.output.resolve().as_uri())
