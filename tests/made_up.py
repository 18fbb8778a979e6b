"""Small made-up tables, of the names and columns that the figures read."""

import numpy as np
import pandas as pd

from edgewise.data.displacement import DIRECTIONS
from edgewise.data.groups import GROUPS, NATURAL

SETTING = "digits, classes 3 / 5, n = 200, MSE, α = 3"
PREFIXES = {"exit": "", "enter": "enter_", "flow": "flow_"}  # of the columns of Δℓ
STRATA = ("class0_q1", "class0_q2", "class1_q1", "class1_q2")
MODELS = ("edge_flow", "cubic", "central_flow")
ALL_BRANCHES = ("baseline", "exit", "enter", "flow")


def with_bounds(columns, index, seeds):
    """A table as the pipeline writes it; the bounds of one seed are empty."""
    rng = np.random.default_rng(0)
    parts = {}
    for name in columns:
        mean = rng.uniform(0.1, 0.9, len(index))
        width = 0.2 if seeds > 1 else np.nan
        parts |= {name: mean, f"{name}_low": mean - width, f"{name}_high": mean + width}
    return pd.DataFrame(parts, index=index)


def made_up_tables(seeds, branches=("baseline", "exit"), groups=GROUPS):
    """Every table that a figure reads."""
    count = len(groups)
    rng = np.random.default_rng(1)
    steps = pd.Index(range(-6, 9, 2), name="step")
    since = pd.Index(range(8), name="step")
    alphas = pd.Index([0.0, 1.0, 3.0], name="alpha")
    by_group = [f"{branch}_{group}" for branch in branches for group in groups]
    prefixes = [prefix for branch, prefix in PREFIXES.items() if branch in branches]
    deltas = [f"{prefix}{group}" for prefix in prefixes for group in groups]
    controls = [f"{q}_{direction}" for q in ("alignment", "curvature_influence") for direction in DIRECTIONS]
    tables = {
        name: with_bounds(by_group, steps, seeds)
        for name in ("alignment", "curvature_influence", "gradient_norm", "label_probability", "group_loss")
    }
    for name in ("alignment_equal_time", "curvature_influence_equal_time"):
        tables[name] = with_bounds(by_group, steps, seeds)
    for name in ("sharpness", "secant_sharpness", "sharpness_equal_time", "secant_sharpness_equal_time"):
        thresholds = {"stability_threshold": 0.5, "exit_stability_threshold": 0.8}
        tables[name] = with_bounds(branches, steps, seeds).assign(**thresholds)
    tables["delta_loss"] = with_bounds(deltas, since, seeds)
    tables["delta_loss_equal_time"] = with_bounds(deltas, since, seeds)
    tables["delta_loss_strata"] = with_bounds([f"{p}{name}" for p in prefixes for name in STRATA], since, seeds)
    for name in ("delta_loss", "delta_loss_equal_time", "delta_loss_strata"):
        columns = [column for column in tables[name] if column.startswith("enter")]
        tables[name].loc[6:, columns] = np.nan  # it branches later
    tables["moments"] = pd.DataFrame(
        {"t_star": 6, "transient": [3, 2, 3][:seeds], "t_star_star": np.nan, "t_star_star_equal_time": np.nan},
        index=pd.Index(range(seeds), name="seed"),
    )
    measured = ["curvature_influence", *(f"{prefix}gain_time" for prefix in prefixes)]
    strata = with_bounds(measured, pd.Index(STRATA, name="stratum"), seeds)
    tables["strata"] = strata.assign(label=[0, 0, 1, 1], quantile=[1, 2, 1, 2])
    pairs = pd.Index(["inlier & boundary", "inlier & output_outlier"] * seeds, name="groups")
    tables["shared_images"] = pd.DataFrame({"seed": np.repeat(range(seeds), 2), "images": [2, 10] * seeds}, index=pairs)
    tables["groups"] = pd.DataFrame({"trained": 4, "held_out": 2}, index=pd.Index(groups, name="group"))
    names = [*groups, *STRATA]
    rows = len(names) * seeds
    selector = {"name": names * seeds, "kind": (["group"] * count + ["stratum"] * 4) * seeds}
    selector["curvature_influence"] = rng.uniform(0.1, 3, rows)
    for column in ("coupling", "coupling_over_step", "gain_step", "gain_time"):
        selector[column] = rng.normal(size=rows)
    tables["selector"] = pd.DataFrame(selector, index=pd.Index(np.repeat(range(seeds), len(names)), name="seed"))
    tables["predicted_gains"] = tables["selector"][["name", "kind"]].assign(
        measured=tables["selector"]["gain_time"], predicted=rng.normal(size=rows)
    )
    sides = [f"{side}_{group}" for side in ("measured", "predicted") for group in groups]
    tables["prediction"] = with_bounds([*sides, "error"], since, seeds)
    tables["dose"] = with_bounds(sides, pd.Index([0.1, 0.25, 0.9], name="factor"), seeds)
    left_out = pd.Index(["inlier", "output_outlier"], name="left_out")
    tables["counterfactuals"] = with_bounds(groups, left_out, seeds) / 1000
    tables["left_out"] = pd.concat(
        [tables["predicted_gains"].assign(way=way, left_out="inlier") for way in ("at_centre", "removed")]
    )
    curves = [f"{kind}_{model}" for kind in ("sharpness", "distance") for model in MODELS]
    tables["models"] = with_bounds([*curves, "sharpness_measured"], since, seeds)
    tables["models"].loc[1::2, ["sharpness_measured", *(f"distance_{model}" for model in MODELS)]] = np.nan
    tables["models_gains"] = pd.concat(
        [tables["predicted_gains"].reset_index().assign(model=model) for model in MODELS]
    ).set_index("model")
    parts = [f"{part}_{group}" for part in ("delta", "path", "oscillation") for group in groups]
    tables["decomposition"] = with_bounds(parts, since[::3], seeds)
    lengths = pd.Index([0.0, 0.01, 0.1, 1.0, 3.0], name="relative_length")
    ratios = ["sharpness_ratio_iterates", "sharpness_ratio_centre", "curvature_ratio"]
    tables["kinks"] = with_bounds(ratios, lengths, seeds)
    tables |= made_up_sweep(seeds)
    tables["control"] = with_bounds(controls, steps, seeds)
    tables["control_alpha"] = with_bounds(
        [*controls, "alignment_chance", "alignment_null", "curvature_influence_null"], alphas, seeds
    )
    tables["centroid_correlation"] = with_bounds(branches, steps, seeds)
    tables["example_alignment"] = with_bounds(["typical", "atypical", "all"], steps, seeds)
    tables["robustness"] = with_bounds([f"{b}_{e}" for b in branches for e in ("eps0", "eps8")], steps[3:], seeds)
    attacked = [f"{b}_{subset}" for b in branches for subset in ("test", "test_fgsm", groups[-1])]
    epsilons = pd.Index([0.0, 8.0], name="epsilon")
    tables["robustness_epsilon"] = with_bounds(attacked, epsilons, seeds).assign(norm="linf")
    tables["ood"] = with_bounds([f"{b}_{d}" for b in branches for d in (*DIRECTIONS, "random_accuracy")], alphas, seeds)
    severity = pd.Index(range(3), name="severity")
    tables["corruptions"] = with_bounds([f"{b}_{c}" for b in branches for c in ("contrast", "blur")], severity, seeds)
    points = {"centroid_distance": rng.uniform(1, 5, 60), "alignment": rng.uniform(0, 1, 60)}
    moments = np.repeat(["sharpening", "onset", "late"], 20)
    tables["examples"] = pd.DataFrame(points, index=pd.Index(moments, name="moment"))
    of_groups = pd.Index(np.repeat(groups, 6), name="group")
    influence, coupling = rng.uniform(0, 1, 6 * count), rng.uniform(0, 1e4, 6 * count)
    columns = {"step": np.tile(range(-3, 3), count), "curvature_influence": influence, "sharpness_coupling": coupling}
    columns["sharpness_coupling_over_step"] = coupling / 3
    tables["coupling"] = pd.DataFrame(columns, index=of_groups)
    names = (NATURAL, *groups, *(f"control_{direction}" for direction in DIRECTIONS))
    quantiles = pd.Index(np.linspace(0, 1, 5), name="quantile")
    distances = {name: np.sort(rng.uniform(1, 9, 5)) for name in names}
    tables["centroid_distance"] = pd.DataFrame(distances, index=quantiles)
    rows = 4 * len(names)
    places = {"label": np.arange(rows) % 2, "along": rng.uniform(-3, 3, rows), "away": rng.uniform(0, 3, rows)}
    tables["taxonomy"] = pd.DataFrame(places, index=pd.Index(np.repeat(names, 4), name="group"))
    return tables


def made_up_sweep(seeds, optimizers=("gd", "momentum", "nesterov")):
    """The tables of a sweep; the largest step size parts from the flow, and the smallest never comes to its edge."""
    sizes = (0.02, 0.04, 0.08)
    runs = {f"{name}-{lr}": (name, lr, 0.02 / lr) for name in optimizers for lr in sizes}
    over_time = []
    for run, (name, lr, threshold) in {"flow": ("flow", np.nan, np.inf), **runs}.items():
        rows = with_bounds(["sharpness", "flow_distance"], pd.Index(np.linspace(0, 4, 9), name="time"), seeds)
        about = {"run": run, "optimizer": name, "step_size": lr, "stability_threshold": threshold}
        over_time.append(rows.reset_index().assign(**about))
    columns = ["onset_secant", "parting", "sharpness_ratio", "secant_sharpness_ratio"]
    moments = with_bounds(columns, pd.Index(list(runs), name="run"), seeds)
    moments[["optimizer", "step_size", "stability_threshold"]] = list(runs.values())
    moments.loc[moments["step_size"] == 0.02, columns] = np.nan
    return {"sweep": pd.concat(over_time).set_index("run"), "sweep_moments": moments}
