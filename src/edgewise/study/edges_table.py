"""Where several experiments sit at the edge, as one Markdown table: kappa, lambda_1 and the curvature between them."""

import argparse
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from pydantic import BaseModel

from edgewise.study.markdown import Mean, table
from edgewise.study.revisions import WORKSPACE, Revision

if TYPE_CHECKING:  # at run time argparse's class takes no parameter
    Commands = argparse._SubParsersAction[argparse.ArgumentParser]

EDGE_FILE = "metrics/edge.json"


class Edge(BaseModel):
    """What the table shows of the edge, of the later half and of the end of the baseline; see `COLUMNS`."""

    secant_sharpness_ratio_baseline: Mean
    sharpness_ratio_baseline: Mean
    sharpness_ratio_at_centre: Mean
    curvature_ratio_at_centre: Mean


class EdgeFile(BaseModel):
    """What of metrics/edge.json is read here."""

    summary: Edge


#: The heads of the columns.
COLUMNS = {
    "secant_sharpness_ratio_baseline": "κ",
    "sharpness_ratio_baseline": "λ₁ at the iterates",
    "sharpness_ratio_at_centre": "λ₁ at their centre",
    "curvature_ratio_at_centre": "curvature along the step, at the centre",
}


def add_command(commands: "Commands") -> None:
    """Add `edgewise edges` to the command line."""
    parser = commands.add_parser(
        "edges",
        help="a Markdown table of κ and λ₁ over the threshold, of several experiments",
        description=f"Print where several experiments sit at the edge ({EDGE_FILE}), over the stability threshold.",
    )
    parser.add_argument(
        "revisions",
        nargs="+",
        metavar="REV",
        help=f"a commit, branch, tag or DVC experiment; {WORKSPACE} is the working tree; one row each",
    )
    parser.set_defaults(run=lambda options: table_of_edges(options.revisions))


def table_of_edges(revisions: Sequence[str]) -> str:
    """Where these revisions of the repository around the working directory sit at the edge, as a Markdown table.

    Raises
    ------
    EdgewiseError
        If a revision is unknown, or its metrics/edge.json is missing or damaged.
    """
    return as_table({revision: Revision.open(revision).read_as(EDGE_FILE, EdgeFile).summary for revision in revisions})


def as_table(experiments: Mapping[str, Edge]) -> str:
    """A Markdown table: a row an experiment, a column a ratio with its interval.

    Examples
    --------
    >>> ratio = Mean(mean=0.9946, low=0.9943, high=0.995)
    >>> edge = Edge(**{name: ratio for name in COLUMNS})
    >>> print(as_table({"tanh": edge}).splitlines()[2].split("|")[1:3])
    [' tanh ', ' 0.995 [0.994, 0.995] ']
    """
    rows = (
        [name, *(getattr(edge, column).shown("{:.3f}".format) for column in COLUMNS)]
        for name, edge in experiments.items()
    )
    return table(["over the threshold", *COLUMNS.values()], rows)
