"""The command `edgewise`: the pipeline on all cores, and what is said of several experiments at once.

A new subcommand is one module with a function `add_command(commands)`, and one line of `COMMANDS`. The function adds
its parser and sets `run`, which takes the parsed options and returns what is to be printed. A command imports its own
module alone: those of all of them take seconds.
"""

import argparse
import os
import sys
from collections.abc import Sequence
from importlib import import_module
from importlib.metadata import version

from edgewise.errors import EdgewiseError

#: The module that adds each subcommand, in the order of the help.
COMMANDS = {
    "repro": "engine",
    "claims": "claims_table",
    "edges": "edges_table",
    "models": "models_table",
    "study": "conduct",
    "report": "report",
    "sheet": "sheet",
}

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
    arguments = sys.argv[1:] if arguments is None else arguments
    asked_for = [name for name in COMMANDS if name in arguments[:1]]
    for name in asked_for or COMMANDS:
        import_module(f"edgewise.study.{COMMANDS[name]}").add_command(commands)
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
