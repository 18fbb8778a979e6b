"""The figures of the report: what each shows, how it is read, and what it is drawn from.

To add a figure, add an entry to `FIGURES`, with a function from the tables of a run to panels. A panel whose table or
columns a run lacks is left out for that run, and a figure without panels too.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from edgewise.data.displacement import DIRECTIONS
from edgewise.data.groups import GROUPS, NATURAL
from edgewise.plotting.style import (
    BRANCH_LABELS,
    BRANCH_LINESTYLES,
    DISTANCE_LABEL,
    MODEL_STYLES,
    STEPS_LABEL,
    in_words,
)
from edgewise.plotting.unseen_data import variants
from edgewise.study.panels import Axis, Curves, Key, Panel, Points, Series, Tables

DASHES = {"-": (1, 0), "--": (6, 4), "-.": (7, 3, 2, 3), ":": (2, 3)}

#: Of own groups, which have five colours: of the first five, of the next five, and so on.
OWN_DASHES = (None, DASHES["--"], DASHES["-."], DASHES[":"])

#: What can be switched on and off beside groups, in the order of the legends.
KEYS = {
    "stratum": Key("strata of natural examples", NATURAL),
    NATURAL: Key("natural examples", NATURAL),
    "typical": Key("nearest tenth (typical)", "typical"),
    "atypical": Key("farthest tenth (atypical)", "atypical"),
    "all": Key("all natural examples", NATURAL, DASHES[":"]),
    "coherent": Key("displaced along v_diff (coherent)", "coherent"),
    "random": Key("as far, in random directions", "random", DASHES["--"]),
    "null": Key("median of random groups", NATURAL, DASHES[":"]),
    "chance": Key("chance level 1/P", "ink", (9, 3, 2, 3)),
    **{branch: Key(label, branch, DASHES[BRANCH_LINESTYLES[branch]]) for branch, label in BRANCH_LABELS.items()},
    "threshold": Key("stability threshold", "threshold", (1, 0)),
    "exit_threshold": Key("exit branch's threshold", "threshold", DASHES["--"]),
    "delta": Key("Δℓ = path − oscillation", None, (1, 0)),
    "path": Key("path: where the edge leads", None, DASHES["--"]),
    "oscillation": Key("what the oscillation costs", None, DASHES[":"]),
    "measured": Key("measured", None, (1, 0)),
    "predicted": Key("predicted by edge flow", "ink", DASHES["--"]),
    "error": Key("relative error", "ink"),
    "edge_flow": Key("edge flow", "inlier"),
    "gradient_flow": Key("gradient flow", "flow", DASHES[":"]),
    "cubic": Key("cubic model", "output_outlier", DASHES["-."]),
    "constrained": Key("constrained flow", "boundary", DASHES["--"]),
    "central_flow": Key("central flow", "input_outlier", (10, 2)),
    "iterates": Key("λ₁ at the iterates", "inlier"),
    "centre": Key("λ₁ at their centre", "boundary", DASHES["--"]),
    "curvature": Key("mean curvature over the length", "ink"),
    "gd": Key("gradient descent", "inlier"),
    "momentum": Key("heavy ball", "output_outlier", DASHES["--"]),
    "nesterov": Key("Nesterov's momentum", "boundary", DASHES[":"]),
}


@dataclass(frozen=True)
class Figure:
    """One figure of the report.

    Attributes
    ----------
    name : of the section in the page
    numbers : of the paper's figures that it corresponds to, as metrics/claims.json has them; the claims of these are
        shown beside it
    title, reading : the question, and how the answer is read
    panels : of a run's tables, what is drawn
    image : the file of plots/figures that is shown instead, where the figure is made of images
    """

    name: str
    title: str
    reading: str
    panels: Callable[[Tables], Sequence[Panel]]
    numbers: tuple[str, ...] = ()
    image: str | None = None


def groups_of(tables: Tables) -> list[str]:
    """The groups of a run; of one from before there were others, the paper's four."""
    return [str(name) for name in tables["groups"]["group"]] if "groups" in tables else list(GROUPS)


