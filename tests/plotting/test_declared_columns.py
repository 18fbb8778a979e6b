"""The figures, and the plots of dvc.yaml, read columns that the pipeline's own code makes."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import synthetic
import yaml
from conftest import REPOSITORY

from edgewise.data.groups import GROUPS, choose_prototypes, grouped_data
from edgewise.inference.counterfactuals import counterfactual_tables
from edgewise.inference.doses import dose_tables
from edgewise.inference.generalisation import evaluation_tables
from edgewise.inference.metrics import group_metrics, group_table
from edgewise.inference.positions import geometry_tables
from edgewise.inference.predictions import prediction_tables
from edgewise.inference.series import series_tables
from edgewise.inference.step_sizes import SweepRun, sweep_tables
from edgewise.params import DatasetParams, PrototypeParams
from edgewise.plotting import FIGURES
from edgewise.sources import load_dataset

#: What the stage sweep records at regular times.
MEASURED = ("loss", "secant_sharpness", "sharpness", "flow_distance", "flow_travelled")

PIPELINE = yaml.safe_load((REPOSITORY / "dvc.yaml").read_text())


def outs(stage):
    return {path for out in PIPELINE["stages"][stage]["outs"] for path in (out if isinstance(out, dict) else [out])}


def plot_definitions():
    for item in PIPELINE["plots"]:
        if isinstance(item, dict):
            yield from item.items()


@pytest.fixture(scope="module")
def columns_of_the_code():
    """The columns, index included, that the pipeline's own code gives its tables, by the table's file."""
    dataset = load_dataset(DatasetParams(name="digits", n=100))
    prototypes = choose_prototypes(dataset, PrototypeParams(candidates=10, trained=5), 100, 3.0, "coherent")
    data = dict.fromkeys((0, 1), grouped_data(dataset, prototypes))
    lower = {"inlier": synthetic.by_group(0.1, 0.2, 0.3, 0.4)}
    one = synthetic.records(doses={0.5: 0.5}, pays=lower)
    two_models = {"cubic": one.predictions["edge_flow"], **one.predictions}
    seeds = dict.fromkeys((0, 1), replace(one, predictions=two_models))
    sizes = group_metrics(seeds, dict.fromkeys(seeds, prototypes), data)
    tables = {"groups": group_table(sizes)}
    tables |= geometry_tables(data) | series_tables(seeds) | evaluation_tables(seeds) | prediction_tables(seeds)
    tables |= dose_tables(seeds) | counterfactual_tables(seeds)
    flow = pd.DataFrame({"time": [0.0, 1.0], **dict.fromkeys(MEASURED, 1.0)})
    run = flow.assign(time=[0.0, 0.5]).loc[[0, 1, 1, 1]].assign(time=[0.0, 0.5, 1.0, 1.5])
    times = np.array([0.0, 1.0])
    tables |= sweep_tables(
        {"flow": SweepRun("flow", np.nan, np.inf, times, {0: flow}), "gd-0.5": SweepRun("gd", 0.5, 4, times, {0: run})}
    )
    return {f"plots/tables/{name}.csv": {table.index.name, *table.columns} for name, table in tables.items()}


@pytest.mark.parametrize("name", FIGURES)
def test_figures_need_columns_that_the_code_makes(name, columns_of_the_code):
    for table in FIGURES[name].needs:
        assert set(FIGURES[name].columns(table, GROUPS)) <= columns_of_the_code[f"plots/tables/{table}.csv"]


def test_the_figures_stage_reads_the_tables_that_the_summary_writes():
    assert "plots/tables" in outs("summary")
    assert "plots/tables" in PIPELINE["stages"]["figures"]["deps"]
    assert outs("figures") == {"plots/figures"}


@pytest.mark.parametrize(("name", "definition"), list(plot_definitions()))
def test_plots_name_columns_that_the_code_makes(name, definition, columns_of_the_code):
    path, columns = next(iter(definition["y"].items()))
    assert {definition["x"], *columns} <= columns_of_the_code[path]


@pytest.mark.parametrize(("name", "definition"), list(plot_definitions()))
def test_plots_have_a_template_and_labels(name, definition):
    assert (REPOSITORY / ".dvc" / "plots" / f"{definition['template']}.json").exists()
    assert {"title", "x", "x_label", "y_label"} <= set(definition)


def test_plots_show_images_that_the_pipeline_makes():
    images = {item for item in PIPELINE["plots"] if isinstance(item, str)}
    assert images
    assert images <= outs("figures")
