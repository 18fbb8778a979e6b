"""The models' predictions of who gains, beside what was measured.

Edge flow is started from the pair of iterates at onset, the others before the edge; they see nothing later. Predicted
is the loss along the baseline; the loss away from the edge is measured, that of gradient flow where the branch was run,
else of the exit branch.
"""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pandas as pd

from edgewise.data.files import Array
from edgewise.inference.gains import at_times, delta_loss, two_step_average
from edgewise.inference.intervals import LOG, Scale, correlation, estimate, plain, spearman
from edgewise.inference.metrics import as_dict
from edgewise.inference.records import SeedRecords, Seeds
from edgewise.inference.tables import as_if_regular, over_seeds, second_half

#: The model that claims are judged of.
EDGE_FLOW = "edge_flow"

#: The relative error up to which a prediction counts as following the run.
FOLLOWS = 0.1


def has_prediction(seeds: Seeds, model: str = EDGE_FLOW) -> bool:
    """Whether the model was declared, is one of the optimiser, and did not diverge in any seed."""
    return all(model in records.predictions and "loss" in records.predictions[model] for records in seeds.values())


def reference(records: SeedRecords) -> str:
    """The branch away from the edge that the baseline is compared with: gradient flow, or the exit branch."""
    return "flow" if "flow" in records.branches else "exit"


def loss_away(records: SeedRecords, names: Sequence[str] | None = None, model: str = EDGE_FLOW) -> pd.DataFrame:
    """The measured loss away from the edge at the times of the prediction, as far as it goes; one row a step.

    Here and below: of all groups, if no names of groups or strata are given.
    """
    names = records.groups if names is None else names
    away, times = records.steps[reference(records)], records.predictions[model]["time"].to_numpy()
    time = two_step_average((away["time"] - away["time"].iloc[0]).to_numpy())
    losses = two_step_average(away[[f"loss_{name}" for name in names]].to_numpy())
    covered = times[times <= time[-1] * (1 + 1e-9)]
    index = pd.RangeIndex(len(covered), name="step")
    return pd.DataFrame(at_times(covered, time, losses), columns=list(names), index=index)


def predicted_loss(records: SeedRecords, names: Sequence[str] | None = None, model: str = EDGE_FLOW) -> pd.DataFrame:
    """The loss at the edge that the model predicts, indexed as `loss_away`; it may go further."""
    names = records.groups if names is None else names
    losses = records.predictions[model][[f"loss_{name}" for name in names]].to_numpy()
    return pd.DataFrame(losses, columns=list(names), index=pd.RangeIndex(len(losses), name="step"))


def predicted_delta_loss(
    records: SeedRecords, names: Sequence[str] | None = None, model: str = EDGE_FLOW
) -> pd.DataFrame:
    """Delta l_k(t) at equal training time, with the model in place of the baseline; indexed as `gains.delta_loss`."""
    away = loss_away(records, names, model)
    return away - predicted_loss(records, names, model).loc[away.index]


