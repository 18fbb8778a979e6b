"""Compare the branches: who gains from the edge, over all seeds, and which claims of the paper hold."""

from typing import Any

import numpy as np
from pydantic import BaseModel, ValidationError

from common import DATASET, METRICS, TABLES, dose, load, prototypes_file, read, stage, write_json
from edgewise.data.displacement import DIRECTIONS
from edgewise.data.examples import Dataset
from edgewise.data.files import write_table
from edgewise.data.groups import Prototypes, grouped_data
from edgewise.errors import EdgewiseError, ParameterError
from edgewise.inference.claims import judge
from edgewise.inference.claims_page import as_markdown, in_short
from edgewise.inference.counterfactuals import counterfactual_metrics, counterfactual_tables
from edgewise.inference.doses import dose_metrics, dose_tables
from edgewise.inference.generalisation import evaluation_tables, ood_metrics, robustness_metrics
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
from edgewise.inference.series import series_tables
from edgewise.inference.step_sizes import sweep_metrics, sweep_tables
from edgewise.params import Params
from seed_records import load_seed, load_sweep


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


if __name__ == "__main__":
    stage(main)
