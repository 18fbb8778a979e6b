"""A step and a whole run against plain PyTorch; how a step grows with n, and memory with a chunk."""

import itertools
import multiprocessing
import resource
import time
from collections.abc import Iterator

import numpy as np
import torch
from problem import Problem, made_up, medians
from scipy.sparse.linalg import LinearOperator, eigsh
from torch import Tensor, nn
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

    The script: gradients by backward, a pass of its own for loss and accuracy, and ARPACK from a random vector on
    products that make their graph anew. Both go the same way; ours also has the groups' losses and kappa.
    """
    begin = time.perf_counter()
    tracker = edgewise.EigenTracker(problem.objective)
    descent, state = edgewise.GradientDescent(problem.lr), edgewise.State(problem.theta)
    sharpness = []
    for step in itertools.islice(edgewise.train(problem.objective, descent, state, problem.groups), steps):
        if step.state.step % every == 0:
            sharpness.append(tracker.measure(step.state.theta).values[0].item())
    ours = time.perf_counter() - begin

    begin = time.perf_counter()
    found = script(problem, steps, every)
    theirs = time.perf_counter() - begin
    yield {
        "a run of": f"{steps} steps, sharpness at every {every}th; {problem.name}",
        "ours (s)": ours,
        "script (s)": theirs,
        "script of ours": theirs / ours,
        "largest difference of the sharpness": max(abs(a / b - 1) for a, b in zip(found, sharpness, strict=True)),
    }


def script(problem: Problem, steps: int, every: int) -> list[float]:
    """Full-batch gradient descent with ARPACK now and then; the sharpness whenever it was measured."""
    model, x, y = problem.objective.model, problem.objective.x, problem.objective.y
    nn.utils.vector_to_parameters(problem.theta.clone(), model.parameters())
    optimizer, one_hot = torch.optim.SGD(model.parameters(), problem.lr), F.one_hot(y, 2).float()
    parameters = list(model.parameters())

    def loss() -> Tensor:
        return (model(x) - one_hot).square().sum(dim=1).mean()

    def product(v: np.ndarray) -> np.ndarray:
        gradient = nn.utils.parameters_to_vector(torch.autograd.grad(loss(), parameters, create_graph=True))
        along = gradient @ torch.from_numpy(v.astype(np.float32)).ravel()
        return nn.utils.parameters_to_vector(
            [part.contiguous() for part in torch.autograd.grad(along, parameters)]
        ).numpy()

    sharpness, losses, accuracies = [], [], []
    operator = LinearOperator((len(problem.theta), len(problem.theta)), matvec=product, dtype=np.float32)
    start = np.random.default_rng(0).standard_normal(len(problem.theta)).astype(np.float32)
    for step in range(steps):
        with torch.no_grad():
            outputs = model(x)
            losses.append((outputs - one_hot).square().sum(dim=1).mean().item())
            accuracies.append((outputs.argmax(dim=1) == y).float().mean().item())
        if step % every == 0:
            sharpness.append(float(eigsh(operator, k=1, which="LA", tol=1e-3, v0=start, return_eigenvectors=False)[0]))
        optimizer.zero_grad()
        loss().backward()
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
            3,
        )
        gflop = 6e-9 * len(theta) * examples
        yield {
            "examples": examples,
            **{f"{name} (s)": took for name, took in seconds.items()},
            "step in gradients": seconds["step"] / seconds["gradient"],
            "gradient, GFLOP/s": gflop / seconds["gradient"],
        }


def memory() -> Iterator[dict[str, object]]:
    """Peak memory of a process that takes a Hessian-vector product of 20,000 images, over the size of a chunk."""
    context = multiprocessing.get_context("spawn")
    for chunk_size in (256, 1024, 4096, 16384):
        with context.Pool(1) as pool:
            before, after = pool.apply(_peak, (chunk_size,))
        yield {"chunk size": chunk_size, "data and network (MB)": before / 1e3, "peak (MB)": after / 1e3}


def _peak(chunk_size: int) -> tuple[int, int]:
    """In a process of its own: kilobytes before the product, and at most."""
    which = made_up(20_000, chunk_size)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    which.objective.hessian(which.theta)(torch.ones_like(which.theta))
    return before, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
