"""What the measurements cost in gradients of the whole training set, and against other ways to take them.

Run: python benchmarks/measurements.py
Times are medians taken in turn in one process; the figures to read are the ratios.
"""

import statistics
import time
from collections.abc import Callable

import numpy as np
import torch
from scipy.sparse.linalg import LinearOperator, eigsh
from torch.func import grad, vmap

from edgewise.dynamics.eigen import EigenTracker, top_eigenpairs
from edgewise.dynamics.loop import train
from edgewise.network.models import build_model, initial_theta
from edgewise.network.objective import Objective
from edgewise.params import ModelParams
from edgewise.states.optimizers import GradientDescent, State

SHAPE, EXAMPLES, REPEATS = (1, 28, 28), 1000, 7


def main() -> None:
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(EXAMPLES, *SHAPE, generator=generator)
    y = torch.randint(0, 2, (EXAMPLES,), generator=generator)
    model = build_model(ModelParams(width=512), SHAPE)
    objective = Objective(model, "mse", x, y, chunk_size=EXAMPLES)
    run = train(objective, GradientDescent(0.03), State(initial_theta(model, 0.2, seed=0).float()), {})
    thetas = [next(run).state.theta for _ in range(31)]
    theta, later = thetas[20], thetas[30]
    v = torch.randn(len(theta), generator=generator)
    v /= v.norm()
    product = objective.hessian(theta)
    tracker = EigenTracker(objective)
    tracker.measure(theta)
    subspace = tracker.subspace

    print(f"MLP 512 x 2 on {EXAMPLES} images {SHAPE}, {len(theta)} parameters, {torch.get_num_threads()} threads")
    table = medians(
        {
            "gradient": lambda: objective.gradient(theta),
            "Hessian-vector product, kept graph": lambda: product(v),
            "Hessian-vector product, rebuilt graph": lambda: objective.hessian(theta)(v),
            "all projections (one JVP)": lambda: objective.projections(theta, v),
            "all gradient norms, from layer inputs and errors": lambda: objective.gradient_norms(theta),
            "gradient of the sharpness": lambda: objective.sharpness_gradient(theta, v),
            "gradient of the sharpness, over a length": lambda: objective.sharpness_gradient_over(theta, v, 0.1),
            "top eigenpair, warm start": lambda: top_eigenpairs(objective.hessian(later), later, start=subspace),
            "top eigenpair, cold start": lambda: top_eigenpairs(objective.hessian(later), later),
            "top eigenpair, ARPACK with the warm vector": lambda: arpack(objective, later, subspace[0]),
        },
        REPEATS,
    )
    table |= medians({"all gradient norms, torch.func.vmap": lambda: norms_by_vmap(objective, theta)}, 1)
    unit = table["gradient"]
    print(f"{'':55s} {'ms':>8s} {'gradients':>10s}")
    for name, seconds in table.items():
        print(f"{name:55s} {1e3 * seconds:8.1f} {seconds / unit:10.2f}")


def medians(tasks: dict[str, Callable[[], object]], repeats: int) -> dict[str, float]:
    """Median seconds of each task, the tasks taken in turn; each is done once before it is timed, to warm it."""
    times: dict[str, list[float]] = {name: [] for name in tasks}
    for _ in range(repeats):
        for name, task in tasks.items():
            task()
            begin = time.perf_counter()
            task()
            times[name].append(time.perf_counter() - begin)
    return {name: statistics.median(values) for name, values in times.items()}


def arpack(objective: Objective, theta: torch.Tensor, start: torch.Tensor) -> float:
    """The largest eigenvalue by scipy's ARPACK, to the same relative accuracy."""
    product = objective.hessian(theta)
    size = len(theta)

    def matvec(v: np.ndarray) -> np.ndarray:
        return product(torch.from_numpy(v.astype(np.float32)).reshape(-1)).numpy()

    operator = LinearOperator((size, size), matvec=matvec, dtype=np.float32)
    values = eigsh(operator, k=1, which="LA", v0=start.numpy(), tol=1e-3, return_eigenvectors=False)
    return float(values[0])


def norms_by_vmap(objective: Objective, theta: torch.Tensor) -> torch.Tensor:
    """All gradient norms by forming every gradient, 32 at a time."""

    def loss(at: torch.Tensor, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        return objective.example_losses(objective.outputs(at, x[None]), y[None])[0]

    each = vmap(grad(loss), in_dims=(None, 0, 0))
    chunks = zip(objective.x.split(32), objective.y.split(32), strict=True)
    return torch.cat([each(theta, x, y).norm(dim=1) for x, y in chunks])


if __name__ == "__main__":
    main()
