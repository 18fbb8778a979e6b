"""Compare the branches: who gains from the edge, over all seeds, and which claims of the paper hold."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pandas as pd
from pydantic import BaseModel, ValidationError

from common import (
    DATASET,
    METRICS,
    TABLES,
    checkpoints_folder,
    dose,
    load,
    load_records,
    prototypes_file,
    read,
    records_folder,
    stage,
    without,
    write_json,
)
from edgewise.data.displacement import DIRECTIONS
from edgewise.data.examples import Dataset
from edgewise.data.files import Array, unpack, write_table
from edgewise.data.groups import NATURAL, GroupedData, Prototypes, grouped_data
from edgewise.dynamics.edge import RULE_COLUMN, rule_window
from edgewise.errors import EdgewiseError, ParameterError
from edgewise.inference.claims import judge
from edgewise.inference.claims_page import as_markdown, in_short
from edgewise.inference.columns import columns_of
from edgewise.inference.counterfactuals import counterfactual_metrics, counterfactual_tables
from edgewise.inference.doses import dose_metrics, dose_tables
from edgewise.inference.generalisation import CONDITIONS, Kind, evaluation_tables, ood_metrics, robustness_metrics
from edgewise.inference.metrics import (
    control_metrics,
    edge_metrics,
    group_metrics,
    group_table,
    headline,
    selectivity_metrics,
    shared_in_words,
)
from edgewise.inference.onset import caveats
from edgewise.inference.positions import geometry_tables
from edgewise.inference.predictions import prediction_tables, theory_metrics
from edgewise.inference.records import LeftOut, SeedRecords, Setting, Way, over_iterates, require_steps
from edgewise.inference.series import series_tables
from edgewise.inference.step_sizes import FLOW, Sweep, SweepRun, sweep_metrics, sweep_tables
from edgewise.params import Params
from edgewise.states.branches import covering
from edgewise.states.optimizers import build_optimizer
from edgewise.states.trajectory import manifest_of
from edgewise.theory.edge_flow import has_model


def main(params: Params) -> None:
    require_verified_branches(params)
    dataset = load(DATASET, Dataset.from_bytes)
    prototypes = {seed: load(prototypes_file(seed), Prototypes.from_bytes) for seed in params.seeds}
    data = {seed: grouped_data(dataset, chosen) for seed, chosen in prototypes.items()}
    seeds = {seed: load_seed(params, seed, prototypes[seed], data[seed]) for seed in params.seeds}
    sweep = load_sweep(params)
    claims = judge(params, seeds)

    distances = [
        np.concatenate([getattr(d, f"control_{direction}").distance for d in data.values()]) for direction in DIRECTIONS
    ]
    metrics: dict[str, Any] = {
        "claims": {"claims": claims, "caveats": caveats(seeds)},
        "control": control_metrics(seeds, *distances),
        "edge": edge_metrics(seeds) | {"sweep": sweep_metrics(sweep)},
        "groups": group_metrics(seeds, prototypes, data),
        "ood": ood_metrics(seeds),
        "robustness": robustness_metrics(seeds),
        "selectivity": selectivity_metrics(seeds),
        "theory": theory_metrics(seeds) | {"dose": dose_metrics(seeds), "left_out": counterfactual_metrics(seeds)},
    }
    metrics["summary"] = headline(metrics)
    for name, content in metrics.items():
        write_json(METRICS / f"{name}.json", content)
    found = in_short(claims, metrics["claims"]["caveats"])
    page = as_markdown(claims, found, len(seeds), metrics["selectivity"]["groups"], shared_in_words(metrics["groups"]))
    (METRICS / "claims.md").write_text(page)
    tables = {"groups": group_table(metrics["groups"])}
    tables |= geometry_tables(data) | series_tables(seeds) | evaluation_tables(seeds) | prediction_tables(seeds)
    tables |= dose_tables(seeds) | counterfactual_tables(seeds) | sweep_tables(sweep)
    for name, table in tables.items():
        write_table(TABLES / f"{name}.csv", table)
    print(f"{METRICS / 'claims.md'}: {found}")


class VerifiedBranch(BaseModel, strict=True):
    """How a branch differs from its partner at the state that they share; null where a difference is not a number.

    Of a dose, which keeps no checkpoint, the losses alone are compared.
    """

    parameters: float | None = None
    losses: float | None
    gradient_norms: float | None = None
    gradient_directions: float | None = None
    passed: bool


class Verification(BaseModel, strict=True):
    """What of metrics/verification.json is read here."""

    passed: bool
    tolerance: float
    branches: dict[str, VerifiedBranch]


def require_verified_branches(params: Params) -> None:
    """Stop where the branches did not start from one state: then nothing that follows would be causal."""
    path = METRICS / "verification.json"
    try:
        found = Verification.model_validate_json(read(path))
    except ValidationError as error:
        fault = error.errors()[0]
        place = ".".join(map(str, fault["loc"])) or "the whole"
        raise EdgewiseError(f"{path}: damaged ({place}: {fault['msg']}); `dvc repro` restores it") from error
    runs = (*params.branches, *map(dose, params.branch.factors))
    declared = {f"seed-{seed}/{run}" for seed in params.seeds for run in runs}
    if missing := sorted(declared - set(found.branches)):
        raise EdgewiseError(f"{path}: does not have {', '.join(missing)}; `dvc repro` restores it")
    failed = {name: row for name, row in found.branches.items() if not row.passed}
    if found.passed == bool(failed):
        raise EdgewiseError(f"{path}: damaged (passed: not what its branches say); `dvc repro` restores it")
    if not failed:
        return
    moved = [name for name, row in failed.items() if row.parameters is None or row.parameters > found.tolerance]
    if not moved:
        raise ParameterError(
            "model.name",
            params.model.name,
            "the network is not a function of its parameters and the example: of the same parameters, two processes"
            f" recorded different losses or gradients ({', '.join(failed)})",
        )
    raise EdgewiseError(
        f"{path}: the branches {', '.join(moved)} did not start from the same state as their partners, to within"
        f" {found.tolerance:.1g}; repeat them with `dvc repro --force`"
    )


def load_seed(params: Params, seed: int, prototypes: Prototypes, data: GroupedData) -> SeedRecords:
    """The records of one seed."""
    optimizer = build_optimizer(params.optimizer)
    manifests = {run: manifest_of(checkpoints_folder(seed, run)) for run in ("base", *params.branches)}
    t_star = manifests["base"].all_steps()[-1]
    train, strata = data.train, prototypes.strata
    tracked = (*data.groups, *strata)
    natural = train.members[NATURAL]
    distances = {group: train.distance[train.members[group]] for group in data.groups}
    distances |= {name: train.distance[natural][prototypes.stratum == i] for i, name in enumerate(strata)}

    def table(
        run: str, name: str, check: Callable[[pd.DataFrame], pd.DataFrame], *words: str, names: Sequence[str] = tracked
    ) -> pd.DataFrame:
        """A table of a run, with all its rows."""
        path = records_folder(seed, run) / f"{name}.csv"
        found = load_records(path, columns_of(run, name, names), words)
        try:
            return check(found)
        except EdgewiseError as error:
            raise EdgewiseError(f"{path}: {error}; `dvc repro` restores it") from error

    def stepwise(run: str, name: str, count: int, names: Sequence[str] = tracked) -> pd.DataFrame:
        """A table with a row for each of so many steps from onset on."""
        return table(run, name, lambda found: require_steps(found, range(t_star, t_star + count)), names=names)

    def predicted(run: str, name: str, steps: int, names: Sequence[str] = tracked) -> pd.DataFrame:
        """What a model predicts; where there is none, or it diverged, one row without losses."""
        found = table(run, name, lambda found: found, names=())
        return stepwise(run, name, steps, names) if "loss" in found else found

    def steps(run: str) -> pd.DataFrame:
        if run == "base":
            return table(run, "steps", lambda found: require_steps(found, range(t_star + 1)))
        return stepwise(run, "steps", manifests[run].legs[-1].end + 1)

    def hessian(run: str) -> pd.DataFrame:
        return table(run, "hessian", lambda found: over_iterates(found, ["step"], manifests[run].all_steps()))

    def unseen(branch: str, kind: Kind, every: int, *words: str) -> pd.DataFrame:
        keys, evaluated = ["step", *words, CONDITIONS[kind][-1]], manifests[branch].every(every)
        return table(branch, kind, lambda found: over_iterates(found, keys, evaluated), *words)

    def left_out(group: str) -> LeftOut:
        run, others = without(group), [name for name in tracked if name != group]
        names: dict[Way, Sequence[str]] = {"at_centre": tracked, "removed": others}
        return LeftOut(
            measured={way: stepwise(run, way, params.branch.steps + 1, known) for way, known in names.items()},
            predicted={
                way: predicted(run, f"{way}_predicted", params.branch.steps, known) for way, known in names.items()
            },
        )

    measured = manifests["baseline"].all_steps()
    alphas = {*params.control.alphas, params.alpha}
    factors = params.branch.factors
    lengths = {factor: covering(factor, params.branch) for factor in (params.branch.exit_factor, *factors)}
    away = {params.branch.exit_factor: "exit", **{factor: dose(factor) for factor in factors}}
    return SeedRecords(
        setting=Setting(
            rule=params.edge.rule,
            steps=params.branch.steps,
            alpha=params.alpha,
            windows={rule: rule_window(rule, optimizer) for rule in RULE_COLUMN},
            time_per_step=optimizer.time_per_step,
            threshold=optimizer.stability_threshold,
            exit_factor=params.branch.exit_factor,
            optimizer=params.optimizer.name,
            has_model=has_model(optimizer),
            exit_threshold=optimizer.with_lr(params.branch.exit_factor * optimizer.lr).stability_threshold,
            sharpness_every=params.edge.sharpness_every,
            enter_step=params.branch.enter_step,
        ),
        steps={run: steps(run) for run in manifests},
        hessian={run: hessian(run) for run in manifests},
        examples={run: load_examples(seed, run, manifests[run].all_steps()) for run in ("base", "baseline")},
        distance=train.distance[natural],
        groups=data.groups,
        strata=strata,
        median_distance={name: float(np.median(some)) for name, some in distances.items()},
        shared=prototypes.shared(),
        decomposition=table("baseline", "decomposition", lambda found: require_steps(found, measured)),
        kinks=table("baseline", "kinks", lambda found: require_steps(found, [measured[-1]] * len(found))),
        predictions={model: predicted(model, "prediction", params.branch.steps) for model in params.theory.models},
        doses={factor: stepwise(dose(factor), "steps", lengths[factor] + 1) for factor in factors},
        edge_flow_away={factor: predicted(run, "edge_flow", lengths[factor]) for factor, run in away.items()},
        left_out={group: left_out(group) for group in params.theory.left_out},
        control=table("base", "control", lambda found: over_iterates(found, ["alpha"], alphas)),
        robustness={
            branch: unseen(branch, "robustness", params.robustness.every, "norm", "subset", "attack")
            for branch in params.branches
        },
        ood={branch: unseen(branch, "ood", params.ood.every, "shift") for branch in params.branches},
    )


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
    try:
        return require_steps(found, range(len(found)))
    except EdgewiseError as error:
        raise EdgewiseError(f"{path}: {error}; `dvc repro` restores it") from error


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


if __name__ == "__main__":
    stage(main)
