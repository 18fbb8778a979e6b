"""Which columns the tables of a run must have."""

from collections.abc import Sequence

from edgewise.data.displacement import DIRECTIONS

#: What hessian.csv has of each group and stratum, as <quantity>_<name>.
MEASURED = ("alignment", "curvature_influence", "gradient_norm", "gradient_probe", "label_probability", "coupling")


def columns_of(run: str, table: str, names: Sequence[str]) -> list[str]:
    """The columns that a table of a run must have; `names` are the groups and strata."""
    correlation = [f"centroid_correlation{end}" for end in ("", "_low", "_high")]
    step, pair = ["step", "time"], ["step", "time", "iterate"]
    return {
        "steps": [*step, "loss", "secant_sharpness", "oscillation", *(f"loss_{name}" for name in names)]
        + (["sharpness"] if run == "base" else []),
        "hessian": [*pair, "sharpness", *correlation, *(f"{q}_{name}" for q in MEASURED for name in names)],
        "decomposition": [*step, *(f"{q}_{name}" for q in ("centre_loss", "oscillation_cost") for name in names)],
        "removed": [*step, "loss", *(f"loss_{name}" for name in names)],
        "sweep": [*step, "loss", "secant_sharpness", "oscillation", "sharpness", "flow_distance", "flow_travelled"],
        "kinks": [*step, "relative_length", "length", "curvature", "sharpness_iterates", "sharpness_centre"],
        **dict.fromkeys(
            ("prediction", "edge_flow", "at_centre", "at_centre_predicted", "removed_predicted"),
            [*step, *(f"loss_{name}" for name in names)],
        ),
        "control": [
            "alpha",
            "iterate",
            *(f"{q}_{d}" for q in ("alignment", "curvature_influence") for d in DIRECTIONS),
        ],
        "robustness": [*pair, "subset", "norm", "attack", "epsilon", "examples", "accuracy"],
        "ood": [*pair, "shift", "strength", "examples", "loss", "accuracy"],
    }[table]
