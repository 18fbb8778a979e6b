"""Compare the branches: who gains from the edge, over all seeds, at equal step and at equal training time."""

import shutil

import pandas as pd

from common import METRICS, RECORDS, read, records_folder, stage, write_json, write_plot
from edgewise.comparison import SeedRecords, edge_metrics, plot_tables, selectivity_metrics
from edgewise.evaluation import Evaluations, evaluation_plots, ood_metrics, robustness_metrics
from edgewise.optimizers import build_optimizer
from edgewise.params import Params


def main(params: Params) -> None:
    remove_undeclared(params)
    seeds = {seed: load_seed(params, seed) for seed in params.seeds}
    optimizer = build_optimizer(params.optimizer)
    threshold = optimizer.stability_threshold
    exit_threshold = optimizer.with_lr(params.branch.exit_factor * optimizer.lr).stability_threshold
    edge = edge_metrics(seeds, params.edge.rule, threshold, exit_threshold)
    write_json(METRICS / "edge.json", edge)
    write_json(METRICS / "selectivity.json", selectivity_metrics(seeds, optimizer.lr))
    for name, table in plot_tables(seeds, optimizer.lr, threshold, params.edge.sharpness_every).items():
        write_plot(name, table)
    evaluations = {seed: load_evaluations(params, seed, edge["seeds"][str(seed)]["t_star_star"]) for seed in seeds}
    write_json(METRICS / "robustness.json", robustness_metrics(evaluations))
    write_json(METRICS / "ood.json", ood_metrics(evaluations))
    for name, table in evaluation_plots(evaluations, {seed: seeds[seed].t_star for seed in seeds}).items():
        write_plot(name, table)


def remove_undeclared(params: Params) -> None:
    """Remove the records of seeds and branches that params.yaml no longer names.

    DVC leaves the files of a dropped matrix item in the workspace, and this stage depends on the folder they are in.
    """
    declared = {records_folder(seed, run) for seed in params.seeds for run in ("base", *params.branches)}
    for folder in RECORDS.glob("*/*"):
        if folder not in declared:
            shutil.rmtree(folder)
    for folder in RECORDS.glob("*"):
        if not any(folder.iterdir()):
            folder.rmdir()


def load_seed(params: Params, seed: int) -> SeedRecords:
    """The records of one seed."""
    return SeedRecords(
        base_steps=load_table(seed, "base", "steps"),
        base_hessian=load_table(seed, "base", "hessian"),
        steps={branch: load_table(seed, branch, "steps") for branch in params.branches},
        hessian={branch: load_table(seed, branch, "hessian") for branch in params.branches},
    )


def load_evaluations(params: Params, seed: int, t_star_star: int | None) -> Evaluations:
    """What the robustness and ood stages recorded of one seed."""
    return Evaluations(
        robustness={branch: load_table(seed, branch, "robustness") for branch in params.branches},
        ood={branch: load_table(seed, branch, "ood") for branch in params.branches},
        t_star_star=t_star_star,
    )


def load_table(seed: int, run: str, name: str) -> pd.DataFrame:
    """One table of records."""
    path = records_folder(seed, run) / f"{name}.csv"
    read(path)
    return pd.read_csv(path)


if __name__ == "__main__":
    stage(main)
