"""Robustness and out-of-distribution evaluation over seeds: from the records of the runs to numbers and plot tables.

Three ways to compare the branches, here called phases:

* late: mean over the later half of the comparison at equal step, of the checkpoints up to `steps`;
* equal_time: mean over the later half of the training time that both branches cover, at equal time;
* after_t_star_star: at equal time too, from when the exit branch is at its own edge, of the seeds where it gets there.

At equal time the values are those at the baseline's checkpoints; another branch is interpolated linearly between its
own, which are few: a coarse number. A checkpoint counts for the time since the one before it, so where they are not
regular, means are still over time. Differences are baseline - branch. Of an accuracy, positive is in favour of the
edge; of a loss, negative is.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any, Literal, get_args

import numpy as np
import pandas as pd

from edgewise.data.displacement import Direction
from edgewise.data.files import Array
from edgewise.inference.intervals import Scale, fraction, plain
from edgewise.inference.onset import second_onset
from edgewise.inference.records import SeedRecords, Seeds, at_equal_step
from edgewise.inference.tables import as_if_regular, over_seeds, second_half, since_onset, stands_for

#: In the records: the subset that is attacked beside the held-out groups, and how a held-out group's shift begins.
TEST, HELDOUT = "test", "heldout_"

Kind = Literal["robustness", "ood"]
Phase = Literal["late", "after_t_star_star", "equal_time"]
PHASES: tuple[Phase, ...] = get_args(Phase)

#: Accuracies closer than this to the clean one, or to none, tell nothing of an attack.
MARGIN = 0.02

#: Said in the metrics where the data are no images.
NO_IMAGES = "does not apply: attacks and corruptions are stated in pixels, and these data are no images"

#: The columns that tell the evaluations of one checkpoint apart.
CONDITIONS: Mapping[Kind, list[str]] = {"robustness": ["subset", "attack", "epsilon"], "ood": ["shift", "strength"]}


def compare_branches(records: SeedRecords, phase: Phase, kind: Kind, value: str) -> pd.DataFrame | None:
    """`value` by condition (rows) and by branch, with baseline_minus_<branch> (columns); None if never reached."""
    tables = records.robustness if kind == "robustness" else records.ood
    wide = {branch: by_condition(table, CONDITIONS[kind], value) for branch, table in tables.items()}
    baseline = wide["baseline"]
    others = [branch for branch in wide if branch != "baseline"]
    if phase == "late":
        last = records.t_star + records.setting.steps
        steps = baseline.index[baseline.index <= last]
        late = second_half(as_if_regular(pd.DataFrame(index=steps), steps.to_numpy())).index
        levels = pd.DataFrame({branch: table.loc[late].mean() for branch, table in wide.items()})
        return levels.assign(**{f"baseline_minus_{branch}": levels["baseline"] - levels[branch] for branch in others})

    time = {branch: times(tables[branch]) for branch in wide}
    start = None
    if phase == "after_t_star_star":
        t_star_star = second_onset(records)
        if t_star_star is None:
            return None
        exit_time = records.steps["exit"].set_index("step")["time"]
        start = float(exit_time[t_star_star] - exit_time[records.t_star])
    # Times are rounded to whole steps.
    rounding = records.setting.time_per_step / 2
    whole = common_times(time["baseline"], time["baseline"], start, rounding)
    levels = pd.DataFrame({"baseline": on_times(baseline, time["baseline"], whole).mean()})
    differences = {}
    for branch in others:
        at = common_times(time["baseline"], time[branch], start, rounding)
        at_edge, away = (on_times(wide[run], time[run], at).mean() for run in ("baseline", branch))
        levels[branch] = away
        differences[f"baseline_minus_{branch}"] = at_edge - away
    return levels.assign(**differences)


def by_condition(table: pd.DataFrame, conditions: list[str], value: str) -> pd.DataFrame:
    """A branch's records with one row a step and one column a condition."""
    return table.pivot_table(index="step", columns=conditions, values=value)


def times(table: pd.DataFrame) -> Array:
    """Training time since onset of every evaluated checkpoint; the first of a branch is the one at onset."""
    time: Array = table.drop_duplicates("step")["time"].to_numpy()
    since_onset: Array = time - time[0]
    return since_onset


def common_times(baseline: Array, branch: Array, start: float | None = None, rounding: float = 0.0) -> Array:
    """The baseline's evaluated times from `start`, or from half of the time that both cover, to the end of that time.

    Each is there as often as it `stands_for` regular ones. Where there are none, the end of that time.
    """
    end = min(baseline[-1], branch[-1])
    begin = end / 2 if start is None else start
    inside = (baseline >= begin - rounding) & (baseline <= end + rounding)
    within: Array = np.repeat(baseline[inside], stands_for(baseline, since=begin)[inside])
    return within if len(within) else np.array([end])