def group_key(group: str) -> str:
    """The key of a group; an own group may be called as another key is, but its name has no space."""
    return group if group in GROUPS else f"group {group}"


def keys_of(tables: Tables, groups: Sequence[str] | None = None) -> dict[str, Key]:
    """What of a run can be switched on and off: its groups, quantiles and strengths of attack, and `KEYS`.

    Parameters
    ----------
    tables : of the run
    groups : of all runs that are shown together, the paper's four in their own colours; by itself, those of the run
    """
    groups = groups_of(tables) if groups is None else groups
    others = [group for group in groups if group not in GROUPS]
    colors = {group: group for group in GROUPS} | {g: f"quantile-{1 + i % 5}" for i, g in enumerate(others)}
    dashes = {group: OWN_DASHES[i // 5 % len(OWN_DASHES)] for i, group in enumerate(others)}
    found = {group_key(g): Key(in_words(g), colors[g], dashes.get(g)) for g in groups} | KEYS
    quantiles = range(1, 1 + int(tables["strata"]["quantile"].max()) if "strata" in tables else 1)
    for q, shade in zip(quantiles, _shades(len(quantiles)), strict=True):
        found[f"quantile_{q}"] = Key(f"quantile {q} of the centroid distance", shade)
    classes = range(1 + int(tables["strata"]["label"].max()) if "strata" in tables else 0)
    dashes_of_classes = list(DASHES.values())
    for label in classes:
        found[f"class_{label}"] = Key(f"class {label}", None, dashes_of_classes[label % len(dashes_of_classes)])
    strengths = _strengths(tables)
    for i, (strength, shade) in enumerate(zip(strengths, _shades(len(strengths))[::-1], strict=True)):
        found[f"strength_{i}"] = Key(f"ε = {float(strength):.3g}", shade)
    return found


def _shades(count: int) -> list[str]:
    """So many of the five shades that stand for an order, as evenly spread as they can be."""
    return [f"quantile-{1 + i * 5 // count}" for i in range(count)]


def _strengths(tables: Tables) -> dict[str, dict[str, str]]:
    """By strength of attack, as it is written, the columns of the branches."""
    found = variants(tables["robustness"]) if "robustness" in tables else {}
    return {name.removeprefix("eps"): columns for name, columns in found.items()}


def _by_group(tables: Tables, prefix: str = "", *keys: str) -> tuple[Series, ...]:
    return tuple(Series(f"{prefix}{group}", (group_key(group), *keys)) for group in groups_of(tables))


#: Shorter than in print: panels are as narrow as a telephone.
TIME_LABEL = "time since onset t*, in steps of size η"

STEPS, TIME = Axis(STEPS_LABEL), Axis(TIME_LABEL)
ALPHA = Axis("displacement α, in units of v_diff")
ALIGNMENT = Axis("alignment cos²θ", bounds=(0, 1))
INFLUENCE = Axis("curvature influence C", log=True)
GAIN = Axis("Δℓ", within=(0,))
SETTLED = Axis("settled Δℓ", within=(0,))
BEFORE = Axis("curvature influence C before onset", log=True)
BRANCHES = tuple(BRANCH_LABELS)


def _strata_too(tables: Tables, table: str) -> dict[str, str]:
    """The keys of the names in a table of groups and strata."""
    if table not in tables:
        return {}
    groups = groups_of(tables)
    return {name: group_key(name) if name in groups else "stratum" for name in tables[table]["name"].astype(str)}


def _delta_loss(tables: Tables) -> list[Panel]:
    against = {"": "exit", "flow_": "gradient flow", "enter_": "staying away, of coming back"}
    clocks = {"delta_loss": ("at equal step", STEPS_LABEL), "delta_loss_equal_time": ("at equal time", TIME_LABEL)}
    return [
        Curves(
            f"against {other}, {held}",
            table,
            _by_group(tables, prefix),
            Axis(label, log=True),
            GAIN,
            ("transient", "zero", "settled") if prefix != "enter_" else ("zero", "settled"),
            shift=0.5,
        )
        for prefix, other in against.items()
        for table, (held, label) in clocks.items()
    ]


def _sharpness(tables: Tables) -> list[Panel]:
    series = tuple(Series(branch, (branch,)) for branch in reversed(BRANCHES))
    thresholds = (
        Series("stability_threshold", ("threshold",)),
        Series("exit_stability_threshold", ("exit_threshold",)),
    )
    quantities = {"sharpness": "sharpness λ₁", "secant_sharpness": "secant sharpness κ"}
    clocks = {"": (STEPS, "t_star_star"), "_equal_time": (TIME, "t_star_star_equal_time")}
    return [
        Curves(
            f"{label.split()[-1]}, {'at equal step' if not clock else 'at equal time'}",
            f"{table}{clock}",
            (*thresholds, *series),
            x,
            Axis(label, bounds=(0, float("inf"))),
            ("onset", second),
        )
        for clock, (x, second) in clocks.items()
        for table, label in quantities.items()
    ]


def _alignment(tables: Tables) -> list[Panel]:
    shown = [
        ("baseline", "", STEPS, "t_star_star"),
        ("exit", "", STEPS, "t_star_star"),
        ("exit", "_equal_time", TIME, "t_star_star_equal_time"),
    ]
    return [
        Curves(
            f"{BRANCH_LABELS[branch]}, {'at equal time' if clock else 'at equal step'}",
            f"alignment{clock}",
            _by_group(tables, f"{branch}_", branch),
            x,
            ALIGNMENT,
            ("onset", second) if branch == "exit" else ("onset",),
        )
        for branch, clock, x, second in shown
    ]


def _control(tables: Tables) -> list[Panel]:
    panels: list[Panel] = []
    for quantity, axis in (
        ("alignment", Axis("alignment cos²θ", log=True, bounds=(0, 1))),
        ("curvature_influence", INFLUENCE),
    ):
        of = {kind: Series(f"{quantity}_{kind}", (kind,)) for kind in (*DIRECTIONS, "null", "chance")}
        along = tuple(of[direction] for direction in DIRECTIONS)
        panels.append(Curves("along the baseline", "control", along, STEPS, axis, ("onset",)))
        panels.append(Curves("at onset, over the displacement", "control_alpha", tuple(of.values()), ALPHA, axis))
    return panels


def _persistence(tables: Tables) -> list[Panel]:
    quantities = {
        "curvature_influence": INFLUENCE,
        "gradient_norm": Axis("gradient norm ‖∇ℓ‖", log=True),
        "alignment": ALIGNMENT,
        "label_probability": Axis("probability of the label", bounds=(0, 1)),
    }
    return [
        Curves(f"{axis.label}, along the baseline", table, _by_group(tables, "baseline_"), STEPS, axis, ("onset",))
        for table, axis in quantities.items()
    ]


def _influence(tables: Tables) -> list[Panel]:
    of_branches = tuple(series for branch in ("exit", "baseline") for series in _by_group(tables, f"{branch}_", branch))
    over_alpha = (Series("curvature_influence_coherent", ("coherent",)),)
    return [
        Curves("over training", "curvature_influence", of_branches, STEPS, INFLUENCE, ("onset",)),
        Curves(
            "displaced source images at onset, over the displacement", "control_alpha", over_alpha, ALPHA, INFLUENCE
        ),
    ]


def _examples(tables: Tables) -> list[Panel]:
    moments = {"sharpening": "halfway to onset", "onset": "at onset t*", "late": "at the baseline's end"}
    return [
        Points(
            words,
            "examples",
            "centroid_distance",
            "alignment",
            "moment",
            {moment: NATURAL},
            Axis(DISTANCE_LABEL),
            Axis("alignment cos² of one example", bounds=(0, 1)),
        )
        for moment, words in moments.items()
    ]


def _robustness(tables: Tables) -> list[Panel]:
    accuracy = Axis("accuracy", bounds=(0, 1))
    over_time = _strengths(tables)
    strengths = tuple(
        Series(column, (f"strength_{i}", branch))
        for i, columns in enumerate(over_time.values())
        for branch, column in columns.items()
    )
    strength = Axis("strength of the attack ε, in steps of an 8-bit pixel")
    test = tuple(Series(f"{branch}_test", (branch,)) for branch in BRANCHES)
    held_out = tuple(series for branch in BRANCHES for series in _by_group(tables, f"{branch}_", branch))
    return [
        Curves("test images, late in the branches", "robustness_epsilon", test, strength, accuracy),
        Curves("held-out groups, late in the branches", "robustness_epsilon", held_out, strength, accuracy),
        Curves(
            "test images over training",
            "robustness",
            strengths,
            STEPS,
            accuracy,
        ),
    ]


def _ood(tables: Tables) -> list[Panel]:
    panels: list[Panel] = []
    for table, axis in (("ood", ALPHA), ("corruptions", Axis("severity"))):
        for variant, columns in variants(tables[table]).items() if table in tables else ():
            series = tuple(Series(column, (branch,)) for branch, column in columns.items())
            title = f"{in_words(variant)} displacement" if table == "ood" else in_words(variant)
            panels.append(Curves(title, table, series, axis, Axis("test loss", log=True)))
    return panels


def _distances(tables: Tables) -> list[Panel]:
    quantile, distance = Axis("fraction of the images"), Axis(DISTANCE_LABEL)
    controls = (
        Series("inlier", ("inlier",)),
        Series("control_coherent", ("coherent",)),
        Series("control_random", ("random",)),
    )
    return [
        Curves("by group", "centroid_distance", (Series(NATURAL, (NATURAL,)), *_by_group(tables)), quantile, distance),
        Curves("under both displacements", "centroid_distance", controls, quantile, distance),
    ]


def _typicality(tables: Tables) -> list[Panel]:
    of_branches = tuple(Series(branch, (branch,)) for branch in reversed(BRANCHES))
    of_examples = tuple(Series(name, (name,)) for name in ("all", "atypical", "typical"))
    rho, mean = Axis("Spearman ρ of alignment and distance", bounds=(-1, 1), within=(0,)), ALIGNMENT
    return [
        Curves("rank correlation", "centroid_correlation", of_branches, STEPS, rho, ("zero", "onset")),
        Curves("mean alignment, along the baseline", "example_alignment", of_examples, STEPS, mean, ("onset",)),
    ]


def _taxonomy(tables: Tables) -> list[Panel]:
    return _positions({NATURAL: NATURAL} | {group: group_key(group) for group in groups_of(tables)})


def _displacement(tables: Tables) -> list[Panel]:
    return _positions(
        {NATURAL: NATURAL, "inlier": "inlier", "control_coherent": "coherent", "control_random": "random"}
    )


def _positions(names: dict[str, str]) -> list[Panel]:
    along, away = Axis("position along v_diff (class means at 0 and 1)"), Axis("distance from that axis, in ‖v_diff‖")
    return [
        Points(f"label {label}", "taxonomy", "along", "away", "group", names, along, away, {"label": label})
        for label in (0, 1)
    ]


def _coupling(tables: Tables) -> list[Panel]:
    influence = Axis("curvature influence C", log=True)
    kinds = {"": "from the derivative", "_over_step": "over half a step's length"}
    squares: list[Panel] = [
        Points(
            words,
            "coupling",
            "curvature_influence",
            f"sharpness_coupling{kind}",
            "group",
            {group: group_key(group) for group in groups_of(tables)},
            influence,
            Axis("sharpness coupling Q²", log=True),
        )
        for kind, words in kinds.items()
    ]
    signed = Axis("coupling ⟨∇ℓ, ∇S⟩ before onset, over half a step")
    gains = Points(
        "who gains",
        "selector",
        "coupling_over_step",
        "gain_time",
        "name",
        _strata_too(tables, "selector"),
        signed,
        SETTLED,
        marks=("zero",),
    )
    return [*squares, gains]


def _selector(tables: Tables) -> list[Panel]:
    return [
        Points(
            f"gain at equal {held}",
            "selector",
            "curvature_influence",
            f"gain_{held}",
            "name",
            _strata_too(tables, "selector"),
            BEFORE,
            SETTLED,
            marks=("zero",),
        )
        for held in ("step", "time")
    ]


def _strata(tables: Tables) -> list[Panel]:
    if "strata" not in tables:
        return []
    rows = list(zip(*(tables["strata"][column] for column in ("stratum", "label", "quantile")), strict=True))
    series = tuple(Series(name, (f"quantile_{quantile}", f"class_{label}")) for name, label, quantile in rows)
    names = {name: f"quantile_{quantile}" for name, _, quantile in rows}
    return [
        Curves(
            "over training time",
            "delta_loss_strata",
            series,
            Axis(TIME_LABEL, log=True),
            GAIN,
            ("transient", "zero", "settled"),
            shift=0.5,
        ),
        Points(
            "settled, by influence",
            "strata",
            "curvature_influence",
            "gain_time",
            "stratum",
            names,
            BEFORE,
            SETTLED,
            bars=True,
            marks=("zero",),
        ),
    ]


def _decomposition(tables: Tables) -> list[Panel]:
    return [
        Curves(
            in_words(group),
            "decomposition",
            tuple(Series(f"{part}_{group}", (group_key(group), part)) for part in ("delta", "path", "oscillation")),
            TIME,
            GAIN,
            ("zero",),
        )
        for group in groups_of(tables)
    ]


def _edge_flow(tables: Tables) -> list[Panel]:
    predicted, measured = Axis("predicted settled Δℓ"), Axis("measured settled Δℓ")
    over_time: list[Panel] = [
        Curves(
            in_words(group),
            "prediction",
            (Series(f"measured_{group}", (group_key(group), "measured")), Series(f"predicted_{group}", ("predicted",))),
            TIME,
            GAIN,
            ("zero",),
        )
        for group in groups_of(tables)
    ]
    every = Points(
        "every group, stratum and seed",
        "predicted_gains",
        "predicted",
        "measured",
        "name",
        _strata_too(tables, "predicted_gains"),
        predicted,
        measured,
        diagonal=True,
    )
    error = Curves(
        "error of the four together, over Δℓ",
        "prediction",
        (Series("error", ("error",)),),
        Axis(TIME_LABEL, log=True),
        Axis("relative error", log=True),
    )
    return [every, *over_time, error]


def _models(tables: Tables) -> list[Panel]:
    sharpness = tuple(Series(f"sharpness_{model}", (model,)) for model in MODEL_STYLES)
    measured = Series("sharpness_measured", ("measured",))
    distance = tuple(Series(f"distance_{model}", (model,)) for model in MODEL_STYLES)
    names = {model: model for model in MODEL_STYLES}
    predicted, gain = Axis("predicted settled Δℓ"), Axis("measured settled Δℓ")
    return [
        Curves("sharpness over the threshold", "models", (*sharpness, measured), TIME, Axis("λ₁ over the threshold")),
        Curves(
            "distance from the centre of the run, over its way", "models", distance, TIME, Axis("relative distance")
        ),
        Points(
            "settled gains", "models_gains", "predicted", "measured", "model", names, predicted, gain, diagonal=True
        ),
    ]


def _dose(tables: Tables) -> list[Panel]:
    return [
        Curves(
            in_words(group),
            "dose",
            (Series(f"measured_{group}", (group_key(group), "measured")), Series(f"predicted_{group}", ("predicted",))),
            Axis("factor on the step size"),
            SETTLED,
            ("zero",),
        )
        for group in groups_of(tables)
    ]


def _counterfactuals(tables: Tables) -> list[Panel]:
    predicted, measured = Axis("predicted: how much lower the loss is"), Axis("measured: how much lower the loss is")
    ways = {"at_centre": "with the {} group at the centre", "removed": "without the {} group"}
    groups = tables["left_out"]["left_out"].unique() if "left_out" in tables else ()
    return [
        Points(
            words.format(in_words(group)),
            "left_out",
            "predicted",
            "measured",
            "name",
            _strata_too(tables, "left_out"),
            predicted,
            measured,
            {"way": way, "left_out": group},
            diagonal=True,
        )
        for way, words in ways.items()
        for group in groups
    ]


def _kinks(tables: Tables) -> list[Panel]:
    series = (
        Series("sharpness_ratio_iterates", ("iterates",)),
        Series("sharpness_ratio_centre", ("centre",)),
        Series("curvature_ratio", ("curvature",)),
    )
    length, ratio = Axis("length over that of the half-step, ℓ/r", log=True), Axis("over the threshold", within=(1,))
    return [Curves("curvature over a length, along the last step", "kinks", series, length, ratio)]


def _sweep(tables: Tables) -> list[Panel]:
    names = {name: name for name in ("gd", "momentum", "nesterov")}
    ratios = {
        "sharpness_ratio": "λ₁ over the threshold, after onset",
        "secant_sharpness_ratio": "κ over the threshold, after onset",
    }
    size, threshold = Axis("step size η", log=True), Axis("training time at onset")
    panels: list[Panel] = [
        Points(label, "sweep_moments", "step_size", column, "optimizer", names, size, Axis(label), bars=True)
        for column, label in ratios.items()
    ]
    return [
        *panels,
        Points("onset", "sweep_moments", "step_size", "onset_secant", "optimizer", names, size, threshold, bars=True),
    ]


def _group_loss(tables: Tables) -> list[Panel]:
    return [
        Curves(
            in_words(group),
            "group_loss",
            tuple(Series(f"{branch}_{group}", (group_key(group), branch)) for branch in reversed(BRANCHES)),
            STEPS,
            Axis("loss", log=True),
            ("onset",),
        )
        for group in groups_of(tables)
    ]


#: Every figure, in the order of the page.
FIGURES = (
    Figure(
        "delta_loss",
        "Who gains from the edge",
        "Δℓ is the loss of a group off the edge less that at the edge: above zero the group gains. At equal step the"
        " exit branch has covered a part of the training time alone, so a gain there may be distance moved.",
        _delta_loss,
        ("4",),
    ),
    Figure(
        "selector",
        "Is who gains who had influence before onset?",
        "Every point is a group or a stratum of natural examples, in one seed. A rising cloud: influence measured"
        " before any branch begins tells who gains.",
        _selector,
        ("selector",),
    ),
    Figure(
        "edge_flow",
        "Can it be predicted at onset?",
        "Edge flow starts from the two iterates at onset and sees nothing later; nothing is fitted. The loss away"
        " from the edge is as measured; that at the edge is predicted. On the line the prediction is exact.",
        _edge_flow,
        ("theory",),
    ),
    Figure(
        "models",
        "Which model of the edge describes it?",
        "Edge flow beside the other models. The measured sharpness over the threshold settles near 1.",
        _models,
    ),
    Figure(
        "dose",
        "Does more of the cause do more?",
        "The settled gain of each group against the factor that lowers the step size off the edge.",
        _dose,
    ),
    Figure(
        "counterfactuals",
        "What if a group had not been there?",
        "The change of every group's and stratum's settled gain where a group is left out of training, predicted by"
        " edge flow and measured.",
        _counterfactuals,
    ),
    Figure(
        "decomposition",
        "Where the edge leads, and what it costs",
        "Δℓ at equal training time is the path, less what the oscillation adds to the loss of the group.",
        _decomposition,
    ),
    Figure(
        "sharpness",
        "Is the run at the edge?",
        "At the edge the baseline stays at the threshold, κ more exactly than λ₁. Where the exit branch reaches its own"
        " threshold, at t**, Δℓ compares two edges from then on.",
        _sharpness,
    ),
    Figure(
        "kinks",
        "Where the curvature sits, and over which length",
        "The mean curvature along the last step, over a length around the centre of the oscillation; at the length of"
        " the step it is κ.",
        _kinks,
    ),
    Figure(
        "sweep",
        "Every step size has its edge",
        "Runs of other step sizes and optimisers: where they sit after onset, and when they get there.",
        _sweep,
    ),
    Figure(
        "alignment",
        "Whose gradient aligns with the sharpest direction",
        "Alignment is the share of a group's squared gradient along v₁. In the paper the input-outliers' peaks at t*"
        " and declines at the edge, and stays high off it.",
        _alignment,
        ("5",),
    ),
    Figure(
        "control",
        "Is it the direction of the displacement, or its length?",
        "Input-outliers displaced along v_diff beside the same images displaced as far in random directions.",
        _control,
        ("6",),
    ),
    Figure(
        "persistence",
        "Who keeps alignment and gradient",
        "Influence is alignment times the squared gradient norm. With cross-entropy the gradient, and so the influence,"
        " of what is learned vanishes.",
        _persistence,
        ("7",),
    ),
    Figure(
        "examples",
        "Single natural examples",
        "Alignment of every natural example of the first seed against its distance to the centroid of its class.",
        _examples,
        ("8",),
    ),
    Figure(
        "typicality",
        "Do examples far from their centroid align more?",
        "The rank correlation of alignment with centroid distance over natural examples, and the mean alignment of the"
        " nearest and the farthest tenth.",
        _typicality,
        ("20", "21"),
    ),
    Figure(
        "robustness",
        "Accuracy under attack",
        "Accuracy of the networks of every branch, at equal step, under projected gradient descent, by the strength of"
        " the attack.",
        _robustness,
        ("9", "9, 10"),
    ),
    Figure(
        "ood",
        "Displaced and corrupted test inputs",
        "Test loss of the networks of every branch, late in the branches, at equal step.",
        _ood,
        ("10",),
    ),
    Figure(
        "influence",
        "Curvature influence of the groups",
        "Over training, and of the input-outliers at onset over the length of their displacement.",
        _influence,
        ("16", "17"),
    ),
    Figure(
        "coupling",
        "Does influence stand for the coupling to the sharpness?",
        "Every group and checkpoint up to onset and along the baseline; and the gains against the signed coupling.",
        _coupling,
        ("22",),
    ),
    Figure(
        "strata",
        "What natural data gain",
        "Natural examples of each class in quantiles of the distance to the centroid, from the nearest (1) outwards; at"
        " equal training time.",
        _strata,
    ),
    Figure(
        "group_loss",
        "The loss of every group",
        "What looks like a thick line goes up and down at every step.",
        _group_loss,
    ),
    Figure(
        "taxonomy",
        "The four groups in input space",
        "The groups of the first seed. Output-outliers lie where inliers do, with the other label.",
        _taxonomy,
        ("1",),
    ),
    Figure(
        "displacement",
        "Equally far, along v_diff or orthogonal to it",
        "Trained images of the first seed: inliers, and the source images of the input-outliers under both"
        " displacements.",
        _displacement,
        ("18",),
    ),
    Figure(
        "centroid_distance",
        "Distance to the centroid of the own class",
        "Distributions by their quantiles, means over the seeds; groups: trained and held-out images, displaced:"
        " trained ones alone. The medians under both displacements should agree; the spread need not.",
        _distances,
        ("15", "19"),
    ),
    Figure(
        "images",
        "Images of the four groups",
        "Training images of the first seed.",
        lambda _: (),
        ("2",),
        image="figure_02_images",
    ),
)
