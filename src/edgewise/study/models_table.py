"""The models of the edge over several experiments as one Markdown table."""

import argparse
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from pydantic import BaseModel

from edgewise.study.markdown import Mean, table
from edgewise.study.revisions import WORKSPACE, Revision

if TYPE_CHECKING:  # at run time argparse's class takes no parameter
    Commands = argparse._SubParsersAction[argparse.ArgumentParser]

THEORY_FILE = "metrics/theory.json"


class Cost(BaseModel):
    """A mean over seeds that is shown without its interval."""

    mean: float


class PredictedGroup(BaseModel):
    """What is shown of a group."""

    relative_error: Mean


class JudgedModel(BaseModel):
    """One model of metrics/theory.json."""

    sharpness_error: Mean
    loss_error: Mean
    gains_error: Mean
    groups: dict[str, PredictedGroup]
    rank_correlation: Mean
    distance: Mean
    gradients: Cost


class TheoryFile(BaseModel):
    """The models of metrics/theory.json; null where there is no prediction."""

    edge_flow: JudgedModel | None = None
    gradient_flow: JudgedModel | None = None
    cubic: JudgedModel | None = None
    constrained: JudgedModel | None = None
    central_flow: JudgedModel | None = None

    def models(self) -> dict[str, JudgedModel | None]:
        """Those that were run, by name."""
        return {name: getattr(self, name) for name in TheoryFile.model_fields if name in self.model_fields_set}


def add_command(commands: "Commands") -> None:
    """Add `edgewise models` to the command line."""
    parser = commands.add_parser(
        "models",
        help="a Markdown table of the models of the edge in several experiments",
        description=f"Print how well the models of the edge predict several experiments ({THEORY_FILE}) as one Markdown"
        " table.",
    )
    parser.add_argument(
        "revisions",
        nargs="+",
        metavar="REV",
        help=f"a commit, branch, tag or DVC experiment; {WORKSPACE} is the working tree; one row each and model",
    )
    parser.set_defaults(run=lambda options: table_of_revisions(options.revisions))


def table_of_revisions(revisions: Sequence[str]) -> str:
    """The models of these revisions as a Markdown table; raises as `Revision` does."""
    return as_table(
        {revision: Revision.open(revision).read_as(THEORY_FILE, TheoryFile).models() for revision in revisions}
    )


def as_table(experiments: Mapping[str, Mapping[str, JudgedModel | None]]) -> str:
    """A Markdown table: a row an experiment and model, with intervals; empty cells where a model has no prediction.

    Errors are relative ones of the settled part, see `inference.predictions`: of the sharpness, of the loss, of the
    four gains together, and over time of Delta l_k by group. Distance is from the centre of the run, over its way since
    onset; gradients are the cost of a step.

    Parameters
    ----------
    experiments : the models of each, by the name that stands in the first column
    """
    judged = [model for models in experiments.values() for model in models.values() if model]
    groups = list(dict.fromkeys(group for model in judged for group in model.groups))
    head = ["experiment", "model", "sharpness", "loss", "gains", *(f"Δℓ {group}" for group in groups)]
    head += ["rank correlation", "distance", "gradients a step"]
    rows = []
    for experiment, models in experiments.items():
        for name, model in models.items():
            cells = [""] * (len(head) - 2)
            if model:
                errors = [model.sharpness_error, model.loss_error, model.gains_error]
                of_groups = (model.groups.get(group) for group in groups)
                cells = [error.shown(as_share) for error in errors]
                cells += [one.relative_error.shown(as_share) if one else "" for one in of_groups]
                cells += [one.shown(as_number) for one in (model.rank_correlation, model.distance)]
                cells.append(as_number(model.gradients.mean))
            rows.append([experiment, name.replace("_", " "), *cells])
    return table([cell.replace("_", " ") for cell in head], rows)


def as_share(error: float) -> str:
    """A relative error in percent, with two digits.

    >>> as_share(0.0123), as_share(14.0)
    ('1.2 %', '1400 %')
    """
    return f"{float(f'{100 * error:.2g}'):g} %"


def as_number(found: float) -> str:
    """A number with two digits after the point, or three in all."""
    return f"{found:.0f}" if abs(found) >= 100 else f"{found:.2f}"
