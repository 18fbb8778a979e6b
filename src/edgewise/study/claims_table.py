"""The claims of several experiments as one Markdown table, so that none is typed by hand."""

import argparse
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Literal

from pydantic import BaseModel, FiniteFloat

from edgewise.inference.intervals import CONFIDENCE
from edgewise.params import Printable
from edgewise.study.markdown import table
from edgewise.study.revisions import WORKSPACE, Revision

if TYPE_CHECKING:  # at run time argparse's class takes no parameter
    Commands = argparse._SubParsersAction[argparse.ArgumentParser]

CLAIMS_FILE = "metrics/claims.json"

Verdict = Literal["holds", "fails", "undecided"]


class JudgedClaim(BaseModel):
    """One claim of metrics/claims.json; a number is null where the seeds give none.

    `verdict_holm`, after the correction for many claims, `window`, and `confidence`, of the interval, are not in files
    of older versions.
    """

    figure: Printable
    statement: Printable
    paper: Printable
    statistic: FiniteFloat | None
    low: FiniteFloat | None
    high: FiniteFloat | None
    verdict: Verdict
    verdict_holm: Verdict | None = None
    window: Literal["same", "decides"] | None = None
    confidence: FiniteFloat = CONFIDENCE


class ClaimsFile(BaseModel):
    """What metrics/claims.json holds; `caveats`, which take from every verdict, are not in files of older versions."""

    claims: list[JudgedClaim]
    caveats: list[Printable] = []


def add_command(commands: "Commands") -> None:
    """Add `edgewise claims` to the command line."""
    parser = commands.add_parser(
        "claims",
        help="a Markdown table of the claims of several experiments",
        description=f"Print the claims of several experiments ({CLAIMS_FILE}) as one Markdown table.",
    )
    parser.add_argument(
        "revisions",
        nargs="+",
        metavar="REV",
        help=f"a commit, branch, tag or DVC experiment; {WORKSPACE} is the working tree; one column each",
    )
    parser.set_defaults(run=lambda options: table_of_revisions(options.revisions))


def table_of_revisions(revisions: Sequence[str]) -> str:
    """The claims of these revisions of the repository around the working directory, as a Markdown table.

    Under it stands, for each revision, what takes from its verdicts.

    Raises
    ------
    EdgewiseError
        If a revision is unknown, or its metrics/claims.json is missing or damaged.
    """
    found = {revision: Revision.open(revision).read_as(CLAIMS_FILE, ClaimsFile) for revision in revisions}
    caveats = [f"{revision}: {caveat}." for revision, file in found.items() for caveat in file.caveats]
    return "\n\n".join([as_table({revision: file.claims for revision, file in found.items()}), *caveats])


def as_table(experiments: Mapping[str, Sequence[JudgedClaim]]) -> str:
    """A Markdown table of claims: a row a claim, a column an experiment.

    Rows come in the order of the first experiment that can test them; where an experiment cannot, its cell is empty.

    Parameters
    ----------
    experiments : the claims by the name that heads their column

    Examples
    --------
    >>> claim = JudgedClaim(
    ...     figure="4", statement="a claim", paper="> 0", statistic=0.03, low=0.014, high=0.046, verdict="holds"
    ... )
    >>> print(as_table({"one": [claim], "another": []}))
    | figure | claim | paper | one | another |
    |---|---|---|---|---|
    | 4 | a claim | > 0 | holds: 0.03 [0.014, 0.046] |  |
    """
    papers: dict[tuple[str, str], str] = {}
    cells: dict[tuple[str, str, str], str] = {}
    for name, claims in experiments.items():
        for claim in claims:
            papers.setdefault((claim.figure, claim.statement), claim.paper)
            cells[claim.figure, claim.statement, name] = as_cell(claim)
    rows = (
        [figure, statement, paper, *(cells.get((figure, statement, name), "") for name in experiments)]
        for (figure, statement), paper in papers.items()
    )
    return table(["figure", "claim", "paper", *experiments], rows)


def as_cell(claim: JudgedClaim) -> str:
    """Verdict, statistic and its interval, to two significant digits; in brackets what takes from the verdict."""
    limits = []
    if claim.verdict_holm not in (None, claim.verdict):
        limits.append(f"after Holm {claim.verdict_holm}")
    if claim.window == "decides":
        limits.append("the window decides")
    verdict = f"{claim.verdict} ({'; '.join(limits)})" if limits else claim.verdict
    if claim.statistic is None:
        return verdict
    interval = "none" if claim.low is None or claim.high is None else f"{claim.low:.2g}, {claim.high:.2g}"
    level = "" if claim.confidence == CONFIDENCE else f" ({100 * claim.confidence:.0f} %)"
    return f"{verdict}: {claim.statistic:.2g} [{interval}]{level}"
