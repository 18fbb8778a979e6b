"""Did the branches start from one state? What different processes recorded of it is compared."""

from common import METRICS, checkpoints_folder, dose, load, load_table, records_folder, stage, write_json
from edgewise.data.files import unpack
from edgewise.inference.agreement import Recorded, difference_of_losses, differences
from edgewise.params import Params
from edgewise.states.trajectory import checkpoint_at

#: Largest relative difference of numbers that are the same but for rounding, by precision.
TOLERANCE = {"float32": 1e-4, "float64": 1e-12}


def main(params: Params) -> None:
    tolerance = TOLERANCE[params.compute.dtype]
    table = {}
    for seed in params.seeds:
        base = load_table(records_folder(seed, "base") / "steps.csv")
        t_star = int(base["step"].iloc[-1])
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
            first = load_table(records_folder(seed, dose(factor)) / "steps.csv").iloc[0]
            apart = difference_of_losses(first, base.iloc[-1])
            about = {"partner": "base", "step": t_star, "losses": apart, "passed": apart <= tolerance}
            table[f"seed-{seed}/{dose(factor)}"] = about
    passed = all(row["passed"] for row in table.values())
    write_json(METRICS / "verification.json", {"passed": passed, "tolerance": tolerance, "branches": table})


def recorded(seed: int, run: str, step: int) -> Recorded:
    """What a run kept and recorded of the state at a step."""
    vectors, _ = load(checkpoint_at(checkpoints_folder(seed, run), step), unpack)
    steps, hessian = (load_table(records_folder(seed, run) / f"{name}.csv") for name in ("steps", "hessian"))
    return Recorded(vectors, steps[steps["step"] == step].iloc[0], hessian[hessian["step"] == step])


if __name__ == "__main__":
    stage(main)
