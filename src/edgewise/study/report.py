"""`edgewise report`: one HTML file of one or several runs, which opens anywhere and needs no network."""

import argparse
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING

from edgewise.data.files import write_atomically
from edgewise.errors import EdgewiseError
from edgewise.study.conduct import command_of, experiments_of_head, missing
from edgewise.study.plan import SIZES, Size, Study, check, experiment_name, read_study
from edgewise.study.reported import Run
from edgewise.study.revisions import PARAMS, WORKSPACE, Revision
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
    parser.add_argument("--study", type=Path, metavar="FILE", help="the experiments of a study, in place of revisions")
    parser.add_argument("--size", choices=SIZES, default="quick", help="of the study (default: %(default)s)")
    parser.add_argument(
        "--output",
        type=output_file(".html", ".htm"),
        default=Path("report.html"),
        help="the file (default: %(default)s)",
    )
    parser.set_defaults(run=_write)


def output_file(*suffixes: str) -> Callable[[str], Path]:
    """For argparse: a file whose name ends in one of these."""

    def parse(name: str) -> Path:
        path = Path(name)
        if path.suffix not in suffixes or path.is_dir():
            *others, last = suffixes
            allowed = f"{', '.join(others)} or {last}" if others else last
            raise argparse.ArgumentTypeError(f"was {name!r}; must be a file whose name ends in {allowed}")
        return path

    return parse


def _write(options: argparse.Namespace) -> str:
    if options.study is None:
        content = _page([read_run(revision) for revision in dict.fromkeys(options.revisions)], "edgewise")
    else:
        content = page_of_study(options.study, options.size)
    write_atomically(options.output, content.encode())
    return str(options.output.resolve().as_uri())


def page_of_study(path: Path, size: Size) -> str:
    """The report of those variants of a study that have run from the present commit; it names the others."""
    study = read_study(path)
    runs = runs_of_study(study, path, size)
    without = study.variants.keys() - {run.name for run in runs}
    lacks = f" Not run: {', '.join(name for name in study.variants if name in without)}." if without else ""
    return _page(runs, f"edgewise: {path.stem}, {size}", f"{study.statement}{lacks}")


def runs_of_study(study: Study, path: Path, size: Size) -> list[Run]:
    """Those variants of a study, which is at `path`, that have run from the present commit.

    Raises
    ------
    EdgewiseError
        If the study is at fault, none of its variants has run, or what one left is damaged.
    """
    params = check(study, path.stem, Revision.open("HEAD").read(PARAMS))[size]
    without = {task.name for task in missing(study, path.stem, size, params)}
    commits, runs = experiments_of_head(), []
    for name, variant in study.variants.items():
        if name in without:
            continue
        run = read_run(commits[experiment_name(path.stem, size, name)])
        command = command_of(study, path.stem, size, name)
        figures = variant.figures or None
        runs.append(replace(run, name=name, statement=variant.statement, command=command, figures=figures))
    if not runs:
        raise EdgewiseError(
            f"{path}: none of its variants has run; `edgewise study run {path} --size {size}` runs them"
        )
    return runs


def read_run(revision: str) -> Run:
    """A run, or one error that names its revision."""
    with with_layout(revision):
        return Run.read(revision)


def _page(runs: Sequence[Run], title: str, statement: str = "") -> str:
    with with_layout(", ".join(run.name for run in runs)):
        return page(runs, title, statement)


@contextmanager
def with_layout(revisions: str) -> Iterator[None]:
    """One error for files that are as dvc.lock has them, and are not what this version of the pipeline makes."""
    try:
        yield
    except (LookupError, TypeError, ValueError, AttributeError, RecursionError) as error:
        said = " ".join(f"{type(error).__name__}: {error}".split())[:300]
        raise EdgewiseError(
            f"{revisions}: the results are not such as edgewise {version('edgewise')} makes ({said}); `dvc repro` makes"
            " them"
        ) from error
