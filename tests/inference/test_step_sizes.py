"""The sweep's times and tables, on records written by hand."""

import math

import numpy as np
import pandas as pd
import pytest

from edgewise.inference.step_sizes import FLOW, SweepRun, sweep_metrics, sweep_tables

TIMES = np.linspace(0, 4, 9)
TIME_PER_STEP, THRESHOLD = 0.1, 20.0


def run_of(steps: pd.DataFrame, optimizer: str = "gd") -> SweepRun:
    return SweepRun(optimizer, TIME_PER_STEP, THRESHOLD, TIMES, {0: steps})


def records(onset: float = 2.0, growth: float = 0.03, flip: float = 0.0) -> pd.DataFrame:
    """kappa rises to the threshold at `onset` and stays; lambda_1 is 5 % below it, and `flip` up and down by the step.

    The distance from gradient flow is `growth` times the square of the time, while the flow moves at speed 1.
    """
    step = np.arange(46)
    time = TIME_PER_STEP * step
    secant = THRESHOLD * np.minimum(time / onset + 1e-9, 1.0)
    due = (step % 5 == 0) | (step % 5 == 1)
    table = pd.DataFrame({"step": step, "time": time, "loss": 1.0, "secant_sharpness": secant})
    table.loc[0, "secant_sharpness"] = math.nan
    table["sharpness"] = np.where(due, 0.95 * secant + flip * (-1.0) ** step, math.nan)
    table["flow_distance"] = np.where(due, growth * time**2, math.nan)
    table["flow_travelled"] = np.where(due, time, math.nan)
    return table


def test_what_is_measured_is_averaged_over_two_iterates():
    steady, flipping = (run_of(records(flip=flip)).measured(0) for flip in (0.0, 3.0))
    assert steady.index.tolist() == TIMES.tolist()
    assert flipping["sharpness"].to_numpy() == pytest.approx(steady["sharpness"].to_numpy())
    assert steady["sharpness"].iloc[4] == pytest.approx(0.95 * THRESHOLD)
    between = TIMES + TIME_PER_STEP / 2
    apart = 0.03 * (between**2 + (TIME_PER_STEP / 2) ** 2)
    assert steady["flow_distance"].to_numpy() == pytest.approx(apart)
    assert steady["parting_rate"].to_numpy()[1:] == pytest.approx(np.diff(apart) / np.diff(between))


def test_gradient_flow_has_no_second_iterate():
    table = pd.DataFrame({"time": TIMES, "loss": 1.0, "secant_sharpness": 2.0, "sharpness": 3 + TIMES})
    table = table.assign(flow_distance=math.nan, flow_travelled=math.nan)
    found = SweepRun(FLOW, math.nan, math.inf, TIMES, {0: table}).measured(0)
    assert found["sharpness"].tolist() == (3 + TIMES).tolist()


def test_the_moments_are_where_they_were_planted():
    moments = run_of(records()).moments(0)
    assert moments["onset_secant"] == pytest.approx(2.0)
    assert math.isnan(moments["onset_sharpness"])  # lambda_1 stays below
    assert moments["parting"] == 2.5  # over half a unit of time up to t, 0.06 t - 0.012 is 0.125 from 2.28 on
    assert moments["sharpness_ratio"] == pytest.approx(0.95)
    assert moments["secant_sharpness_ratio"] == pytest.approx(1.0)


def test_what_never_happens_is_nan_and_counts_in_no_mean():
    still = records(onset=1e9, growth=1e-9)
    moments = run_of(still).moments(0)
    assert all(math.isnan(value) for value in moments.values())
    sweep = {"gd-0.1": SweepRun("gd", 0.1, THRESHOLD, TIMES, {0: records(), 1: records(onset=2.4), 2: still})}
    found = sweep_metrics(sweep)
    assert found is not None
    assert found["gd-0.1"]["onset_secant"]["mean"] == pytest.approx(2.2)
    assert found["gd-0.1"]["onset_secant"]["seeds"] == 2
    assert found["gd-0.1"]["stability_threshold"] == THRESHOLD


def test_the_tables_have_a_row_a_run_and_time_and_a_row_a_run():
    flow = records().assign(sharpness=1.0).iloc[::5]
    runs = {FLOW: SweepRun(FLOW, math.nan, math.inf, TIMES, {0: flow})}
    runs |= {f"{name}-0.1": run_of(records(), name) for name in ("gd", "nesterov")}
    tables = sweep_tables(runs)
    assert tables["sweep"].index.tolist() == [name for name in runs for _ in TIMES]
    assert tables["sweep_moments"].index.tolist() == ["gd-0.1", "nesterov-0.1"]
    assert tables["sweep_moments"]["optimizer"].tolist() == ["gd", "nesterov"]
    assert tables["sweep_moments"]["onset_secant_low"].isna().all()  # one seed


def test_without_a_sweep_there_is_nothing():
    assert sweep_metrics({}) is None
    assert sweep_tables({}) == {}
