"""The command `edgewise`: the pipeline on all cores, and what is said of several experiments at once.

A new subcommand is one module with a function `add_command(commands)`, and one line of `COMMANDS`. The function adds
its parser and sets `run`, which takes the parsed options and returns what is to be printed.
"""

import argparse
import os
import sys
from collections.abc import Sequence
from importlib.metadata import version

from edgewise.errors import EdgewiseError
from edgewise.study import claims_table, conduct, edges_table, engine, models_table, report, sheet

#: What adds each subcommand, in the order of the help.
COMMANDS = (
    engine.add_command,
    claims_table.add_command,
    edges_table.add_command,
    models_table.add_command,
    conduct.add_command,
    report.add_command,
    sheet.add_command,
)

#: The exit status of a command that Ctrl-C has ended.
INTERRUPTED = 130


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one subcommand.

    Parameters
    ----------
    arguments : what follows `edgewise` on the command line, by default that of this process

    Returns
    -------
    The exit status: 0, or after an error, which is one line on stderr, that of its kind.
    """
    parser = argparse.ArgumentParser(
        prog="edgewise", description="The pipeline of this repository, and several of its experiments side by side."
    )
    parser.add_argument("--version", action="version", version=f"%(prog)s {version('edgewise')}")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    for add_command in COMMANDS:
        add_command(commands)
    options = parser.parse_args(arguments)
    try:
        print(options.run(options), flush=True)
    except BrokenPipeError:  # whoever read it, as `head`, has had enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except KeyboardInterrupt:
        print("error: interrupted; the same command goes on from there", file=sys.stderr)
        return INTERRUPTED
    except EdgewiseError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_status
    return 0
