"""`edgewise repro`: the stages of the pipeline side by side.

DVC runs one stage after the other. Here the same stages are given to Dask distributed, each to run once those that it
needs have run, as `dvc repro --single-item`: what is run, cached and written into the lock file is DVC's business as
ever, and the results are those of `dvc repro`, byte for byte.
"""

import argparse
import itertools
import json
import logging
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import networkx
import psutil
import yaml
from dask.system import CPU_COUNT
from distributed import Client, Event, LocalCluster, as_completed
from dvc.dependency.param import ParamsDependency
from dvc.dvcfile import LOCK_FILE
from dvc.exceptions import DvcException
from dvc.repo import Repo
from dvc.repo.index import Index
from dvc.rwlock import RWLOCK_FILE
from dvc.schema import COMPILED_LOCKFILE_SCHEMA
from pydantic import BaseModel, Field, ValidationError
from tqdm import tqdm
from voluptuous import Invalid

from edgewise.data.files import write_atomically
from edgewise.errors import EdgewiseError, in_plain_words, said_by
from edgewise.params import ComputeParams, load_params, parse_params
from edgewise.study.revisions import PARAMS
from edgewise.study.schedule import makespan, urgency

if TYPE_CHECKING:  # at run time argparse's class takes no parameter
    Commands = argparse._SubParsersAction[argparse.ArgumentParser]

#: In DVC's folder of temporary files: how many seconds each stage took when it last ran.
SECONDS_FILE = "edgewise-seconds.json"

#: Exit statuses of `dvc repro`.
FAILED, INTERRUPTED = 255, 252

BAR = "stage {n_fmt} of {total_fmt} |{bar:20}| {elapsed}{postfix}"

#: How long a scheduler is waited for.
CONNECT = "10s"

#: Seconds from one look at whether a running stage is to end, to the next.
LOOK_EVERY = 1.0

#: How often a stage is asked to end before it is killed.
PATIENCE = 20


class StageFailedError(Exception):
    """A stage did not run to its end; the message is what it and DVC printed."""


class PipelineFailedError(EdgewiseError):
    """Stages failed, and those that need them have not run."""

    exit_status = FAILED


class InterruptedPipelineError(EdgewiseError):
    """Somebody ended the command before it was done."""

    exit_status = INTERRUPTED


class Holder(BaseModel):
    """A process that runs a stage."""

    pid: int = Field(gt=0, lt=2**31)
    cmd: str


class Held(BaseModel):
    """What DVC's file says of the paths that are written and read at the moment."""

    write: dict[str, Holder] = {}
    read: dict[str, list[Holder]] = {}


@dataclass(frozen=True)
class Plan:
    """What is to run.

    Attributes
    ----------
    folder : of the repository
    needs : for each stage that is to run, in an order in which they could, those of them that it waits for
    computing : those that compute on the device of the section `compute`
    compute : that section
    """

    folder: Path
    needs: Mapping[str, list[str]]
    computing: frozenset[str]
    compute: ComputeParams


@dataclass
class Seconds:
    """How many seconds stages took when they last ran, kept in a file."""

    path: Path
    of_stage: dict[str, float] = field(default_factory=dict)

    @classmethod
    def read(cls, path: Path) -> "Seconds":
        """What the file holds; nothing, if there is none or it is damaged."""
        try:
            return cls(path, {str(name): float(seconds) for name, seconds in json.loads(path.read_text()).items()})
        except (OSError, ValueError, AttributeError, TypeError, OverflowError, RecursionError):
            return cls(path)

    def keep(self, name: str, seconds: float) -> None:
        """Note how long a stage took."""
        self.of_stage[name] = round(seconds, 2)
        write_atomically(self.path, json.dumps(self.of_stage, indent=0, sort_keys=True).encode())

    def expected(self, name: str) -> float:
        """Seconds that a stage will take: as last time, or as its like or all stages on average; 1 if none is known."""
        like = [seconds for known, seconds in self.of_stage.items() if known.split("@")[0] == name.split("@")[0]]
        some = like or list(self.of_stage.values()) or [1.0]
        return self.of_stage.get(name, sum(some) / len(some))


