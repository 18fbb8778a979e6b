"""Predict the losses of the exit branch: edge flow at its step size."""

from common import stage
from dose_prediction import main as predict
from edgewise.params import Params


def main(params: Params, seed: int) -> None:
    predict(params, seed, "exit", str(params.branch.exit_factor))


if __name__ == "__main__":
    stage(main, "seed")
