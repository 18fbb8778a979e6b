"""Who pays for whom: leave one group out of what drives the oscillation, and out of the training data altogether.

Both from the state at onset, by edge flow and in a real run. Without the group in the training data there is no loss of
it, nor of a group or stratum that lies in it.
"""

from collections.abc import Iterable
from itertools import islice

from tqdm import tqdm

from common import checkpoints_folder, records_folder, stage, without
from edgewise.data.files import Row, write_rows
from edgewise.dynamics.loop import train
from edgewise.errors import ParameterError
from edgewise.params import Params
from edgewise.states.pairs import consecutive
from edgewise.states.trajectory import last_checkpoint, load_state
from edgewise.theory.edge_flow import predicted_records
from edgewise.theory.left_out import train_with_some_at_centre
from experiment import Experiment


def main(params: Params, seed: int, group: str) -> None:
    experiment = Experiment(params, seed)
    objective, optimizer, tracked = experiment.objective, experiment.optimizer, experiment.tracked
    steps, substeps, members = params.branch.steps, params.theory.substeps, experiment.groups[group]
    if bool(members.all()):
        raise ParameterError("theory.left_out", group, "has all training examples of this seed: nothing would be left")
    onset = load_state(last_checkpoint(checkpoints_folder(seed, "base")), experiment.initial_theta())

    def write(name: str, rows: Iterable[Row]) -> None:
        write_rows(records_folder(seed, without(group)) / f"{name}.csv", list(rows))

    def first(rows: Iterable[Row], label: str) -> Iterable[Row]:
        """The steps of the baseline, of a run that goes on for ever."""
        return tqdm(islice(rows, steps + 1), desc=label, total=steps + 1, unit="step", disable=None)

    pair = consecutive(objective, optimizer, onset)
    write("at_centre", first(train_with_some_at_centre(objective, optimizer, pair, members, tracked), "at the centre"))
    predicted = predicted_records(objective, optimizer, pair, tracked, steps, substeps, "edge flow", at_centre=members)
    write("at_centre_predicted", predicted)

    rest = objective.subset(~members)
    others = {name: mask[~members] for name, mask in tracked.items() if bool((mask & ~members).any())}
    write("removed", first((step.row for step in train(rest, optimizer, onset, others)), "removed"))
    pair = consecutive(rest, optimizer, onset)
    write("removed_predicted", predicted_records(rest, optimizer, pair, others, steps, substeps, "edge flow"))


if __name__ == "__main__":
    stage(main, "seed", "group")
