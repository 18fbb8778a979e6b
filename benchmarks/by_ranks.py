"""A step of training and a Hessian-vector product over the number of ranks that share the examples, on this machine."""

import json
import tempfile
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import torch
from problem import made_up, medians

import edgewise
from edgewise.network.ranks import leads, run_in_ranks

REPEATS = 5


def over_ranks() -> Iterator[dict[str, object]]:
    """A row a number of examples and of ranks, of one thread each: seconds, and those over the seconds of one rank."""
    for examples in (1_000, 10_000):
        alone: dict[str, float] = {}
        for count in (1, 2, 4):
            with tempfile.TemporaryDirectory() as folder:
                result = Path(folder) / "seconds.json"
                run_in_ranks(partial(_timed, result, examples), count, "cpu")
                seconds = json.loads(result.read_text())
            alone = alone or seconds
            yield {
                "examples": examples,
                "ranks": count,
                **{f"{name} (s)": took for name, took in seconds.items()},
                **{f"{name}, of one rank": took / alone[name] for name, took in seconds.items()},
            }


def _timed(result: Path, examples: int) -> None:
    """In a rank: take the times, which the first rank writes."""
    torch.set_num_threads(1)
    which = made_up(examples, chunk_size=16384)
    run = edgewise.train(which.objective, edgewise.GradientDescent(which.lr), edgewise.State(which.theta), {})
    v = torch.randn(len(which.theta), generator=torch.Generator().manual_seed(0))
    tasks = {"step": lambda: next(run), "product": lambda: which.objective.hessian(which.theta)(v)}
    seconds = medians(tasks, REPEATS)
    if leads():
        result.write_text(json.dumps(seconds))
