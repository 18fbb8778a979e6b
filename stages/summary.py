"""Compare the branches: who gains from the edge, over all seeds, and which claims of the paper hold."""

import io
import json

import numpy as np
import pandas as pd

from common import METRICS, PROTOTYPES, TABLES, load, read, records_folder, stage, write_json
from edgewise.data.files import unpack, write_table
from edgewise.data.groups import GROUPS, NATURAL, Prototypes
from edgewise.dynamics.edge import RULE_COLUMN, rule_window
from edgewise.errors import EdgewiseError
from edgewise.inference.claims import as_markdown, in_short, judge
from edgewise.inference.generalisation import evaluation_tables, ood_metrics, robustness_metrics
from edgewise.inference.geometry import geometry_tables
from edgewise.inference.metrics import control_metrics, edge_metrics, headline, selectivity_metrics
from edgewise.inference.records import SeedRecords, Setting
from edgewise.inference.series import series_tables
from edgewise.params import Params
from edgewise.states.optimizers import build_optimizer


def main(params: Params) -> None:
    require_verified_branches()
    prototypes = load(PROTOTYPES, Prototypes.from_bytes)
    seeds = {seed: load_seed(params, prototypes, seed) for seed in params.seeds}
    claims = judge(params, seeds)

    distances = (prototypes.control_coherent.distance, prototypes.control_random.distance)
    metrics = {
        "claims": {"claims": claims},
        "control": control_metrics(seeds, *distances),
        "edge": edge_metrics(seeds),
        "ood": ood_metrics(seeds),
        "robustness": robustness_metrics(seeds),
        "selectivity": selectivity_metrics(seeds),
    }
    metrics["summary"] = headline(metrics)
    for name, content in metrics.items():
        write_json(METRICS / f"{name}.json", content)
    counted = in_short(claims)
    (METRICS / "claims.md").write_text(f"{as_markdown(claims, len(seeds))}\n{counted}\n")
    for name, table in (geometry_tables(prototypes) | series_tables(seeds) | evaluation_tables(seeds)).items():
        write_table(TABLES / f"{name}.csv", table)
    print(f"{METRICS / 'claims.md'}: {counted}")


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
        robustness={branch: load_table(seed, branch, "robustness") for branch in params.branches},
        ood={branch: load_table(seed, branch, "ood") for branch in params.branches},
    )


def load_table(seed: int, run: str, name: str) -> pd.DataFrame:
    """One table of the records of a run."""
    return pd.read_csv(io.BytesIO(read(records_folder(seed, run) / f"{name}.csv")))


if __name__ == "__main__":
    stage(main)
