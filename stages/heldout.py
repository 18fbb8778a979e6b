"""What the stages that evaluate on unseen data share: test data, held-out groups, and the iterates to evaluate."""

import numpy as np

from common import checkpoints_folder
from edgewise.network.objective import Objective
from edgewise.states.optimizers import State
from edgewise.states.trajectory import last_checkpoint, load_state, manifest_of
from experiment import Experiment


class Unseen:
    """Test data and held-out groups, on the experiment's device."""

    def __init__(self, experiment: Experiment) -> None:
        self.experiment = experiment

    def test(self, examples: int | None = None, entropy: int = 0) -> Objective:
        """The objective of the test data; of at most `examples` of them.

        They are drawn by `entropy` and the seed, or evenly spaced where seeds differ in the initialisation alone.
        """
        dataset = self.experiment.dataset
        count = len(dataset.test_x)
        if examples is None or examples >= count:
            members = np.arange(count)
        elif self.experiment.params.replicate == "all":
            rng = np.random.default_rng([entropy, self.experiment.seed, 3])
            members = np.sort(rng.choice(count, examples, replace=False))
        else:
            members = np.linspace(0, count - 1, examples).round().astype(int)
        return self.experiment.objective_on(dataset.test_x[members], dataset.test_y[members])

    def heldout(self, examples: int | None = None) -> dict[str, Objective]:
        """The objective of each group's held-out examples, of the groups that have any; of at most `examples` of each.

        They are evenly spaced among all.
        """
        heldout, found = self.experiment.data.heldout, {}
        for name in self.experiment.data.groups:
            members = np.flatnonzero(heldout.members[name])
            if examples is not None and len(members) > examples:
                members = members[np.linspace(0, len(members) - 1, examples).round().astype(int)]
            if len(members):
                found[name] = self.experiment.objective_on(heldout.x[members], heldout.y[members])
        return found

    def onset(self) -> State:
        """The state at onset."""
        path = last_checkpoint(checkpoints_folder(self.experiment.seed, "base"))
        return load_state(path, self.experiment.initial_theta())

    def pairs(self, branch: str, every: int) -> list[tuple[State, State]]:
        """Both iterates of a branch's checkpoints, of those for either comparison every so many and the last."""
        manifest = manifest_of(checkpoints_folder(self.experiment.seed, branch))
        return [self.experiment.pair(branch, step)[1] for step in manifest.every(every)]
