"""Did the branches start from one state: the same parameters, optimiser state and group gradients?"""

import torch

from common import METRICS, checkpoints_folder, stage, write_json
from edgewise.branches import PAIRS
from edgewise.measures.selectivity import compare_states
from edgewise.params import Params
from edgewise.states.trajectory import checkpoint_at, checkpoints, load_state
from experiment import Experiment


def main(params: Params) -> None:
    experiment = Experiment(params)
    objectives = {name: experiment.objective.subset(members) for name, members in experiment.groups.items()}
    tolerance = 10 * torch.finfo(experiment.dtype).eps
    table = {}
    for seed in params.seeds:
        like = experiment.initial_theta(seed)
        onset = load_state(checkpoints(checkpoints_folder(seed, "base"))[-1], like)
        for branch in params.branches:
            step = onset.step + (params.branch.enter_step if branch == "enter" else 0)
            partner = PAIRS[branch][1 if branch == "enter" else 0] if branch != "baseline" else "base"
            states = [load_state(checkpoint_at(checkpoints_folder(seed, run), step), like) for run in (branch, partner)]
            differences = compare_states(objectives, *states)
            table[f"seed-{seed}/{branch}"] = {
                "partner": partner,
                "step": step,
                **differences,
                "passed": all(value <= tolerance for value in differences.values()),
            }
    passed = all(row["passed"] for row in table.values())
    write_json(METRICS / "verification.json", {"passed": passed, "tolerance": tolerance, "branches": table})


if __name__ == "__main__":
    stage(main)
