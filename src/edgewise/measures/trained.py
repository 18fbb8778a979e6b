"""The measurements of one trained classifier, whoever trained it."""

from collections.abc import Mapping
from dataclasses import dataclass

import pandas as pd
import torch
from torch import Tensor, nn

from edgewise.dynamics.eigen import EigenTracker
from edgewise.errors import EdgewiseError
from edgewise.measures.selectivity import alignment, curvature_influence
from edgewise.network.objective import Loss, LossOfExamples, Objective


@dataclass(frozen=True)
class Measured:
    """What was measured at the parameters of a model.

    Attributes
    ----------
    sharpness : largest eigenvalue of the Hessian of the mean loss
    v1 : [P], its unit eigenvector, in the order of the model's parameters
    groups : a row a group, with the columns examples, loss, accuracy, alignment, curvature_influence, gradient_norm
    """

    sharpness: float
    v1: Tensor
    groups: pd.DataFrame


def measure(
    model: nn.Module,
    loss: Loss | LossOfExamples,
    data: tuple[Tensor, Tensor],
    groups: Mapping[str, Tensor],
    *,
    chunk_size: int = 4096,
    tolerance: float = 1e-3,
) -> Measured:
    """Sharpness of a trained classifier, and alignment and influence of groups of its data.

    Parameters
    ----------
    model : any classifier that torch can differentiate twice; it is measured in the mode of evaluation
    loss : "mse", "ce", or any function of outputs [m, K] and labels [m] that gives a loss an example, [m]
    data : x [n, ...] and labels y, int64 [n], of the model's type and device
    groups : for each group's name, a mask bool [n] or indices of its examples
    chunk_size : number of examples in one pass
    tolerance : relative residual of the eigenpair

    Raises
    ------
    EdgewiseError
        If the loss is not one an example, a group is empty or names an example that there is not, or the eigenpair is
        not found.

    Examples
    --------
    >>> model = nn.Linear(2, 2, bias=False)
    >>> x, y = torch.tensor([[1.0, 0.0], [0.0, 3.0]]), torch.tensor([0, 1])
    >>> found = measure(model, "mse", (x, y), {"first": torch.tensor([0]), "second": torch.tensor([1])})
    >>> round(found.sharpness, 3)  # 2/n of the largest eigenvalue of x^T x
    9.0
    >>> found.groups["alignment"].round(3).tolist()[0]
    0.0
    """
    was_training = model.training
    model.eval()
    try:
        theta = nn.utils.parameters_to_vector(model.parameters()).detach()
        objective = Objective(model, loss, *data, chunk_size)
        first = objective.subset(torch.tensor([0]))
        shape = first.example_losses(first.outputs(theta, first.x), first.y).shape
        if shape != (1,):
            raise EdgewiseError(f"loss: gives {tuple(shape)} of one example; must be (1,), as of reduction='none'")
        pairs = EigenTracker(objective, tolerance=tolerance).measure(theta)
        rows = {}
        for name, members in groups.items():
            group = objective.subset(_checked(name, torch.as_tensor(members), len(objective)))
            found = group.evaluate(theta)
            rows[name] = {
                "examples": len(group),
                "loss": found.loss,
                "accuracy": found.accuracy,
                "alignment": alignment(found.gradient, pairs.vectors[0]),
                "curvature_influence": curvature_influence(found.gradient, pairs.vectors[0]),
                "gradient_norm": found.gradient.norm().item(),
            }
    finally:
        model.train(was_training)
    table = pd.DataFrame.from_dict(rows, orient="index").rename_axis("group")
    return Measured(pairs.values[0].item(), pairs.vectors[0], table)  # noqa: PD011


def _checked(name: str, members: Tensor, count: int) -> Tensor:
    """The members of a group, if they are a mask of `count` examples or indices of some of them.

    Raises
    ------
    EdgewiseError
        Names the group, if they are not.
    """
    if members.numel() == 0 or (members.dtype == torch.bool and not members.any()):
        raise EdgewiseError(f"groups: {name!r} has no examples")
    if members.dtype == torch.bool:
        if members.shape != (count,):
            raise EdgewiseError(f"groups: {name!r} is a mask of shape {tuple(members.shape)}; must be ({count},)")
    elif members.ndim != 1 or members.is_floating_point() or members.is_complex():
        kind = f"{members.dtype} of shape {tuple(members.shape)}"
        raise EdgewiseError(f"groups: {name!r} is {kind}; must be a mask, or a vector of whole numbers")
    elif members.min() < 0 or members.max() >= count:
        raise EdgewiseError(
            f"groups: {name!r} has indices {int(members.min())} to {int(members.max())}; must be 0 to {count - 1}"
        )
    return members
