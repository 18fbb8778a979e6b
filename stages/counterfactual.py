"""Who pays for whom: leave one group out of what drives the oscillation, and out of the training data altogether.

The first is edge flow alone. The second is edge flow on the training data without the group, and the real run on them,
both from the state at onset; there is no loss of the group itself then.
"""

from itertools import islice

from tqdm import tqdm

from common import checkpoints_folder, records_folder, stage, without
from edgewise.data.files import write_rows
from edgewise.dynamics.loop import train
from edgewise.params import Params
from edgewise.states.pairs import consecutive
from edgewise.states.trajectory import last_checkpoint, load_state
from edgewise.theory.edge_flow import predicted_records
from experiment import Experiment


def main(params: Params, seed: int, group: str) -> None:
    experiment = Experiment(params, seed)
    objective, optimizer, tracked = experiment.objective, experiment.optimizer, experiment.tracked
    steps, substeps, members = params.branch.steps, params.theory.substeps, experiment.groups[group]
    onset = load_state(last_checkpoint(checkpoints_folder(seed, "base")), experiment.initial_theta())
    records = records_folder(seed, without(group))

    pair = consecutive(objective, optimizer, onset)
    rows = predicted_records(objective, optimizer, pair, tracked, steps, substeps, "at the centre", at_centre=members)
    write_rows(records / "at_centre.csv", rows)

    rest = objective.subset(~members)
    others = {name: mask[~members] for name, mask in tracked.items() if name != group}
    pair = consecutive(rest, optimizer, onset)
    rows = predicted_records(rest, optimizer, pair, others, steps, substeps, "removed, predicted")
    write_rows(records / "removed_predicted.csv", rows)
    run = islice(train(rest, optimizer, onset, others), steps + 1)
    measured = [step.row for step in tqdm(run, desc="removed", total=steps + 1, unit="step", disable=None)]
    write_rows(records / "removed.csv", measured)


if __name__ == "__main__":
    stage(main, "seed", "group")
