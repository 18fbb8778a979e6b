"""The figures are drawn from tables alone; here from small made-up ones."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml

from edgewise.data.examples import Dataset
from edgewise.data.groups import GROUPS, NATURAL, Examples, build_prototypes
from edgewise.errors import EdgewiseError
from edgewise.inference.geometry import centroid_distances, taxonomy
from edgewise.inference.series import series_tables
from edgewise.params import DatasetParams, PrototypeParams
from edgewise.plotting import FIGURES, IMAGES, About, draw, geometry, house_style, to_png
from edgewise.sources import load_dataset

ROOT = Path(__file__).resolve().parents[2]
SETTING = "digits, classes 3 / 5, n = 200, MSE, α = 3"
PIPELINE = yaml.safe_load((ROOT / "dvc.yaml").read_text())
PREFIXES = {"exit": "", "enter": "enter_", "flow": "flow_"}  # of the columns of Δℓ
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


def made_up(seeds, branches=("baseline", "exit")):
    """Every table that a figure reads."""
    rng = np.random.default_rng(1)
    steps = pd.Index(range(-6, 9, 2), name="step")
    since = pd.Index(range(8), name="step")
    alphas = pd.Index([0.0, 1.0, 3.0], name="alpha")
    by_group = [f"{branch}_{group}" for branch in branches for group in GROUPS]
    prefixes = [prefix for branch, prefix in PREFIXES.items() if branch in branches]
    deltas = [f"{prefix}{group}" for prefix in prefixes for group in GROUPS]
    ways = [f"{q}_{way}" for q in ("alignment", "curvature_influence") for way in ("coherent", "random")]
    tables = {
        name: with_bounds(by_group, steps, seeds)
        for name in ("alignment", "curvature_influence", "gradient_norm", "label_probability", "group_loss")
    }
    for name in ("sharpness", "secant_sharpness"):
        thresholds = {"stability_threshold": 0.5, "exit_stability_threshold": 0.8}
        tables[name] = with_bounds(branches, steps, seeds).assign(**thresholds)
    tables["delta_loss"] = with_bounds(deltas, since, seeds)
    equal_time = with_bounds(deltas, since, seeds)
    equal_time.loc[3:, [c for c in equal_time if not c.startswith("flow")]] = np.nan  # a tenth of the step, of the time
    tables["delta_loss_equal_time"] = equal_time
    tables["control"] = with_bounds(ways, steps, seeds)
    tables["control_alpha"] = with_bounds(
        [*ways, "alignment_chance", "alignment_null", "curvature_influence_null"], alphas, seeds
    )
    tables["centroid_correlation"] = with_bounds(branches, steps, seeds)
    tables["example_alignment"] = with_bounds(["typical", "atypical", "all"], steps, seeds)
    tables["robustness"] = with_bounds([f"{b}_{e}" for b in branches for e in ("eps0", "eps8")], steps[3:], seeds)
    attacked = [f"{b}_{subset}" for b in branches for subset in ("test", "test_fgsm", "boundary")]
    epsilons = pd.Index([0.0, 8.0], name="epsilon")
    tables["robustness_epsilon"] = with_bounds(attacked, epsilons, seeds).assign(norm="linf")
    tables["ood"] = with_bounds(
        [f"{b}_{d}" for b in branches for d in ("coherent", "random", "random_accuracy")], alphas, seeds
    )
    severity = pd.Index(range(3), name="severity")
    tables["corruptions"] = with_bounds([f"{b}_{c}" for b in branches for c in ("contrast", "blur")], severity, seeds)
    points = {"centroid_distance": rng.uniform(1, 5, 60), "alignment": rng.uniform(0, 1, 60)}
    moments = np.repeat(["sharpening", "onset", "late"], 20)
    tables["examples"] = pd.DataFrame(points, index=pd.Index(moments, name="moment"))
    groups = pd.Index(np.repeat(GROUPS, 6), name="group")
    influence, coupling = rng.uniform(0, 1, 24), rng.uniform(0, 1e4, 24)
    columns = {"step": np.tile(range(-3, 3), 4), "curvature_influence": influence, "sharpness_coupling": coupling}
    tables["coupling"] = pd.DataFrame(columns, index=groups)
    names = (NATURAL, *GROUPS, "control_coherent", "control_random")
    quantiles = pd.Index(np.linspace(0, 1, 5), name="quantile")
    distances = {name: np.sort(rng.uniform(1, 9, 5)) for name in names}
    tables["centroid_distance"] = pd.DataFrame(distances, index=quantiles)
    places = {"label": np.tile([0, 1], 14), "along": rng.uniform(-3, 3, 28), "away": rng.uniform(0, 3, 28)}
    tables["taxonomy"] = pd.DataFrame(places, index=pd.Index(np.repeat(names, 4), name="group"))
    return tables


@pytest.mark.parametrize("name", FIGURES)
@pytest.mark.parametrize("seeds", [1, 3])
def test_every_figure_is_drawn_and_its_bytes_are_the_same_twice(name, seeds):
    about = About(SETTING, list(range(seeds)))
    first, second = (to_png(draw(name, made_up(seeds, ALL_BRANCHES), about)) for _ in range(2))
    assert first.startswith(b"\x89PNG")
    assert first == second


def test_nothing_but_the_tables_that_a_figure_declares_reaches_it():
    for name, figure in FIGURES.items():
        tables = made_up(2)
        for table, columns in figure.needs.items():
            with pytest.raises(EdgewiseError, match=f"needs the table plots/{table}.csv"):
                draw(name, {k: v for k, v in tables.items() if k != table}, About(SETTING, [0]))
            if columns:
                with pytest.raises(EdgewiseError, match=f"plots/{table}.csv: lacks the columns {columns[0]};"):
                    draw(name, {**tables, table: tables[table].drop(columns=columns[0])}, About(SETTING, [0]))
            with pytest.raises(EdgewiseError, match="has no rows"):
                draw(name, {**tables, table: tables[table].iloc[:0]}, About(SETTING, [0]))


def texts(figure):
    return " ".join(text.get_text() for text in figure.texts)


def test_captions_say_what_bands_are():
    one, three = (texts(draw("figure_sharpness", made_up(n), About(SETTING, list(range(n))))) for n in (1, 3))
    assert "one seed (0), so no interval" in one
    assert "mean of 3 seeds, band: 95 % t interval" in three
    assert SETTING in one


def test_bands_are_there_with_several_seeds_only():
    def bands(seeds):
        return sum(len(panel.collections) for panel in draw("figure_05_alignment", made_up(seeds), About("", [0])).axes)

    assert bands(1) == 0
    assert bands(3) == 10  # four groups and the sharpness, in two branches


def test_wide_bands_do_not_squash_the_curves():
    tables = made_up(2)
    for column in [c for c in tables["delta_loss"] if c.endswith(("_low", "_high"))]:
        tables["delta_loss"][column] *= 1000
    panel = draw("figure_04_delta_loss", tables, About("", [0, 1])).axes[0]
    low, high = panel.get_ylim()
    assert high - low < 2


def test_t_star_star_is_where_the_exit_branch_reaches_its_own_threshold():
    tables = made_up(1)
    tables["sharpness"]["exit"] = np.linspace(0, 0.9, 8)  # 0.8 is passed at the last step
    figure = draw("figure_sharpness", tables, About("", [0]))
    marks = [text.xy[0] for text in figure.axes[0].texts if text.get_text() == "t**"]
    assert marks == [8]


def test_correlations_are_those_of_the_points_shown():
    tables = made_up(1)
    tables["examples"]["alignment"] = tables["examples"]["centroid_distance"] ** 2
    titles = [panel.get_title(loc="left") for panel in draw("figure_08_examples", tables, About("", [0])).axes]
    assert all(title.endswith("ρ = 1.00") for title in titles)


@pytest.mark.parametrize("channels", [1, 3])
def test_images_are_shown_as_pixels(channels):
    rng = np.random.default_rng(0)
    x = rng.normal(size=(20, channels, 4, 4)).astype(np.float32)
    group, y = np.repeat([NATURAL, *GROUPS], 4), np.tile([0, 1], 10)
    train = Examples(x, y, group, np.zeros(20), np.zeros((20, 2)))
    mean, std = np.full(channels, 0.5, np.float32), np.full(channels, 0.2, np.float32)
    dataset = Dataset(x, y, x, y, mean, std, ("cat", "dog"), "made-up")
    with house_style():
        figure = geometry.examples(train, dataset, About(SETTING, [0]))
    shown = [image.get_array() for panel in figure.axes for image in panel.get_images()]
    assert len(shown) == 20
    expected = np.clip(0.5 + 0.2 * x[0], 0, 1)
    np.testing.assert_allclose(shown[0], expected[0] if channels == 1 else np.moveaxis(expected, 0, -1), rtol=1e-6)
    assert to_png(figure).startswith(b"\x89PNG")


def outs(stage):
    return {path for out in PIPELINE["stages"][stage]["outs"] for path in (out if isinstance(out, dict) else [out])}


def test_the_figures_stage_declares_every_figure_whose_tables_the_pipeline_makes():
    made = set().union(*(outs(name) for name, stage in PIPELINE["stages"].items() if "outs" in stage))
    drawn = [name for name, f in FIGURES.items() if {f"plots/{table}.csv" for table in f.needs} <= made]
    assert outs("figures") == {f"plots/{name}.png" for name in (*drawn, IMAGES)}
    read = {f"plots/{t}.csv" for name in drawn for t in FIGURES[name].needs} & made
    assert read == {path for path in PIPELINE["stages"]["figures"]["deps"] if path.endswith(".csv")}


def plot_definitions():
    for item in PIPELINE["plots"]:
        if isinstance(item, dict):
            yield from item.items()


@pytest.fixture(scope="module")
def columns_of_the_code():
    """The columns, index included, that the pipeline's own code gives its tables, by the table's file."""
    import synthetic

    dataset = load_dataset(DatasetParams(name="digits", n=100))
    built = build_prototypes(dataset, PrototypeParams(candidates=10, trained=5), 3.0, "coherent")
    tables = series_tables({seed: synthetic.records() for seed in (0, 1)})
    tables |= {"centroid_distance": centroid_distances(built), "taxonomy": taxonomy(built)}
    return {f"plots/{name}.csv": {table.index.name, *table.columns} for name, table in tables.items()}


@pytest.mark.parametrize("name", FIGURES)
def test_figures_need_columns_that_the_code_makes(name, columns_of_the_code):
    for table, columns in FIGURES[name].needs.items():
        assert set(columns) <= columns_of_the_code.get(f"plots/{table}.csv", set(columns))


@pytest.mark.parametrize(("name", "definition"), list(plot_definitions()))
def test_plots_name_columns_that_the_code_makes(name, definition, columns_of_the_code):
    path, columns = next(iter(definition["y"].items()))
    assert {definition["x"], *columns} <= columns_of_the_code[path]


@pytest.mark.parametrize(("name", "definition"), list(plot_definitions()))
def test_plots_have_a_template_and_labels(name, definition):
    assert (ROOT / ".dvc" / "plots" / f"{definition['template']}.json").exists()
    assert {"title", "x", "x_label", "y_label"} <= set(definition)


def test_plots_show_images_that_the_pipeline_makes():
    images = {item for item in PIPELINE["plots"] if isinstance(item, str)}
    assert images <= outs("figures")
