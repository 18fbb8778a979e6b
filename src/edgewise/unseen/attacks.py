"""Adversarial examples: FGSM (Goodfellow et al. 2015) and PGD (Madry et al. 2018), in pixels (paper, figure 9).

A perturbation is sought in the ball |perturbation| <= epsilon, of norm linf or l2 over the whole image, within the
valid range of the pixels (`PixelSpace.feasible_change`).

The attacks ascend the training loss or the margin (`attack_loss`). For CE it is m = logsumexp of the other outputs -
the label's output, and both are the same attack, since CE = log(1 + exp(m)) increases strictly with m and a step uses
only the direction of the gradient. The margin is used, because its gradient does not vanish where CE saturates. For
MSE, whose outputs are near 0 and 1, the logsumexp would weigh the other outputs nearly alike: m is the largest of them
- the label's. It is positive exactly where the network errs. Of two classes both margins are the same.

Attacks accumulate over epsilon. An example counts as correct at epsilon only if no perturbation that was tried at this
or a smaller epsilon fooled the network, so accuracy does not rise with epsilon. PGD also tries the perturbation of
FGSM, so its accuracy is at most that of FGSM.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from edgewise.data.pixels import PixelSpace
from edgewise.network.objective import Objective
from edgewise.params import RobustnessParams

Norm = Literal["linf", "l2"]
Maximise = Literal["loss", "margin"]

#: What the attacks of calibrated strength should leave of the clean accuracy, and the strengths that are tried.
LEFT = (0.75, 0.5, 0.25)
TRIED = [2.0 ** (exponent / 2) for exponent in range(-6, 17)]

#: Steps of an 8-bit pixel in the range from 0 to 1; epsilons are given in these steps.
LEVELS = 255


@dataclass(frozen=True)
class Attacked:
    """The outcome of the attacks of one epsilon on n examples.

    Attributes
    ----------
    epsilon : radius of the ball, in steps of an 8-bit pixel; 0 is the clean data
    fgsm_correct : bool [n], whether the network is correct under FGSM, at this and every smaller epsilon
    pgd_correct : bool [n], the same for PGD
    perturbation : [n, C, H, W], in pixels; one that fools the network if any was found, else the one with the largest
        `attack_loss`
    """

    epsilon: float
    fgsm_correct: Tensor
    pgd_correct: Tensor
    perturbation: Tensor

    def rows(self) -> list[dict[str, float | str]]:
        """The accuracy of the network under each attack, as records."""
        correct = {"fgsm": self.fgsm_correct, "pgd": self.pgd_correct}
        return [
            {"attack": name, "epsilon": self.epsilon, "examples": len(flags), "accuracy": flags.double().mean().item()}
            for name, flags in correct.items()
        ]


def attack(
    objective: Objective, theta: Tensor, pixels: PixelSpace, params: RobustnessParams, epsilons: Sequence[float]
) -> list[Attacked]:
    """Attack every example of `objective` at theta [P], at epsilon 0 and at each of the ascending `epsilons`.

    The random starts are drawn for all examples at once, so they do not depend on the objective's chunk size.
    """
    starts = random_starts(objective.x, params.norm, params.restarts - 1, params.seed)
    parts = [
        list(_attack_chunk(_Problem(objective, theta, pixels, params, x, y), chunk_starts, epsilons))
        for x, y, chunk_starts in objective.chunks(starts)
    ]
    return [
        Attacked(
            same[0].epsilon,
            torch.cat([part.fgsm_correct for part in same]),
            torch.cat([part.pgd_correct for part in same]),
            torch.cat([part.perturbation for part in same]),
        )
        for same in zip(*parts, strict=True)
    ]


def calibrated_strengths(
    objective: Objective, theta: Tensor, pixels: PixelSpace, params: RobustnessParams
) -> list[float]:
    """Strengths at which PGD leaves about `LEFT` of the clean accuracy at theta [P], chosen from `TRIED`.

    A strength that leaves all of the accuracy, or none, cannot tell two networks apart. The network is the one at
    onset, from which every branch begins, so the choice favours none of them.
    """
    attacked = attack(objective, theta, pixels, params, TRIED)
    accuracy = [one.pgd_correct.double().mean().item() for one in attacked]
    left = np.array(accuracy[1:]) / max(accuracy[0], 1 / len(objective))
    chosen = set()
    for wanted in LEFT:
        distance = np.abs(left - wanted)
        closest = np.flatnonzero(distance == distance.min())
        # Of equals, the one next to where the accuracy falls: the weakest that are tried all leave all of it.
        above = closest[left[closest] >= wanted]
        chosen.add(TRIED[above[-1] if len(above) else closest[0]])
    return sorted(chosen)


def attack_loss(objective: Objective, outputs: Tensor, y: Tensor, maximise: Maximise) -> Tensor:
    """The quantity [m] that an attack ascends, from outputs [m, classes] and labels y [m].

    Parameters
    ----------
    maximise : "loss", the training loss, for CE by way of the margin; "margin", the margin for both losses. MSE is also
        large where the label's output is far above 1, so ascending it need not lead to an error, unlike the margin
    """
    if maximise == "loss" and objective.loss == "mse":
        return objective.example_losses(outputs, y)
    is_label = F.one_hot(y, outputs.shape[1]).bool()
    others = outputs.masked_fill(is_label, -torch.inf)
    return (others.logsumexp(dim=1) if objective.loss == "ce" else others.amax(dim=1)) - outputs[is_label]


def steepest_ascent(gradient: Tensor, norm: Norm) -> Tensor:
    """The direction of steepest ascent, of unit length in `norm`, for each gradient of [m, ...]; 0 where that is 0."""
    if norm == "linf":
        return gradient.sign()
    return gradient / _lengths(gradient).clamp(min=torch.finfo(gradient.dtype).tiny)


def into_ball(perturbation: Tensor, norm: Norm, epsilon: float, lowest: Tensor, highest: Tensor) -> Tensor:
    """Perturbations [m, ...] projected onto the ball of radius `epsilon`, then clipped to [lowest, highest].

    Since lowest <= 0 <= highest, clipping only shortens a perturbation, and the result still lies in the ball.
    """
    if norm == "linf":
        perturbation = perturbation.clamp(-epsilon, epsilon)
    else:
        perturbation = perturbation * (epsilon / _lengths(perturbation).clamp(min=epsilon))
    return perturbation.clamp(lowest, highest)


def random_starts(x: Tensor, norm: Norm, count: int, seed: int) -> Tensor:
    """`count` points for each example of x [n, ...], uniform in the unit ball of `norm`, as [n, count, ...].

    They are drawn on the CPU in float64, so that they do not depend on the device, and start by start, so that a larger
    `count` leaves the first ones unchanged.
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
    return torch.stack(starts, dim=1) if starts else x.new_empty((len(x), 0, *shape[1:]))


