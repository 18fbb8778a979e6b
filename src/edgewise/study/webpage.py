"""The report as one HTML file.

The page holds the tables of the runs as they are; Vega-Lite, which is in the page too, draws the figures from them.
"""

import base64
import csv
import io
import json
import platform
from collections.abc import Mapping, Sequence
from dataclasses import replace
from importlib import metadata
from typing import Any

import vl_convert
from jinja2 import Environment, PackageLoader, StrictUndefined

from edgewise.plotting.style import COLORS, THRESHOLD_COLOR
from edgewise.study.catalogue import FIGURES, Figure, group_key, groups_of, keys_of
from edgewise.study.claims_table import JudgedClaim
from edgewise.study.findings import GAINS, sentences
from edgewise.study.panels import SHAPES, Key, Panel, Spec, Tables
from edgewise.study.reported import TABLES, Run
from edgewise.study.revisions import md5_of

#: What the page names the versions of.
PACKAGES = ("edgewise", "torch", "numpy", "scipy", "pandas", "dvc", "vl-convert-python")


def page(runs: Sequence[Run], title: str, statement: str = "") -> str:
    """The report as one HTML file.

    Parameters
    ----------
    runs : at least one, of different names
    title, statement : of the whole
    """
    keys = _keys(runs)
    views = {figure.name: _views(figure, runs, keys) for figure in FIGURES}
    used = [
        {table for found in views.values() for view in found if view["run"] == i for table in view["tables"]}
        for i in range(len(runs))
    ]
    payload = {
        "runs": [run.name for run in runs],
        "tables": [{name: run.tables[name] for name in sorted(names)} for run, names in zip(runs, used, strict=True)],
        "gains": {
            "csv": gains(runs),
            "panels": _gain_panels(runs, _groups(runs, keys)),
            "legend": [_entry(name, key) for name, key in _groups(runs, keys).items()],
        },
        "figures": views,
    }
    shown = [figure for figure in FIGURES if views[figure.name] or any(figure.image in run.images for run in runs)]
    environment = Environment(
        loader=PackageLoader("edgewise.study", "assets"),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=StrictUndefined,
    )
    return environment.get_template("report.html").render(
        title=title,
        statement=statement,
        runs=runs,
        settings=[_setting(run) for run in runs],
        sentences=sentences([run.judged.claims for run in runs], [run.metrics for run in runs]),
        caveats=[(run.name, caveat) for run in runs for caveat in run.judged.caveats],
        figures=[
            {
                "figure": figure,
                "claims": claim_rows(runs, figure.numbers),
                "sources": _sources(runs, views[figure.name]),
                "images": _images(figure, runs),
            }
            for figure in shown
        ],
        claims=claim_rows(runs),
        parameters=_parameters(runs),
        versions={"Python": platform.python_version(), **{name: metadata.version(name) for name in PACKAGES}},
        colors={**COLORS, "threshold": THRESHOLD_COLOR},
        payload=json.dumps(payload, ensure_ascii=False).replace("<", "\\u003c"),
        vega=vl_convert.javascript_bundle("window.vegaEmbed = vegaEmbed").replace("</script", "<\\/script"),
    )


def _setting(run: Run) -> str:
    """Data, groups, network and seeds of a run in a line."""
    of = run.params
    classes = "all classes" if of["dataset.classes"] == "all" else f"classes {_listed(of['dataset.classes'])}"
    data = f"{of['dataset.name']}, {classes}, n = {of['dataset.n']}"
    displaced = f"α = {of['alpha']:g}{'' if of['direction'] == 'coherent' else ' in random directions'}"
    if of.get("prototypes.disjoint"):
        displaced += ", groups that share no image"
    training = f"{of['model.name']}, {of['loss']}, {of['optimizer.name']}, η = {of['optimizer.lr']:g}"
    return f"{data}; {displaced}; {training}; {len(of['seeds'])} seed{'s' * (len(of['seeds']) > 1)}"


def _listed(values: Sequence[object]) -> str:
    return ", ".join(map(str, values))


def _keys(runs: Sequence[Run]) -> list[dict[str, Key]]:
    """What of each run can be switched on and off; a group looks the same in every run."""
    groups = list(dict.fromkeys(group for run in runs for group in groups_of(run.frames)))
    return [keys_of(run.frames, groups) for run in runs]


