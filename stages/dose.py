"""Go on from the state at onset at a smaller step size: a dose of leaving the edge, of which the losses are kept."""

from branch import from_onset
from common import dose, journal_folder, stage
from edgewise.network.ranks import run_in_ranks
from edgewise.params import Params
from edgewise.states.branches import Leg, covering, evenly_spaced
from experiment import Experiment


def main(params: Params, seed: int, factor: str) -> None:
    lr_factor, every = float(factor), params.branch.checkpoint_every
    last = covering(lr_factor, params.branch)
    kept = set(evenly_spaced(last, every / lr_factor))
    from_onset(
        Experiment(params, seed),
        "dose",
        dose(lr_factor),
        [Leg(last, lr_factor)],
        kept,
        {"checkpoint_every": every, "lr_factor": lr_factor},
    )


if __name__ == "__main__":
    stage(
        main,
        "seed",
        "factor",
        shared=run_in_ranks,
        writes=lambda seed, factor: journal_folder(seed, dose(float(factor))),
    )