@dataclass(frozen=True)
class _Problem:
    """The optimisation problem of the attacks on m examples: inputs x [m, C, H, W] with labels y [m]."""

    objective: Objective
    theta: Tensor
    pixels: PixelSpace
    params: RobustnessParams
    x: Tensor
    y: Tensor

    def subset(self, members: Tensor) -> "_Problem":
        """The same for the examples that `members`, a mask or indices, selects."""
        return replace(self, x=self.x[members], y=self.y[members])

    def evaluate(self, perturbation: Tensor) -> tuple[Tensor, Tensor]:
        """Attack losses [m] and correctness, bool [m], under perturbations [m, C, H, W]."""
        outputs = self.objective.outputs(self.theta, self.pixels.perturbed(self.x, perturbation))
        losses = attack_loss(self.objective, outputs, self.y, self.params.maximise)
        return losses, outputs.detach().argmax(dim=1) == self.y

    def evaluate_with_gradient(self, perturbation: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """The same, and the gradient [m, C, H, W] of the attack losses by the perturbations."""
        leaf = perturbation.detach().requires_grad_()
        losses, correct = self.evaluate(leaf)
        return losses.detach(), correct, torch.autograd.grad(losses.sum(), leaf)[0]

    def into_ball(self, perturbation: Tensor, epsilon: float) -> Tensor:
        """Perturbations [m, C, H, W] made feasible at `epsilon`."""
        return into_ball(perturbation, self.params.norm, epsilon, *self.pixels.feasible_change(self.x))


class _Best:
    """The best perturbation so far of each example: one that fools the network, or else that of the largest loss."""

    def __init__(self, perturbation: Tensor, losses: Tensor, correct: Tensor) -> None:
        self.perturbation, self.losses, self.correct = perturbation.clone(), losses.clone(), correct.clone()

    def update(self, members: Tensor, perturbation: Tensor, losses: Tensor, correct: Tensor) -> None:
        """Keep those of the perturbations [m, ...] that are better, for the examples with the indices `members` [m]."""
        correct_before, losses_before = self.correct[members], self.losses[members]
        better = (correct_before & ~correct) | ((correct_before == correct) & (losses > losses_before))
        chosen = members[better]
        self.perturbation[chosen] = perturbation[better]
        self.losses[chosen], self.correct[chosen] = losses[better], correct[better]


def _attack_chunk(problem: _Problem, starts: Tensor, epsilons: Sequence[float]) -> Iterator[Attacked]:
    """The outcome at epsilon 0 and at each epsilon in ascending order; starts [m, count, C, H, W] are in the unit ball.

    An example that was fooled at a smaller epsilon stays fooled, and PGD does not attack it again.
    """
    everything = torch.arange(len(problem.x), device=problem.x.device)
    clean = torch.zeros_like(problem.x)
    losses, fgsm_correct, gradient = problem.evaluate_with_gradient(clean)
    best = _Best(clean, losses, fgsm_correct)
    yield Attacked(0.0, fgsm_correct, best.correct.clone(), best.perturbation.clone())
    for level in epsilons:
        epsilon = level / LEVELS
        one_step = problem.into_ball(epsilon * steepest_ascent(gradient, problem.params.norm), epsilon)
        with torch.no_grad():
            losses, correct = problem.evaluate(one_step)
        fgsm_correct = fgsm_correct & correct
        best.update(everything, one_step, losses, correct)
        for restart in range(1 + starts.shape[1]):
            remaining = best.correct.nonzero()[:, 0]
            # The first run starts from the best perturbation so far: it continues the attack of the smaller epsilons.
            start = best.perturbation if restart == 0 else epsilon * starts[:, restart - 1]
            _run_pgd(problem, epsilon, remaining, start[remaining], best)
        yield Attacked(level, fgsm_correct, best.correct.clone(), best.perturbation.clone())


def _run_pgd(problem: _Problem, epsilon: float, members: Tensor, start: Tensor, best: _Best) -> None:
    """One run of PGD on the examples with the indices `members` [m], from perturbations `start` [m, ...].

    Every iterate is a candidate for `best`, and an example is dropped as soon as it is fooled.
    """
    params, perturbation = problem.params, start
    for step in range(params.steps + 1):
        if len(members) == 0:
            return
        current = problem.subset(members)
        perturbation = current.into_ball(perturbation, epsilon)
        if step == params.steps:
            with torch.no_grad():
                best.update(members, perturbation, *current.evaluate(perturbation))
            return
        losses, correct, gradient = current.evaluate_with_gradient(perturbation)
        best.update(members, perturbation, losses, correct)
        ascended = perturbation + params.step_size * epsilon * steepest_ascent(gradient, params.norm)
        members, perturbation = members[correct], ascended[correct]


def _lengths(x: Tensor) -> Tensor:
    """Euclidean lengths of x [m, ...], as [m, 1, ...]."""
    lengths: Tensor = x.flatten(1).norm(dim=1)
    return lengths.view(-1, *[1] * (x.ndim - 1))
