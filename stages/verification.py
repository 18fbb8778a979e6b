"""Did the branches start from one state? What different processes recorded of it is compared."""

import json

import pandas as pd

from common import METRICS, checkpoints_folder, load, load_table, stage, write_json
from edgewise.branches import PAIRS
from edgewise.data.files import unpack
from edgewise.errors import EdgewiseError
from edgewise.inference.verification import differences
from edgewise.params import Params
from edgewise.states.trajectory import checkpoint_at

#: Largest relative difference of numbers that are the same but for rounding, by precision.
TOLERANCE = {"float32": 1e-5, "float64": 1e-12}


def main(params: Params) -> None:
    table = {}
    for seed in params.seeds:
        t_star = int(load_table(seed, "base", "steps")["step"].iloc[-1])
        for branch in params.branches:
            partner, step = ("exit", t_star + params.branch.enter_step) if branch == "enter" else ("base", t_star)
            found = differences(*(recorded(seed, run, step) for run in (branch, partner)))
            if branch != "enter" and found["losses"] > TOLERANCE[params.compute.dtype] and found["parameters"] == 0:
                raise EdgewiseError(
                    f"model.name: was {params.model.name!r}; the losses of one state differ between processes by"
                    f" {found['losses']:.1g}: the network must be a function of its parameters and the example alone"
                )
