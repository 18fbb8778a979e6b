"""What the stages that evaluate on unseen data share: test data, held-out groups, and the checkpoints of a branch."""

from pathlib import Path

import numpy as np
import torch

from common import DATASET, load
from edgewise.data.examples import Dataset
from edgewise.data.groups import GROUPS
from edgewise.network.objective import Objective
from edgewise.states.optimizers import State
from edgewise.states.trajectory import checkpoints, load_state
from experiment import Experiment


class Unseen:
    """Test data and held-out groups, on the experiment's device."""

    def __init__(self, experiment: Experiment) -> None:
        self.experiment = experiment
        self.dataset = load(DATASET, Dataset.from_bytes)

    def test(self, examples: int | None = None) -> Objective:
        """The objective of the test data; of at most `examples` of them, evenly spaced."""
        count = len(self.dataset.test_x)
        members = np.linspace(0, count - 1, min(count, examples or count)).round().astype(int)
        return self.experiment.objective_on(self.dataset.test_x[members], self.dataset.test_y[members])

    def heldout(self) -> dict[str, Objective]:
        """The objective of each group's held-out examples, of the groups that have any."""
        heldout = self.experiment.prototypes.heldout
        masks = {name: heldout.group == name for name in GROUPS}
        return {
            name: self.experiment.objective_on(heldout.x[mask], heldout.y[mask])
            for name, mask in masks.items()
            if mask.any()
        }

    def states(self, folder: Path, every: int) -> list[State]:
        """Every so many of the run's checkpoints, from the first, and the last."""
        files = checkpoints(folder)
        chosen = [path for i, path in enumerate(files) if i % every == 0 or i == len(files) - 1]
        like = torch.empty(self.experiment.objective.num_params)
        like = like.to(self.experiment.device, self.experiment.dtype)
        return [load_state(path, like) for path in chosen]
