"""The training objective as functions of one flat parameter vector: the one place that touches autograd.

L(theta) = (1/n) sum_i l_i(theta). The data are walked in chunks; a sum over the chunks is the one seam through which
the work could be split over devices, and memory is bounded by the chunk, not by n.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn
from torch.func import functional_call, jvp
from torch.nn import functional as F

Loss = Literal["mse", "ce"]


@dataclass(frozen=True)
class Evaluation:
    """Everything that one pass forward and back over the data gives.

    Attributes
    ----------
    losses : [n], the loss of each example
    correct : bool [n], whether the larger output is the label's
    gradient : [P], of the mean loss
    """

    losses: Tensor
    correct: Tensor
    gradient: Tensor

    @property
    def loss(self) -> float:
        """L, the mean of the losses."""
        return self.losses.double().mean().item()

    @property
    def accuracy(self) -> float:
        """Fraction of the examples whose larger output is the label's."""
        return self.correct.double().mean().item()


class Objective:
    """Loss, gradient, curvature and per-example quantities of a model on labelled data.

    Parameters
    ----------
    model : the network; only its structure is used, its own parameters never are
    loss : "mse", the sum over the outputs of (output - one-hot)^2, or "ce", softmax cross-entropy
    x : [n, ...]
    y : int64 [n]
    chunk_size : examples worked on at once
    """

    def __init__(self, model: nn.Module, loss: Loss, x: Tensor, y: Tensor, chunk_size: int) -> None:
        self.model, self.loss, self.x, self.y, self.chunk_size = model, loss, x, y, chunk_size
        self._names = [name for name, _ in model.named_parameters()]
        self._shapes = [parameter.shape for parameter in model.parameters()]
        self._sizes = [parameter.numel() for parameter in model.parameters()]
        self.num_params = sum(self._sizes)

    def __len__(self) -> int:
        return len(self.x)

    def subset(self, members: Tensor) -> "Objective":
        """The same objective on the examples that the mask or index `members` picks."""
        return Objective(self.model, self.loss, self.x[members], self.y[members], self.chunk_size)

    def with_inputs(self, x: Tensor) -> "Objective":
        """The same objective and labels on other inputs x [n, ...]."""
        return Objective(self.model, self.loss, x, self.y, self.chunk_size)

    def outputs(self, theta: Tensor, x: Tensor) -> Tensor:
        """The network's outputs [m, classes] for inputs x [m, ...]."""
        views = theta.split(self._sizes)
        named = {n: v.view(s) for n, v, s in zip(self._names, views, self._shapes, strict=True)}
        outputs: Tensor = functional_call(self.model, named, (x,))
        return outputs

    def example_losses(self, outputs: Tensor, y: Tensor) -> Tensor:
        """The losses [m] of outputs [m, classes] for labels y [m]."""
        if self.loss == "mse":
            return (outputs - F.one_hot(y, outputs.shape[1]).to(outputs)).square().sum(dim=1)
        return F.cross_entropy(outputs, y, reduction="none")

    def evaluate(self, theta: Tensor) -> Evaluation:
        """Losses, correctness and gradient at theta [P], from one pass forward and back."""
        gradient = torch.zeros_like(theta)
        losses, correct = [], []
        for x, y in self._chunks():
            leaf = theta.detach().requires_grad_()
            outputs = self.outputs(leaf, x)
            chunk = self.example_losses(outputs, y)
            gradient += torch.autograd.grad(chunk.sum(), leaf)[0]
            losses.append(chunk.detach())
            correct.append(outputs.detach().argmax(dim=1) == y)
        return Evaluation(torch.cat(losses), torch.cat(correct), gradient / len(self))

    def hessian(self, theta: Tensor) -> Callable[[Tensor], Tensor]:
        """The map v -> H v at theta, by differentiating gradient . v (Pearlmutter 1994).

        Where the data are one chunk, its gradient's graph is kept, and a product costs one pass back through it;
        otherwise the graphs are rebuilt chunk by chunk.
        """

        def gradient_of(x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
            leaf = theta.detach().requires_grad_()
            loss = self.example_losses(self.outputs(leaf, x), y).sum()
            return leaf, torch.autograd.grad(loss, leaf, create_graph=True)[0]

        kept = gradient_of(self.x, self.y) if len(self) <= self.chunk_size else None

        def product(v: Tensor) -> Tensor:
            total = torch.zeros_like(v)
            for leaf, gradient in [kept] if kept else (gradient_of(x, y) for x, y in self._chunks()):
                total += torch.autograd.grad(gradient @ v, leaf, retain_graph=kept is not None)[0]
            return total / len(self)

        return product

    def projections(self, theta: Tensor, v: Tensor) -> Tensor:
        """All grad l_i . v, as [n]: one forward-mode Jacobian-vector product of the vector of losses."""
        parts = []
        for x, y in self._chunks():

            def losses(at: Tensor, x: Tensor = x, y: Tensor = y) -> Tensor:
                return self.example_losses(self.outputs(at, x), y)

            parts.append(jvp(losses, (theta,), (v,))[1])
        return torch.cat(parts)

    def _chunks(self) -> Iterator[tuple[Tensor, Tensor]]:
        yield from zip(self.x.split(self.chunk_size), self.y.split(self.chunk_size), strict=True)
