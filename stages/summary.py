"""Compare the branches: who gains from the edge, over all seeds, at equal step and at equal training time."""

import shutil

import pandas as pd

from common import METRICS, RECORDS, read, records_folder, stage, write_json, write_plot
from edgewise.comparison import SeedRecords, edge_metrics, plot_tables, selectivity_metrics
from edgewise.optimizers import build_optimizer
from edgewise.params import Params


def main(params: Params) -> None:
    remove_undeclared(params)
    seeds = {seed: load_seed(params, seed) for seed in params.seeds}
    optimizer = build_optimizer(params.optimizer)
    exit_optimizer = optimizer.with_lr(params.branch.exit_factor * optimizer.lr)
    time_per_step, threshold = optimizer.time_per_step, optimizer.stability_threshold
    write_json(METRICS / "edge.json", edge_metrics(seeds, params.edge.rule, optimizer, exit_optimizer))
    write_json(METRICS / "selectivity.json", selectivity_metrics(seeds, time_per_step))
    for name, table in plot_tables(seeds, time_per_step, threshold, params.edge.sharpness_every).items():
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

    def table(run: str, name: str) -> pd.DataFrame:
        path = records_folder(seed, run) / name
        read(path)
        return pd.read_csv(path)

    return SeedRecords(
        base_steps=table("base", "steps.csv"),
        base_hessian=table("base", "hessian.csv"),
        steps={branch: table(branch, "steps.csv") for branch in params.branches},
        hessian={branch: table(branch, "hessian.csv") for branch in params.branches},
    )


if __name__ == "__main__":
    stage(main)
