"""Go on from the state at onset at a smaller step size: a dose of leaving the edge, of which the losses are kept."""

from branch import from_onset
from common import dose, journal_folder, stage
from edgewise.network.ranks import run_in_ranks
from edgewise.params import Params
from edgewise.states.branches import Leg, covering, spaced
from experiment import Experiment


def main(params: Params, seed: int, factor: str) -> None:
    lr_factor = float(factor)
    last = covering(lr_factor, params.branch)
    from_onset(
        Experiment(params, seed),
        "dose",
        dose(lr_factor),
        [Leg(last, lr_factor)],
        set(spaced(last, params.branch, lr_factor)),
        {"lr_factor": lr_factor},
    )


if __name__ == "__main__":
    stage(
        main,
        "seed",
        "factor",
        shared=run_in_ranks,
        writes=lambda seed, factor: journal_folder(seed, dose(float(factor))),
    )
