"""A step and a whole run against plain PyTorch; how a step grows with n, and memory with a chunk."""

import itertools
import multiprocessing
import statistics
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from problem import Problem, made_up, medians
from scipy.sparse.linalg import LinearOperator, eigsh
from torch import nn
from torch.nn import functional as F

import edgewise

REPEATS = 7


def steps_against_a_bare_loop(problem: Problem) -> Iterator[dict[str, object]]:
    """A step of `train`, which also looks at groups and curvature, against loss, backward and SGD alone."""
    for which in (problem, made_up(10_000, chunk_size=16384)):
        objective = which.objective
        run = edgewise.train(objective, edgewise.GradientDescent(which.lr), edgewise.State(which.theta), which.groups)
        model = objective.model
        nn.utils.vector_to_parameters(which.theta.clone(), model.parameters())
        optimizer = torch.optim.SGD(model.parameters(), which.lr)
        one_hot = F.one_hot(objective.y, 2).float()

        def bare(model=model, optimizer=optimizer, x=objective.x, one_hot=one_hot) -> None:
            optimizer.zero_grad()
            (model(x) - one_hot).square().sum(dim=1).mean().backward()
            optimizer.step()

        seconds = medians({"ours": lambda run=run: next(run), "bare": bare}, 3 * REPEATS)
        yield {
            "a step on": which.name,
            "ours (s)": seconds["ours"],
            "bare loop (s)": seconds["bare"],
            "ours of the bare loop": seconds["ours"] / seconds["bare"],
        }


def a_run_against_scripts(problem: Problem, steps: int = 200, every: int = 25) -> Iterator[dict[str, object]]:
    """A run with losses and accuracies at every step and the sharpness at every 25th, as scripts of the field have it.

    The first script takes a pass of its own for loss and accuracy, and ARPACK as it comes, on products that make their
    graph anew. The second has both from the training pass and starts ARPACK from the vector before, with a small basis.
    All go the same way; ours has the groups' losses and kappa too.
    """
    found: dict[str, list[float]] = {}
    for _ in range(3):
        for name, run in {
            "edgewise": our_run,
            "a script as they are": script,
            "a script with a warm start and one pass": lambda *about: script(*about, kinder=True),
        }.items():
            begin = time.perf_counter()
            run(problem, steps, every)
            found.setdefault(name, []).append(time.perf_counter() - begin)
    ours = statistics.median(found["edgewise"])
    for name, seconds in found.items():
        median, spread = statistics.median(seconds), f"{min(seconds):.3g} to {max(seconds):.3g}"
        yield {f"{steps} steps": name, "seconds, median": median, "of three": spread, "time of ours": median / ours}


def our_run(problem: Problem, steps: int, every: int) -> list[float]:
    """The run by the library; the sharpness whenever it was measured."""
    tracker = edgewise.EigenTracker(problem.objective)
    run = edgewise.train(
        problem.objective, edgewise.GradientDescent(problem.lr), edgewise.State(problem.theta), problem.groups
    )
    due = (step for step in itertools.islice(run, steps) if step.state.step % every == 0)
    return [tracker.measure(step.state.theta).values[0].item() for step in due]


def script(problem: Problem, steps: int, every: int, *, kinder: bool = False) -> list[float]:
    """Full-batch gradient descent with ARPACK now and then; the sharpness whenever it was measured."""
    model, x, y = problem.objective.model, problem.objective.x, problem.objective.y
    nn.utils.vector_to_parameters(problem.theta.clone(), model.parameters())
    optimizer, one_hot = torch.optim.SGD(model.parameters(), problem.lr), F.one_hot(y, 2).float()
    parameters = list(model.parameters())

    def product(v: np.ndarray) -> np.ndarray:
        loss = (model(x) - one_hot).square().sum(dim=1).mean()
        gradient = nn.utils.parameters_to_vector(torch.autograd.grad(loss, parameters, create_graph=True))
        along = gradient @ torch.from_numpy(v.astype(np.float32)).ravel()
        parts = torch.autograd.grad(along, parameters)
        return nn.utils.parameters_to_vector([part.contiguous() for part in parts]).numpy()

    sharpness, losses, accuracies = [], [], []
    operator = LinearOperator((len(problem.theta), len(problem.theta)), matvec=product, dtype=np.float32)
    start = np.random.default_rng(0).standard_normal(len(problem.theta)).astype(np.float32)
    for step in range(steps):
        if step % every == 0:
            size = 4 if kinder else None
            values, vectors = eigsh(operator, k=1, ncv=size, which="LA", tol=1e-3, v0=start)
            sharpness.append(float(values[0]))
            start = vectors[:, 0] if kinder else start
        if not kinder:
            with torch.no_grad():
                outputs = model(x)
                losses.append((outputs - one_hot).square().sum(dim=1).mean().item())
                accuracies.append((outputs.argmax(dim=1) == y).float().mean().item())
        optimizer.zero_grad()
        outputs = model(x)
        loss = (outputs - one_hot).square().sum(dim=1).mean()
        if kinder:
            losses.append(loss.item())
            accuracies.append((outputs.argmax(dim=1) == y).float().mean().item())
        loss.backward()
        optimizer.step()
    return sharpness


def growth() -> Iterator[dict[str, object]]:
    """Seconds of a gradient, of a Hessian-vector product and of a step of `train`, over the number of examples."""
    for examples in (1_000, 10_000, 50_000):
        which = made_up(examples, chunk_size=16384)
        objective, theta = which.objective, which.theta
        run = edgewise.train(objective, edgewise.GradientDescent(which.lr), edgewise.State(theta), {})
        v = torch.randn(len(theta), generator=torch.Generator().manual_seed(0))
        seconds = medians(
            {
                "gradient": lambda objective=objective, theta=theta: objective.gradient(theta),
                "product": lambda objective=objective, theta=theta, v=v: objective.hessian(theta)(v),
                "step": lambda run=run: next(run),
            },
            REPEATS,
        )
        # Two passes through the first layer, whose inputs need no gradient, and three through the others.
        first = next(objective.model.parameters()).numel()
        gflop = 1e-9 * (4 * first + 6 * (len(theta) - first)) * examples
        yield {
            "examples": examples,
            **{f"{name} (s)": took for name, took in seconds.items()},
            "step in gradients": seconds["step"] / seconds["gradient"],
            "gradient, GFLOP/s": gflop / seconds["gradient"],
        }


def memory() -> Iterator[dict[str, object]]:
    """What a process holds before and at most during a Hessian-vector product of 20,000 images, over chunk sizes."""
    context = multiprocessing.get_context("spawn")
    for chunk_size in (256, 1024, 4096, 16384):
        with context.Pool(1) as pool:
            before, most = pool.apply(_peak, (chunk_size,))
        yield {
            "chunk size": chunk_size,
            "before (MB)": before,
            "at most (MB)": most,
            "for the product (MB)": most - before,
        }


def _peak(chunk_size: int) -> tuple[float, float]:
    """In a process of its own: megabytes held before the product, and at most during it (Linux)."""

    def megabytes(what: str) -> float:
        lines = Path("/proc/self/status").read_text().splitlines()
        return next(float(line.split()[1]) for line in lines if line.startswith(what)) / 1e3

    which = made_up(20_000, chunk_size)
    Path("/proc/self/clear_refs").write_text("5")  # the peak counts from here
    before = megabytes("VmRSS")
    which.objective.hessian(which.theta)(torch.ones_like(which.theta))
    return before, megabytes("VmHWM")