def on_times(table: pd.DataFrame, time: Array, at: Array) -> pd.DataFrame:
    """A table of one row a checkpoint, at the times [n], interpolated linearly to the times `at` [m]."""
    columns = {condition: np.interp(at, time, table[condition]) for condition in table.columns}
    found = pd.DataFrame(columns, index=at)
    return found.set_axis(table.columns, axis="columns")


def summarise(seeds: Seeds, kind: Kind, value: str) -> dict[Phase, pd.DataFrame | None]:
    """`compare_branches` over seeds: a row a condition; <branch> and baseline_minus_<branch> with _low and _high.

    None where no seed has the phase.
    """
    phases: dict[Phase, pd.DataFrame | None] = {}
    for name in PHASES:
        tables = [table for one in seeds.values() if (table := compare_branches(one, name, kind, value)) is not None]
        phases[name] = over_seeds(tables, scale_of(seeds, kind, value)) if tables else None
    return phases


def informative_strengths(seeds: Seeds) -> dict[str, list[float]]:
    """The strengths of attack that tell the branches apart, by subset: PGD's, above 0.

    There the exit branch's late accuracy, the mean over seeds, is neither within `MARGIN` of its clean accuracy nor
    below `MARGIN`. A weaker attack changes nothing, and a stronger one leaves nothing.
    """
    table = summarise(seeds, "robustness", "accuracy")["late"]
    assert table is not None  # every branch has an end
    accuracy = table["exit"]
    found: dict[str, list[float]] = {}
    for subset, attack, epsilon in _conditions(seeds, "robustness"):
        if attack == "pgd":
            strengths = found.setdefault(subset, [])
            lost = accuracy[subset, attack, 0.0] - accuracy[subset, attack, epsilon]
            if epsilon > 0 and lost > MARGIN and accuracy[subset, attack, epsilon] >= MARGIN:
                strengths.append(float(epsilon))
    return found


def scale_of(seeds: Seeds, kind: Kind, value: str) -> Callable[[str], Scale]:
    """The scale on which a column of `value` is averaged over seeds: of accuracies, but not of differences, log-odds.

    Both have the grid of the smallest number of examples of all evaluations. No group's name begins with minus_.
    """
    tables = (getattr(records, kind)["baseline"] for records in seeds.values())
    accuracy = fraction(int(min(table["examples"].min() for table in tables)))
    if value != "accuracy":
        return lambda column: plain()
    return lambda column: plain(grid=accuracy.grid) if column.startswith("baseline_minus_") else accuracy


def robustness_metrics(seeds: Seeds) -> dict[str, Any]:
    """Accuracy under PGD by subset, epsilon, phase and branch (metrics/robustness.json).

    `informative` lists the strengths that tell something (`informative_strengths`). Intervals are 95 %, Student t over
    seeds. A phase that no seed reached is null.
    """
    accuracy: dict[str, Any] = {}
    for phase, table in summarise(seeds, "robustness", "accuracy").items():
        for condition in _conditions(seeds, "robustness"):
            subset, attack, epsilon = condition
            if attack == "pgd":
                place = accuracy.setdefault(subset, {}).setdefault(f"{epsilon:g}", {})
                place[phase] = None if table is None else _intervals(table.loc[condition])
    norm = next(iter(seeds.values())).robustness["baseline"]["norm"].iloc[0]
    return {
        "attack": "pgd",
        "norm": norm,
        "informative": informative_strengths(seeds),
        "accuracy": accuracy,
        **({} if attacked(seeds) else {"reason": NO_IMAGES}),
        **_about(seeds),
    }


def ood_metrics(seeds: Seeds) -> dict[str, Any]:
    """Loss and accuracy by shift, phase and branch (metrics/ood.json).

    Displaced test data by direction and alpha; corrupted ones by corruption, mean over the severities, as in Hendrycks
    & Dietterich 2019; held-out examples by group. Intervals are 95 %, Student t over seeds.
    """
    kinds: dict[str, Any] = {"displaced": {}, "corrupted": {}, "heldout": {}}
    averaged = {
        seed: replace(one, ood={branch: _mean_over_severities(table) for branch, table in one.ood.items()})
        for seed, one in seeds.items()
    }
    for value in ("loss", "accuracy"):
        for phase, table in summarise(averaged, "ood", value).items():
            for condition in _conditions(averaged, "ood"):
                shift, strength = condition
                if shift in get_args(Direction):
                    place = kinds["displaced"].setdefault(shift, {}).setdefault(f"{strength:g}", {})
                elif shift.startswith(HELDOUT):
                    place = kinds["heldout"].setdefault(shift.removeprefix(HELDOUT), {})
                else:
                    place = kinds["corrupted"].setdefault(shift, {})
                place.setdefault(value, {})[phase] = None if table is None else _intervals(table.loc[condition])
    return {**kinds, **({} if kinds["corrupted"] else {"reason": NO_IMAGES}), **_about(seeds)}


