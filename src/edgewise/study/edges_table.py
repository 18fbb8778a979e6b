"""Where several experiments sit at the edge, as one Markdown table: kappa, lambda_1 and the curvature between them."""

import argparse
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from pydantic import BaseModel

from edgewise.study.revisions import WORKSPACE, markdown_row, read_metrics

if TYPE_CHECKING:  # at run time argparse's class takes no parameter
    Commands = argparse._SubParsersAction[argparse.ArgumentParser]

EDGE_FILE = "metrics/edge.json"


class Ratio(BaseModel):
    """A mean over seeds, over the stability threshold; null where the seeds give no number."""

    mean: float | None
    low: float | None
    high: float | None


class Edge(BaseModel):
    """What the table shows of the edge, of the later half and of the end of the baseline; see `COLUMNS`."""

    secant_sharpness_ratio_baseline: Ratio
    sharpness_ratio_baseline: Ratio
    sharpness_ratio_at_centre: Ratio
    curvature_ratio_at_centre: Ratio


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
    return as_table({revision: read_metrics(revision, EDGE_FILE, EdgeFile).summary for revision in revisions})


def as_table(experiments: Mapping[str, Edge]) -> str:
    """A Markdown table: a row an experiment, a column a ratio with its interval.

    Examples
    --------
    >>> ratio = Ratio(mean=0.9946, low=0.9943, high=0.995)
    >>> edge = Edge(**{name: ratio for name in COLUMNS})
    >>> print(as_table({"tanh": edge}).splitlines()[2].split("|")[1:3])
    [' tanh ', ' 0.995 [0.994, 0.995] ']
    """
    lines = [markdown_row("over the threshold", *COLUMNS.values()), f"|{'---|' * (1 + len(COLUMNS))}"]
    for name, edge in experiments.items():
        lines.append(markdown_row(name, *(_as_cell(getattr(edge, column)) for column in COLUMNS)))
    return "\n".join(lines)


def _as_cell(ratio: Ratio) -> str:
    if ratio.mean is None:
        return ""
    if ratio.low is None or ratio.high is None:
        return f"{ratio.mean:.3f}"
    return f"{ratio.mean:.3f} [{ratio.low:.3f}, {ratio.high:.3f}]"
