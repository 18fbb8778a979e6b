"""The stage sweep: the same runs as the stage base, distances from the flow, the same bytes when killed, errors."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from conftest import tiny
from small import SEED, Killed, evaluations, onset_of, records_of, up_to_base

import runs
import sweep
from edgewise.errors import DivergenceError, EdgewiseError
from edgewise.params import Params, parse_params
from edgewise.states.flow import GradientFlow

TIME, MEASUREMENTS, LR = 11.2, 14, 0.08


def configuration(**changes: object) -> str:
    section = {"seeds": [SEED], "optimizers": ["gd", "nesterov"], "step_sizes": [0.04, LR]}
    section |= {"time": TIME, "measurements": MEASUREMENTS, **changes}
    return tiny(seeds=[SEED], sweep=section)


@pytest.fixture(scope="module")
def finished(tmp_path_factory) -> tuple[Path, Params]:
    folder = tmp_path_factory.mktemp("sweep")
    params = up_to_base(folder, configuration())
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        for run in ("flow", *params.sweep.runs):
            sweep.main(params, seed=SEED, run=run)
    return folder, params


def steps_of(folder: Path, run: str) -> pd.DataFrame:
    return pd.read_csv(records_of(f"sweep-{run}", folder) / "steps.csv")


def test_the_run_at_the_step_size_of_the_base_run_is_the_base_run(finished):
    folder, _ = finished
    base, found = pd.read_csv(records_of("base", folder) / "steps.csv"), steps_of(folder, f"gd-{LR}")
    both = min(len(base), len(found))
    assert onset_of(folder) < both  # the run reaches the edge
    for column in ("loss", "secant_sharpness"):
        np.testing.assert_array_equal(found[column][:both], base[column][:both])
    measured = found["sharpness"].notna() & base["sharpness"].reindex(found.index).notna()
    assert measured.sum() >= 2
    np.testing.assert_allclose(found["sharpness"][measured], base["sharpness"][measured.index[measured]], rtol=2e-3)


def test_smaller_steps_stay_nearer_to_gradient_flow_in_proportion(finished):
    folder, _ = finished
    early = [steps_of(folder, f"gd-{lr}")["flow_distance"].dropna() for lr in (0.04, LR)]
    small, large = (distance.iloc[2] for distance in early)  # at the first regular time after the start
    assert small == pytest.approx(large / 2, rel=0.25)  # gradient descent is of first order
    assert all(distance.iloc[0] == 0 for distance in early)


def test_all_runs_cover_the_time_and_measure_two_iterates_at_a_time(finished):
    folder, params = finished
    flow = steps_of(folder, "flow")
    assert flow["time"].tolist() == pytest.approx(np.linspace(0, TIME, MEASUREMENTS + 1))
    assert flow["sharpness"].notna().all()
    for run in params.sweep.runs:
        table = steps_of(folder, run)
        assert table["time"].iloc[-2] >= TIME - 1e-9
        due = table.index[table["sharpness"].notna()]
        assert set(due) == set(table.index[table["flow_distance"].notna()])
        assert {0, 1, len(table) - 1} <= set(due)


def test_a_run_that_was_killed_ends_with_the_same_bytes(finished, monkeypatch):
    folder, params = finished
    monkeypatch.chdir(folder)
    file = records_of(f"sweep-gd-{LR}") / "steps.csv"
    whole = file.read_bytes()
    with evaluations(killed_at=20), pytest.raises(Killed):
        sweep.main(params, seed=SEED, run=f"gd-{LR}")
    with evaluations() as count:
        sweep.main(params, seed=SEED, run=f"gd-{LR}")
    assert count() < len(whole.splitlines()) - 10  # not from the start
    assert file.read_bytes() == whole


def test_a_step_size_that_diverges_is_named(finished, monkeypatch):
    folder, _ = finished
    monkeypatch.chdir(folder)
    params = parse_params(configuration(step_sizes=[0.04, 2]))
    with pytest.raises(EdgewiseError, match=r"^sweep\.step_sizes: was 2; gd-2 fails, a smaller one may not \(.*\)$"):
        sweep.main(params, seed=SEED, run="gd-2")


def test_a_flow_that_cannot_be_followed_is_no_fault_of_the_step_sizes(finished, monkeypatch):
    folder, params = finished
    monkeypatch.chdir(folder)

    def runs_away(self, state, gradient):
        raise DivergenceError("gradient flow cannot be followed beyond step 3 to within 0.001")

    monkeypatch.setattr(GradientFlow, "step", runs_away)
    with pytest.raises(EdgewiseError, match=rf"^sweep\.time: was {TIME}; gradient flow cannot be followed"):
        sweep.main(params, seed=SEED, run="flow")


def test_the_stage_runs_keeps_what_the_sweep_declares_and_removes_the_rest(finished, monkeypatch, tmp_path):
    _, params = finished
    monkeypatch.chdir(tmp_path)
    for run in ("sweep-flow", f"sweep-gd-{LR}", "sweep-gd-0.5"):
        records_of(run).mkdir(parents=True)
        (records_of(run) / "steps.csv").write_text("")
    runs.main(params)
    assert {path.name for path in Path(f"data/records/seed-{SEED}").iterdir()} == {"sweep-flow", f"sweep-gd-{LR}"}
