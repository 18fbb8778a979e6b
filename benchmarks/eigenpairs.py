"""How many Hessian-vector products a solve for eigenpairs takes along a run, and ARPACK for the same.

Run: python benchmarks/eigenpairs.py, in a repository in which `edgewise repro` has run.
At both iterates of the last checkpoints of the first seed's branches, each solve starting from the one before.
"""

import statistics
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
import yaml
from scipy.sparse.linalg import LinearOperator, eigsh

sys.path.insert(0, "stages")

from common import checkpoints_folder
from edgewise.dynamics.eigen import EigenTracker
from edgewise.network.objective import Objective
from edgewise.params import Params
from edgewise.states.trajectory import manifest_of
from experiment import Experiment

RUNS, CHECKPOINTS, PAIRS = ("base", "baseline", "exit"), 9, (1, 3, 10)


def main() -> None:
    params = Params.model_validate(yaml.safe_load(Path("params.yaml").read_text()))
    experiment = Experiment(params, params.seeds[0])
    along = [list(iterates(experiment, run)) for run in RUNS]
    print("| pairs | first solve | then, on average | ARPACK from the last v1 |")
    print("|---|---|---|---|")
    for k in PAIRS:
        first, then, others = [], [], []
        for thetas in along:
            tracker = EigenTracker(experiment.objective, k, tolerance=params.hessian.tolerance)
            solved = [tracker.measure(theta) for theta in thetas]
            first.append(solved[0].products)
            then += [pairs.products for pairs in solved[1:]]
            for theta, before in zip(thetas[1:], solved, strict=False):
                others.append(arpack(experiment.objective, theta, before.vectors[0], k, params.hessian.tolerance))
        print(f"| {k} | {' | '.join(f'{statistics.mean(counts):.1f}' for counts in (first, then, others))} |")


def iterates(experiment: Experiment, run: str) -> Iterator[torch.Tensor]:
    """Both iterates of the last checkpoints of a run."""
    for step in manifest_of(checkpoints_folder(experiment.seed, run)).all_steps()[-CHECKPOINTS:]:
        _, pair = experiment.pair(run, step)
        yield from (state.theta for state in pair)


def arpack(objective: Objective, theta: torch.Tensor, start: torch.Tensor, k: int, tolerance: float) -> int:
    """The products that scipy's ARPACK takes for the k largest eigenvalues."""
    product, count = objective.hessian(theta), 0

    def matvec(v: np.ndarray) -> np.ndarray:
        nonlocal count
        count += 1
        return product(torch.from_numpy(v.astype(np.float32)).reshape(-1)).numpy()

    operator = LinearOperator((len(theta), len(theta)), matvec=matvec, dtype=np.float32)
    eigsh(operator, k=k, which="LA", v0=start.numpy(), tol=tolerance, return_eigenvectors=False)
    return count


if __name__ == "__main__":
    main()
