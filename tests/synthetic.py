"""Records of runs written by hand, with effects that are known: what the comparison of branches is tested on."""

import math
from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd

from edgewise.data.displacement import DIRECTIONS
from edgewise.data.groups import GROUPS
from edgewise.dynamics.edge import Rule
from edgewise.inference.records import SeedRecords, Setting

LR, THRESHOLD, EXIT_THRESHOLD = 0.1, 20.0, 200.0
T_STAR, STEPS, SPACING, ENTER_STEP = 6, 8, 4, 4
NATURALS = 20
FOUR = ("baseline", "exit", "enter", "flow")


def by_group(*values: float) -> dict[str, float]:
    return dict(zip(GROUPS, values, strict=True))


#: What the exit branch loses against the baseline at every step, group by group, and the groups' influence.
GAIN = by_group(0.1, -0.2, 0.3, -0.4)
INFLUENCE = by_group(3.0, 2.0, 4.0, 1.0)
#: The rivals of influence, none in the order of the gains.
LEVEL = by_group(1.0, 1.3, 1.1, 1.2)
GRADIENT_NORM = by_group(2.0, 4.0, 3.0, 1.0)
GROUP_DISTANCE = by_group(4.0, 6.0, 4.5, 9.0)
#: Loss of the flow branch above the baseline, and share of the exit branch's that is left after re-entering.
FLOW, ENTER_SHARE = by_group(0.3, 0.4, -0.1, -0.2), 0.25

CONTROL_ALPHAS = [0.0, 3.0, 10.0]

#: What is evaluated on unseen data: budgets of the attacks, lengths of the displacement, severities of the corruptions.
EPSILONS, ALPHAS, SEVERITIES = (0.0, 8.0, 16.0), (0.0, 3.0, 10.0), (0, 1, 2)
#: Training time at onset, by the clock of the evaluations.
TIME_AT_ONSET = 7.0


def steps_table(
    first: int, lrs: list[float], secant: list[float], shifts: list[Mapping[str, float]], levels: Mapping[str, float]
) -> pd.DataFrame:
    """A run with a step size and a shift a step, its losses flipping with the step's parity around level + shift."""
    step = first + np.arange(len(secant))
    table = {"step": step, "time": LR * first + np.cumsum([0.0, *lrs]), "loss": 1.0, "accuracy": 0.5}
    table["secant_sharpness"] = secant
    flip = 0.5 * (-1.0) ** step
    return pd.DataFrame(
        table | {f"loss_{g}": levels[g] + np.array([s.get(g, 0.0) for s in shifts]) + flip for g in GROUPS}
    )


def hessian_table(
    steps: list[int], sharpness: list[float], influence: Mapping[str, float], decline: float, correlation: float
) -> pd.DataFrame:
    """Measurements at checkpoints; their means are `influence` and a tenth of it as alignment."""
    ramp = np.linspace(-0.5, 0.5, len(steps))
    table = {"step": steps, "time": [LR * s for s in steps], "sharpness": sharpness}
    for group in GROUPS:
        table[f"alignment_{group}"] = 0.1 * influence[group] * (1 - decline * ramp)
        table[f"curvature_influence_{group}"] = influence[group] + ramp
        table[f"gradient_norm_{group}"] = GRADIENT_NORM[group] + ramp
        table[f"label_probability_{group}"] = 0.7
        table[f"sharpness_coupling_{group}"] = 100 * (influence[group] + ramp)
    for way, value in (("coherent", 0.3), ("random", 0.01)):
        table[f"alignment_control_{way}"] = value
        table[f"curvature_influence_control_{way}"] = 10 * value
    table["centroid_correlation"] = correlation + ramp
    return pd.DataFrame(table)


def control_table(jitter: float) -> pd.DataFrame:
    """The control at onset: alignment grows with alpha if the displacement is coherent, and vanishes if it is not."""
    alpha = np.array(CONTROL_ALPHAS)
    table = {"alpha": alpha, "alignment_chance": 1e-4}
    for quantity, scale in (("alignment", 1.0), ("curvature_influence", 50.0)):
        table[f"{quantity}_coherent"] = scale * (0.1 + jitter) * (1 + alpha)
        table[f"{quantity}_random"] = scale * (0.01 + 0.1 * jitter) + 0 * alpha
        table[f"{quantity}_null"] = scale * 0.02 + 0 * alpha
        for way, value in (("coherent", 0.005), ("random", 0.6)):
            table[f"{quantity}_{way}_p_value"] = value + 0.001 * alpha
    return pd.DataFrame(table)


def examples_of(steps: list[int], seed: int) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(seed)
    shape = (len(steps), NATURALS)
    return {"step": np.array(steps), "influence": rng.uniform(size=shape), "alignment": rng.uniform(size=shape)}


def robustness_table(first: int, since_onset: Sequence[int], lr: float, worse: Mapping[str, float]) -> pd.DataFrame:
    """Accuracy = 0.8 - worse - epsilon/100 + step/1000; FGSM 0.05 above; each subset 0.01 above the one before.

    `worse` is by group; test data are attacked towards the boundary group.
    """
    return pd.DataFrame(
        [
            {
                "step": first + step,
                "time": TIME_AT_ONSET + lr * step,
                "subset": subset,
                "norm": "linf",
                "attack": attack,
                "epsilon": epsilon,
                "examples": 10,
                "accuracy": 0.8
                - worse["boundary" if subset == "test" else subset]
                - epsilon / 100
                + step / 1000
                + 0.05 * (attack == "fgsm")
                + 0.01 * i,
            }
            for step in since_onset
            for i, subset in enumerate(("test", *GROUPS))
            for epsilon in EPSILONS
            for attack in ("fgsm", "pgd")
        ]
    )


