"""What the measurements cost in gradients of the whole training set, and against other ways to take them."""

import itertools

import torch
from problem import Problem, medians
from torch.func import grad, vmap

import edgewise
from edgewise.network.objective import Objective

REPEATS = 7


def costs(problem: Problem) -> list[dict[str, object]]:
    """A row a measurement: seconds, and the ratio to a gradient; at the edge, 25 steps after the solve before."""
    objective = problem.objective
    steps = edgewise.train(objective, edgewise.GradientDescent(problem.lr), edgewise.State(problem.theta), {})
    theta, later = (step.state.theta for step in itertools.islice(steps, 300, 326, 25))
    v = torch.randn(len(theta), generator=torch.Generator().manual_seed(0))
    v /= v.norm()
    product = objective.hessian(theta)
    tracker = edgewise.EigenTracker(objective)
    tracker.measure(theta)
    subspace = tracker.subspace
    seconds = medians(
        {
            "gradient": lambda: objective.gradient(theta),
            "Hessian-vector product, kept graph": lambda: product(v),
            "Hessian-vector product, rebuilt graph": lambda: objective.hessian(theta)(v),
            "all projections (one JVP)": lambda: objective.projections(theta, v),
            "all gradient norms, from layer inputs and errors": lambda: objective.gradient_norms(theta),
            "gradient of the sharpness": lambda: objective.sharpness_gradient(theta, v),
            "gradient of the sharpness, over a length": lambda: objective.sharpness_gradient_over(theta, v, 0.1),
            "top eigenpair, warm start": lambda: edgewise.top_eigenpairs(
                objective.hessian(later), later, start=subspace
            ),
            "top eigenpair, cold start": lambda: edgewise.top_eigenpairs(objective.hessian(later), later),
        },
        REPEATS,
    )
    seconds |= medians({"all gradient norms, torch.func.vmap": lambda: norms_by_vmap(objective, theta)}, 1)
    return [
        {"measurement": name, "seconds": took, "in gradients": took / seconds["gradient"]}
        for name, took in seconds.items()
    ]


def norms_by_vmap(objective: Objective, theta: torch.Tensor) -> torch.Tensor:
    """All gradient norms by forming every gradient, 32 at a time."""

    def loss(at: torch.Tensor, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        return objective.example_losses(objective.outputs(at, x[None]), y[None])[0]

    each = vmap(grad(loss), in_dims=(None, 0, 0))
    chunks = zip(objective.x.split(32), objective.y.split(32), strict=True)
    return torch.cat([each(theta, x, y).norm(dim=1) for x, y in chunks])