def attacked(seeds: Seeds) -> bool:
    """Whether there were attacks, at an epsilon above 0."""
    return any(epsilon > 0 for _, _, epsilon in _conditions(seeds, "robustness"))


def _mean_over_severities(table: pd.DataFrame) -> pd.DataFrame:
    """The ood records of a branch with one row a step and corruption in place of one a severity; its strength is 1."""
    corrupted = _is_corruption(table["shift"])
    if not corrupted.any():
        return table
    severe = table[corrupted & (table["strength"] > 0)].assign(strength=1.0)
    means = severe.groupby(["step", *CONDITIONS["ood"]], sort=False, as_index=False).mean()
    return pd.concat([table[~corrupted], means[list(table.columns)]])


def _is_corruption(shifts: pd.Series) -> pd.Series:
    return ~shifts.isin(get_args(Direction)) & ~shifts.str.startswith(HELDOUT)


def evaluation_tables(seeds: Seeds) -> dict[str, pd.DataFrame]:
    """The tables under plots/ that show robustness and ood, by name; every column with _low and _high.

    * robustness: a row a step since onset, up to `steps`; <branch>_eps<epsilon>, accuracy under PGD on test data;
    * robustness_epsilon: a row an epsilon, late in the branches; <branch>_<subset> and baseline_minus_<branch>_<subset>
      under PGD, the same with _fgsm at the end under FGSM, and the norm;
    * ood: a row an alpha, late; <branch>_<direction>, the loss, <branch>_<direction>_accuracy, and the differences;
    * corruptions: a row a severity, late; <branch>_<corruption>, the loss, <branch>_<corruption>_accuracy, and the
      differences.

    Without attacks there is none of the first two, and without corruptions the last has no columns.
    """
    first = next(iter(seeds.values()))
    by_step = []
    for branch in first.robustness:
        runs = []
        for one in seeds.values():
            rows = at_equal_step(one, one.robustness[branch], one.robustness["baseline"])
            wide = by_condition(rows, CONDITIONS["robustness"], "accuracy")[TEST]["pgd"]
            wide.columns = pd.Index([f"{branch}_eps{epsilon:g}" for epsilon in wide.columns])
            runs.append(since_onset(wide.reset_index(), one.t_star))
        by_step.append(over_seeds(runs, scale_of(seeds, "robustness", "accuracy")))

    def late(kind: Kind, curves: Mapping[Any, str], value: str) -> pd.DataFrame:
        """Curves over the last condition, each with its suffix to the columns."""
        tables = []
        for one in seeds.values():
            table = compare_branches(one, "late", kind, value)
            assert table is not None  # every branch has an end
            table = table.sort_index()
            tables.append(pd.concat([table.loc[curve].add_suffix(s) for curve, s in curves.items()], axis="columns"))
        return over_seeds(tables, scale_of(seeds, kind, value))

    def loss_and_accuracy(shifts: Sequence[str], index: str) -> pd.DataFrame:
        loss = late("ood", {shift: f"_{shift}" for shift in shifts}, "loss")
        accuracy = late("ood", {shift: f"_{shift}_accuracy" for shift in shifts}, "accuracy")
        return pd.concat([loss, accuracy], axis=1).rename_axis(index)

    shifts = first.ood["baseline"]["shift"]
    corruptions = list(shifts[_is_corruption(shifts)].unique())
    subsets = {(subset, attack) for subset, attack, _ in _conditions(seeds, "robustness")}
    suffix = {(s, attack): f"_{s}{'_fgsm' * (attack == 'fgsm')}" for s, attack in sorted(subsets)}
    none = pd.DataFrame(index=pd.Index([0], name="severity"))
    tables = {
        "ood": loss_and_accuracy(get_args(Direction), "alpha"),
        "corruptions": loss_and_accuracy(corruptions, "severity") if corruptions else none,
    }
    if not attacked(seeds):
        return tables
    norm = first.robustness["baseline"]["norm"].iloc[0]
    return tables | {
        "robustness": pd.concat(by_step, axis=1).sort_index(),
        "robustness_epsilon": late("robustness", suffix, "accuracy").assign(norm=norm),
    }