def both(
    records: SeedRecords, names: Sequence[str] | None = None, model: str = EDGE_FLOW
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Delta l_k(t) at equal training time as measured and as predicted, on the times that both have."""
    measured = delta_loss(records, reference(records), "time", names)
    predicted = predicted_delta_loss(records, names, model)
    shared = measured.index.intersection(predicted.index)
    return measured.loc[shared], predicted.loc[shared]


def error_over_time(records: SeedRecords, model: str = EDGE_FLOW) -> pd.Series:
    """|predicted - measured| of the vector of the groups' Delta l_k at every time, over its root-mean-square length.

    Not over its length at that time, which begins near 0.
    """
    measured, predicted = both(records, model=model)
    size = np.sqrt(np.mean(np.sum(measured.to_numpy() ** 2, axis=1)))
    return pd.Series(np.linalg.norm(predicted - measured, axis=1) / size, index=measured.index)


def split_delta_loss(records: SeedRecords, names: Sequence[str] | None = None) -> pd.DataFrame:
    """Delta l_k(t) at equal training time as path - oscillation, at the baseline's checkpoints.

    delta_<name> is Delta l_k; path_<name> is the loss away from the edge less that at the centre of the oscillation:
    where the edge leads; oscillation_<name> is what the oscillation adds at the edge. Indexed by steps since onset.
    """
    names = records.groups if names is None else names
    whole = delta_loss(records, reference(records), "time", names)
    at_edge = two_step_average(records.steps["baseline"][[f"loss_{name}" for name in names]].to_numpy())
    steps = records.decomposition["step"] - records.t_star
    table = records.decomposition.set_index(pd.Index(steps, name="step"))
    table = table.loc[table.index.intersection(whole.index)]
    columns = {}
    for i, name in enumerate(names):
        away = whole.loc[table.index, name] + at_edge[table.index, i]
        columns[f"delta_{name}"] = whole.loc[table.index, name]
        columns[f"path_{name}"] = away - table[f"centre_loss_{name}"]
        columns[f"oscillation_{name}"] = table[f"oscillation_cost_{name}"]
    return pd.DataFrame(columns)


def follows_until(records: SeedRecords, model: str = EDGE_FLOW) -> int:
    """The first step at which the error is above `FOLLOWS`; the horizon if it never is."""
    error = error_over_time(records, model)
    beyond = error.index[error.to_numpy() > FOLLOWS]
    return int(beyond[0]) if len(beyond) else int(error.index[-1]) + 1


def settled(records: SeedRecords, names: Sequence[str], model: str = EDGE_FLOW) -> tuple[Array, Array]:
    """Measured and predicted gains [names] of the settled part."""
    measured, predicted = both(records, names, model)
    return second_half(measured).mean().to_numpy(), second_half(predicted).mean().to_numpy()


def sharpness_error(records: SeedRecords, model: str) -> float:
    """Mean error of the sharpness at the baseline's checkpoints of the settled part, over the threshold.

    Measured is lambda_1, the mean over both iterates of a checkpoint.
    """
    measured = records.hessian["baseline"].set_index("step")["sharpness"]
    predicted = second_half(records.predictions[model]).set_index("step")["sharpness"]
    error = (predicted.reindex(measured.index) - measured).abs().to_frame("error")
    late = as_if_regular(error, error.index.to_numpy(), since=predicted.index[0])
    return float(late["error"].mean() / records.setting.threshold)


def loss_error(records: SeedRecords, model: str) -> float:
    """Mean error of the loss of the whole set in the settled part, over the mean of that loss there."""
    measured = two_step_average(records.steps["baseline"]["loss"].to_numpy())
    predicted = records.predictions[model]["loss"].to_numpy()[: len(measured)]
    late = slice(len(predicted) // 2, len(predicted))
    return float(np.abs(predicted - measured[: len(predicted)])[late].mean() / measured[late].mean())


def gains_error(records: SeedRecords, model: str) -> float:
    """|predicted - measured| of the vector of the groups' settled gains, over its length.

    Gains are means over the later half, so the moment of a burst of the oscillation does not matter to it.
    """
    measured, predicted = settled(records, records.groups, model)
    return float(np.linalg.norm(predicted - measured) / np.linalg.norm(measured))


def distance(records: SeedRecords, model: str) -> float:
    """How far the model's centre is from that of the run, over how far the run has gone since onset; settled part."""
    table = records.predictions[model].set_index("step")[["distance", "covered"]]
    measured = table[table["distance"].notna()]
    late = as_if_regular(measured, measured.index.to_numpy(), since=second_half(table).index[0]).mean()
    return float(late["distance"] / late["covered"])


def theory_metrics(seeds: Seeds) -> dict[str, Any]:
    """How well each model predicts who gains (metrics/theory.json), at equal training time; null where there is none.

    * groups: settled gains measured and predicted, and the mean error of the settled part relative to the mean size of
      the gain there;
    * rank_correlation, linear_correlation: over groups and strata, within a seed;
    * follows_until: the first step at which the error of the groups' gains together is above 10 % of their size;
    * sharpness_ratio: the predicted sharpness in the settled part, over the threshold;
    * gains_error, sharpness_error, loss_error, distance: see the functions of these names;
    * gradients: what a step of the model costs.
    """
    models = list(next(iter(seeds.values())).predictions)
    found: dict[str, Any] = {
        model: _metrics_of(seeds, model) if has_prediction(seeds, model) else None for model in models
    }
    if missing := [model for model in models if found[model] is None]:
        setting = next(iter(seeds.values())).setting
        no_model = f"no model of {setting.optimizer}; edge flow is one of gd and momentum"
        found["reason"] = f"{', '.join(missing)}: {'diverged in a seed' if setting.has_model else no_model}"
    return found | {"seeds": list(seeds)}


def _metrics_of(seeds: Seeds, model: str) -> dict[str, Any]:
    records = list(seeds.values())
    groups: dict[str, Any] = {}
    pairs = [both(r, model=model) for r in records]
    for group in records[0].groups:
        late = [(second_half(measured)[group], second_half(predicted)[group]) for measured, predicted in pairs]
        groups[group] = {
            "measured": as_dict(estimate([float(m.mean()) for m, _ in late])),
            "predicted": as_dict(estimate([float(p.mean()) for _, p in late])),
            "relative_error": as_dict(estimate([float((p - m).abs().mean() / m.abs().mean()) for m, p in late], LOG)),
        }
    points = [settled(r, r.tracked, model) for r in records]
    count = len(points[0][0])

    def over_seeds_of(value: Callable[[SeedRecords, str], float], scale: Scale | None = None) -> dict[str, Any]:
        return as_dict(estimate([value(r, model) for r in records], scale))

    return {
        "reference": reference(records[0]),
        "groups": groups,
        "rank_correlation": as_dict(estimate([spearman(m, p) for m, p in points], correlation(count))),
        "linear_correlation": [float(np.corrcoef(m, p)[0, 1]) for m, p in points],
        "follows_until": over_seeds_of(follows_until, plain(records[0].setting.steps, least=0)),
        "sharpness_ratio": over_seeds_of(
            lambda r, name: float(second_half(r.predictions[name])["sharpness"].mean() / r.setting.threshold)
        ),
        "gains_error": over_seeds_of(gains_error, LOG),
        "sharpness_error": over_seeds_of(sharpness_error, LOG),
        "loss_error": over_seeds_of(loss_error, LOG),
        "distance": over_seeds_of(distance, LOG),
        "gradients": over_seeds_of(lambda r, name: float(r.predictions[name]["gradients"].iloc[1:].mean())),
    }


def settled_path(records: SeedRecords, names: Sequence[str] | None = None) -> Array:
    """The path term of `split_delta_loss` [names], averaged over the checkpoints of the settled part."""
    names = records.groups if names is None else names
    split = split_delta_loss(records, names)
    late = as_if_regular(split, split.index.to_numpy(), since=records.setting.steps / 2)
    path: Array = late[[f"path_{name}" for name in names]].mean().to_numpy()
    return path


def gain_if_the_edge_stood_still(records: SeedRecords, names: Sequence[str]) -> Array:
    """Settled gains [names], had the losses at the edge stayed what they were at onset: the loss away from it alone."""
    away = second_half(loss_away(records, names)).mean()
    found: Array = (away - predicted_loss(records, names).iloc[0]).to_numpy()
    return found


def prediction_tables(seeds: Seeds) -> dict[str, pd.DataFrame]:
    """The tables under plots/tables/ that show the predictions: over time, and a row a seed and group or stratum.

    Where there is no model there is the split of the measured Delta l_k alone; where there are several, they have
    tables of their own.
    """
    records = list(seeds.values())
    tables = {"decomposition": over_seeds([split_delta_loss(r) for r in records])}
    if has_prediction(seeds):
        over_time = []
        for r in records:
            measured, predicted = both(r)
            table = pd.concat([measured.add_prefix("measured_"), predicted.add_prefix("predicted_")], axis=1)
            over_time.append(table.assign(error=error_over_time(r)))
        tables["prediction"] = over_seeds(over_time, lambda column: LOG if column == "error" else plain())
        tables["predicted_gains"] = _predicted_gains(seeds, EDGE_FLOW).set_index("seed")
    models = [model for model in records[0].predictions if has_prediction(seeds, model)]
    if len(models) > 1:
        tables["models"] = over_seeds([_models_over_time(r, models) for r in records])
        gains_of_models = [_predicted_gains(seeds, model).assign(model=model) for model in models]
        tables["models_gains"] = pd.concat(gains_of_models).set_index("model")
    return tables


def _predicted_gains(seeds: Seeds, model: str) -> pd.DataFrame:
    """A row a seed and group or stratum: settled gains measured and predicted."""
    rows = []
    for seed, r in seeds.items():
        names = r.tracked
        for name, measured, predicted in zip(names, *settled(r, names, model), strict=True):
            kind = "group" if name in r.groups else "stratum"
            rows.append({"seed": seed, "name": name, "kind": kind, "measured": measured, "predicted": predicted})
    return pd.DataFrame(rows)


def _models_over_time(records: SeedRecords, models: Sequence[str]) -> pd.DataFrame:
    """Sharpness by model, and as measured at the checkpoints; the distance of every model there; by steps since onset.

    The sharpness is over the threshold, the distance over how far the run has gone at the end.
    """
    threshold = records.setting.threshold
    columns: dict[str, pd.Series] = {}
    for model in models:
        table = records.predictions[model]
        table = table.set_index(pd.Index(table["step"] - records.t_star, name="step"))
        columns[f"sharpness_{model}"] = table["sharpness"] / threshold
        columns[f"distance_{model}"] = table["distance"] / table["covered"].max()
    hessian = records.hessian["baseline"].set_index("step")["sharpness"] / threshold
    columns["sharpness_measured"] = hessian.set_axis(hessian.index - records.t_star)
    return pd.DataFrame(columns).loc[columns[f"sharpness_{models[0]}"].index]