def _views(figure: Figure, runs: Sequence[Run], keys: Sequence[Mapping[str, Key]]) -> list[dict[str, Any]]:
    """A figure as drawn for each run that has something to draw: its panels, and what can be switched on and off."""
    found = []
    for index, (run, of_run) in enumerate(zip(runs, keys, strict=True)):
        tables = run.frames
        panels = [panel for panel in figure.panels(tables) if panel.drawn(tables)]
        if panels:
            found.append(
                {
                    "run": index,
                    "shown": run.is_about(figure),
                    "legend": _legend(panels, tables, of_run),
                    "tables": sorted({table for panel in panels for table in panel.uses()}),
                    "panels": [
                        {
                            "title": panel.title,
                            "keys": panel.keys(tables),
                            "axis": panel.y.label,
                            "spec": panel.spec(tables, of_run),
                        }
                        for panel in panels
                    ],
                }
            )
    return found


def _legend(panels: Sequence[Panel], tables: Tables, keys: Mapping[str, Key]) -> list[dict[str, Any]]:
    """The keys of the panels' series; one whose series differ in colour is shown in that of the text."""
    series = [names for panel in panels for names in panel.keys(tables).values()]
    legend = []
    for name, key in keys.items():
        colors = {next((keys[n].color for n in names if keys[n].color), None) for names in series if name in names}
        if colors:
            legend.append(_entry(name, key if colors == {key.color} else replace(key, color=None)))
    return legend


def _entry(name: str, key: Key) -> dict[str, Any]:
    return {"key": name, "label": key.label, "color": key.color or "ink", "dash": key.dash or (1, 0)}


def _groups(runs: Sequence[Run], keys: Sequence[Mapping[str, Key]]) -> dict[str, Key]:
    """The groups of all runs."""
    return {
        group: of_run[group_key(group)]
        for run, of_run in zip(runs, keys, strict=True)
        for group in run.metrics["selectivity"]["groups"]
    }


def gains(runs: Sequence[Run]) -> str:
    """The settled gains of the groups in every run (metrics/selectivity.json), as a table."""
    table = io.StringIO()
    rows = csv.writer(table, lineterminator="\n")
    rows.writerow(["run", "group", "held", "gain", "gain_low", "gain_high"])
    for run in runs:
        for group, of_group in run.metrics["selectivity"]["groups"].items():
            for held, name in GAINS.items():
                found = of_group[name]
                rows.writerow([run.name, group, held, found["mean"], found["low"], found["high"]])
    return table.getvalue()


def _gain_panels(runs: Sequence[Run], keys: Mapping[str, Key]) -> list[dict[str, Any]]:
    """The gains with their intervals: a row a run, or with one run a row a group."""
    several = len(runs) > 1
    color: Spec = {
        "field": "group",
        "scale": {"domain": list(keys), "range": [f"var(--{key.color})" for key in keys.values()]},
        "legend": None,
    }
    rows = {
        "field": "run" if several else "group",
        "type": "nominal",
        "sort": [run.name for run in runs] if several else list(keys),
        "axis": {
            "title": None,
            "grid": True,
            "labelExpr": "replace(replace(datum.label, '_outlier', '-outlier'), '_', ' ')",
        },
        "scale": {"paddingInner": 0.25},
    }
    within = {"yOffset": {"field": "group", "sort": list(keys), "scale": {"paddingOuter": 0.6}}} if several else {}
    tooltip = [
        {"field": "run", "type": "nominal"},
        {"field": "group", "type": "nominal"},
        *({"field": name, "type": "quantitative", "format": ".3g"} for name in ("gain", "gain_low", "gain_high")),
    ]
    return [
        {
            "title": f"at equal {held}",
            "keys": {group: [group] for group in keys},
            "spec": {
                "width": "container",
                "height": 60 + len(keys) * (15 * len(runs) if several else 28),
                "autosize": {"type": "fit", "contains": "padding"},
                "data": {"name": "gains"},
                "params": [{"name": "hidden", "value": []}],
                "transform": [{"filter": f"datum.held === '{held}' && indexof(hidden, datum.group) < 0"}],
                "encoding": {"y": rows, **within, "color": color, "tooltip": tooltip},
                "layer": [
                    {
                        "data": {"values": [{}]},
                        "mark": {"type": "rule", "color": "var(--rule)"},
                        "encoding": {
                            "x": {"datum": 0, "type": "quantitative"},
                            "y": None,
                            "yOffset": None,
                            "color": None,
                            "tooltip": None,
                        },
                    },
                    {
                        "mark": {"type": "rule", "strokeWidth": 2},
                        "encoding": {"x": {"field": "gain_low", "type": "quantitative"}, "x2": {"field": "gain_high"}},
                    },
                    {
                        "mark": {"type": "point", "filled": True, "size": 60},
                        "encoding": {
                            "x": {
                                "field": "gain",
                                "type": "quantitative",
                                "axis": {
                                    "title": "settled Δℓ (right of 0 it gains)",
                                    "tickCount": 5,
                                },
                                "scale": {"nice": False, "zero": True},
                            },
                            "shape": {
                                "field": "group",
                                "scale": {
                                    "domain": list(keys),
                                    "range": [SHAPES.get(group, "cross") for group in keys],
                                },
                                "legend": None,
                            },
                        },
                    },
                ],
            },
        }
        for held in GAINS
    ]


