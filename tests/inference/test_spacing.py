"""Checkpoints that are not regular: what is measured along a run is averaged over its training time all the same.

A quantity that stays what it is from one checkpoint to the next, measured at regular checkpoints, and at those alone at
which it changes, must have the same means in both.
"""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from synthetic import LR, T_STAR, records

from edgewise.inference.claims import fading_of_the_input_outliers, squares_and_influence
from edgewise.inference.gains import predictor
from edgewise.inference.generalisation import PHASES, compare_branches, dominance
from edgewise.inference.metrics import late
from edgewise.inference.onset import late_ratio
from edgewise.inference.predictions import EDGE_FLOW, distance, settled_path, sharpness_error
from edgewise.inference.records import SeedRecords
from edgewise.inference.tables import as_if_regular, stands_for
from edgewise.params import BranchParams
from edgewise.states.branches import spaced

EVERY, EXIT_FACTOR = 4, 0.25
SPARSE = BranchParams(checkpoint_every=EVERY, per_doubling=4)
#: Multiples of `EVERY`: a whole number of doublings, and ends between two.
ENDS = (32, 40, 28)


def with_checkpoints(last: int, sparse: bool) -> SeedRecords:
    """Records whose baseline is measured at all multiples of `EVERY` up to `last`, or at the sparse ones alone.

    At the multiples between two of the sparse ones there is what there is at the later one.
    """
    one, rng = records(exit_factor=EXIT_FACTOR), np.random.default_rng(5)
    kept = np.array(spaced(last * EVERY, SPARSE)) // EVERY
    of_all = kept[np.searchsorted(kept, np.arange(last + 1))]
    multiples = kept if sparse else np.arange(last + 1)
    since = EVERY * multiples

    def measured(columns: list[str], at: np.ndarray = multiples) -> dict[str, np.ndarray]:
        """Positive numbers at every multiple, the same from one of the sparse ones to the next."""
        values = {name: rng.uniform(1, 2, last + 1)[of_all] for name in columns}
        return {name: value[at] for name, value in values.items()}

    def of_run(table: pd.DataFrame, lr: float, steps: np.ndarray, at: np.ndarray) -> pd.DataFrame:
        columns = measured([name for name in table if name not in ("step", "time")], at)
        return pd.DataFrame({"step": T_STAR + steps, "time": lr * (T_STAR + steps), **columns})

    def of_every_step(table: pd.DataFrame, lr: float, count: int) -> pd.DataFrame:
        step = np.arange(count + 1)
        flat = {name: np.full(count + 1, 1.0) for name in table if name not in ("step", "time")}
        return pd.DataFrame({"step": T_STAR + step, "time": lr * (T_STAR + step), **flat})

    def on_unseen_data(table: pd.DataFrame, value: str) -> dict[str, pd.DataFrame]:
        """Both branches, evaluated at every one of their checkpoints."""
        conditions = table[table["step"] == table["step"].iloc[0]].drop(columns=["step", "time", value])
        found = {"baseline": [], "exit": []}
        at_exit = np.unique([*since, *(since / EXIT_FACTOR).astype(int)])
        for _, condition in conditions.iterrows():
            values = rng.uniform(0.2, 0.8, last + 1)[of_all]
            for branch, steps, lr in (("baseline", since, LR), ("exit", at_exit, LR * EXIT_FACTOR)):
                columns = {"step": T_STAR + steps, "time": lr * (T_STAR + steps)}
                # Of the exit branch what is measured at equal step and at equal time is the same, whenever that is.
                level = values[multiples] if branch == "baseline" else 0.1
                found[branch].append(pd.DataFrame({**condition.to_dict(), **columns, value: level}))
        return {branch: pd.concat(tables, ignore_index=True) for branch, tables in found.items()}

    steps = last * EVERY + 2  # at the very end there is no average of two steps
    hessian = of_run(one.hessian["baseline"], LR, since, multiples)
    at_exit = (since / EXIT_FACTOR).astype(int)
    model = of_every_step(one.predictions[EDGE_FLOW], LR, steps - 1).assign(distance=np.nan, covered=np.nan)
    for name, values in measured(["distance", "covered"]).items():
        model.loc[since, name] = values
    return replace(
        one,
        setting=replace(one.setting, steps=steps),
        steps={
            **one.steps,
            "baseline": of_every_step(one.steps["baseline"], LR, steps),
            "exit": of_every_step(one.steps["exit"], LR * EXIT_FACTOR, round(steps / EXIT_FACTOR)),
        },
        hessian={
            **one.hessian,
            "baseline": hessian,
            "exit": of_run(one.hessian["exit"], LR * EXIT_FACTOR, at_exit, multiples),
        },
        decomposition=of_run(one.decomposition, LR, since, multiples),
        predictions={EDGE_FLOW: model.assign(sharpness=1.0)},
        robustness=on_unseen_data(one.robustness["baseline"], "accuracy"),
        ood=on_unseen_data(one.ood["baseline"], "loss"),
    )


