"""The top eigenpairs along a run at the edge, against PyHessian, curvlinops with ARPACK, and LOBPCG.

All are asked for a relative residual of 1e-3, and what they reach is measured. PyHessian looks at the change of the
eigenvalue alone: its tolerance is lowered until the residual is as small. torch.lobpcg takes matrices alone, and that
of this network has 10^12 numbers: SciPy's is in its place.
"""

import itertools
import statistics
import time
from collections.abc import Callable, Iterator

import numpy as np
import torch
from curvlinops import HessianLinearOperator
from problem import Problem
from pyhessian import hessian as pyhessian
from scipy.sparse.linalg import LinearOperator, eigsh, lobpcg
from torch import Tensor, nn
from torch.nn import functional as F

import edgewise

STEPS, TOLERANCE = range(300, 401, 25), 1e-3

#: The eigenvectors [k, P] at a theta and the number of products that they took; it may remember the solve before.
Solver = Callable[[Tensor], tuple[Tensor, int | None]]


def against_peers(problem: Problem) -> Iterator[dict[str, object]]:
    """A row a solver and k: seconds and products a solve, on average but for the first, and the worst residual."""
    descent, state = edgewise.GradientDescent(problem.lr), edgewise.State(problem.theta)
    run = itertools.islice(edgewise.train(problem.objective, descent, state, {}), STEPS.stop)
    thetas = [step.state.theta for step in run if step.state.step in STEPS]
    for k in (1, 10):
        found = {
            "edgewise": measured(problem, ours(problem, k), thetas),
            "curvlinops, eigsh": measured(problem, by_curvlinops(problem, k), thetas),
            "SciPy, lobpcg": measured(problem, by_lobpcg(problem, k), thetas),
        }
        if k == 1:  # ten by power iteration take minutes
            for tolerance in (1e-3, 1e-4, 1e-5, 1e-6, 1e-7, 1e-8):
                row = measured(problem, by_pyhessian(problem, tolerance), thetas)
                found[f"PyHessian, tol {tolerance:g}"] = row
                if row["worst residual"] <= TOLERANCE:
                    break
        for name, row in found.items():
            ratio = row["seconds a solve"] / found["edgewise"]["seconds a solve"]
            yield {"eigenpairs": k, "solver": name, **row, "time of ours": ratio}


def measured(problem: Problem, solver: Solver, thetas: list[Tensor]) -> dict[str, object]:
    """Mean seconds and products of the solves after the first, which is cold, and the largest residual of all."""
    seconds, products, residuals = [], [], []
    for theta in thetas:
        begin = time.perf_counter()
        vectors, spent = solver(theta)
        seconds.append(time.perf_counter() - begin)
        products.append(spent)
        product = problem.objective.hessian(theta)
        for v in vectors:
            image = product(v)
            value = v @ image
            residuals.append(((image - value * v).norm() / value.abs()).item())
    return {
        "seconds a solve": statistics.mean(seconds[1:]),
        "products a solve": None if None in products else statistics.mean(products[1:]),
        "worst residual": max(residuals),
    }


def ours(problem: Problem, k: int) -> Solver:
    """The tracker, warm from the solve before."""
    tracker = edgewise.EigenTracker(problem.objective, k, tolerance=TOLERANCE)

    def solve(theta: Tensor) -> tuple[Tensor, int | None]:
        pairs = tracker.measure(theta)
        return pairs.vectors, pairs.products

    return solve


def _network_at(problem: Problem, theta: Tensor) -> nn.Module:
    model = problem.objective.model
    nn.utils.vector_to_parameters(theta.clone(), model.parameters())
    return model


def by_curvlinops(problem: Problem, k: int) -> Solver:
    """ARPACK on the operator of curvlinops, from a random vector."""
    x, y = problem.objective.x, F.one_hot(problem.objective.y, 2).float()

    def solve(theta: Tensor) -> tuple[Tensor, int | None]:
        model = _network_at(problem, theta)
        operator = HessianLinearOperator(
            model, nn.MSELoss(), list(model.parameters()), [(x, y)], check_deterministic=False
        ).to_scipy(dtype=np.float32)
        counted, count = counting(operator.matvec, len(theta))
        start = np.random.default_rng(0).standard_normal(len(theta)).astype(np.float32)
        _, vectors = eigsh(counted, k=k, which="LA", tol=TOLERANCE, v0=start)
        return torch.from_numpy(vectors.T.copy()), count()

    return solve


def by_lobpcg(problem: Problem, k: int) -> Solver:
    """LOBPCG on our products, from the vectors of the solve before; those that it starts from at first are random."""
    remembered: list[np.ndarray] = []

    def solve(theta: Tensor) -> tuple[Tensor, int | None]:
        product = problem.objective.hessian(theta)
        counted, count = counting(lambda v: product(torch.from_numpy(v.astype(np.float32)).ravel()).numpy(), len(theta))
        start = remembered[-1] if remembered else np.random.default_rng(0).standard_normal((len(theta), k))
        # Its tolerance is on the residual itself, and not relative to the eigenvalue.
        value = float(torch.from_numpy(start[:, 0]).float() @ product(torch.from_numpy(start[:, 0]).float()))
        _, vectors = lobpcg(counted, start.astype(np.float32), largest=True, tol=TOLERANCE * abs(value), maxiter=200)
        remembered[:] = [vectors]
        return torch.from_numpy(vectors.T.copy()).float(), count()

    return solve


def by_pyhessian(problem: Problem, tolerance: float) -> Solver:
    """Power iteration, to a relative change of the eigenvalue; its products are not counted."""
    data = (problem.objective.x, F.one_hot(problem.objective.y, 2).float())

    def solve(theta: Tensor) -> tuple[Tensor, int | None]:
        operator = pyhessian(_network_at(problem, theta), nn.MSELoss(), data=data, cuda=False)
        _, vectors = operator.eigenvalues(maxIter=10_000, tol=tolerance)
        problem.objective.model.zero_grad()
        return torch.cat([part.reshape(-1) for part in vectors[0]])[None], None

    return solve


def counting(matvec: Callable[[np.ndarray], np.ndarray], size: int) -> tuple[LinearOperator, Callable[[], int]]:
    """An operator, and how often it was applied."""
    calls = itertools.count()

    def counted(v: np.ndarray) -> np.ndarray:
        next(calls)
        return matvec(v)

    return LinearOperator((size, size), matvec=counted, dtype=np.float32), lambda: next(calls)
