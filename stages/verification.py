"""Did the branches start from one state: the same parameters, optimiser state and group gradients?"""

import shutil

import torch

from common import CHECKPOINTS, METRICS, RECORDS, checkpoints_folder, records_folder, stage, write_json
from edgewise.inference.comparison import PAIRS
from edgewise.measures.selectivity import compare_states
from edgewise.params import Params
from edgewise.states.trajectory import checkpoint_at, checkpoints, load_state
from experiment import Experiment


def main(params: Params) -> None:
    remove_undeclared(params)
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


def remove_undeclared(params: Params) -> None:
    """Remove what runs left whose seed or branch params.yaml no longer names.

    DVC leaves the files of a dropped matrix item in the workspace, and the stages from here on depend on the folders
    that hold them. Other files there are left alone (a pattern that ends in a slash finds folders only).
    """
    declared = [(seed, run) for seed in params.seeds for run in ("base", *params.branches)]
    for root, folder_of in ((CHECKPOINTS, checkpoints_folder), (RECORDS, records_folder)):
        kept = {folder_of(seed, run) for seed, run in declared}
        for folder in root.glob("*/*/"):
            if folder not in kept:
                shutil.rmtree(folder)
        for folder in root.glob("*/"):
            if not any(folder.iterdir()):
                folder.rmdir()


if __name__ == "__main__":
    stage(main)