def ood_table(first: int, since_onset: Sequence[int], lr: float, worse: Mapping[str, float]) -> pd.DataFrame:
    """Loss = (0.2 + worse) * (1 + strength) + step/100, accuracy 1 less a tenth of the loss.

    `worse` is by group; displaced test data are input-outliers, and so, for once, are corrupted ones.
    """
    shifts = [(f"heldout_{group}", 0.0, group) for group in GROUPS]
    shifts += [(direction, alpha, "input_outlier") for direction in DIRECTIONS for alpha in ALPHAS]
    shifts += [(name, severity, "input_outlier") for name in ("gaussian_noise", "contrast") for severity in SEVERITIES]
    rows = []
    for shift, strength, group in shifts:
        for step in since_onset:
            loss = (0.2 + worse[group]) * (1 + strength) + step / 100
            where = {"step": first + step, "time": TIME_AT_ONSET + lr * step, "shift": shift, "strength": strength}
            rows.append({**where, "examples": 10, "loss": loss, "accuracy": 1 - loss / 10})
    return pd.DataFrame(rows)


def records(
    scale: float = 1.0,
    at_onset: float = 19.0,
    later: float = 21.0,
    *,
    gain: Mapping[str, float] = GAIN,
    influence: Mapping[str, float] = INFLUENCE,
    branches: tuple[str, ...] = ("baseline", "exit"),
    exit_factor: float = 0.1,
    rule: Rule = "secant",
    exit_threshold: float = EXIT_THRESHOLD,
    jitter: float = 0.0,
) -> SeedRecords:
    """One seed's records: the exit branch loses `scale * gain`, `jitter` tells the seeds apart in all else."""
    onset = [T_STAR, T_STAR + 4, T_STAR + 8]
    nothing: dict[str, float] = {}
    shift = {group: scale * value for group, value in gain.items()}
    entered = {group: ENTER_SHARE * value for group, value in shift.items()}
    influence = {group: value + jitter for group, value in influence.items()}
    slow, after = exit_factor * LR, STEPS - ENTER_STEP
    base = steps_table(0, [LR] * T_STAR, [math.nan, 5, 8, 12, 15, 19, 20], [nothing] * (T_STAR + 1), LEVEL)
    base["sharpness"] = [2, math.nan, math.nan, math.nan, 18, math.nan, math.nan]
    flat, climbing = [math.nan] + [20.0] * STEPS, [math.nan] + [30.0] * (STEPS - 1) + [200.0]
    steps = {
        "base": base,
        "baseline": steps_table(T_STAR, [LR] * STEPS, flat, [nothing] * (STEPS + 1), LEVEL),
        "exit": steps_table(T_STAR, [slow] * STEPS, climbing, [shift] * (STEPS + 1), LEVEL),
        # Up to and including the step at which its step size is restored, it is the exit branch.
        "enter": steps_table(
            T_STAR, [slow] * ENTER_STEP + [LR] * after, flat, [shift] * (ENTER_STEP + 1) + [entered] * after, LEVEL
        ),
        "flow": steps_table(T_STAR, [LR] * STEPS, flat, [FLOW] * (STEPS + 1), LEVEL),
    }
    # Away from the edge the groups' influence is another one, in another order.
    away = dict(zip(GROUPS, reversed(influence.values()), strict=True))
    hessian = {
        "base": hessian_table([0, 4, T_STAR], [2, 18, at_onset], influence, 0.0, -0.6 + jitter),
        "baseline": hessian_table(onset, [at_onset, later, 19], influence, 0.5 + jitter, -0.2 + jitter),
        "exit": hessian_table(onset, [at_onset, 100, 199], influence, 0.0, 0.1),
        "enter": hessian_table(onset, [at_onset, 100, 20], influence, 0.0, 0.1),
        "flow": hessian_table(onset, [at_onset, 30, 40], influence, 0.0, 0.1),
    }
    for column in [
        name for name in hessian["enter"] if name.startswith("curvature_influence_") and name[20:] in GROUPS
    ]:
        hessian["enter"].loc[hessian["enter"]["step"] < T_STAR + ENTER_STEP, column] = 100 * away[column[20:]]
    # On unseen data every group is better or worse off than at the edge as it is in training.
    unseen = {
        "baseline": (LR, dict.fromkeys(GROUPS, 0.0)),
        "exit": (slow, shift),
        "enter": (LR, entered),
        "flow": (LR, FLOW),
    }
    evaluated = [step - T_STAR for step in onset]
    runs = ("base", *branches)
    return SeedRecords(
        setting=Setting(
            rule=rule,
            alpha=3.0,
            windows={"secant": 1, "sharpness": 1},
            time_per_step=LR,
            threshold=THRESHOLD,
            exit_threshold=exit_threshold,
            sharpness_every=SPACING,
            enter_step=ENTER_STEP,
        ),
        steps={run: steps[run] for run in runs},
        hessian={run: hessian[run] for run in runs},
        examples={"base": examples_of([0, 4, T_STAR], 0), "baseline": examples_of(onset, 1)},
        distance=np.random.default_rng(2).permutation(NATURALS) + 1.0,
        group_distance=GROUP_DISTANCE,
        control=control_table(jitter),
        robustness={run: robustness_table(T_STAR, evaluated, *unseen[run]) for run in branches},
        ood={run: ood_table(T_STAR, evaluated, *unseen[run]) for run in branches},
    )