def claim_rows(runs: Sequence[Run], figures: Sequence[str] | None = None) -> list[dict[str, Any]]:
    """The claims of all runs, or of some figures: a row a claim, a cell a run, None where it is not tested.

    Rows come in the order of the first run that can test them.
    """
    rows: dict[tuple[str, str], dict[str, Any]] = {}
    for index, run in enumerate(runs):
        for claim in run.judged.claims:
            if figures is None or claim.figure in figures:
                blank = {
                    "figure": claim.figure,
                    "statement": claim.statement,
                    "paper": claim.paper,
                    "cells": [None] * len(runs),
                }
                rows.setdefault((claim.figure, claim.statement), blank)["cells"][index] = _cell(claim)
    return list(rows.values())


def _cell(claim: JudgedClaim) -> dict[str, Any]:
    interval = "" if claim.low is None or claim.high is None else f"[{_number(claim.low)}, {_number(claim.high)}]"
    return {
        "verdict": claim.verdict,
        "holm": claim.verdict_holm,
        "window": claim.window == "decides",
        "statistic": "" if claim.statistic is None else _number(claim.statistic),
        "interval": interval,
    }


def _number(value: float) -> str:
    """Three digits, with a minus sign that is one.

    >>> _number(-0.00829147)
    '−0.00829'
    """
    return f"{value:.3g}".replace("-", "−")


def _sources(runs: Sequence[Run], views: Sequence[Mapping[str, Any]]) -> list[dict[str, str]]:
    """The tables that a figure is drawn from: file, the command that makes it, and its MD5 as DVC has it, by run."""
    found = []
    for view in views:
        run = runs[view["run"]]
        for table in view["tables"]:
            path = f"{TABLES}/{table}.csv"
            found.append(
                {
                    "index": view["run"],
                    "run": run.name,
                    "table": table,
                    "path": path,
                    "command": f"dvc repro {run.stage_of(path)}",
                    "md5": md5_of(run.tables[table].encode()),
                }
            )
    return found


def _images(figure: Figure, runs: Sequence[Run]) -> list[dict[str, str]]:
    """The images of a figure of images, each as the source of an <img>."""
    name = figure.image or ""
    found = [(run.name, run.images[name]) for run in runs if name in run.images]
    return [{"run": run, "source": f"data:image/png;base64,{base64.b64encode(png).decode()}"} for run, png in found]


def _parameters(runs: Sequence[Run]) -> list[dict[str, Any]]:
    """Every parameter with its value in each run; those that differ come first."""
    names = dict.fromkeys(name for run in runs for name in run.params)
    rows = []
    for name in names:
        values = [
            json.dumps(run.params[name], ensure_ascii=False).strip('"') if name in run.params else "" for run in runs
        ]
        rows.append({"name": name, "values": values, "differs": len(set(values)) > 1})
    return sorted(rows, key=lambda row: not row["differs"])
