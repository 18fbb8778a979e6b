"""The measurements of one trained classifier, whoever trained it."""

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from edgewise.dynamics.eigen import EigenTracker
from edgewise.errors import EdgewiseError, said_by
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
    groups: Mapping[str, object],
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
    groups : for each group's name, a mask bool [n] or indices of its examples; a tensor, an array or a list
    chunk_size : number of examples in one pass
    tolerance : relative residual of the eigenpair

    Raises
    ------
    EdgewiseError
        Names the argument at fault, what it was and what is allowed; or the eigenpair is not found.

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
    if not 0 < tolerance < 1:
        raise EdgewiseError(f"tolerance: was {tolerance}; must be between 0 and 1")
    if not isinstance(chunk_size, int) or chunk_size < 1:
        raise EdgewiseError(f"chunk_size: was {chunk_size}; must be a whole number from 1")
    if not (isinstance(data, (tuple, list)) and len(data) == 2):
        raise EdgewiseError("data: must be a pair, of inputs and labels")
    x, y = data
    _require_labels(x, y)
    if not isinstance(groups, Mapping):
        raise EdgewiseError(f"groups: was a {type(groups).__name__}; must be a mapping of names to members")
    chosen = {name: _members(name, members, len(x)) for name, members in groups.items()}
    if any(is_lazy(parameter) or parameter.is_meta for parameter in model.parameters()):
        raise EdgewiseError("model: has parameters without values (lazy, or on the meta device): it must be trained")
    _require_alike(model, x)
    modes = {module: module.training for module in model.modules()}
    model.eval()
    try:
        with torch.inference_mode(mode=False), torch.enable_grad():
            return _measured(model, loss, (x.clone() if x.is_inference() else x, y), chosen, chunk_size, tolerance)
    except RuntimeError as error:
        raise EdgewiseError(f"model: torch cannot evaluate it, or differentiate it twice ({said_by(error)})") from error
    finally:
        for module, training in modes.items():
            module.training = training


def _measured(
    model: nn.Module,
    loss: Loss | LossOfExamples,
    data: tuple[Tensor, Tensor],
    groups: Mapping[str, Tensor],
    chunk_size: int,
    tolerance: float,
) -> Measured:
    theta = nn.utils.parameters_to_vector(model.parameters()).detach()
    objective = Objective(model, loss, *data, chunk_size)
    _require_losses(objective, theta)
    pairs = EigenTracker(objective, tolerance=tolerance).measure(theta)
    rows = {}
    for name, members in groups.items():
        group = objective.subset(members)
        found = group.evaluate(theta)
        rows[name] = {
            "examples": len(group),
            "loss": found.loss,
            "accuracy": found.accuracy,
            "alignment": alignment(found.gradient, pairs.vectors[0]),
            "curvature_influence": curvature_influence(found.gradient, pairs.vectors[0]),
            "gradient_norm": found.gradient.norm().item(),
        }
        if not all(map(math.isfinite, rows[name].values())):
            raise EdgewiseError(f"data: the loss or the gradient of {name!r} is not a finite number")
    table = pd.DataFrame.from_dict(rows, orient="index").rename_axis("group")
    return Measured(pairs.values[0].item(), pairs.vectors[0], table)  # noqa: PD011


def _require_labels(x: Tensor, y: Tensor) -> None:
    """Stop where data are not examples with a label each."""
    if not (isinstance(x, Tensor) and isinstance(y, Tensor)):
        raise EdgewiseError(f"data: was a {type(x).__name__} and a {type(y).__name__}; must be two tensors")
    if len(x) == 0 or y.shape != (len(x),) or y.dtype != torch.int64:
        raise EdgewiseError(
            f"data: x is {tuple(x.shape)} and y {y.dtype} {tuple(y.shape)}; y must be int64 ({len(x)},), at least (1,)"
        )


def _require_alike(model: nn.Module, x: Tensor) -> None:
    """Stop where numbers of the data are of another type, or elsewhere, than all of the model."""
    types, places = ({getattr(p, what) for p in model.parameters()} for what in ("dtype", "device"))
    if types and x.is_floating_point() and x.dtype not in types:
        raise EdgewiseError(f"data: x is {x.dtype}, the model {', '.join(map(str, types))}; must be of one type")
    if places and x.device not in places:
        raise EdgewiseError(f"data: x is on {x.device}, the model on {', '.join(map(str, places))}; must be together")


def _require_losses(objective: Objective, theta: Tensor) -> None:
    """Stop where the model has no output a class, or the loss is not one an example."""
    if not len(theta):
        raise EdgewiseError("model: has no parameters")
    few = objective.subset(torch.arange(min(2, len(objective))))
    inputs = few.x.clone()
    outputs = few.outputs(theta, inputs)
    if not torch.equal(inputs.nan_to_num(), few.x.nan_to_num()):
        raise EdgewiseError("model: changes its inputs in place; must leave them")
    if not isinstance(outputs, Tensor) or outputs.ndim != 2:
        raise EdgewiseError("model: must give a tensor [examples, classes]")
    if not torch.equal(few.outputs(theta, few.x).nan_to_num(), outputs.nan_to_num()):
        raise EdgewiseError("model: gives other outputs when it is asked again; must not be random in evaluation")
    low, high, classes = int(objective.y.min()), int(objective.y.max()), outputs.shape[1]
    if low < 0 or high >= classes:
        raise EdgewiseError(f"data: y is from {low} to {high}; must be from 0 to {classes - 1}, as the model's outputs")
    if not (callable(objective.loss) or objective.loss in ("mse", "ce")):
        raise EdgewiseError(f"loss: was {objective.loss!r}; must be mse, ce, or a function of outputs and labels")
    losses = few.example_losses(outputs, few.y)
    if losses.shape != (len(few),):
        raise EdgewiseError(
            f"loss: gives {tuple(losses.shape)} of {len(few)} examples; must be ({len(few)},), as of reduction='none'"
        )
    if not bool(losses.isfinite().all()):
        raise EdgewiseError("data: the loss of the first examples is not a finite number")


def _members(name: str, members: object, count: int) -> Tensor:
    """The members of a group, if they are a mask of `count` examples or indices of some of them.

    Raises
    ------
    EdgewiseError
        Names the group, if they are not.
    """
    try:
        found = members.detach().cpu().numpy() if isinstance(members, Tensor) else np.asarray(members)
    except (ValueError, TypeError) as error:
        raise EdgewiseError(f"groups: {name!r} is no mask and no vector of whole numbers ({error})") from error
    if found.size == 0 or (found.dtype == bool and not found.any()):
        raise EdgewiseError(f"groups: {name!r} has no examples")
    if found.dtype == bool:
        if found.shape != (count,):
            raise EdgewiseError(f"groups: {name!r} is a mask of shape {found.shape}; must be ({count},)")
        return torch.from_numpy(found)
    if found.ndim != 1 or found.dtype.kind not in "iu":
        kind = f"{found.dtype} of shape {found.shape}"
        raise EdgewiseError(f"groups: {name!r} is {kind}; must be a mask, or a vector of whole numbers")
    if found.min() < 0 or found.max() >= count:
        raise EdgewiseError(f"groups: {name!r} has indices {found.min()} to {found.max()}; must be 0 to {count - 1}")
    if len(np.unique(found)) < len(found):
        raise EdgewiseError(f"groups: {name!r} names examples more than once; a mask must be of type bool")
    return torch.from_numpy(found.astype(np.int64))