def dominance(seed: int, records: SeedRecords, strengths: Mapping[str, list[float]] | None = None) -> pd.DataFrame:
    """For every evaluation of a seed: does the evaluated group dominate v_1, and is the edge at an advantage there?

    The paper's condition is that the advantage goes to the edge branch only where the evaluated subset dominates v_1.
    Test data stand for the group that they are shifted towards: under attack for the boundary group (figure 9),
    displaced for the input-outliers (figure 10), where there are such groups. The strengths are those of `advantages`.

    Returns
    -------
    One row an evaluation, columns:

    seed
    evaluation : adversarial_test, displaced_test, adversarial_<group> or heldout_<group>
    group : of which the evaluated examples are
    influence_share : of `group` in the sum of all groups' curvature influence, late in the baseline branch
    dominant_group : the group with the largest curvature influence there
    dominates : whether that is `group`
    advantage : of the baseline over the exit branch, late, at equal step; positive is in favour of the edge.
        adversarial: accuracy under PGD, baseline - exit, mean over the strengths; displaced_test: loss,
        exit - baseline, at the largest coherent alpha; heldout: loss, exit - baseline
    advantage_equal_time : the same at equal training time
    """
    late = second_half(as_if_regular(records.hessian["baseline"]))
    influence = pd.Series({group: late[f"curvature_influence_{group}"].mean() for group in records.groups})
    at_equal_time = advantages(records, "equal_time", strengths)
    rows = [
        {
            "seed": seed,
            "evaluation": evaluation,
            "group": group,
            "influence_share": float(influence[group] / influence.sum()),
            "dominant_group": influence.idxmax(),
            "dominates": influence.idxmax() == group,
            "advantage": advantage,
            "advantage_equal_time": at_equal_time[evaluation, group],
        }
        for (evaluation, group), advantage in advantages(records, "late", strengths).items()
        if group in records.groups
    ]
    columns = ["seed", "evaluation", "group", "influence_share", "dominant_group", "dominates"]
    return pd.DataFrame(rows, columns=[*columns, "advantage", "advantage_equal_time"])


def advantages(
    records: SeedRecords, phase: Phase, strengths: Mapping[str, list[float]] | None = None
) -> dict[tuple[str, str], float]:
    """The advantage of the baseline over the exit branch by (evaluation, group); see `dominance`.

    `strengths` are the attacks that count, by subset: `informative_strengths` of all seeds. Without it, or where it has
    none, all above 0 do.
    """
    robustness = compare_branches(records, phase, "robustness", "accuracy")
    ood = compare_branches(records, phase, "ood", "loss")
    assert robustness is not None  # only after_t_star_star may be missing
    assert ood is not None
    accuracy, loss = (table["baseline_minus_exit"].sort_index() for table in (robustness, ood))
    found = {}
    for subset in accuracy.index.unique("subset"):
        pgd = accuracy.loc[(subset, "pgd")]
        group = "boundary" if subset == TEST else subset
        under_attack = pgd[pgd.index > 0]
        chosen = (strengths or {}).get(subset) or list(under_attack.index)
        if len(under_attack):
            found[f"adversarial_{subset}", group] = float(under_attack[under_attack.index.isin(chosen)].mean())
    found["displaced_test", "input_outlier"] = -float(loss.loc["coherent"].iloc[-1])
    for group in records.groups:
        if (HELDOUT + group, 0) in loss.index:
            found[HELDOUT + group, group] = -float(loss.loc[(HELDOUT + group, 0)])
    return found


def _conditions(seeds: Seeds, kind: Kind) -> list[Any]:
    """Every condition that was evaluated, in the order of the records."""
    one = next(iter(seeds.values()))
    table = one.robustness if kind == "robustness" else one.ood
    return list(table["baseline"][CONDITIONS[kind]].drop_duplicates().itertuples(index=False, name=None))


def _intervals(row: pd.Series) -> dict[str, dict[str, float]]:
    """{name: {mean, low, high}} of a row with columns name, name_low and name_high."""
    names = [str(name) for name in row.index if f"{name}_low" in row.index]
    return {
        name: {"mean": float(row[name]), "low": float(row[f"{name}_low"]), "high": float(row[f"{name}_high"])}
        for name in names
    }


def _about(seeds: Seeds) -> dict[str, Any]:
    return {
        "intervals": "95 %: Student t over seeds; of accuracies on the scale of log-odds, of which the mean is too",
        "seeds": list(seeds),
        "seeds_after_t_star_star": [seed for seed, one in seeds.items() if second_onset(one) is not None],
    }
