"""Adversarial examples: FGSM (Goodfellow et al. 2015) and PGD (Madry et al. 2018), in pixels (paper, figure 9).

A perturbation is sought in the ball |perturbation| <= epsilon, of norm linf or l2 over the whole image, within the
valid range of the pixels (`PixelSpace.room`). It ascends the training loss. For CE that is done by way of the margin
m = logsumexp of the other outputs - the label's output: CE = log(1 + exp(m)) increases strictly with m, and both norms
use the direction of the gradient alone, so that the attack is the same, but does not stall where CE saturates.

For the attacker, more is never worse. An example counts as correct at epsilon only if no perturbation that was tried at
this or a smaller epsilon fooled the network: the accuracy cannot rise with epsilon, and that of PGD, which tries the
perturbation of FGSM too, is at most that of FGSM.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional as F

from edgewise.data.pixels import PixelSpace
from edgewise.network.objective import Objective
from edgewise.params import RobustnessParams

Norm = Literal["linf", "l2"]
Maximise = Literal["loss", "margin"]

#: Epsilons are given in steps of an 8-bit pixel.
LEVELS = 255


@dataclass(frozen=True)
class Attacked:
    """What the attacks of one epsilon did to n examples.

    Attributes
    ----------
    epsilon : radius of the ball, in steps of an 8-bit pixel; 0 is the clean data
    fgsm_correct : bool [n], whether the network is right in spite of FGSM, at this and every smaller epsilon
    pgd_correct : bool [n], the same of PGD
    perturbation : [n, C, H, W], in pixels; one that fools the network if any was found, else the highest (see `height`)
    """

    epsilon: float
    fgsm_correct: Tensor
    pgd_correct: Tensor
    perturbation: Tensor

    def rows(self) -> list[dict[str, float | str]]:
        """The accuracy of the network under each attack, as records."""
        correct = {"fgsm": self.fgsm_correct, "pgd": self.pgd_correct}
        return [
            {"attack": name, "epsilon": self.epsilon, "examples": len(right), "accuracy": right.double().mean().item()}
            for name, right in correct.items()
        ]


def attack(objective: Objective, theta: Tensor, pixels: PixelSpace, params: RobustnessParams) -> list[Attacked]:
    """Attack every example of `objective` at theta [P], at epsilon 0 and at each of `params.epsilons`, in this order.

    Chunk by chunk; the random starts of an example do not depend on the chunks.
    """
    starts = random_starts(objective.x, params.norm, params.restarts - 1, params.seed)
    chunks = zip(
        objective.x.split(objective.chunk_size),
        objective.y.split(objective.chunk_size),
        starts.split(objective.chunk_size, dim=1),
        strict=True,
    )
    parts = [list(_attack_chunk(_Target(objective, theta, pixels, params, x, y), starts)) for x, y, starts in chunks]
    return [
        Attacked(
            same[0].epsilon,
            torch.cat([part.fgsm_correct for part in same]),
            torch.cat([part.pgd_correct for part in same]),
            torch.cat([part.perturbation for part in same]),
        )
        for same in zip(*parts, strict=True)
    ]


def height(objective: Objective, outputs: Tensor, y: Tensor, maximise: Maximise) -> Tensor:
    """What an attack climbs, [m], from outputs [m, classes] and labels y [m].

    Parameters
    ----------
    maximise : "loss", the MSE, or the margin in place of CE; "margin", the margin for either. MSE is also large where
        the label's output is too large, so that climbing it need not lead to an error; climbing the margin does
    """
    if maximise == "loss" and objective.loss == "mse":
        return objective.example_losses(outputs, y)
    is_label = F.one_hot(y, outputs.shape[1]).bool()
    return outputs.masked_fill(is_label, -torch.inf).logsumexp(dim=1) - outputs[is_label]


def uphill(gradient: Tensor, norm: Norm) -> Tensor:
    """The steepest direction of unit length in `norm`, for each gradient of [m, ...]; zero where it is zero."""
    if norm == "linf":
        return gradient.sign()
    return gradient / _lengths(gradient).clamp(min=torch.finfo(gradient.dtype).tiny)


def into_ball(perturbation: Tensor, norm: Norm, epsilon: float, lowest: Tensor, highest: Tensor) -> Tensor:
    """Perturbations [m, ...] brought into the ball of radius `epsilon`, then into [lowest, highest].

    As lowest <= 0 <= highest, the second step only shortens, and what it gives still lies in the ball.
    """
    if norm == "linf":
        perturbation = perturbation.clamp(-epsilon, epsilon)
    else:
        perturbation = perturbation * (epsilon / _lengths(perturbation).clamp(min=epsilon))
    return perturbation.clamp(lowest, highest)


def random_starts(x: Tensor, norm: Norm, count: int, seed: int) -> Tensor:
    """Points [count, *x.shape], uniform in the unit ball of each example of x [n, ...].

    Drawn on the CPU in float64: the device does not change the draw, and more starts leave the first ones as they are.
    """
    generator = torch.Generator().manual_seed(seed)
    shape, starts = x.shape, []
    for _ in range(count):
        if norm == "linf":
            start = torch.rand(shape, generator=generator, dtype=torch.float64) * 2 - 1
        else:
            start = torch.randn(shape, generator=generator, dtype=torch.float64)
            radius = torch.rand(len(x), generator=generator, dtype=torch.float64) ** (1 / x[0].numel())
            start *= radius.view(-1, *[1] * (x.ndim - 1)) / _lengths(start)
        starts.append(start.to(x))
    return torch.stack(starts) if starts else x.new_empty((0, *shape))


@dataclass(frozen=True)
class _Target:
    """Some examples, and the network that is to be wrong about them."""

    objective: Objective
    theta: Tensor
    pixels: PixelSpace
    params: RobustnessParams
    x: Tensor
    y: Tensor

    def only(self, members: Tensor) -> "_Target":
        return _Target(self.objective, self.theta, self.pixels, self.params, self.x[members], self.y[members])

    def look(self, perturbation: Tensor) -> tuple[Tensor, Tensor]:
        """Height [m] and correctness, bool [m], of perturbations [m, C, H, W]."""
        outputs = self.objective.outputs(self.theta, self.pixels.moved(self.x, perturbation))
        return height(self.objective, outputs, self.y, self.params.maximise), outputs.detach().argmax(dim=1) == self.y

    def look_around(self, perturbation: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """The same, and the gradient of the height in the perturbation [m, C, H, W]."""
        leaf = perturbation.detach().requires_grad_()
        heights, correct = self.look(leaf)
        return heights.detach(), correct, torch.autograd.grad(heights.sum(), leaf)[0]

    def into_ball(self, perturbation: Tensor, epsilon: float) -> Tensor:
        return into_ball(perturbation, self.params.norm, epsilon, *self.pixels.room(self.x))


class _Best:
    """For each example the best perturbation so far: one that fools the network, or else the highest."""

    def __init__(self, perturbation: Tensor, heights: Tensor, correct: Tensor) -> None:
        self.perturbation, self.heights, self.correct = perturbation.clone(), heights.clone(), correct.clone()

    def offer(self, members: Tensor, perturbation: Tensor, heights: Tensor, correct: Tensor) -> None:
        """Take what is better of perturbations [m, ...] of the examples with the indices `members` [m]."""
        before, height_before = self.correct[members], self.heights[members]
        better = (before & ~correct) | ((before == correct) & (heights > height_before))
        chosen = members[better]
        self.perturbation[chosen] = perturbation[better]
        self.heights[chosen], self.correct[chosen] = heights[better], correct[better]


def _attack_chunk(target: _Target, starts: Tensor) -> Iterator[Attacked]:
    """Each epsilon in ascending order, from 0. What was fooled stays fooled, and is not attacked again."""
    everyone = torch.arange(len(target.x), device=target.x.device)
    clean = torch.zeros_like(target.x)
    heights, fgsm_correct, gradient = target.look_around(clean)
    best = _Best(clean, heights, fgsm_correct)
    yield Attacked(0.0, fgsm_correct, best.correct.clone(), best.perturbation.clone())
    for level in target.params.epsilons:
        epsilon = level / LEVELS
        one_step = target.into_ball(epsilon * uphill(gradient, target.params.norm), epsilon)
        with torch.no_grad():
            heights, correct = target.look(one_step)
        fgsm_correct = fgsm_correct & correct
        best.offer(everyone, one_step, heights, correct)
        for run in range(1 + len(starts)):
            left = best.correct.nonzero()[:, 0]
            # The first run goes on from the best of the smaller epsilons, which is the clean point to begin with.
            start = best.perturbation if run == 0 else epsilon * starts[run - 1]
            _climb(target, epsilon, left, start[left], best)
        yield Attacked(level, fgsm_correct, best.correct.clone(), best.perturbation.clone())


def _climb(target: _Target, epsilon: float, left: Tensor, start: Tensor, best: _Best) -> None:
    """One run of PGD on the examples with the indices `left` [m], from `start` [m, ...]; every point goes to `best`."""
    params, perturbation = target.params, start
    for step in range(params.steps + 1):
        if len(left) == 0:
            return
        here = target.only(left)
        perturbation = here.into_ball(perturbation, epsilon)
        if step == params.steps:
            with torch.no_grad():
                best.offer(left, perturbation, *here.look(perturbation))
            return
        heights, correct, gradient = here.look_around(perturbation)
        best.offer(left, perturbation, heights, correct)
        moved = perturbation + params.step_size * epsilon * uphill(gradient, params.norm)
        left, perturbation = left[correct], moved[correct]


def _lengths(x: Tensor) -> Tensor:
    """Euclidean lengths of x [m, ...], as [m, 1, ...]."""
    lengths: Tensor = x.flatten(1).norm(dim=1)
    return lengths.view(-1, *[1] * (x.ndim - 1))