def of_phase(phase: str) -> Callable[[SeedRecords], np.ndarray]:
    def found(one: SeedRecords) -> np.ndarray:
        tables = [compare_branches(one, phase, *kind) for kind in (("robustness", "accuracy"), ("ood", "loss"))]
        return np.concatenate([table.sort_index().to_numpy().ravel() for table in tables if table is not None])

    return found


MEANS: dict[str, Callable[[SeedRecords], object]] = {
    "late in the baseline": lambda one: late(one, "baseline", "alignment_inlier"),
    "late in the exit branch": lambda one: late(one, "exit", "curvature_influence_boundary"),
    "sharpness late": lambda one: late_ratio(one, "sharpness"),
    "influence along the baseline": lambda one: predictor(one, "curvature_influence", "exit", when="along_branch"),
    "fading": fading_of_the_input_outliers,
    "shares of influence": lambda one: dominance(0, one)["influence_share"].to_numpy(),
    "path": settled_path,
    "error of the sharpness": lambda one: sharpness_error(one, EDGE_FLOW),
    "distance of a model": lambda one: distance(one, EDGE_FLOW),
    "coupling and influence": lambda one: np.sort(squares_and_influence("coupling")({0: one})[0]),
    **{phase: of_phase(phase) for phase in PHASES if phase != "after_t_star_star"},
}


@pytest.mark.parametrize("last", ENDS)
@pytest.mark.parametrize("name", list(MEANS))
def test_what_is_measured_less_often_later_has_the_mean_over_training_time(name, last):
    regular, sparse = (with_checkpoints(last, sparse=sparse) for sparse in (False, True))
    assert len(sparse.hessian["baseline"]) < 0.6 * len(regular.hessian["baseline"])
    expected, found = (MEANS[name](one) for one in (regular, sparse))
    assert np.ptp(regular.hessian["baseline"]["alignment_inlier"]) > 0.5
    np.testing.assert_allclose(np.asarray(found, float), np.asarray(expected, float), rtol=1e-12)


def test_regular_checkpoints_count_once_each_also_where_the_last_comes_early_or_steps_are_rounded():
    assert stands_for(np.array([0, 10, 20, 30, 34])).tolist() == [1] * 5
    assert stands_for(np.round(np.arange(20) * 100 / 3)).tolist() == [1] * 20
    assert stands_for(np.array([0, 3, 6, 10, 13, 20, 30]), spacing=10).tolist() == [1] * 7
    assert stands_for(np.array([7])).tolist() == [1]
    table = pd.DataFrame({"time": [0.0, 0.1, 0.2, 0.30000000000000004], "value": [1, 2, 3, 4]})
    pd.testing.assert_frame_equal(as_if_regular(table), table)


def test_a_checkpoint_counts_for_no_time_before_that_of_the_mean():
    positions = np.array([0, 10, 20, 40, 80])
    assert stands_for(positions).tolist() == [1, 1, 1, 2, 4]
    assert stands_for(positions, since=70).tolist()[-1] == 2  # 70 and 80
