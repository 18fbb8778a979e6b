"""What is measured at both iterates, and what of it depends on the step at which onset is found."""

import json
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from conftest import tiny
from small import SEED, checkpoints_of, configuration, in_a_copy, onset_of, records_of, up_to_base, with_branch

import branch
import control
import dataset
import hessian
import prototypes
import strengths
from edgewise.data.displacement import DIRECTIONS
from edgewise.data.files import write_rows
from edgewise.data.groups import GROUPS
from edgewise.data.pixels import PixelSpace
from edgewise.dynamics.loop import run as train_on
from edgewise.params import Params, parse_params
from edgewise.states.pairs import consecutive
from edgewise.states.trajectory import Journal, Manifest, checkpoint_at, last_checkpoint, load_state, manifest_of
from edgewise.unseen.attacks import LEFT, attack
from experiment import Experiment
from heldout import Unseen


@pytest.fixture(scope="module")
def onset(tmp_path_factory) -> Path:
    """The folder of a run up to onset, which is not to be changed."""
    folder = tmp_path_factory.mktemp("onset")
    up_to_base(folder, configuration())
    return folder


@pytest.fixture
def params(onset, tmp_path, monkeypatch) -> Params:
    """The parameters, in a copy of the run up to onset to work in."""
    return in_a_copy(onset, tmp_path, monkeypatch)


# The control


def test_the_control_at_the_runs_own_alpha_is_that_of_the_trained_groups(params):
    """The stage displaces anew; at alpha of the run it must come to the examples that the groups are trained on."""
    control.main(params, seed=SEED)
    table = pd.read_csv(records_of("base") / "control.csv").set_index(["alpha", "iterate"])
    assert set(table.index) == {(alpha, iterate) for alpha in (0, 3) for iterate in (0, 1)}
    experiment = Experiment(params, SEED)
    state = load_state(last_checkpoint(checkpoints_of("base")), experiment.initial_theta())
    pair = consecutive(experiment.objective, experiment.optimizer, state)
    for iterate, theta in enumerate(state.theta for state in pair):
        product = experiment.objective.hessian(theta)
        dense = torch.stack([product(e) for e in torch.eye(len(theta))])
        v1 = torch.linalg.eigh((dense + dense.T) / 2).eigenvectors[:, -1]
        for way in DIRECTIONS:
            examples = getattr(experiment.data, f"control_{way}")
            gradient = experiment.objective_on(examples.x, examples.y).gradient(theta)
            expected = (gradient @ v1).item() ** 2
            row = table.loc[(params.alpha, iterate)]
            assert row[f"curvature_influence_{way}"] == pytest.approx(expected, rel=0.02)
            assert row[f"alignment_{way}"] == pytest.approx(expected / (gradient @ gradient).item(), rel=0.02)
        assert table.loc[(0, iterate), "alignment_coherent"] == pytest.approx(
            table.loc[(0, iterate), "alignment_random"], rel=1e-5
        )
    assert (table["alignment_chance"] == 1 / experiment.objective.num_params).all()


def test_a_p_value_of_the_control_is_of_the_mean_over_both_iterates(params):
    control.main(params, seed=SEED)
    table = pd.read_csv(records_of("base") / "control.csv")
    p_values = [name for name in table if name.endswith("_p_value")]
    assert len(p_values) == 4
    for name in p_values:
        assert table[name].between(1 / 21, 1).all()
        assert table.groupby("alpha")[name].nunique().eq(1).all()


# Onset found one step later


def ending_one_step_later(params: Params, folder: Path) -> None:
    """The run up to onset in `folder`, as if the rule had held one step later."""
    shutil.copytree("data", folder / "data")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        experiment, t_star = Experiment(params, SEED), onset_of()
        start = load_state(checkpoint_at(checkpoints_of("base"), t_star), experiment.initial_theta())
        journal = Journal(folder / "journal", "", start)
        train_on(
            experiment.objective,
            experiment.optimizer,
            experiment.tracked,
            journal,
            last_step=t_star + 1,
            due=lambda steps: True,
        )
        table = pd.read_csv(records_of("base") / "steps.csv")
        write_rows(records_of("base") / "steps.csv", [*table.to_dict("records"), journal.rows[-1]])
        steps = [*manifest_of(checkpoints_of("base")).steps["before_onset"], t_star + 1]
        for path in checkpoints_of("base").glob("step-*.npz"):
            shutil.copy(path, journal.folder)
        journal.publish(checkpoints_of("base"), Manifest({"before_onset": steps}, legs=()))


def measured(params: Params, folder: Path) -> dict[str, pd.DataFrame]:
    """Both branches' measurements, by step since onset and iterate."""
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        tables = {}
        for name in ("baseline", "exit"):
            branch.main(params, seed=SEED, branch=name)
            hessian.main(params, seed=SEED, run=name)
            table = pd.read_csv(records_of(name) / "hessian.csv")
            tables[name] = table.assign(step=table["step"] - onset_of()).set_index(["step", "iterate"])
    return tables


