"""What all benchmarks are about: an MLP of 512 x 2 on images of two classes, with the paper's four groups."""

import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

import edgewise
from edgewise.network.models import build_model, initial_theta
from edgewise.network.ranks import share
from edgewise.params import DatasetParams, ModelParams, PrototypeParams

NETWORK = ModelParams(width=512)


@dataclass(frozen=True)
class Problem:
    """An objective, its groups as masks, the network's initial parameters, and a step size that leads to the edge."""

    name: str
    objective: edgewise.Objective
    groups: Mapping[str, Tensor]
    theta: Tensor
    lr: float


def problem(images: Path | None) -> Problem:
    """Two digits of mnist5k, or 1,000 images of the first two classes of a folder, and 200 of the groups."""
    if images is None:
        params, lr = DatasetParams(name="mnist5k", classes=[3, 5], n=800), 0.04
    else:
        names = sorted(folder.name for folder in (images / "train").iterdir())[:2]
        params, lr = DatasetParams(name="image_folder", root=str(images), classes=names, n=1000), 0.02
    dataset = edgewise.load_dataset(params)
    chosen = edgewise.choose_prototypes(dataset, PrototypeParams(), n=params.n, alpha=3, direction="coherent", seed=0)
    data = edgewise.grouped_data(dataset, chosen)
    model = build_model(NETWORK, dataset.train_x.shape[1:], outputs=2)
    x, y = torch.from_numpy(data.train.x).float(), torch.from_numpy(data.train.y)
    return Problem(
        f"MLP 512 x 2, {len(x)} images {tuple(x.shape[1:])} of {params.name}",
        edgewise.Objective(model, "mse", x, y, chunk_size=16384),
        {name: torch.from_numpy(data.train.members[name]) for name in data.groups},
        initial_theta(model, NETWORK.init_scale, seed=0).float(),
        lr,
    )


def made_up(examples: int, chunk_size: int) -> Problem:
    """Random images of CIFAR-10's shape and two classes, for what depends on their number alone, or a rank's share."""
    generator = torch.Generator().manual_seed(0)
    shape = (3, 32, 32)
    own = share(examples)
    x, y = torch.randn(examples, *shape, generator=generator)[own], (torch.arange(examples) % 2)[own]
    model = build_model(NETWORK, shape, outputs=2)
    theta = initial_theta(model, NETWORK.init_scale, seed=0).float()
    objective = edgewise.Objective(model, "mse", x, y, chunk_size=chunk_size)
    return Problem(f"MLP 512 x 2, {examples} random images {shape}", objective, {}, theta, 0.02)


def medians(tasks: Mapping[str, Callable[[], object]], repeats: int) -> dict[str, float]:
    """Median seconds of each task, the tasks taken in turn; each is done once before it is timed, to warm it."""
    times: dict[str, list[float]] = {name: [] for name in tasks}
    for _ in range(repeats):
        for name, task in tasks.items():
            task()
            begin = time.perf_counter()
            task()
            times[name].append(time.perf_counter() - begin)
    return {name: statistics.median(values) for name, values in times.items()}
