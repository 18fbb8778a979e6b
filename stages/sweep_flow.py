"""Train from the initialisation by gradient flow, beside which the sweep is put."""

from common import journal_folder, stage
from edgewise.params import Params
from sweep import main as train


def main(params: Params, seed: int) -> None:
    train(params, seed, "flow")


if __name__ == "__main__":
    stage(main, "seed", writes=lambda seed: journal_folder(seed, "sweep-flow"))
