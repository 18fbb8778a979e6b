"""The training objective and its derivatives as functions of one flat parameter vector theta.

L(theta) = (1/n) sum_i l_i(theta). The sums over examples are taken chunk by chunk (`Objective.chunks`), so that memory
is bounded by the size of a chunk and not by n, and over the ranks, where the examples are shared (`network.ranks`).
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import reduce
from typing import Literal

import torch
from torch import Tensor, nn
from torch.func import functional_call, grad, jvp, vmap
from torch.nn import functional as F

from edgewise.network import ranks

Loss = Literal["mse", "ce"]
#: A loss of one's own: the losses [m] of outputs [m, classes] for labels [m].
LossOfExamples = Callable[[Tensor, Tensor], Tensor]

#: Number of per-example gradients, [P] each, that are held in memory at once.
VMAP_CHUNK = 32

#: The layers of networks whose gradient norms are computed without forming the gradients (`Objective.gradient_norms`).
PLAIN_LAYERS = (nn.Linear, nn.ReLU, nn.Tanh, nn.GELU, nn.SiLU, nn.ELU)


@dataclass(frozen=True)
class Evaluation:
    """The results of one forward and backward pass over the data.

    Attributes
    ----------
    losses : [n], the loss of each example
    correct : bool [n], whether the largest output is the label's
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
        """Fraction of the examples whose largest output is the label's."""
        return self.correct.double().mean().item()


def mean_losses(losses: Tensor, groups: Mapping[str, Tensor]) -> dict[str, float]:
    """The columns loss and loss_<group> of the examples' losses [n]; of a group by a mask or index of its examples."""
    losses = losses.double()
    return {
        "loss": losses.mean().item(),
        **{f"loss_{name}": losses[members].mean().item() for name, members in groups.items()},
    }


