"""Train from the initialisation for a given time: by gradient flow, or beside it by an optimiser at one step size."""

import math

import numpy as np

from common import checkpoints_folder, journal_folder, records_folder, stage
from edgewise.data.files import Row, write_rows
from edgewise.dynamics.eigen import EigenTracker
from edgewise.dynamics.loop import Step
from edgewise.dynamics.loop import run as train
from edgewise.errors import DivergenceError, NoEigenpairsError, ParameterError
from edgewise.params import Params
from edgewise.states.flow import FlowPath, GradientFlow
from edgewise.states.optimizers import Optimizer, State, build_optimizer
from edgewise.states.pairs import first_at
from edgewise.states.trajectory import Journal, Manifest, checkpoints, load_state
from experiment import Experiment

#: Error allowed in gradient flow from one measurement to the next, relative to the way between them.
FLOW_TOLERANCE = 1e-3


def main(params: Params, seed: int, run: str) -> None:
    experiment = Experiment(params, seed)
    sweep, objective, start = params.sweep, experiment.objective, State(experiment.initial_theta())
    spacing = sweep.time / sweep.measurements
    flow = GradientFlow(spacing, params.optimizer.weight_decay, gradient=objective.gradient, tolerance=FLOW_TOLERANCE)
    optimizer: Optimizer = flow
    due, path = set(range(sweep.measurements + 1)), None
    if run != "flow":
        name, lr = sweep.runs[run]
        optimizer = build_optimizer(params.optimizer.model_copy(update={"name": name, "lr": lr}))
        first = first_at(np.arange(sweep.measurements + 1) * spacing, optimizer.time_per_step)
        due = {*first.tolist(), *(first + 1).tolist()}
        states = checkpoints(checkpoints_folder(seed, "sweep-flow"))
        path = FlowPath(flow, [load_state(file, start.theta) for file in states])

    fingerprint = experiment.fingerprint(
        "sweep" if path else "sweep_flow", run, sweep.time, sweep.measurements, params.hessian
    )
    folder = journal_folder(seed, f"sweep-{run}")
    experiment.require_room("sweep.measurements", sweep.measurements, len(due), folder)
    journal = Journal(folder, fingerprint, start)
    tracker = EigenTracker(objective, tolerance=params.hessian.tolerance)
    tracker.subspace = journal.memory.get("subspace")

    def measure(step: Step, due: bool) -> Row:
        theta = step.state.theta
        row = dict.fromkeys(("sharpness", "flow_distance", "flow_travelled"), math.nan)
        if due:
            pairs = tracker.measure(theta)
            journal.memory["subspace"] = pairs.subspace
            row["sharpness"] = pairs.values[0].item()
            if path:
                there, row["flow_travelled"] = path.at(step.state.time)
                row["flow_distance"] = (theta - there).norm().item()
        return row

    last = max(due)
    try:
        train(
            objective,
            optimizer,
            {},
            journal,
            last_step=last,
            due=due.__contains__,
            measure=measure,
            label=run,
            total=last,
        )
    except (DivergenceError, NoEigenpairsError) as error:
        if path:
            said = f"{run} fails, a smaller one may not ({error})"
            raise ParameterError("sweep.step_sizes", optimizer.lr, said) from error
        if isinstance(error, NoEigenpairsError):
            raise
        raise ParameterError("sweep.time", sweep.time, str(error)) from error
    write_rows(records_folder(seed, f"sweep-{run}") / "steps.csv", journal.rows)
    if not path:
        journal.publish(checkpoints_folder(seed, "sweep-flow"), Manifest({"kept": sorted(due)}, legs=()))
    journal.discard()


def at_step_size(params: Params, seed: int, optimizer: str, lr: str) -> None:
    main(params, seed, f"{optimizer}-{lr}")


if __name__ == "__main__":
    stage(
        at_step_size,
        "seed",
        "optimizer",
        "lr",
        writes=lambda seed, optimizer, lr: journal_folder(seed, f"sweep-{optimizer}-{lr}"),
    )
