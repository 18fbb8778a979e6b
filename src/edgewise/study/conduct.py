"""`edgewise study run`: the variants of a study as DVC experiments, several at a time."""

import argparse
import os
import re
import signal
import sys
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path
from shlex import join
from threading import Event
from typing import TYPE_CHECKING

from dvc.exceptions import DvcException
from dvc.repo import Repo
from tqdm import tqdm

from edgewise.errors import EdgewiseError
from edgewise.params import Params, parse_params
from edgewise.study.engine import InterruptedPipelineError, positive_count, run_dvc
from edgewise.study.plan import SIZES, Size, Study, as_options, check, experiment_name, read_study
from edgewise.study.revisions import PARAMS, Revision

if TYPE_CHECKING:  # at run time argparse's class takes no parameter
    Commands = argparse._SubParsersAction[argparse.ArgumentParser]


class StudyFailedError(EdgewiseError):
    """Variants of a study failed; the others have run."""


@dataclass(frozen=True)
class Task:
    """One variant that is to run.

    Attributes
    ----------
    name : of the variant
    experiment : of DVC
    options : its settings, as `dvc exp run` takes them
    stale : whether there is an experiment of that name with other parameters, which goes
    """

    name: str
    experiment: str
    options: Sequence[str]
    stale: bool

    @property
    def arguments(self) -> list[str]:
        """What DVC runs it by, beside the working tree."""
        return ["exp", "run", "--temp", "--name", self.experiment, *self.options]


def add_command(commands: "Commands") -> None:
    """Add `edgewise study` to the command line."""
    parser = commands.add_parser("study", help="run named variants of the parameters", description="Studies.")
    run = parser.add_subparsers(title="commands", metavar="COMMAND", required=True).add_parser(
        "run",
        help="run what of a study has not been run",
        description="Run the variants of a study as DVC experiments. What is there already is not run again.",
    )
    run.add_argument("study", type=Path, metavar="FILE", help="such as studies/paper.yaml")
    run.add_argument("--size", choices=SIZES, default="quick", help="(default: %(default)s)")
    run.add_argument(
        "--jobs", type=positive_count, default=1, metavar="N", help="variants at a time (default: %(default)s)"
    )
    run.set_defaults(run=lambda options: conduct(options.study, options.size, options.jobs))


def conduct(path: Path, size: Size, jobs: int) -> str:
    """Run what of a study has not been run, and say in a line what was done.

    Raises
    ------
    EdgewiseError
        If the study is at fault, or the working tree differs from the commit that experiments start from.
    StudyFailedError
        If variants failed, with the reason of each; the others have run.
    InterruptedPipelineError
        After Ctrl-C or SIGTERM, when what ran has ended.
    """
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    study = read_study(path)
    must_be_committed(path)
    params = check(study, path.stem, Revision.open("HEAD").read(PARAMS))[size]
    tasks = missing(study, path.stem, size, params)
    with Repo() as repo:
        repo.experiments.remove([task.experiment for task in tasks if task.stale])
    failed: dict[str, str] = {}
    stop = Event()
    with ThreadPoolExecutor(jobs) as pool, tqdm(total=len(study.variants), unit="variant") as bar:
        bar.update(len(study.variants) - len(tasks))
        running = {pool.submit(run_variant, task, stop): task for task in tasks}
        try:
            for future in as_completed(running):
                task = running[future]
                if reason := future.result():
                    failed[task.name] = reason
                bar.write(f"{task.name}: {'failed' if reason else 'done'}", file=sys.stderr)
                bar.update()
        except KeyboardInterrupt:
            stop.set()
            pool.shutdown(cancel_futures=True)
            raise InterruptedPipelineError(
                f"{path.stem}, {size}: interrupted; the same command goes on with the variants that have not run"
            ) from None
    there = len(study.variants) - len(tasks)
    said = f"{path.stem}, {size}: {len(tasks) - len(failed)} of {len(study.variants)} variants run, {there} were there"
    if failed:
        reasons = "\n".join(f"variants.{name}: {reason}" for name, reason in failed.items())
        raise StudyFailedError(f"{said}, {len(failed)} failed\n{reasons}")
    return said


def must_be_committed(study: Path) -> None:
    """An experiment belongs to a commit; but for the study itself it must not hold what the commit does not.

    Raises
    ------
    EdgewiseError
        If files that git tracks have changed, or the working directory is in no repository.
    """
    try:
        with Repo() as repo:
            staged, unstaged, _ = repo.scm.status()
            own = os.path.relpath(study.resolve(), repo.root_dir)
    except DvcException as error:
        raise EdgewiseError(" ".join(str(error).split())) from error
    changed = sorted({str(file) for files in staged.values() for file in files}.union(map(str, unstaged)) - {own})
    if changed:
        raise EdgewiseError(
            f"{changed[0]}: has changed since the last commit ({len(changed)} such files); a study runs what is"
            " committed: `git commit` or `git checkout` them"
        )


def missing(study: Study, name: str, size: Size, params: Mapping[str, Params]) -> list[Task]:
    """The variants without an experiment of their parameters that started from the present commit."""
    with Repo() as repo:
        there = {found for found, _ in repo.experiments.ls().get(repo.experiments.scm.get_ref("HEAD"), [])}
    tasks = []
    for variant in study.variants:
        experiment = experiment_name(name, size, variant)
        if experiment not in there or params_of(experiment) != params[variant]:
            options = as_options(study.settings(variant, size))
            tasks.append(Task(variant, experiment, options, stale=experiment in there))
    return tasks


def params_of(experiment: str) -> Params | None:
    """The parameters of an experiment; None where they are not those of this version."""
    try:
        return parse_params(Revision.open(experiment).read(PARAMS))
    except EdgewiseError:
        return None


def run_variant(task: Task, stop: Event) -> str:
    """Run one variant, or end it once `stop` is set; the reason if it failed, else nothing."""
    status, printed = run_dvc(task.arguments, stop, os.getcwd(), {})
    return "" if status == 0 else reason_of(printed)


def reason_of(output: str) -> str:
    r"""Why a variant failed: the last error of a stage in its output, else DVC's.

    >>> reason_of("error: seed 0: the loss is no longer finite\nERROR: failed to reproduce")
    'seed 0: the loss is no longer finite'
    >>> reason_of("Traceback (most recent call last):\nTypeError: a bug\nERROR: failed to reproduce")
    'TypeError: a bug'
    """
    of_stages = re.findall(r"^(?:error: (.+)|([A-Z]\w*(?:Error|Exception): .+))$", output, re.MULTILINE)
    of_dvc = re.findall(r"^ERROR: (.+)$", output, re.MULTILINE)
    return str([*of_dvc, *(mended or bug for mended, bug in of_stages)][-1]) if of_stages or of_dvc else "unknown"


def command_of(study: Study, name: str, size: Size, variant: str) -> str:
    """What a reader can type to run one variant by itself."""
    options = as_options(study.settings(variant, size))
    return join(["dvc", "exp", "run", "--temp", "--name", experiment_name(name, size, variant), *options])