def shifts(one: pd.DataFrame, other: pd.DataFrame) -> pd.DataFrame:
    """By how much a quantity moves with onset, of a single iterate and of the mean over both; relative to its size."""
    single = [table.xs(0, level="iterate") for table in (one, other)]
    averaged = [table.groupby(level="step").mean() for table in (one, other)]
    change = {name: (a - b).abs() for name, (a, b) in {"single": single, "averaged": averaged}.items()}
    return pd.DataFrame({name: (table / averaged[0].abs()).mean() for name, table in change.items()})


def gain_shift(column: str, *folders: Path) -> dict[str, float]:
    """The same of the gain, the loss of the exit branch less that of the baseline at equal step; of its largest."""
    single = []
    for folder in folders:
        loss = {run: pd.read_csv(records_of(run, folder) / "steps.csv")[column] for run in ("baseline", "exit")}
        single.append((loss["exit"][:80] - loss["baseline"][:80]).to_numpy())
    averaged = [(gain[1:] + gain[:-1]) / 2 for gain in single]
    change = {"single": single[0] - single[1], "averaged": averaged[0] - averaged[1]}
    return {name: float(np.abs(gain).mean() / np.abs(averaged[0]).max()) for name, gain in change.items()}


def test_onset_one_step_later_moves_single_iterates_and_not_the_means_over_both(params, tmp_path):
    (tmp_path / "later").mkdir()
    ending_one_step_later(params, tmp_path / "later")
    longer = with_branch(params, steps=80)
    here, later = (measured(longer, folder) for folder in (tmp_path, tmp_path / "later"))
    names = [f"{kind}_{group}" for kind in ("gradient_norm", "curvature_influence", "alignment") for group in GROUPS]
    found = {run: shifts(here[run][names], later[run][names]) for run in here}
    baseline, leaving = found["baseline"], found["exit"]
    assert (baseline["averaged"] < 0.04).all(), baseline
    assert (baseline["single"] > 10 * baseline["averaged"]).all(), baseline
    assert baseline["single"].median() > 0.4, baseline
    # Off the edge nothing oscillates for long, but the branch begins on the other side of the valley.
    assert (leaving["averaged"] < 0.1).all(), leaving
    assert (leaving["averaged"] < leaving["single"]).all(), leaving
    for name in GROUPS:
        gain = gain_shift(f"loss_{name}", tmp_path, tmp_path / "later")
        assert gain["averaged"] < 0.05, name
        assert gain["single"] > max(0.2, 5 * gain["averaged"]), name


# What a seed draws


@pytest.mark.parametrize("replicate", ["initialisation", "all"])
def test_what_the_seeds_share_is_what_params_yaml_says(tmp_path, monkeypatch, replicate):
    params = parse_params(tiny(replicate=replicate, seeds=[0, 1, 2]))
    monkeypatch.chdir(tmp_path)
    dataset.main(params)
    for seed in params.seeds:
        prototypes.main(params, seed=seed)
    files = {Path(f"data/prototypes/seed-{seed}.npz").read_bytes() for seed in params.seeds}
    assert len(files) == (1 if replicate == "initialisation" else 3)
    experiments = [Experiment(params, seed) for seed in params.seeds]
    thetas = [experiment.initial_theta() for experiment in experiments]
    assert not any(torch.equal(thetas[0], other) for other in thetas[1:])
    same_images = [torch.equal(experiments[0].objective.x, other.objective.x) for other in experiments[1:]]
    attacked = [Unseen(experiment).test(30, params.robustness.seed).x for experiment in experiments]
    same_attacked = [torch.equal(attacked[0], other) for other in attacked[1:]]
    assert same_images == same_attacked == [replicate == "initialisation"] * 2
    assert all(len(one) == 30 for one in attacked)
    for experiment in experiments:
        prototypes.main(params, seed=experiment.seed)  # drawn again, the same
    assert {Path(f"data/prototypes/seed-{seed}.npz").read_bytes() for seed in params.seeds} == files


# The strengths of the attacks


def test_the_strengths_of_params_yaml_are_taken_as_they_are(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)  # where nothing has been trained
    params = parse_params(tiny(robustness={"epsilons": [0.5, 8, 31]}))
    dataset.main(params)
    strengths.main(params, seed=0)
    assert json.loads(Path("data/strengths.json").read_text()) == {"epsilons": [0.5, 8, 31], "calibrated": False}


def test_strengths_that_are_left_to_auto_leave_part_of_the_accuracy_at_onset(params):
    free = parse_params(configuration(robustness={"epsilons": "auto", "examples": 60}))
    strengths.main(free, seed=SEED)
    found = json.loads(Path("data/strengths.json").read_text())
    assert found["calibrated"] is True
    epsilons = found["epsilons"]
    assert epsilons == sorted(set(epsilons))
    assert 2 <= len(epsilons) <= 3
    experiment = Experiment(free, SEED)
    unseen = Unseen(experiment)
    test = unseen.test(60, free.robustness.seed)
    pixels = PixelSpace.of(experiment.dataset, test.x)
    clean, *attacked = attack(test, unseen.onset().theta, pixels, free.robustness, epsilons)
    left = [one.pgd_correct.double().mean().item() / clean.pgd_correct.double().mean().item() for one in attacked]
    assert left == sorted(left, reverse=True)
    assert all(0.05 < value < 0.95 for value in left)
    if len(left) == len(LEFT):
        np.testing.assert_allclose(left, LEFT, atol=0.2)
