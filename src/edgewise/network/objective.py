"""The training objective as functions of one flat parameter vector: the one place that touches autograd.

L(theta) = (1/n) sum_i l_i(theta). The data are walked in chunks; a sum over the chunks is the one seam through which
the work could be split over devices, and memory is bounded by the chunk, not by n.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn
from torch.func import functional_call, grad, jvp, vmap
from torch.nn import functional as F

Loss = Literal["mse", "ce"]

#: Examples whose gradients are held at once where they have to be formed.
VMAP_CHUNK = 32

#: What may follow a flattening of the image for gradient norms to be had without forming gradients.
PLAIN_LAYERS = (nn.Linear, nn.ReLU, nn.Tanh, nn.GELU, nn.SiLU, nn.ELU)


@dataclass(frozen=True)
class Evaluation:
    """Everything that one pass forward and back over the data gives.

    Attributes
    ----------
    losses : [n], the loss of each example
    correct : bool [n], whether the larger output is the label's
    gradient : [P], of the mean loss
    label_probability : [n], see `Objective.label_probabilities`
    """

    losses: Tensor
    correct: Tensor
    gradient: Tensor
    label_probability: Tensor

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
            one_hot = y[:, None] == torch.arange(outputs.shape[1], device=y.device)
            return (outputs - one_hot.to(outputs)).square().sum(dim=1)
        return F.cross_entropy(outputs, y, reduction="none")

    def label_probabilities(self, outputs: Tensor, y: Tensor) -> Tensor:
        """The probability [m] that outputs [m, classes] give to the labels y [m].

        For CE, the softmax; near 1 the gradient of the loss vanishes: it is saturated. For MSE the outputs themselves
        estimate the probabilities of the classes (the mean of one-hot labels minimises it), so it is the label's
        output, clipped to [0, 1].
        """
        of_label = outputs.softmax(dim=1) if self.loss == "ce" else outputs.clamp(0, 1)
        return of_label.gather(1, y[:, None])[:, 0]

    def evaluate(self, theta: Tensor) -> Evaluation:
        """Losses, correctness and gradient at theta [P], from one pass forward and back."""
        gradient = torch.zeros_like(theta)
        losses, correct, probabilities = [], [], []
        for x, y in self._chunks():
            leaf = theta.detach().requires_grad_()
            outputs = self.outputs(leaf, x)
            chunk = self.example_losses(outputs, y)
            gradient += torch.autograd.grad(chunk.sum(), leaf)[0]
            losses.append(chunk.detach())
            correct.append(outputs.detach().argmax(dim=1) == y)
            probabilities.append(self.label_probabilities(outputs.detach(), y))
        return Evaluation(torch.cat(losses), torch.cat(correct), gradient / len(self), torch.cat(probabilities))

    def gradient(self, theta: Tensor) -> Tensor:
        """The gradient [P] of the mean loss at theta [P]."""
        return self.evaluate(theta).gradient

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

    def sharpness_gradient(self, theta: Tensor, v: Tensor) -> Tensor:
        """Grad S = grad (v^T H v) [P] with the unit vector v [P] held fixed (spec, section 1)."""
        total = torch.zeros_like(theta)
        for x, y in self._chunks():
            leaf = theta.detach().requires_grad_()
            loss = self.example_losses(self.outputs(leaf, x), y).sum()
            slope = torch.autograd.grad(loss, leaf, create_graph=True)[0] @ v
            curvature = torch.autograd.grad(slope, leaf, create_graph=True)[0] @ v
            total += torch.autograd.grad(curvature, leaf)[0]
        return total / len(self)

    def gradient_norms(self, theta: Tensor) -> Tensor:
        """The norm |grad l_i| of every example's gradient, as [n].

        In a network of linear layers one after the other an example's gradient of a layer is the outer product of the
        loss's gradient by the layer's output and the layer's input, and its norm the product of theirs: no gradient is
        ever formed. Other networks go through `torch.func.vmap`, a few examples at a time.
        """
        norms = self._norms_by_layers if self._is_sequence_of_linear_layers() else self._norms_from_gradients
        return torch.cat([norms(theta, x, y) for x, y in self._chunks()])

    def _is_sequence_of_linear_layers(self) -> bool:
        """Whether the network is one like `models.mlp`, to go by what it is made of."""
        if type(self.model) is not nn.Sequential or len(self.model) == 0:
            return False
        flatten, *layers = self.model
        return (
            type(flatten) is nn.Flatten
            and (flatten.start_dim, flatten.end_dim) == (1, -1)
            and all(type(layer) in PLAIN_LAYERS for layer in layers)
            and all(name.endswith((".weight", ".bias")) for name in self._names)
            # A layer, or a weight, that is there twice counts twice here.
            and sum(parameter.numel() for layer in layers for parameter in layer.parameters()) == self.num_params
        )

    def _norms_by_layers(self, theta: Tensor, x: Tensor, y: Tensor) -> Tensor:
        """Gradient norms [m] of a sequence of linear layers, by what enters each layer and the error at its output."""
        calls: list[tuple[nn.Module, Tensor, Tensor]] = []

        def keep(layer: nn.Module, args: tuple[Tensor, ...], output: Tensor) -> Tensor:
            calls.append((layer, args[0], output))
            return output.clone()  # which an activation may overwrite

        hooks = [m.register_forward_hook(keep) for m in self.model.modules() if isinstance(m, nn.Linear)]
        try:
            losses = self.example_losses(self.outputs(theta.detach().requires_grad_(), x), y)
        finally:
            for hook in hooks:
                hook.remove()
        errors = torch.autograd.grad(losses.sum(), [output for _, _, output in calls])
        squared = torch.zeros_like(losses)
        for (layer, entering, _), error in zip(calls, errors, strict=True):
            squared += error.square().sum(dim=1) * (entering.square().sum(dim=1) + (layer.bias is not None))
        return squared.detach().sqrt()

    def _norms_from_gradients(self, theta: Tensor, x: Tensor, y: Tensor) -> Tensor:
        """Gradient norms [m] of any network, by forming the gradients of a few examples at a time."""

        def loss(at: Tensor, x: Tensor, y: Tensor) -> Tensor:
            return self.example_losses(self.outputs(at, x[None]), y[None])[0]

        each = vmap(grad(loss), in_dims=(None, 0, 0))
        few = zip(x.split(VMAP_CHUNK), y.split(VMAP_CHUNK), strict=True)
        return torch.cat([each(theta, inputs, labels).norm(dim=1) for inputs, labels in few])

    def _chunks(self) -> Iterator[tuple[Tensor, Tensor]]:
        yield from zip(self.x.split(self.chunk_size), self.y.split(self.chunk_size), strict=True)