class Objective:
    """Loss, gradient, curvature and per-example quantities of a model on labelled data.

    Parameters
    ----------
    model : the network; its structure is used, the values of its own parameters are not
    loss : "mse", the sum over the outputs of (output - one-hot)^2, "ce", softmax cross-entropy, or a `LossOfExamples`
    x : [n, ...]; of several ranks, each has its own rows
    y : int64 [n], of the same rows
    chunk_size : number of examples in one pass

    Notes
    -----
    What is given and returned of examples, [n], is of those of all ranks, but for `chunks` and `with_inputs`.

    Examples
    --------
    A linear model with weights 0 on two examples. The MSE of each is 1, and H is 2/n x^T x for each of the outputs:

    >>> x, y = torch.tensor([[1.0, 0.0], [0.0, 3.0]]), torch.tensor([0, 1])
    >>> objective = Objective(nn.Linear(2, 2, bias=False), "mse", x, y, chunk_size=1)
    >>> theta = torch.zeros(objective.num_params)
    >>> objective.evaluate(theta).loss
    1.0
    >>> objective.gradient(theta)
    tensor([-1.,  0.,  0., -3.])
    >>> objective.hessian(theta)(torch.ones(4))
    tensor([1., 9., 1., 9.])
    """

    def __init__(self, model: nn.Module, loss: Loss | LossOfExamples, x: Tensor, y: Tensor, chunk_size: int) -> None:
        self.model, self.loss, self.x, self.y, self.chunk_size = model, loss, x, y, chunk_size
        self._names = [name for name, _ in model.named_parameters()]
        self._shapes = [parameter.shape for parameter in model.parameters()]
        self._sizes = [parameter.numel() for parameter in model.parameters()]
        self.num_params = sum(self._sizes)
        self._counts = ranks.counts(len(x))

    def __len__(self) -> int:
        return sum(self._counts)

    def subset(self, members: Tensor) -> "Objective":
        """The same objective on the examples that `members`, a mask or indices, selects; each stays at its rank."""
        begin = sum(self._counts[: ranks.rank()])
        if members.dtype == torch.bool:
            own = members[begin : begin + len(self.x)]
        else:
            own = members[(members >= begin) & (members < begin + len(self.x))] - begin
        return Objective(self.model, self.loss, self.x[own], self.y[own], self.chunk_size)

    def with_inputs(self, x: Tensor) -> "Objective":
        """The same objective and labels on other inputs x [n, ...]."""
        return Objective(self.model, self.loss, x, self.y, self.chunk_size)

    def chunks(self, *aligned: Tensor) -> Iterator[tuple[Tensor, ...]]:
        """Chunks (x, y, *aligned) of at most `chunk_size` examples, in order.

        Parameters
        ----------
        aligned : [n, ...] each, further tensors with a row for each example
        """
        return _split(self.chunk_size, self.x, self.y, *aligned)

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
            # Not as a difference: its forward derivative by a constant loads torch's compiler, which takes seconds.
            return F.mse_loss(outputs, one_hot.to(outputs), reduction="none").sum(dim=1)
        return F.cross_entropy(outputs, y, reduction="none") if self.loss == "ce" else self.loss(outputs, y)

    def label_probabilities(self, outputs: Tensor, y: Tensor) -> Tensor:
        """The probability [m] that outputs [m, classes] give to the labels y [m].

        For CE it is the label's softmax; where that is near 1, the gradient of the loss vanishes (saturation). For MSE
        it is the label's output, clipped to [0, 1]: the outputs that minimise MSE are the means of the one-hot labels,
        which are class probabilities. A loss of one's own is taken to be of logits, as CE.
        """
        of_label = outputs.clamp(0, 1) if self.loss == "mse" else outputs.softmax(dim=1)
        return of_label.gather(1, y[:, None])[:, 0]

    def evaluate(self, theta: Tensor) -> Evaluation:
        """Losses, correctness and gradient at theta [P], from one forward and backward pass."""
        losses, correct, probabilities = [], [], []

        def gradients() -> Iterator[Tensor]:
            for x, y in self.chunks():
                leaf = theta.detach().requires_grad_()
                outputs = self.outputs(leaf, x)
                chunk = self.example_losses(outputs, y)
                losses.append(chunk.detach())
                correct.append(outputs.detach().argmax(dim=1) == y)
                probabilities.append(self.label_probabilities(outputs.detach(), y))
                yield torch.autograd.grad(chunk.sum(), leaf)[0]

        gradient = reduce(Tensor.add_, gradients())
        joined = (ranks.joined(torch.cat(parts), self._counts) for parts in (losses, correct, probabilities))
        all_losses, all_correct, all_probabilities = joined
        return Evaluation(all_losses, all_correct, ranks.summed(gradient) / len(self), all_probabilities)

    def loss_and_accuracy(self, theta: Tensor) -> tuple[float, float]:
        """The mean loss and the accuracy at theta [P], as in `Evaluation`, from forward passes alone."""
        total = torch.zeros(2, dtype=torch.float64, device=theta.device)
        with torch.no_grad():
            for x, y in self.chunks():
                outputs = self.outputs(theta, x)
                total[0] += self.example_losses(outputs, y).double().sum()
                total[1] += (outputs.argmax(dim=1) == y).sum()
        loss, accuracy = (ranks.summed(total) / len(self)).tolist()
        return loss, accuracy

    def gradient(self, theta: Tensor) -> Tensor:
        """The gradient [P] of the mean loss at theta [P]."""
        return self.evaluate(theta).gradient

    def hessian(self, theta: Tensor) -> Callable[[Tensor], Tensor]:
        """The map v [P] -> H v [P] at theta [P], by differentiating gradient . v (Pearlmutter 1994).

        If the data fit in one chunk, the graph of the gradient is built once, and each product is one backward pass
        through it. Otherwise every product builds the graph of each chunk again, so that one graph is held at a time.
        """

        def gradient_of(x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
            leaf = theta.detach().requires_grad_()
            loss = self.example_losses(self.outputs(leaf, x), y).sum()
            return leaf, torch.autograd.grad(loss, leaf, create_graph=True)[0]

        kept = gradient_of(self.x, self.y) if len(self.x) <= self.chunk_size else None

        def product(v: Tensor) -> Tensor:
            total = torch.zeros_like(v)
            for leaf, gradient in [kept] if kept else (gradient_of(x, y) for x, y in self.chunks()):
                total += torch.autograd.grad(gradient @ v, leaf, retain_graph=kept is not None)[0]
            return ranks.summed(total) / len(self)

        return product

    def projections(self, theta: Tensor, v: Tensor) -> Tensor:
        """The projections grad l_i . v [n] of every example's gradient on v [P], at theta [P].

        They are the Jacobian-vector product of the vector of losses, in forward mode.
        """
        parts = []
        for x, y in self.chunks():

            def losses(at: Tensor, x: Tensor = x, y: Tensor = y) -> Tensor:
                return self.example_losses(self.outputs(at, x), y)

            parts.append(jvp(losses, (theta,), (v,))[1])
        return ranks.joined(torch.cat(parts), self._counts)

    def curvatures(self, theta: Tensor, v: Tensor) -> Tensor:
        """The curvature v . H_i v [n] of every example's loss along v [P], at theta [P].

        They are the second derivative of the vector of losses along v, forward mode within forward mode.
        """
        parts = []
        for x, y in self.chunks():

            def slopes(at: Tensor, x: Tensor = x, y: Tensor = y) -> Tensor:
                slope: Tensor = jvp(lambda inner: self.example_losses(self.outputs(inner, x), y), (at,), (v,))[1]
                return slope

            parts.append(jvp(slopes, (theta,), (v,))[1])
        return ranks.joined(torch.cat(parts), self._counts)

    def sharpness_gradient(self, theta: Tensor, v: Tensor) -> Tensor:
        """Grad S = grad (v^T H v) [P] at theta [P], with the unit vector v [P] held fixed."""
        total = torch.zeros_like(theta)
        for x, y in self.chunks():
            leaf = theta.detach().requires_grad_()
            loss = self.example_losses(self.outputs(leaf, x), y).sum()
            slope = torch.autograd.grad(loss, leaf, create_graph=True)[0] @ v
            curvature = torch.autograd.grad(slope, leaf, create_graph=True)[0] @ v
            if curvature.requires_grad:  # that of a quadratic depends on nothing
                total += torch.autograd.grad(curvature, leaf)[0]
        return ranks.summed(total) / len(self)

    def sharpness_gradient_over(self, theta: Tensor, v: Tensor, length: float) -> Tensor:
        """Grad S [P] as a difference over a finite `length` along the unit vector v [P], on either side of theta.

        (grad L(theta + length v) + grad L(theta - length v) - 2 grad L(theta)) / length^2, the difference of the mean
        curvatures along both sides. As the length goes to 0 it is `sharpness_gradient`; over the length of a step it
        includes the kinks of a ReLU network, which the derivative within one linear piece misses.
        """
        beyond = self.gradient(theta + length * v) + self.gradient(theta - length * v)
        return (beyond - 2 * self.gradient(theta)) / length**2

    def gradient_norms(self, theta: Tensor) -> Tensor:
        """The norm |grad l_i| [n] of every example's gradient at theta [P].

        The gradient of l_i by the weight of a linear layer is the outer product of d l_i / d output and the input of
        the layer, and its norm is the product of their norms. So for a sequence of linear layers no gradient is formed
        (Goodfellow 2015, arXiv 1510.01799). For other networks the gradients are formed, `VMAP_CHUNK` at a time.
        """
        norms = self._norms_by_layers if self._is_sequence_of_linear_layers() else self._norms_from_gradients
        return ranks.joined(torch.cat([norms(theta, x, y) for x, y in self.chunks()]), self._counts)

    def _is_sequence_of_linear_layers(self) -> bool:
        """Whether the network flattens its inputs and then applies `PLAIN_LAYERS` alone, each once."""
        if type(self.model) is not nn.Sequential or len(self.model) == 0:
            return False
        flatten, *layers = self.model
        return (
            type(flatten) is nn.Flatten
            and (flatten.start_dim, flatten.end_dim) == (1, -1)
            and all(type(layer) in PLAIN_LAYERS for layer in layers)
            and all(name.endswith((".weight", ".bias")) for name in self._names)
            # A layer or a weight that occurs twice has a gradient that is a sum; it is counted twice here.
            and sum(parameter.numel() for layer in layers for parameter in layer.parameters()) == self.num_params
        )

    def _norms_by_layers(self, theta: Tensor, x: Tensor, y: Tensor) -> Tensor:
        """Gradient norms [m] of a sequence of linear layers, from each layer's inputs and d loss / d output."""
        calls: list[tuple[nn.Module, Tensor, Tensor]] = []

        def keep(layer: nn.Module, args: tuple[Tensor, ...], output: Tensor) -> Tensor:
            calls.append((layer, args[0], output))
            return output.clone()  # an in-place activation overwrites the clone, not what is kept

        hooks = [m.register_forward_hook(keep) for m in self.model.modules() if isinstance(m, nn.Linear)]
        try:
            losses = self.example_losses(self.outputs(theta.detach().requires_grad_(), x), y)
        finally:
            for hook in hooks:
                hook.remove()
        errors = torch.autograd.grad(losses.sum(), [output for _, _, output in calls])
        squared = torch.zeros_like(losses)
        for (layer, inputs, _), error in zip(calls, errors, strict=True):
            # A bias is a weight on a constant input of 1.
            squared += error.square().sum(dim=1) * (inputs.square().sum(dim=1) + (layer.bias is not None))
        return squared.detach().sqrt()

    def _norms_from_gradients(self, theta: Tensor, x: Tensor, y: Tensor) -> Tensor:
        """Gradient norms [m] of any network, from the gradients of `VMAP_CHUNK` examples at a time."""
        if len(x) == 0:  # a rank may have no example of a group, and vmap needs one
            return theta.new_empty(0)

        def loss(at: Tensor, x: Tensor, y: Tensor) -> Tensor:
            return self.example_losses(self.outputs(at, x[None]), y[None])[0]

        gradients = vmap(grad(loss), in_dims=(None, 0, 0))
        return torch.cat([gradients(theta, *examples).norm(dim=1) for examples in _split(VMAP_CHUNK, x, y)])


def _split(size: int, *tensors: Tensor) -> Iterator[tuple[Tensor, ...]]:
    """Tensors [n, ...] of equal n, cut together into pieces of at most `size` rows."""
    return zip(*(tensor.split(size) for tensor in tensors), strict=True)