def add_command(commands: "Commands") -> None:
    """Add `edgewise repro` to the command line."""
    parser = commands.add_parser(
        "repro",
        help="run the pipeline, as many stages at a time as there are cores",
        description="Run the stages that have changed, as `dvc repro` does, side by side.",
    )
    where = parser.add_mutually_exclusive_group()
    where.add_argument(
        "--jobs",
        type=positive_count,
        metavar="N",
        help="stages at a time; by default the cores divided by compute.threads and compute.ranks",
    )
    where.add_argument(
        "--scheduler", metavar="ADDRESS", help="of a Dask cluster on a file system that all its machines share"
    )
    parser.add_argument(
        "--jobs-per-gpu",
        type=positive_count,
        default=1,
        metavar="N",
        help="computing stages at a time on each GPU (default 1)",
    )
    parser.set_defaults(run=lambda options: reproduce(options.jobs, options.scheduler, options.jobs_per_gpu))


def positive_count(text: str) -> int:
    """What an option says that must be a whole number from 1."""
    if not re.fullmatch(r"[1-9]\d*", text):
        raise argparse.ArgumentTypeError(f"was {text!r}; must be a whole number from 1")
    return int(text)


def reproduce(jobs: int | None, scheduler: str | None, jobs_per_gpu: int) -> str:
    """Run what has changed of the pipeline around the working directory; what there was to do, in words.

    Raises
    ------
    PipelineFailedError
        If a stage failed. Everything that does not need it has run.
    InterruptedPipelineError
        After Ctrl-C, SIGTERM or SIGHUP, when all stages have ended.
    EdgewiseError
        If there is no pipeline, or its files cannot be read, or the scheduler not be reached.
    """
    end_in_order()
    try:
        load_params(_content())  # nested deep, they would overflow the stack of the parser that DVC has
        with Repo() as repo:
            with repo.lock:
                mend(Path(repo.root_dir), Path(repo.tmp_dir))
            plan = changed_stages(repo)
            past = Seconds.read(Path(repo.tmp_dir) / SECONDS_FILE)
    except (DvcException, TypeError, ValueError, AssertionError, RecursionError, OSError) as error:
        _require_params()  # of parameters of another type than dvc.yaml needs DVC says nothing that helps
        said = in_plain_words(error) if isinstance(error, OSError) else said_by(error)
        raise EdgewiseError(said or "dvc.yaml, dvc.lock or params.yaml is damaged") from error
    if not plan.needs:
        return "nothing has changed"
    with _cluster(plan, jobs, scheduler, jobs_per_gpu) as (client, gpus):
        return _walk(plan, past, client, gpus)


