"""Records of runs written by hand, with effects that are known: what the comparison of branches is tested on."""

import math
from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd

from edgewise.data.displacement import DIRECTIONS
from edgewise.data.groups import GROUPS
from edgewise.dynamics.edge import Rule
from edgewise.inference.records import LeftOut, SeedRecords, Setting
from edgewise.params import BranchParams
from edgewise.states.branches import covering, length, measured_steps

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

#: The same of the strata of natural examples, nearest to the centroid first.
STRATA = ("class0_q1", "class0_q2", "class1_q1", "class1_q2")


def by_stratum(*values: float) -> dict[str, float]:
    return dict(zip(STRATA, values, strict=True))


STRATUM_GAIN = by_stratum(0.01, -0.02, 0.03, -0.04)
STRATUM_INFLUENCE = by_stratum(0.8, 0.7, 0.9, 0.6)
STRATUM_LEVEL = by_stratum(0.2, 0.4, 0.3, 0.5)
STRATUM_GRADIENT_NORM = by_stratum(1.1, 1.2, 1.3, 1.4)
STRATUM_DISTANCE = by_stratum(3.0, 7.0, 3.5, 7.5)
STRATUM_FLOW = by_stratum(-0.03, 0.01, 0.02, -0.01)

#: What the oscillation adds to a loss at the edge, in every two-step average.
COST = by_group(0.02, 0.05, 0.1, 0.04)
STRATUM_COST = by_stratum(0.001, 0.002, 0.003, 0.004)

#: Trained images that groups have in common.
SHARED = {"inlier & boundary": 2, "inlier & output_outlier": 10}

#: Steps from onset until the baseline's oscillation has grown to its amplitude of the later half, which is before that.
TRANSIENT = 3

#: Q_k^2 / C_k, from the derivative of the sharpness and over a step's length.
COUPLING_RATIO, COUPLING_RATIO_OVER_STEP = 100.0, 25.0

CONTROL_ALPHAS = [0.0, 3.0, 10.0]

#: What is evaluated on unseen data: budgets of the attacks, lengths of the displacement, severities of the corruptions.
EPSILONS, ALPHAS, SEVERITIES = (0.0, 8.0, 16.0), (0.0, 3.0, 10.0), (0, 1, 2)
#: Training time at onset, by the clock of the evaluations.
TIME_AT_ONSET = 7.0


def steps_table(
    first: int, lrs: list[float], secant: list[float], shifts: list[Mapping[str, float]], levels: Mapping[str, float]
) -> pd.DataFrame:
    """A run with a step size and a shift a step, its losses flipping with the step's parity around level + shift.

    Its oscillation grows to its last amplitude in `TRANSIENT` steps.
    """
    since = np.arange(len(secant))
    step = first + since
    table = {"step": step, "time": LR * first + np.cumsum([0.0, *lrs]), "loss": 1.0, "accuracy": 0.5}
    table["secant_sharpness"] = secant
    table["oscillation"] = np.where(since == 0, np.nan, np.minimum(since, TRANSIENT) / TRANSIENT)
    flip = 0.5 * (-1.0) ** step
    return pd.DataFrame(
        table | {f"loss_{k}": level + np.array([s.get(k, 0.0) for s in shifts]) + flip for k, level in levels.items()}
    )


def hessian_table(
    steps: list[int],
    time: list[float],
    sharpness: list[float],
    influence: Mapping[str, float],
    ramp: list[float],
    decline: float,
    correlation: list[float],
) -> pd.DataFrame:
    """Measurements at checkpoints: influence + ramp; alignment is a tenth of the influence and declines with the ramp.

    The coupling to the sharpness has the sign of the gain.
    """
    rise = np.array(ramp)
    table: dict[str, object] = {"step": steps, "time": time, "sharpness": sharpness}
    for name, level in influence.items():
        small = 1.0 if name in GROUPS else 0.1
        found = level + small * rise
        sign = np.sign((GAIN | STRATUM_GAIN)[name])
        table[f"alignment_{name}"] = 0.1 * level * (1 - decline * rise)
        table[f"curvature_influence_{name}"] = found
        table[f"gradient_norm_{name}"] = (GRADIENT_NORM | STRATUM_GRADIENT_NORM)[name] + rise
        table[f"label_probability_{name}"] = 0.7
        table[f"coupling_{name}"] = sign * np.sqrt(COUPLING_RATIO * found)
        table[f"coupling_over_step_{name}"] = sign * np.sqrt(COUPLING_RATIO_OVER_STEP * found)
    for way, value in (("coherent", 0.3), ("random", 0.01)):
        table[f"alignment_control_{way}"] = value
        table[f"curvature_influence_control_{way}"] = 10 * value
    table["centroid_correlation"] = correlation
    return pd.DataFrame(table)


