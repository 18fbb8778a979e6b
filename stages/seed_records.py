"""The records that the runs left, read with all their rows: of a seed, and of a sweep of step sizes."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from common import checkpoints_folder, dose, load, load_records, records_folder, without
from edgewise.data.files import Array, unpack
from edgewise.data.groups import NATURAL, GroupedData, Prototypes
from edgewise.dynamics.edge import RULE_COLUMN, rule_window
from edgewise.errors import EdgewiseError
from edgewise.inference.columns import columns_of
from edgewise.inference.generalisation import CONDITIONS, Kind
from edgewise.inference.records import LeftOut, SeedRecords, Setting, Way, over_iterates, require_steps
from edgewise.inference.step_sizes import FLOW, Sweep, SweepRun
from edgewise.params import Params
from edgewise.states.branches import covering
from edgewise.states.optimizers import build_optimizer
from edgewise.states.trajectory import Manifest, manifest_of

Check = Callable[[pd.DataFrame], pd.DataFrame]


def load_seed(params: Params, seed: int, prototypes: Prototypes, data: GroupedData) -> SeedRecords:
    """The records of one seed."""
    train, strata = data.train, prototypes.strata
    natural = train.members[NATURAL]
    distances = {group: train.distance[train.members[group]] for group in data.groups}
    distances |= {name: train.distance[natural][prototypes.stratum == i] for i, name in enumerate(strata)}
    manifests = {run: manifest_of(checkpoints_folder(seed, run)) for run in ("base", *params.branches)}
    tables = Tables(params, seed, (*data.groups, *strata), manifests)
    measured = manifests["baseline"].all_steps()
    alphas = {*params.control.alphas, params.alpha}
    factors = params.branch.factors
    lengths = {factor: covering(factor, params.branch) for factor in (params.branch.exit_factor, *factors)}
    away = {params.branch.exit_factor: "exit", **{factor: dose(factor) for factor in factors}}
    return SeedRecords(
        setting=setting_of(params),
        steps={run: tables.steps(run) for run in manifests},
        hessian={run: tables.hessian(run) for run in manifests},
        examples={run: load_examples(seed, run, manifests[run].all_steps()) for run in ("base", "baseline")},
        distance=train.distance[natural],
        groups=data.groups,
        strata=strata,
        median_distance={name: float(np.median(some)) for name, some in distances.items()},
        shared=prototypes.shared(),
        decomposition=tables.read("baseline", "decomposition", lambda found: require_steps(found, measured)),
        kinks=tables.read("baseline", "kinks", lambda found: require_steps(found, [measured[-1]] * len(found))),
        predictions={
            model: tables.predicted(model, "prediction", params.branch.steps) for model in params.theory.models
        },
        doses={factor: tables.stepwise(dose(factor), "steps", lengths[factor] + 1) for factor in factors},
        edge_flow_away={factor: tables.predicted(run, "edge_flow", lengths[factor]) for factor, run in away.items()},
        left_out={group: tables.left_out(group) for group in params.theory.left_out},
        control=tables.read("base", "control", lambda found: over_iterates(found, ["alpha"], alphas)),
        robustness={
            branch: tables.unseen(branch, "robustness", params.robustness.every, "norm", "subset", "attack")
            for branch in params.branches
        },
        ood={branch: tables.unseen(branch, "ood", params.ood.every, "shift") for branch in params.branches},
    )


def setting_of(params: Params) -> Setting:
    """What the records of all seeds have in common."""
    optimizer = build_optimizer(params.optimizer)
    return Setting(
        rule=params.edge.rule,
        steps=params.branch.steps,
        alpha=params.alpha,
        windows={rule: rule_window(rule, optimizer) for rule in RULE_COLUMN},
        time_per_step=optimizer.time_per_step,
        threshold=optimizer.stability_threshold,
        exit_factor=params.branch.exit_factor,
        optimizer=params.optimizer.name,
        has_model=optimizer.two_walls,
        exit_threshold=optimizer.with_lr(params.branch.exit_factor * optimizer.lr).stability_threshold,
        sharpness_every=params.edge.sharpness_every,
        enter_step=params.branch.enter_step,
    )


@dataclass(frozen=True)
class Tables:
    """The tables of one seed.

    Attributes
    ----------
    tracked : the names of groups and strata
    manifests : of the base run and of each branch
    """

    params: Params
    seed: int
    tracked: Sequence[str]
    manifests: Mapping[str, Manifest]

    def read(self, run: str, name: str, check: Check, *words: str, names: Sequence[str] | None = None) -> pd.DataFrame:
        """A table of a run, with all its rows, and columns for the tracked names or for these.

        Raises
        ------
        EdgewiseError
            If columns are missing, or `check` raises one.
        """
        path = records_folder(self.seed, run) / f"{name}.csv"
        found = load_records(path, columns_of(run, name, self.tracked if names is None else names), words)
        return checked(path, found, check)

    def stepwise(self, run: str, name: str, count: int, names: Sequence[str] | None = None) -> pd.DataFrame:
        """A table with a row for each of so many steps from onset on."""
        t_star = self.manifests["base"].all_steps()[-1]
        steps = range(t_star, t_star + count)
        return self.read(run, name, lambda found: require_steps(found, steps), names=names)

    def predicted(self, run: str, name: str, steps: int, names: Sequence[str] | None = None) -> pd.DataFrame:
        """What a model predicts; where there is none, or it diverged, one row without losses."""
        found = self.read(run, name, lambda found: found, names=())
        return self.stepwise(run, name, steps, names) if "loss" in found else found

    def steps(self, run: str) -> pd.DataFrame:
        """The step records of the base run, or of a branch."""
        manifest = self.manifests[run]
        if run == "base":
            return self.read(run, "steps", lambda found: require_steps(found, range(manifest.all_steps()[-1] + 1)))
        return self.stepwise(run, "steps", manifest.legs[-1].end + 1)

    def hessian(self, run: str) -> pd.DataFrame:
        """The measurements at the checkpoints, averaged over both iterates."""
        steps = self.manifests[run].all_steps()
        return self.read(run, "hessian", lambda found: over_iterates(found, ["step"], steps))

    def unseen(self, branch: str, kind: Kind, every: int, *words: str) -> pd.DataFrame:
        """The evaluations on unseen data of every so many checkpoints, averaged over both iterates."""
        keys, evaluated = ["step", *words, CONDITIONS[kind][-1]], self.manifests[branch].every(every)
        return self.read(branch, kind, lambda found: over_iterates(found, keys, evaluated), *words)

    def left_out(self, group: str) -> LeftOut:
        """What was measured and predicted without a group, either way."""
        run, steps = without(group), self.params.branch.steps
        names: dict[Way, Sequence[str]] = {
            "at_centre": self.tracked,
            "removed": [name for name in self.tracked if name != group],
        }
        return LeftOut(
            measured={way: self.stepwise(run, way, steps + 1, known) for way, known in names.items()},
            predicted={way: self.predicted(run, f"{way}_predicted", steps, known) for way, known in names.items()},
        )


def checked(path: Path, found: pd.DataFrame, check: Check) -> pd.DataFrame:
    """What `check` makes of a table; its error names the file."""
    try:
        return check(found)
    except EdgewiseError as error:
        raise EdgewiseError(f"{path}: {error}; `dvc repro` restores it") from error


def load_sweep(params: Params) -> Sweep:
    """The records of the sweep's runs, gradient flow first; empty without one."""
    sweep = params.sweep
    if not sweep.seeds:
        return {}
    about: dict[str, tuple[str, float, float]] = {FLOW: (FLOW, np.nan, np.inf)}
    for run, (name, lr) in sweep.runs.items():
        optimizer = build_optimizer(params.optimizer.model_copy(update={"name": name, "lr": lr}))
        about[run] = (name, lr, optimizer.stability_threshold)
    return {
        run: SweepRun(
            *facts,
            times=np.linspace(0, sweep.time, sweep.measurements + 1),
            steps={seed: sweep_steps(seed, run) for seed in sweep.seeds},
        )
        for run, facts in about.items()
    }


def sweep_steps(seed: int, run: str) -> pd.DataFrame:
    """The step records of a run of the sweep."""
    path = records_folder(seed, f"sweep-{run}") / "steps.csv"
    found = load_records(path, columns_of(run, "sweep", ()))
    return checked(path, found, lambda found: require_steps(found, range(len(found))))


def load_examples(seed: int, run: str, steps: list[int]) -> dict[str, Array]:
    """The measurements of single examples, averaged over both iterates of each of the steps."""

    def averaged(content: bytes) -> dict[str, Array]:
        arrays, _ = unpack(content)
        first, second = (arrays["iterate"] == iterate for iterate in (0, 1))
        if not all(arrays["step"][some].tolist() == steps for some in (first, second)):
            raise EdgewiseError("rows are missing or doubled")
        return {
            "step": arrays["step"][first],
            **{name: (arrays[name][first] + arrays[name][second]) / 2 for name in ("influence", "alignment")},
        }

    return load(records_folder(seed, run) / "examples.npz", averaged)