def end_in_order() -> None:
    """Let SIGTERM end this process as Ctrl-C does, and the SIGHUP of a terminal that is closed, but under nohup."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:
        signal.signal(signal.SIGHUP, signal.default_int_handler)


def _require_params() -> None:
    """Stop if the parameters are at fault, with an error that names them; where they cannot be read, they are not."""
    with suppress(DvcException, OSError):
        parse_params(_content())


def _content() -> bytes:
    """That of the params.yaml of the repository around the working directory."""
    return (Path(Repo.find_root()) / PARAMS).read_bytes()


def mend(folder: Path, temporary: Path) -> None:
    """Put right what a process leaves that was killed while DVC wrote its lock files; to be called with DVC's lock.

    The lock file then ends in the middle of a stage, which is left out: DVC has the stage's results in its cache.

    Raises
    ------
    EdgewiseError
        If the lock file cannot be mended, or a stage still runs, as one does whose engine alone was killed.
    """
    path = folder / LOCK_FILE
    damaged = EdgewiseError(f"{path}: damaged; `git checkout {path.name}` restores it")
    try:
        text = path.read_text() if path.exists() else None
    except UnicodeDecodeError as error:
        raise damaged from error
    if text is not None and not _is_lock_file(text):
        starts = [match.start() for match in re.finditer(r"^  \S", text, re.MULTILINE)]
        whole = text[: starts[-1]] if len(starts) > 1 else ""
        if whole and not _is_lock_file(whole):
            raise damaged
        if whole:
            write_atomically(path, whole.encode())
        else:
            path.unlink()
    running = temporary / RWLOCK_FILE
    if not running.exists():
        return
    try:
        held = Held.model_validate_json(running.read_bytes())
    except ValidationError:
        running.unlink()
        return
    for holder in [*held.write.values(), *itertools.chain.from_iterable(held.read.values())]:
        if _lives(holder.pid):
            said = f"DVC already runs a stage of this repository (process {holder.pid}: {holder.cmd})"
            raise EdgewiseError(f"{' '.join(said.split())}; wait until it has ended")


def _lives(pid: int) -> bool:
    """Whether there is such a process, and not only what is left of one that has ended."""
    try:
        return bool(psutil.Process(pid).status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False


def _is_lock_file(text: str) -> bool:
    try:
        COMPILED_LOCKFILE_SCHEMA(yaml.load(text, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader)))
    except (yaml.YAMLError, Invalid):
        return False
    return True


def pipeline_of(index: Index) -> dict[str, list[str]]:
    """The stages that each stage needs, the stages in an order in which they could run."""
    needs = networkx.DiGraph()
    needs.add_nodes_from(stage.addressing for stage in index.stages)
    needs.add_edges_from((one.addressing, other.addressing) for one, other in index.graph.edges)
    return {name: sorted(needs.successors(name)) for name in networkx.lexicographical_topological_sort(needs.reverse())}


def changed_stages(repo: Repo) -> Plan:
    """The stages that DVC says have changed, and all that wait for them."""
    index = repo.index  # which DVC reads anew, from all files, after each of its commands
    stages = {stage.addressing: stage for stage in index.stages}
    if not stages:
        raise EdgewiseError(f"{repo.root_dir}: dvc.yaml declares no stages")
    changed = repo.status()
    stale: dict[str, list[str]] = {}
    for name, needed in pipeline_of(index).items():
        if name in changed or stale.keys() & set(needed):
            stale[name] = [other for other in needed if other in stale]
    computing = {
        name
        for name in stale
        for dependency in stages[name].deps
        if isinstance(dependency, ParamsDependency)
        and any(parameter.split(".")[0] == "compute" for parameter in dependency.params)
    }
    folder = Path(repo.root_dir)
    compute = ComputeParams.model_validate(load_params((folder / PARAMS).read_bytes()).get("compute", {}))
    return Plan(folder, stale, frozenset(computing), compute)


def connected(scheduler: str) -> Client:
    """A client of the Dask cluster at an address.

    Raises
    ------
    EdgewiseError
        If there is none.
    """
    try:
        return Client(scheduler, timeout=CONNECT)
    except (OSError, ValueError) as error:
        raise EdgewiseError(f"--scheduler: was {scheduler!r}; cannot be reached ({error})") from error


@contextmanager
def _cluster(
    plan: Plan, jobs: int | None, scheduler: str | None, jobs_per_gpu: int
) -> Iterator[tuple[Client, list[str]]]:
    """A client of the cluster at an address, or of one in this process, and the names for CUDA of the latter's GPUs.

    Workers do no more than start stages and wait for them. There is one for each GPU, named by its number, and where
    there is no GPU, one. Ranks have a GPU each: a stage with ranks has them all, and no other computes beside it.
    """
    if scheduler is not None:
        with connected(scheduler) as client:
            yield client, []
        return
    gpus = gpu_count() if plan.computing and plan.compute.device != "cpu" else 0
    named, a_gpu = _gpu_names(gpus), jobs_per_gpu
    if plan.compute.ranks > 1:
        named, gpus, a_gpu = [], min(gpus, 1), 1
    total = jobs or max(1, CPU_COUNT // (plan.compute.threads * plan.compute.ranks), gpus * a_gpu)
    workers = min(max(1, gpus), total)
    with (
        LocalCluster(
            n_workers=workers,
            threads_per_worker=-(-total // workers),
            processes=False,
            resources={"GPU": a_gpu} if gpus else {},
            dashboard_address="localhost:0",
            silence_logs=logging.CRITICAL,  # a stage that fails says why itself
        ) as cluster,
        Client(cluster) as client,
    ):
        yield client, named


def gpu_count() -> int:
    """The GPUs of this machine that are visible."""
    import torch

    return torch.cuda.device_count()


def _gpu_names(count: int) -> list[str]:
    """For each GPU, what CUDA_VISIBLE_DEVICES is where it alone is to be seen."""
    named = os.environ.get("CUDA_VISIBLE_DEVICES")
    return named.split(",")[:count] if named else [str(number) for number in range(count)]


def _walk(plan: Plan, past: Seconds, client: Client, gpus: list[str]) -> str:
    """Run the stages of a plan on a cluster; what was done, in words.

    Which stage is next and where it runs is decided here: Dask would put a stage where the results are of those that it
    needs, which is nearly always the one worker that ran the first.
    """
    began = time.monotonic()
    run = uuid.uuid4().hex
    stop = Event(run, client=client)
    seconds = {name: past.expected(name) for name in plan.needs}
    urgent = urgency(plan.needs, seconds)
    left = {name: set(needed) for name, needed in plan.needs.items()}
    running: dict[str, str] = {}  # the worker of each stage that runs
    counts = {"run": 0, "from the cache": 0, "failed": 0, "not run": 0}
    done = as_completed()

    def start_what_can() -> None:
        workers = client.scheduler_info(n_workers=-1)["workers"]
        for name in sorted(left.keys() - running.keys(), key=lambda name: (-urgent[name], name)):
            worker = None if left[name] else _place(name, plan.computing, workers, running)
            if worker is not None:
                running[name] = worker
                gpu = gpus[workers[worker]["name"]] if gpus and name in plan.computing else None
                key, where = f"{name} {run}", {"workers": [worker], "allow_other_workers": True}
                done.add(client.submit(run_stage, name, str(plan.folder), run, gpu, key=key, **where))
        minutes = makespan(left, seconds, sum(worker["nthreads"] for worker in workers.values())) / 60
        bar.set_postfix_str(f"about {minutes:.0f} min left; {', '.join(running)}")

    with tqdm(total=len(left), disable=None, bar_format=BAR) as bar:
        if find_spec("bokeh"):
            bar.write(f"dashboard: {client.dashboard_link}", file=sys.stderr)
        try:
            client.wait_for_workers(1)
            start_what_can()
            for future in done:
                name = future.key.split()[0]
                del running[name], left[name]
                if future.status == "finished":
                    took = future.result()
                    counts["from the cache" if took is None else "run"] += 1
                    if took is not None:
                        past.keep(name, took)
                    bar.write(f"{name}: {'from the cache' if took is None else f'{took:.0f} s'}")
                    for needed in left.values():
                        needed.discard(name)
                else:
                    counts["failed"] += 1
                    bar.write(f"{name}: failed\n{future.exception()}")
                    stopped = {name}
                    for other in list(left):  # in an order in which they could run
                        if stopped.intersection(plan.needs[other]):
                            stopped.add(other)
                            del left[other]
                            counts["not run"] += 1
                            bar.update()
                    if stopped != {name}:
                        bar.write(f"not run, as {name} failed: {_in_short(stopped - {name})}")
                bar.update()
                start_what_can()
        except KeyboardInterrupt:
            stop.set()
            with suppress(OSError):  # of a terminal that was closed
                bar.write("ending the stages that run …", file=sys.stderr)
            for _ in done:
                pass
            raise InterruptedPipelineError(
                f"interrupted when {len(plan.needs) - len(left)} of {len(plan.needs)} stages were done; the same"
                " command goes on from there"
            ) from None
    minutes, rest = divmod(round(time.monotonic() - began), 60)
    said = f"stages: {', '.join(f'{n} {what}' for what, n in counts.items() if n)}, in {minutes} min {rest} s"
    if counts["failed"]:
        raise PipelineFailedError(said)
    return said


def _in_short(stages: Collection[str]) -> str:
    """Names of stages, those of one kind together.

    >>> _in_short({"branch@0-exit", "branch@0-baseline", "control@0", "summary"})
    'branch (2), control@0, summary'
    """
    kinds: dict[str, list[str]] = {}
    for name in sorted(stages):
        kinds.setdefault(name.split("@")[0], []).append(name)
    return ", ".join(names[0] if len(names) == 1 else f"{kind} ({len(names)})" for kind, names in kinds.items())


def _place(name: str, computing: Collection[str], workers: Mapping[str, Any], running: Mapping[str, str]) -> str | None:
    """The worker with the most threads free for a stage, and a GPU if it computes and there are workers with GPUs."""

    def free(resource: str, worker: str) -> float:
        there = [other for other, place in running.items() if place == worker]
        if resource == "GPU":
            there = [other for other in there if other in computing]
            return float(workers[worker]["resources"].get("GPU", 0)) - len(there)
        return float(workers[worker]["nthreads"]) - len(there)

    on_gpu = name in computing and any("GPU" in worker["resources"] for worker in workers.values())
    fit = [worker for worker in workers if free("thread", worker) >= 1 and (not on_gpu or free("GPU", worker) >= 1)]
    return max(fit, key=lambda worker: free("thread", worker), default=None)


def run_stage(name: str, folder: str, run: str, gpu: str | None) -> float | None:
    """Run one stage by DVC, in a thread of a Dask worker.

    Parameters
    ----------
    run : name of the event that says when stages are to end
    gpu : the only one that the stage is to see, by its name for CUDA; None for all that the worker sees

    Returns
    -------
    The seconds that it took; None if DVC had nothing to run.

    Raises
    ------
    StageFailedError
        If the exit status is not 0; the message is what was printed.
    """
    own = {} if gpu is None else {"CUDA_VISIBLE_DEVICES": gpu}
    began = time.monotonic()
    status, printed = run_dvc(["repro", "--single-item", name], Event(run), folder, own)
    if status != 0:
        raise StageFailedError(printed.strip())
    return time.monotonic() - began if f"Running stage '{name}'" in printed else None


class Stop(Protocol):
    """An event of this process, or of a cluster: whether what runs is to end."""

    def is_set(self) -> bool: ...  # noqa: D102

    def set(self) -> None: ...  # noqa: D102


def run_dvc(arguments: Sequence[str], stop: Stop, folder: str, own: Mapping[str, str]) -> tuple[int, str]:
    """Run DVC in a repository, in a thread of its own, and end the commands that it has started once `stop` is set.

    Parameters
    ----------
    own : variables of the environment beside those of this process

    Returns
    -------
    Its exit status, and what was printed.
    """
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    with tempfile.TemporaryFile("w+", encoding="utf-8", errors="replace") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "dvc", "--wait-for-lock", *arguments],
            cwd=folder,
            env={**os.environ, "PATH": path, **own},
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,  # what a terminal or `timeout` sends to all is to end the stage's command, not DVC
        )
        asked = 0
        while process.poll() is None:
            with suppress(subprocess.TimeoutExpired):
                process.wait(LOOK_EVERY)
            if stop.is_set():
                asked += 1
                _end_commands(process.pid, kill=asked > PATIENCE)
        output.seek(0)
        return process.returncode, output.read()


def _end_commands(dvc: int, *, kill: bool) -> None:
    """End what a DVC process has started, and not the process itself, which may be writing its lock file."""
    with suppress(psutil.NoSuchProcess):
        for command in psutil.Process(dvc).children(recursive=True):
            with suppress(psutil.NoSuchProcess):
                command.kill() if kill else command.terminate()