def edge_flow_table(missed: Mapping[str, float], levels: Mapping[str, float]) -> pd.DataFrame:
    """A prediction from the pair at onset on: the baseline's two-step averages, `missed` above them after the first."""
    since = np.arange(STEPS)
    table = {
        "step": T_STAR + since,
        "time": LR * (since + 0.5),
        "loss": 1.0,
        "sharpness": THRESHOLD,
        "oscillation": 1.0,
        "gradients": np.where(since == 0, 2, 4),
        "distance": np.where(since % SPACING == 0, 0.1 * since, np.nan),
        "covered": np.where(since % SPACING == 0, 0.5 * since, np.nan),
    }
    return pd.DataFrame(
        table | {f"loss_{name}": level + missed.get(name, 0.0) * (since > 0) for name, level in levels.items()}
    )


def away_table(steps: pd.DataFrame) -> pd.DataFrame:
    """A prediction of a run that leaves the edge: its own two-step averages."""
    losses = [name for name in steps if name.startswith("loss")]
    values = steps[["time", *losses]].to_numpy()
    table = pd.DataFrame((values[1:] + values[:-1]) / 2, columns=["time", *losses])
    table["time"] -= steps["time"].iloc[0]
    return table.assign(step=steps["step"].to_numpy()[:-1])


def decomposition_table(since_onset: Sequence[int], levels: Mapping[str, float]) -> pd.DataFrame:
    """The baseline's two-step averages, which are its levels, as what is left at the centre and what is added to it."""
    steps = T_STAR + np.array(since_onset)
    table: dict[str, object] = {"step": steps, "time": LR * steps, "force": 0.5, "centre_gradient": 2.0}
    for name, cost in (COST | STRATUM_COST).items():
        table[f"centre_loss_{name}"] = levels[name] - cost
        table[f"oscillation_cost_{name}"] = cost
    return pd.DataFrame(table)


def kinks_table() -> pd.DataFrame:
    """Curvature that grows from 0.9 of the threshold to the threshold over the half-step, and stays there."""
    relative = np.array([0.0, 0.1, 1.0, 3.0])
    return pd.DataFrame(
        {
            "step": T_STAR + STEPS,
            "time": LR * (T_STAR + STEPS),
            "sharpness_iterates": 0.94 * THRESHOLD,
            "sharpness_centre": 0.95 * THRESHOLD,
            "relative_length": relative,
            "length": 0.2 * relative,
            "curvature": THRESHOLD * (0.9 + 0.1 * np.minimum(relative, 1)),
        }
    )


def left_out(group: str, levels: Mapping[str, float], lower: Mapping[str, float]) -> LeftOut:
    """The baseline without one group, real and predicted: the losses are lower after onset, by half at the centre."""
    missing = {name: level for name, level in levels.items() if name != group}

    def run(levels: Mapping[str, float], share: float) -> pd.DataFrame:
        shift = {name: -share * value for name, value in lower.items() if name in levels}
        return steps_table(T_STAR, [LR] * STEPS, [math.nan] + [20.0] * STEPS, [{}, *[shift] * STEPS], levels)

    def predicted(levels: Mapping[str, float], share: float) -> pd.DataFrame:
        return edge_flow_table({name: -share * value for name, value in lower.items()}, levels)

    return LeftOut(
        measured={"at_centre": run(levels, 0.5), "removed": run(missing, 1)},
        predicted={"at_centre": predicted(levels, 0.5), "removed": predicted(missing, 1)},
    )


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


