"""`edgewise study run`: the variants of a study as DVC experiments, several at a time."""

import argparse
import os
import re
import signal
import subprocess
import sys
import uuid
from collections.abc import Collection, Iterator, Mapping, Sequence
from concurrent.futures import Executor, Future, ThreadPoolExecutor, as_completed
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from shlex import join
from threading import Event
from typing import TYPE_CHECKING, NoReturn

import distributed
from dulwich.errors import GitProtocolError
from dvc.exceptions import DvcException
from dvc.repo import Repo
from scmrepo.exceptions import SCMError
from tqdm import tqdm

from edgewise.errors import EdgewiseError, ParameterError, said_by
from edgewise.params import Params, parse_params
from edgewise.study.engine import InterruptedPipelineError, Stop, connected, end_in_order, positive_count, run_dvc
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
        type=_name,
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


def _name(text: str) -> str:
    if not text.strip():
        raise argparse.ArgumentTypeError(f"was {text!r}; must be the name or address of a remote of git")
    return text


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
        After Ctrl-C, SIGTERM or SIGHUP, when what ran has ended.
    """
    end_in_order()
    try:
        return _run_share(path, size, jobs, scheduler, remote, own)
    except KeyboardInterrupt:
        raise InterruptedPipelineError(
            f"{path.stem}, {size}: interrupted; the same command goes on with the variants that have not run"
        ) from None


def _run_share(path: Path, size: Size, jobs: int, scheduler: str | None, remote: str | None, own: Share) -> str:
    study = read_study(path)
    must_be_committed(path)
    params = check(study, path.stem, Revision.open("HEAD").read(PARAMS))[size]
    must_be_in_git(params)
    number, count = own
    of_share = list(study.variants)[number - 1 :: count]
    if not of_share:
        raise ParameterError("--share", f"{number}/{count}", f"the study has {len(study.variants)} variants")

    def to_run() -> list[Task]:
        return [task for task in missing(study, path.stem, size, params) if task.name in of_share]

    tasks, fetched = to_run(), set[str]()
    if remote is not None:
        fetched = fetch(remote, [task.experiment for task in tasks])
        tasks = to_run()
    there = [name for name in of_share if name not in {task.name for task in tasks}]
    experiments = {name: experiment_name(path.stem, size, name) for name in there}
    with Repo() as repo:
        repo.experiments.remove([task.experiment for task in tasks if task.stale])
    folder = os.getcwd()
    with _side_by_side(jobs, scheduler) as (pool, stop), tqdm(total=len(of_share), unit="variant") as bar:
        bar.update(len(there))
        running = {pool.submit(run_variant, task, stop, folder, remote): task.name for task in tasks}
        if remote is not None:  # an earlier push may have failed, or been cut off after the half
            local = {name: experiment for name, experiment in experiments.items() if experiment not in fetched}
            running |= {pool.submit(push, one, stop, folder, remote): name for name, one in local.items()}
        try:
            failed = _reasons(running, there, bar)
        except KeyboardInterrupt:
            for again in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):  # what runs is killed if it does not end soon
                signal.signal(again, signal.SIG_IGN)
            stop.set()
            with suppress(OSError):  # of a terminal that was closed
                bar.write("ending the variants that run …", file=sys.stderr)
            pool.shutdown()
            raise
    run = sum(task.name not in failed for task in tasks)
    said = f"{path.stem}, {size}: {run} of {len(of_share)} variants run, {len(there)} were there"
    if failed:
        reasons = "\n".join(f"variants.{name}: {reason}" for name, reason in failed.items())
        raise StudyFailedError(f"{said}, {len(failed)} failed\n{reasons}")
    return said


def _reasons(running: Mapping[Future[str], str], there: Collection[str], bar: "tqdm[NoReturn]") -> dict[str, str]:
    """Why variants failed, by their names, once all have ended; those that were there do not move the bar again."""
    failed = {}
    for future in as_completed(running):
        name = running[future]
        if reason := _reason_of_future(future):
            failed[name] = reason
        bar.write(f"{name}: {'failed' if reason else 'done'}", file=sys.stderr)
        bar.update(name not in there)
    return failed


def _reason_of_future(future: Future[str]) -> str:
    """Why a variant failed, or nothing; a cluster, or a worker of it, may have gone."""
    try:
        return future.result()
    except Exception as error:  # whatever a cluster raises must not lose the results of the other variants
        return " ".join(f"the cluster lost it ({type(error).__name__}: {error})".split())


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
        raise EdgewiseError(said_by(error)) from error
    changed = sorted({str(file) for files in staged.values() for file in files}.union(map(str, unstaged)) - {own})
    if changed:
        raise EdgewiseError(
            f"{changed[0]}: has changed since the last commit ({len(changed)} such files); a study runs what is"
            " committed: `git commit` or `git checkout` them"
        )


def must_be_in_git(params: Mapping[str, Params]) -> None:
    """Variants run beside the working tree, on what git tracks: their own data must be that, or have absolute paths.

    Raises
    ------
    EdgewiseError
        One line for each variant at fault.
    """
    faults = []
    for variant, found in params.items():
        paths = {}
        if found.dataset.name in ("image_folder", "npz"):
            paths["dataset.root"] = found.dataset.root
        if found.groups.has_file:
            paths["groups.file"] = found.groups.file
        for name, path in paths.items():
            if not (Path(path).is_absolute() or _is_in_git(path)):
                faults.append(
                    f"variants.{variant}: {name}: was {path!r}; git does not track it, and variants run beside the"
                    " working tree: must be an absolute path, or committed"
                )
    if faults:
        raise EdgewiseError("\n".join(faults))


def _is_in_git(path: str) -> bool:
    return bool(subprocess.run(["git", "ls-files", "--", path], capture_output=True, check=False).stdout)


def experiments_of_head() -> dict[str, str]:
    """The commits of the experiments that started from the present commit, by their names.

    Raises
    ------
    EdgewiseError
        If there is no repository, or DVC is at work in it.
    """
    try:
        with Repo() as repo:
            found: dict[str, str] = dict(repo.experiments.ls().get(repo.experiments.scm.get_ref("HEAD"), []))
    except DvcException as error:
        raise EdgewiseError(said_by(error)) from error
    return found


def missing(study: Study, name: str, size: Size, params: Mapping[str, Params]) -> list[Task]:
    """The variants without an experiment of their parameters that started from the present commit."""
    there = experiments_of_head()
    tasks = []
    for variant in study.variants:
        experiment = experiment_name(name, size, variant)
        if experiment not in there or params_of(there[experiment]) != params[variant]:
            options = as_options(study.settings(variant, size))
            tasks.append(Task(variant, experiment, options, stale=experiment in there))
    return tasks


def params_of(revision: str) -> Params | None:
    """The parameters of an experiment; None where they are not those of this version."""
    try:
        return parse_params(Revision.open(revision).read(PARAMS))
    except EdgewiseError:
        return None


def fetch(remote: str, experiments: Sequence[str]) -> set[str]:
    """Fetch those of the experiments that a remote of git has of the present commit, and their data from DVC's.

    Returns
    -------
    The names of those whose data are here too. One without is forgotten again, and so runs.

    Raises
    ------
    EdgewiseError
        If one of the two remotes cannot be reached, or there is none.
    """
    try:
        with Repo() as repo:
            if not repo.config["core"].get("remote"):
                raise EdgewiseError("--remote: needs a default remote of DVC too: `dvc remote add --default`")
            head = repo.experiments.scm.get_ref("HEAD")
            there = dict(repo.experiments.ls(git_remote=remote).get(head, []))
            wanted = sorted(there.keys() & set(experiments))
            if wanted:
                repo.experiments.pull(remote, exp_names=wanted, force=True, pull_cache=True)
            here = dict(repo.experiments.ls().get(head, []))
            whole = {name for name in wanted if has_data(repo, here[name])}
            repo.experiments.remove(sorted(set(wanted) - whole))
            return whole
    except (DvcException, SCMError, GitProtocolError, ValueError, OSError) as error:
        raise EdgewiseError(" ".join(f"--remote: was {remote!r}; nothing fetched from it ({error})".split())) from error


def has_data(repo: Repo, commit: str) -> bool:
    """Whether all data of an experiment that DVC keeps are in the cache."""
    with repo.switch(commit):
        return not any(out.use_cache and out.changed_cache() for out in repo.index.outs)


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
