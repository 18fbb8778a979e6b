"""`edgewise study run`: the variants of a study as DVC experiments, several at a time."""

import argparse
import os
import re
import signal
import sys
import uuid
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor, as_completed
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from shlex import join
from threading import Event
from typing import TYPE_CHECKING

import distributed
from dvc.exceptions import DvcException
from dvc.repo import Repo
from scmrepo.exceptions import SCMError
from tqdm import tqdm

from edgewise.errors import EdgewiseError
from edgewise.params import Params, parse_params
from edgewise.study.engine import InterruptedPipelineError, Stop, connected, positive_count, run_dvc
from edgewise.study.plan import SIZES, Size, Study, as_options, check, experiment_name, read_study
from edgewise.study.revisions import PARAMS, Revision

if TYPE_CHECKING:  # at run time argparse's class takes no parameter
    Commands = argparse._SubParsersAction[argparse.ArgumentParser]


class StudyFailedError(EdgewiseError):
    """Variants of a study failed; the others have run."""


#: The part of a study that one of several machines runs: the number of the machine, from 1, and how many they are.
Share = tuple[int, int]


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
    where = run.add_mutually_exclusive_group()
    where.add_argument(
        "--jobs", type=positive_count, default=1, metavar="N", help="variants at a time (default: %(default)s)"
    )
    where.add_argument("--scheduler", metavar="ADDRESS", help="of a Dask cluster on a file system that all share")
    run.add_argument(
        "--remote",
        metavar="NAME",
        help="of git: what others have run is fetched from there first, and what has run is pushed there, its data to"
        " DVC's remote",
    )
    run.add_argument(
        "--share",
        type=share,
        default=(1, 1),
        metavar="I/N",
        help="every Nth variant alone, from the Ith on: a machine's, of N machines",
    )
    run.set_defaults(
        run=lambda options: conduct(
            options.study, options.size, options.jobs, options.scheduler, options.remote, options.share
        )
    )


def share(text: str) -> Share:
    """A share as it is written on the command line.

    >>> share("2/3")
    (2, 3)
    """
    found = re.fullmatch(r"([1-9]\d{0,5})/([1-9]\d{0,5})", text)
    if not found or int(found[1]) > int(found[2]):
        raise argparse.ArgumentTypeError(f"was {text!r}; must be I/N with I from 1 to N, as 1/2")
    return int(found[1]), int(found[2])


def conduct(path: Path, size: Size, jobs: int, scheduler: str | None, remote: str | None, own: Share) -> str:
    """Run what of a study has not been run, and say in a line what was done.

    Parameters
    ----------
    jobs : variants at a time, on this machine
    scheduler : address of a Dask cluster whose machines have this folder, in place of this machine
    remote : of git, by which machines without a common file system exchange experiments
    own : which of the variants are this machine's

    Raises
    ------
    EdgewiseError
        If the study is at fault, the working tree differs from the commit that experiments start from, or a remote
        cannot be reached.
    StudyFailedError
        If variants failed, with the reason of each; the others have run.
    InterruptedPipelineError
        After Ctrl-C or SIGTERM, when what ran has ended.
    """
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    study = read_study(path)
    must_be_committed(path)
    params = check(study, path.stem, Revision.open("HEAD").read(PARAMS))[size]
    experiments = {name: experiment_name(path.stem, size, name) for name in study.variants}
    elsewhere = set() if remote is None else fetch(remote, list(experiments.values()))
    number, count = own
    of_share = list(study.variants)[number - 1 :: count]
    tasks = [task for task in missing(study, path.stem, size, params) if task.name in of_share]
    there = [name for name in of_share if name not in {task.name for task in tasks}]
    with Repo() as repo:
        repo.experiments.remove([task.experiment for task in tasks if task.stale])
    failed: dict[str, str] = {}
    folder = os.getcwd()
    with _side_by_side(jobs, scheduler) as (pool, stop), tqdm(total=len(of_share), unit="variant") as bar:
        bar.update(len(there))
        running = {pool.submit(run_variant, task, stop, folder, remote): task.name for task in tasks}
        if remote is not None:  # of these a push has failed, or they were run before there was a remote
            unpushed = {name: experiments[name] for name in there if experiments[name] not in elsewhere}
            running |= {pool.submit(push, one, stop, folder, remote): name for name, one in unpushed.items()}
        try:
            for future in as_completed(running):
                name = running[future]
                if reason := future.result():
                    failed[name] = reason
                bar.write(f"{name}: {'failed' if reason else 'done'}", file=sys.stderr)
                bar.update(name not in there)
        except KeyboardInterrupt:
            stop.set()
            pool.shutdown()
            raise InterruptedPipelineError(
                f"{path.stem}, {size}: interrupted; the same command goes on with the variants that have not run"
            ) from None
    run = sum(task.name not in failed for task in tasks)
    said = f"{path.stem}, {size}: {run} of {len(of_share)} variants run, {len(there)} were there"
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


def fetch(remote: str, experiments: Sequence[str]) -> set[str]:
    """Fetch those of the experiments that a remote of git has of the present commit, and their data from DVC's.

    Returns
    -------
    Their names.

    Raises
    ------
    EdgewiseError
        If one of the two remotes cannot be reached, or there is none.
    """
    try:
        with Repo() as repo:
            head = repo.experiments.scm.get_ref("HEAD")
            there = {name for name, _ in repo.experiments.ls(git_remote=remote).get(head, [])}
            if wanted := there & set(experiments):
                repo.experiments.pull(remote, exp_names=sorted(wanted), force=True, pull_cache=True)
            return wanted
    except (DvcException, SCMError) as error:
        raise EdgewiseError(" ".join(f"--remote: was {remote!r}; nothing fetched from it ({error})".split())) from error


@contextmanager
def _side_by_side(jobs: int, scheduler: str | None) -> Iterator[tuple[Executor, Stop]]:
    """What runs variants, in threads of this process or of a cluster's, and what says that they are to end."""
    if scheduler is None:
        with ThreadPoolExecutor(jobs) as pool:
            yield pool, Event()
    else:
        with connected(scheduler) as client, client.get_executor(pure=False) as pool:
            yield pool, distributed.Event(uuid.uuid4().hex, client=client)


def run_variant(task: Task, stop: Stop, folder: str, remote: str | None) -> str:
    """Run one variant, or end it once `stop` is set, and push it to a remote; the reason if it failed, else nothing."""
    if stop.is_set():
        return "not begun"
    status, printed = run_dvc(task.arguments, stop, folder, {})
    if status != 0:
        return reason_of(printed)
    return "" if remote is None else push(task.experiment, stop, folder, remote)


def push(experiment: str, stop: Stop, folder: str, remote: str) -> str:
    """Push an experiment to a remote of git, and its data to DVC's; the reason if that failed, else nothing."""
    status, printed = run_dvc(["exp", "push", "--force", remote, experiment], stop, folder, {})
    return "" if status == 0 else f"has run, but not been pushed: {reason_of(printed)}"


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