def robustness_table(
    first: int, since_onset: Sequence[int], lr: float, worse: Mapping[str, float], drift: float = 0.001
) -> pd.DataFrame:
    """Accuracy = 0.8 - worse - epsilon/100 + drift * step; FGSM 0.05 above; each subset 0.01 above the one before.

    `worse` is by group, and of no effect at onset; test data are attacked towards the boundary group.
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
                - worse["boundary" if subset == "test" else subset] * (step > 0)
                - epsilon / 100
                + drift * step
                + 0.05 * (attack == "fgsm")
                + 0.01 * i,
            }
            for step in since_onset
            for i, subset in enumerate(("test", *GROUPS))
            for epsilon in EPSILONS
            for attack in ("fgsm", "pgd")
        ]
    )


def ood_table(
    first: int, since_onset: Sequence[int], lr: float, worse: Mapping[str, float], drift: float = 0.01
) -> pd.DataFrame:
    """Loss = (0.2 + worse) * (1 + strength) + drift * step, accuracy 1 less a tenth of the loss.

    `worse` is by group, and of no effect at onset; displaced test data are input-outliers, and so, for once, are
    corrupted ones.
    """
    shifts = [(f"heldout_{group}", 0.0, group) for group in GROUPS]
    shifts += [(direction, alpha, "input_outlier") for direction in DIRECTIONS for alpha in ALPHAS]
    shifts += [(name, severity, "input_outlier") for name in ("gaussian_noise", "contrast") for severity in SEVERITIES]
    rows = []
    for shift, strength, group in shifts:
        for step in since_onset:
            loss = (0.2 + worse[group] * (step > 0)) * (1 + strength) + drift * step
            where = {"step": first + step, "time": TIME_AT_ONSET + lr * step, "shift": shift, "strength": strength}
            rows.append({**where, "examples": 10, "loss": loss, "accuracy": 1 - loss / 10})
    return pd.DataFrame(rows)


def evaluated_at(branch: str, params: BranchParams) -> list[int]:
    """The steps since onset at which a branch is measured."""
    equal_step, equal_time = measured_steps(branch, params)
    return sorted({*equal_step, *equal_time})


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
    missed: Mapping[str, float] | None = None,
    doses: Mapping[float, float] | None = None,
    pays: Mapping[str, Mapping[str, float]] | None = None,
) -> SeedRecords:
    """One seed's records: the exit branch loses `scale * gain`, `jitter` tells the seeds apart in all else.

    Edge flow predicts losses that are by `missed` too high, of groups and strata that are not there by nothing.

    `doses` are further factors, each with the share of the exit branch's gain that there is against it, measured and
    predicted. `pays` says by how much lower the losses at the edge are without a group: all of it where it is removed,
    half of it where its gradient is taken at the centre.

    All branches start from one state, so they agree at onset in everything; the differences begin a step later.
    """
    params = BranchParams(steps=STEPS, exit_factor=exit_factor, enter_step=ENTER_STEP, checkpoint_every=SPACING)
    lengths = {branch: length(branch, params) for branch in FOUR}
    measured = {branch: evaluated_at(branch, params) for branch in FOUR}
    nothing: dict[str, float] = {}
    gain, levels = {**gain, **STRATUM_GAIN}, LEVEL | STRATUM_LEVEL
    shift = {name: scale * value for name, value in gain.items()}
    entered = {name: ENTER_SHARE * value for name, value in shift.items()}
    flowing = FLOW | STRATUM_FLOW
    influence = {name: value + jitter for name, value in {**influence, **STRATUM_INFLUENCE}.items()}
    slow, after = exit_factor * LR, lengths["enter"] - ENTER_STEP
    base = steps_table(0, [LR] * T_STAR, [math.nan, 5, 8, 12, 15, 19, 20], [nothing] * (T_STAR + 1), levels)
    base["sharpness"] = [2, math.nan, math.nan, math.nan, 18, math.nan, math.nan]
    lrs = {
        "baseline": [LR] * STEPS,
        "exit": [slow] * lengths["exit"],
        "enter": [slow] * ENTER_STEP + [LR] * after,
        "flow": [LR] * STEPS,
    }
    shifts = {
        "baseline": [nothing] * STEPS,
        "exit": [shift] * lengths["exit"],
        # Up to and including the step at which its step size is restored, it is the exit branch.
        "enter": [shift] * ENTER_STEP + [entered] * after,
        "flow": [flowing] * STEPS,
    }
    secant = {branch: [math.nan] + [20.0] * count for branch, count in lengths.items()}
    secant["exit"] = [math.nan] + [30.0] * (lengths["exit"] - 1) + [200.0]
    steps = {"base": base} | {
        branch: steps_table(T_STAR, lrs[branch], secant[branch], [nothing, *shifts[branch]], levels) for branch in FOUR
    }
    sharpness = {
        "baseline": [at_onset, later, 19],
        "exit": [at_onset, 100, 199],
        "enter": [at_onset, 100, 20],
        "flow": [at_onset, 30, 40],
    }
    decline = 0.5 + jitter
    before = [0, 4, T_STAR - 1, T_STAR]
    hessian = {
        "base": hessian_table(
            before,
            [LR * step for step in before],
            [2, 18, 18, at_onset],
            influence,
            [-0.5, 0.25, 0, -0.5],
            decline,
            [-0.9 + jitter, -0.6 + jitter, -0.6 + jitter, -0.7 + jitter],
        )
    }
    for branch in FOUR:
        since, rows = measured[branch], len(measured[branch])
        # The mean of every ramp is zero; along the baseline it is a straight line.
        ramp = np.linspace(-0.5, 0.5, rows) if branch == "baseline" else [-0.5] + [0.5 / (rows - 1)] * (rows - 1)
        late = -0.2 + jitter + ramp[1:] if branch == "baseline" else np.full(rows - 1, 0.1)
        hessian[branch] = hessian_table(
            [T_STAR + step for step in since],
            steps[branch]["time"].iloc[since].tolist(),
            [*sharpness[branch], *[sharpness[branch][-1]] * (rows - 3)],
            influence,
            list(ramp),
            decline,
            [-0.7 + jitter, *late],
        )
    # On unseen data every group is better or worse off than at the edge as it is in training.
    unseen = {"baseline": dict.fromkeys(GROUPS, 0.0), "exit": shift, "enter": entered, "flow": FLOW}

    def on_unseen_data(branch: str, table: pd.DataFrame) -> pd.DataFrame:
        """The table with the training time of its steps."""
        time = steps[branch].set_index("step")["time"] - LR * T_STAR + TIME_AT_ONSET
        return table.assign(time=table["step"].map(time))

    further = {
        factor: steps_table(
            T_STAR,
            [factor * LR] * covering(factor, params),
            [math.nan] + [20.0] * covering(factor, params),
            [nothing, *[{name: share * value for name, value in shift.items()}] * covering(factor, params)],
            levels,
        )
        for factor, share in (doses or {}).items()
    }
    runs = ("base", *branches)
    return SeedRecords(
        setting=Setting(
            rule=rule,
            steps=STEPS,
            alpha=3.0,
            windows={"secant": 1, "sharpness": 1},
            time_per_step=LR,
            threshold=THRESHOLD,
            exit_threshold=exit_threshold,
            exit_factor=exit_factor,
            optimizer="gd",
            has_model=True,
            sharpness_every=SPACING,
            enter_step=ENTER_STEP,
        ),
        steps={run: steps[run] for run in runs},
        hessian={run: hessian[run] for run in runs},
        examples={
            "base": examples_of(before, 0),
            "baseline": examples_of([T_STAR + step for step in measured["baseline"]], 1),
        },
        distance=np.random.default_rng(2).permutation(NATURALS) + 1.0,
        groups=GROUPS,
        strata=STRATA,
        median_distance=GROUP_DISTANCE | STRATUM_DISTANCE,
        shared=SHARED,
        decomposition=decomposition_table(measured["baseline"], levels),
        kinks=kinks_table(),
        predictions={"edge_flow": edge_flow_table(missed or {}, levels)},
        doses=further,
        edge_flow_away={factor: away_table(table) for factor, table in {**further, exit_factor: steps["exit"]}.items()},
        left_out={group: left_out(group, levels, lower) for group, lower in (pays or {}).items()},
        control=control_table(jitter),
        robustness={
            branch: on_unseen_data(branch, robustness_table(T_STAR, measured[branch], LR, unseen[branch], drift=0))
            for branch in branches
        },
        ood={
            branch: on_unseen_data(branch, ood_table(T_STAR, measured[branch], LR, unseen[branch], drift=0))
            for branch in branches
        },
    )
