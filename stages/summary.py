"""Compare the branches: who gains from the edge, over all seeds, and which claims of the paper hold."""

import io
import json
from dataclasses import replace

import numpy as np
import pandas as pd

from common import METRICS, PROTOTYPES, load, read, records_folder, stage, write_json, write_plot
from edgewise.data.files import unpack
from edgewise.data.groups import GROUPS, NATURAL, Prototypes
from edgewise.dynamics.edge import RULE_COLUMN, rule_window
from edgewise.errors import EdgewiseError
from edgewise.inference.claims import as_markdown, judge
from edgewise.inference.comparison import SeedRecords, Setting, plot_tables
from edgewise.inference.generalisation import (
    Evaluations,
    dominance_pairs,
    evaluation_plots,
    ood_metrics,
    robustness_metrics,
)
from edgewise.inference.metrics import control_metrics, edge_metrics, selectivity_metrics
from edgewise.params import Params
from edgewise.states.optimizers import build_optimizer


def main(params: Params) -> None:
    require_verified_branches()
    prototypes = load(PROTOTYPES, Prototypes.from_bytes)
    seeds = {seed: load_seed(params, prototypes, seed) for seed in params.seeds}
    evaluations = {seed: load_evaluations(params, seed, records.second_onset()) for seed, records in seeds.items()}
    pairs = dominance_pairs(evaluations, {seed: records.hessian["baseline"] for seed, records in seeds.items()})
    seeds = {seed: replace(records, dominance=pairs[pairs["seed"] == seed]) for seed, records in seeds.items()}
    claims = judge(params, seeds)

    controls = (prototypes.control_coherent.distance, prototypes.control_random.distance)
    for name, metrics in {
        "claims": {"claims": claims},
        "control": control_metrics(seeds, *controls),
        "edge": edge_metrics(seeds),
        "ood": ood_metrics(evaluations),
        "robustness": robustness_metrics(evaluations),
        "selectivity": selectivity_metrics(seeds),
    }.items():
        write_json(METRICS / f"{name}.json", metrics)
    (METRICS / "claims.md").write_text(as_markdown(claims, len(seeds)))
    onsets = {seed: records.t_star for seed, records in seeds.items()}
    for name, table in (plot_tables(seeds) | evaluation_plots(evaluations, onsets)).items():
        write_plot(name, table)


def require_verified_branches() -> None:
    """Stop where the branches did not start from one state: then nothing that follows would be causal."""
    verification = json.loads(read(METRICS / "verification.json"))
    if not verification["passed"]:
        failed = [name for name, row in verification["branches"].items() if not row["passed"]]
        raise EdgewiseError(
            f"metrics/verification.json: the branches {', '.join(failed)} did not start from the same state as their"
            f" partners, to within {verification['tolerance']:.1g}; repeat them with `dvc repro --force`"
        )


def load_seed(params: Params, prototypes: Prototypes, seed: int) -> SeedRecords:
    """The records of one seed."""
    optimizer = build_optimizer(params.optimizer)
    runs = ("base", *params.branches)
    train = prototypes.train
    return SeedRecords(
        setting=Setting(
            rule=params.edge.rule,
            alpha=params.alpha,
            windows={rule: rule_window(rule, optimizer) for rule in RULE_COLUMN},
            time_per_step=optimizer.time_per_step,
            threshold=optimizer.stability_threshold,
            exit_threshold=optimizer.with_lr(params.branch.exit_factor * optimizer.lr).stability_threshold,
            sharpness_every=params.edge.sharpness_every,
            enter_step=params.branch.enter_step,
        ),
        steps={run: load_table(seed, run, "steps") for run in runs},
        hessian={run: load_table(seed, run, "hessian") for run in runs},
        examples={run: load(records_folder(seed, run) / "examples.npz", unpack)[0] for run in ("base", "baseline")},
        distance=train.distance[train.group == NATURAL],
        group_distance={group: float(np.median(train.distance[train.group == group])) for group in GROUPS},
        control=load_table(seed, "base", "control"),
    )


def load_evaluations(params: Params, seed: int, t_star_star: int | None) -> Evaluations:
    """What the robustness and ood stages recorded of one seed."""
    return Evaluations(
        robustness={branch: load_table(seed, branch, "robustness") for branch in params.branches},
        ood={branch: load_table(seed, branch, "ood") for branch in params.branches},
        t_star_star=t_star_star,
    )


def load_table(seed: int, run: str, name: str) -> pd.DataFrame:
    """One table of the records of a run."""
    return pd.read_csv(io.BytesIO(read(records_folder(seed, run) / f"{name}.csv")))


if __name__ == "__main__":
    stage(main)
