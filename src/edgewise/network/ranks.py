"""Ranks: processes that share the examples among them, each on a device of its own.

Every rank holds a block of the examples, and all of them take the same steps. Sums over examples are added up over the
ranks, and what there is of each example is put together, by two functions, `summed` and `joined`; every rank then has
the same bits, and goes on alike. A process that was not started as a rank is the only one.
"""

import logging
import os
import signal
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from multiprocessing.connection import wait
from multiprocessing.process import BaseProcess, parent_process
from pathlib import Path

import torch
import torch.distributed as dist
from torch import Tensor
from torch.multiprocessing.spawn import ProcessException, start_processes

from edgewise.errors import EdgewiseError, ParameterError, in_plain_words

#: Ranks that a core may hold: they only wait for each other where there are more.
RANKS_A_CORE = 4

#: How long a rank that is asked to end may take to, in seconds.
PATIENCE = 10.0


def rank() -> int:
    """The number of this rank, from 0."""
    return dist.get_rank() if dist.is_initialized() else 0


def leads() -> bool:
    """Whether this is the rank that writes files."""
    return rank() == 0


def share(n: int) -> slice:
    """Which of n examples are this rank's."""
    count = dist.get_world_size() if dist.is_initialized() else 1
    return slice(rank() * n // count, (rank() + 1) * n // count)


def counts(own: int) -> list[int]:
    """How many examples each rank has, where this one has `own`."""
    if not dist.is_initialized():
        return [own]
    found: list[int] = [0] * dist.get_world_size()
    dist.all_gather_object(found, own)
    return found


def summed(own: Tensor) -> Tensor:
    """The sum over the ranks of a tensor of one shape in all of them; the given one may be overwritten."""
    if dist.is_initialized():
        dist.all_reduce(own)
    return own


def joined(own: Tensor, counts: Sequence[int]) -> Tensor:
    """The rows [n, ...] of all ranks, in their order, of which this one has `own` [counts[rank], ...]."""
    if not dist.is_initialized():
        return own
    begin = sum(counts[: rank()])
    rows = torch.zeros(sum(counts), *own.shape[1:], dtype=own.dtype, device=own.device)
    rows[begin : begin + len(own)] = own
    return summed(rows.byte()).bool() if own.dtype == torch.bool else summed(rows)


def run_in_ranks(work: Callable[[], None], count: int, device: str) -> None:
    """Call `work` in `count` ranks, on this machine, or in those that torchrun has started.

    Parameters
    ----------
    work : can be pickled
    device : cpu, or cuda, where the ranks of a machine take a GPU each

    Raises
    ------
    EdgewiseError
        That which `work` raised, or if a rank died. The others are then ended.
    ParameterError
        If torchrun has started another number of ranks, or they are too many for this machine.
    """
    if dist.is_torchelastic_launched():
        if int(os.environ["WORLD_SIZE"]) != count:
            raise ParameterError("compute.ranks", count, f"torchrun has started {os.environ['WORLD_SIZE']}")
        with _group(device, int(os.environ["LOCAL_RANK"])):
            work()
        return
    _require_room(count, device)
    # That the other ranks are ended where one fails is no news.
    logging.getLogger("torch.multiprocessing.spawn").setLevel(logging.ERROR)
    with tempfile.TemporaryDirectory() as meeting:
        arguments = (work, count, device, Path(meeting))
        # The Ctrl-C of a terminal goes to all processes. It is for this one, which ends the others.
        handler = signal.signal(signal.SIGINT, signal.SIG_IGN)
        ranks = start_processes(_as_rank, arguments, nprocs=count, join=False, start_method="spawn")
        signal.signal(signal.SIGINT, handler)
        try:
            statuses = _first_to_end(ranks.processes)
            while not ranks.join():
                pass
        except ProcessException:
            said = sorted(Path(meeting).glob(_error_of("*")))
            if said:
                raise EdgewiseError(said[0].read_text()) from None
            killed = [number for number, status in enumerate(statuses) if status and status < 0]
            if not killed:
                raise
            raise EdgewiseError(
                f"compute.ranks: rank {killed[0]} of {count} died (status {statuses[killed[0]]}), and all were ended;"
                " started again, the run goes on from its last checkpoint"
            ) from None
        finally:  # whatever ends this process, no rank goes on writing without it
            _end(ranks.processes)


def _require_room(count: int, device: str) -> None:
    """Stop if this machine is not meant to hold so many ranks."""
    if device == "cuda":
        most, why = torch.cuda.device_count(), "a GPU each"
    else:
        most, why = RANKS_A_CORE * (os.cpu_count() or 1), f"{RANKS_A_CORE} a core"
    if count > most:
        allowed = f"must be at most {most} on this machine, {why}; torchrun starts ranks on several"
        raise ParameterError("compute.ranks", count, allowed)


def _first_to_end(processes: Sequence[BaseProcess]) -> list[int | None]:
    """The exit statuses when the first process has failed, or all have ended; None while one runs."""
    statuses = [process.exitcode for process in processes]
    while None in statuses and not any(statuses):
        wait([process.sentinel for process, status in zip(processes, statuses, strict=True) if status is None])
        statuses = [process.exitcode for process in processes]
    return statuses


def _end(processes: Sequence[BaseProcess]) -> None:
    for process in processes:
        process.terminate()
    for process in processes:
        process.join(PATIENCE)
        process.kill()
        process.join()


def _error_of(number: int | str) -> str:
    """Where a rank writes an error of the user's, in the folder where the ranks meet."""
    return f"error-of-{number}"


def _as_rank(number: int, work: Callable[[], None], count: int, device: str, meeting: Path) -> None:
    # The kernel sends it if the process that started this one is killed, and has not if that was before.
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    parent = parent_process()
    if parent is None or not parent.is_alive():
        sys.exit(1)
    if number > 0:  # one bar of progress is enough
        sys.stderr = Path(os.devnull).open("w")  # noqa: SIM115
    try:
        with _group(device, number, init_method=(meeting / "ranks").as_uri(), rank=number, world_size=count):
            work()
    except (EdgewiseError, OSError) as error:
        (meeting / _error_of(number)).write_text(in_plain_words(error))
        sys.exit(1)


@contextmanager
def _group(device: str, local_rank: int, **meeting: object) -> Iterator[None]:
    """A rank's part in the group, which is left in order: its threads would end the process as if it had failed."""
    if device == "cuda":
        torch.cuda.set_device(local_rank)
    backend = "nccl" if device == "cuda" else "gloo"
    dist.init_process_group(backend, timeout=timedelta(minutes=10), **meeting)  # type: ignore[arg-type]
    try:
        yield
        dist.barrier()  # no rank leaves while another still waits for what it sends
    finally:
        dist.destroy_process_group()
