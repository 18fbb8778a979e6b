"""The whole experiment on the library: train to the edge of stability, branch there, and see which groups gain.

python examples/minimal.py [FIGURE]    draws FIGURE, minimal.png if none is named.
"""

import itertools
import sys

import matplotlib.pyplot as plt
import numpy as np
import torch

import edgewise
from edgewise.network.models import build_model, initial_theta
from edgewise.params import DatasetParams, ModelParams, PrototypeParams

LR, EXIT_FACTOR, STEPS, SEED = 0.08, 0.25, 60, 0


def main(figure: str = "minimal.png") -> dict[str, float]:
    """Run the experiment and draw it; the settled gain of each group at equal training time."""
    # 1. Two digits, 100 images of each, and the paper's four groups, added to them.
    dataset = edgewise.load_dataset(DatasetParams(name="digits", classes=[3, 5], n=200))
    chosen = edgewise.choose_prototypes(
        dataset, PrototypeParams(candidates=20, trained=10), n=200, alpha=3.0, direction="coherent", seed=SEED
    )
    data = edgewise.grouped_data(dataset, chosen)
    groups = {name: torch.from_numpy(data.train.members[name]) for name in data.groups}

    # 2. A network, as a function of one vector theta of parameters.
    params = ModelParams(width=64, init_scale=0.3)
    model = build_model(params, dataset.train_x.shape[1:], outputs=2).double()
    x, y = torch.from_numpy(data.train.x).double(), torch.from_numpy(data.train.y)
    objective = edgewise.Objective(model, "mse", x, y, chunk_size=1024)
    theta = initial_theta(model, params.init_scale, SEED)

    # 3. Gradient descent until the curvature along its last step reaches the stability threshold, 2 / step size.
    descent = edgewise.GradientDescent(LR)
    for step in edgewise.train(objective, descent, edgewise.State(theta), groups):
        if step.row["secant_sharpness"] >= descent.stability_threshold:
            break
    onset = step.state
    sharpness = edgewise.EigenTracker(objective).measure(onset.theta).values[0].item()
    print(
        f"at the edge after {onset.step} steps: sharpness {sharpness:.1f}, threshold {descent.stability_threshold:.1f}"
    )

    # 4. From that one state: stay at the edge, or leave it by a smaller step size, for the same training time.
    def losses(lr: float, steps: int) -> np.ndarray:
        """Losses of the groups at every step, averaged over two steps: at the edge they flip from step to step."""
        run = itertools.islice(edgewise.train(objective, edgewise.GradientDescent(lr), onset, groups), steps + 2)
        table = np.array([[step.row[f"loss_{name}"] for name in groups] for step in run])
        return (table[:-1] + table[1:]) / 2

    factor = round(1 / EXIT_FACTOR)
    at_edge, away = losses(LR, STEPS), losses(LR * EXIT_FACTOR, STEPS * factor)
    # An average lies half a step after its first state, and half a small step is less than half a large one.
    time_at_edge, time_away = np.arange(len(at_edge)) + 0.5, (np.arange(len(away)) + 0.5) / factor
    covered = time_at_edge <= time_away[-1]
    away = np.stack([np.interp(time_at_edge[covered], time_away, of_group) for of_group in away.T], axis=1)
    gain = away - at_edge[covered]  # above zero the group gains from the edge

    # 5. Who had influence on the sharpest direction when the branches began?
    torch.nn.utils.vector_to_parameters(onset.theta, model.parameters())
    measured = edgewise.measure(model, "mse", (x, y), groups)
    settled = dict(zip(groups, gain[len(gain) // 2 :].mean(axis=0).tolist(), strict=True))
    print(measured.groups.assign(gain=settled)[["loss", "alignment", "curvature_influence", "gain"]].round(4))

    plt.plot(time_at_edge[covered], gain, label=[name.replace("_", "-") for name in groups])
    plt.axhline(0, color="grey")
    plt.xlabel("training time since onset, in steps at the edge")
    plt.ylabel("loss away from the edge - loss at the edge")
    plt.legend()
    plt.savefig(figure)
    return settled


if __name__ == "__main__":
    main(*sys.argv[1:])
