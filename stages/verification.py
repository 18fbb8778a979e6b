"""Did the branches start from one state? What different processes recorded of it is compared."""

import pandas as pd

from common import METRICS, checkpoints_folder, dose, load, load_records, records_folder, stage, write_json
from edgewise.data.files import unpack
from edgewise.errors import EdgewiseError
from edgewise.inference.agreement import Recorded, difference_of_losses, differences
from edgewise.inference.columns import columns_of
from edgewise.params import Params
from edgewise.states.trajectory import checkpoint_at, manifest_of

#: Largest difference of numbers that are the same but for rounding, relative but for that of parameters, by precision.
TOLERANCE = {"float32": 1e-4, "float64": 1e-12}

#: How many rows a table has of a step.
ROWS = {"steps": 1, "hessian": 2}


def main(params: Params) -> None:
    tolerance = TOLERANCE[params.compute.dtype]
    table = {}
    for seed in params.seeds:
        t_star = manifest_of(checkpoints_folder(seed, "base")).all_steps()[-1]
        for branch in params.branches:
            partner, step = ("exit", t_star + params.branch.enter_step) if branch == "enter" else ("base", t_star)
            found = differences(recorded(seed, branch, step), recorded(seed, partner, step))
            table[f"seed-{seed}/{branch}"] = {
                "partner": partner,
                "step": step,
                **found,
                "passed": all(value <= tolerance for value in found.values()),
            }
        for factor in params.branch.factors:
            first, onset = (rows_at(seed, run, "steps", t_star).iloc[0] for run in (dose(factor), "base"))
            apart = difference_of_losses(first, onset)
            about = {"partner": "base", "step": t_star, "losses": apart, "passed": apart <= tolerance}
            table[f"seed-{seed}/{dose(factor)}"] = about
    passed = all(row["passed"] for row in table.values())
    write_json(METRICS / "verification.json", {"passed": passed, "tolerance": tolerance, "branches": table})


def recorded(seed: int, run: str, step: int) -> Recorded:
    """What a run kept and recorded of the state at a step."""
    vectors, _ = load(checkpoint_at(checkpoints_folder(seed, run), step), unpack)
    return Recorded(vectors, rows_at(seed, run, "steps", step).iloc[0], rows_at(seed, run, "hessian", step))


def rows_at(seed: int, run: str, name: str, step: int) -> pd.DataFrame:
    """What a table of a run has of a step."""
    path = records_folder(seed, run) / f"{name}.csv"
    table = load_records(path, columns_of(run, name, ()))
    found = table[table["step"] == step]
    if len(found) != ROWS[name]:
        raise EdgewiseError(f"{path}: rows are missing or doubled: of step {step}; `dvc repro` restores it")
    return found


if __name__ == "__main__":
    stage(main)
