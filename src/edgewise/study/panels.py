"""Panels of the report: Vega-Lite specifications of curves with their bands, and of points.

A specification names its data by the tables of a run (plots/tables/<name>.csv), which the page holds as they are;
colours are variables of the page's style, so that they follow light, dark and print.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from edgewise.plotting.curves import UNBOUNDED, vertical_range

Tables = Mapping[str, pd.DataFrame]
Spec = dict[str, Any]

HEIGHT = 240


@dataclass(frozen=True)
class Key:
    """What a reader can switch on and off: a group, a branch, a kind of curve.

    Attributes
    ----------
    label : in the legend
    color : a variable of the page's style, without its dashes; None leaves the colour to another key of the series
    dash : lengths of strokes and gaps in pixels; None leaves them to another key
    """

    label: str
    color: str | None = None
    dash: tuple[int, ...] | None = None


@dataclass(frozen=True)
class Series:
    """One curve: a column of a table, with the keys that all have to be on for it to be shown."""

    column: str
    keys: tuple[str, ...]


@dataclass(frozen=True)
class Axis:
    """An axis of a panel: its label, whether it is logarithmic, what its quantity can be, what it must show."""

    label: str
    log: bool = False
    bounds: tuple[float, float] = UNBOUNDED
    within: tuple[float, ...] = ()


@dataclass(frozen=True)
class Curves:
    """Columns of a table over its first column, each with the band from <column>_low to <column>_high if it has one.

    Attributes
    ----------
    marks : of `MARKS`, what is marked in the panel
    shift : added to the first column; two-step averages lie between their steps
    """

    title: str
    table: str
    series: tuple[Series, ...]
    x: Axis
    y: Axis
    marks: tuple[str, ...] = ()
    shift: float = 0.0

    def drawn(self, tables: Tables) -> bool:
        """Whether the run has a column of this panel."""
        return self.table in tables and bool(self.known(tables))

    def known(self, tables: Tables) -> list[Series]:
        """The series that the run's table has."""
        return [series for series in self.series if series.column in tables[self.table]]

    def keys(self, tables: Tables) -> dict[str, tuple[str, ...]]:
        """What has to be on for each value of the field `series` to be shown."""
        return {series.column: series.keys for series in self.known(tables)}

    def uses(self) -> set[str]:
        """The tables that the panel is drawn from."""
        return {
            self.table,
            *(["moments"] if {"transient", "t_star_star", "t_star_star_equal_time"} & set(self.marks) else []),
        }

    def spec(self, tables: Tables, keys: Mapping[str, Key]) -> Spec:
        """The specification; `low` and `high`, the ends of the vertical axis, are parameters that the page may set."""
        known, index = self.known(tables), str(tables[self.table].columns[0])
        columns = [series.column for series in known]
        table = tables[self.table]
        table = table[(table[index] + self.shift > 0) | (not self.x.log)]
        x = table[index].to_numpy(float) + self.shift
        means = np.concatenate([table[columns].to_numpy(float).ravel(), self.y.within])
        ends = [f"{column}_{end}" for column in columns for end in ("low", "high") if f"{column}_{end}" in table]
        bands = table[ends].to_numpy(float).ravel()
        span = vertical_range(
            means[np.isfinite(means)], bands[np.isfinite(bands)], log=self.y.log, bounds=self.y.bounds
        ) or (0.1, 1.0)
        low, high = (float(f"{end:.6g}") for end in span)
        calculated = [
            {"calculate": f"datum[{index!r}] + {self.shift:g}", "as": "x"},
            *({"filter": "datum.x > 0"} for _ in range(self.x.log)),
        ]
        long = [
            {"fold": [_field(column) for column in columns], "as": ["series", "value"]},
            {"filter": "isValid(datum.value) && indexof(hidden, datum.series) < 0"},
            *({"filter": "datum.value > 0"} for _ in range(self.y.log)),
            {"calculate": "datum[datum.series + '_low']", "as": "lower"},
            {"calculate": "datum[datum.series + '_high']", "as": "upper"},
        ]
        if self.y.log:
            long.append({"calculate": "max(datum.lower, 1e-30)", "as": "lower"})
        styles = [style_of(series.keys, keys) for series in known]
        color = {"field": "series", "scale": {"domain": columns, "range": [c for c, _ in styles]}, "legend": None}
        dash = {"field": "series", "scale": {"domain": columns, "range": [d for _, d in styles]}, "legend": None}
        of_x = {
            "field": "x",
            "type": "quantitative",
            "axis": {"title": self.x.label, **_ticks(self.x)},
            "scale": {**_scale(self.x), "domain": [float(x.min()), float(x.max())], "nice": False},
        }
        of_y = {
            "type": "quantitative",
            "axis": {"title": self.y.label, **_ticks(self.y)},
            "scale": {
                **_scale(self.y),
                "domainMin": {"expr": "low"},
                "domainMax": {"expr": "high"},
                "nice": False,
            },
        }
        band = {
            "x": of_x,
            "y": {**of_y, "field": "lower"},
            "y2": {"field": "upper"},
            "fill": color,
            "detail": {"field": "series"},
        }
        line = {"x": of_x, "y": {**of_y, "field": "value"}, "color": color}
        levels = [column for column in columns if table[column].min() == table[column].max()]
        points = {
            "transform": [*long, {"filter": f"indexof({levels}, datum.series) < 0"}],
            "mark": POINT,
            "encoding": line,
        }
        layers: list[Spec] = [MARKS[mark](self) for mark in self.marks if mark in BEHIND]
        layers += [
            {"transform": [*long, {"filter": "isValid(datum.upper)"}], "mark": BAND, "encoding": band},
            {"transform": long, "mark": LINE, "encoding": {**line, "strokeDash": dash}},
            *([points] if len(table) < FEW else []),
            *(MARKS[mark](self) for mark in self.marks if mark not in BEHIND),
            self._values(index, of_x, known, keys),
        ]
        return _panel(
            self.table,
            [{"name": "low", "value": low}, {"name": "high", "value": high}],
            transform=calculated,
            layer=layers,
        )

    def _values(self, index: str, of_x: Spec, known: Sequence[Series], keys: Mapping[str, Key]) -> Spec:
        """The rule that follows the pointer, with the value and the interval of every curve there."""
        shown = {self.x.label: f"{ROW}[{index!r}]"} | {label_of(s.keys, keys): _in_words(s.column) for s in known}
        return {
            "params": [
                {
                    "name": "pointed",
                    "select": {
                        "type": "point",
                        "on": "pointerover",
                        "clear": "pointerout",
                        "nearest": True,
                        "encodings": ["x"],
                    },
                }
            ],
            "mark": {"type": "rule", "color": "var(--ink)"},
            "encoding": {
                "x": of_x,
                "opacity": {"condition": {"param": "pointed", "empty": False, "value": 0.5}, "value": 0},
                "tooltip": {
                    "value": {"expr": f"{{{', '.join(f'{label!r}: {text}' for label, text in shown.items())}}}"}
                },
            },
        }


@dataclass(frozen=True)
class Points:
    """Rows of a table as points.

    Attributes
    ----------
    x_column, y_column : what the points lie at
    by : the column that says which series a row belongs to
    names : the key of each of its values that is shown
    where : rows that have these values in these columns
    bars : whether the rows have intervals <y_column>_low to <y_column>_high
    diagonal : whether the line of equal values is drawn
    """

    title: str
    table: str
    x_column: str
    y_column: str
    by: str
    names: Mapping[str, str]
    x: Axis
    y: Axis
    where: Mapping[str, str | int] | None = None
    bars: bool = False
    diagonal: bool = False
    marks: tuple[str, ...] = ()

    def drawn(self, tables: Tables) -> bool:
        """Whether the run has what is drawn."""
        return self.table in tables and {self.x_column, self.y_column, self.by} <= set(tables[self.table])

    def keys(self, tables: Tables) -> dict[str, tuple[str, ...]]:
        """What has to be on for each value of `by` to be shown."""
        values = tables[self.table][self.by].astype(str).unique()
        return {str(value): (self.names[value],) for value in values if value in self.names}

    def uses(self) -> set[str]:
        """The table that the panel is drawn from."""
        return {self.table}

    def spec(self, tables: Tables, keys: Mapping[str, Key]) -> Spec:
        """The specification of the panel."""
        series = self.keys(tables)
        colors = {value: style_of(names, keys)[0] for value, names in series.items()}
        shapes = {value: SHAPES.get(names[0], "circle") for value, names in series.items()}
        kept = [
            f"indexof({list(series)}, toString(datum[{self.by!r}])) >= 0",
            f"indexof(hidden, toString(datum[{self.by!r}])) < 0",
        ]
        kept += [f"datum[{column!r}] === {value!r}" for column, value in (self.where or {}).items()]
        kept += [f"datum[{c!r}] > 0" for c, axis in ((self.x_column, self.x), (self.y_column, self.y)) if axis.log]
        rows = tables[self.table]
        own = {self.x_column, self.y_column, f"{self.y_column}_low", f"{self.y_column}_high"}
        also = [
            str(column) for column in rows.columns if column not in own and not str(column).endswith(("_low", "_high"))
        ][:4]
        position = {
            axis: {
                "field": column,
                "type": "quantitative",
                "axis": {"title": of.label, **_ticks(of)},
                "scale": {**_scale(of), "nice": of.log},
            }
            for axis, column, of in (("x", self.x_column, self.x), ("y", self.y_column, self.y))
        }
        many = len(rows) > 300
        layers: list[Spec] = [MARKS[mark](self) for mark in self.marks]
        if self.diagonal:
            values = rows[[self.x_column, self.y_column]].to_numpy(float)
            ends = [{"x": float(end), "y": float(end)} for end in (np.nanmin(values), np.nanmax(values))]
            xy = {axis: {"field": axis, "type": "quantitative"} for axis in "xy"}
            layers.append({"data": {"values": ends}, "mark": RULE | {"type": "line"}, "encoding": xy})
        color = {
            "field": self.by,
            "type": "nominal",
            "scale": {"domain": list(colors), "range": list(colors.values())},
            "legend": None,
        }
        if self.bars:
            bar = {
                "x": position["x"],
                "y": {**position["y"], "field": f"{self.y_column}_low"},
                "y2": {"field": f"{self.y_column}_high"},
                "color": color,
            }
            layers.append(
                {
                    "transform": [{"filter": f"isValid(datum['{self.y_column}_low'])"}],
                    "mark": {"type": "rule", "opacity": 0.6},
                    "encoding": bar,
                }
            )
        layers.append(
            {
                "mark": {"type": "point", "filled": True, "size": 16 if many else 44, "opacity": 0.5 if many else 0.85},
                "encoding": {
                    **position,
                    "color": color,
                    "shape": {
                        "field": self.by,
                        "type": "nominal",
                        "scale": {"domain": list(shapes), "range": list(shapes.values())},
                        "legend": None,
                    },
                    "tooltip": [
                        *({"field": column, "type": "nominal"} for column in also),
                        {"field": self.x_column, "type": "quantitative", "title": self.x.label, "format": ".4g"},
                        {"field": self.y_column, "type": "quantitative", "title": self.y.label, "format": ".4g"},
                    ],
                },
            }
        )
        return _panel(self.table, [], transform=[{"filter": test} for test in kept], layer=layers)


Panel = Curves | Points

#: Of points by their key; groups and strata differ in more than colour.
SHAPES = {
    "inlier": "circle",
    "boundary": "square",
    "output_outlier": "triangle-up",
    "input_outlier": "diamond",
    "stratum": "cross",
}

RULE = {"type": "rule", "color": "var(--rule)", "strokeWidth": 1}
LABEL = {"type": "text", "align": "left", "baseline": "top", "dx": 3, "dy": 2, "color": "var(--soft)"}
LINE = {"type": "line", "clip": True, "strokeWidth": 1.8, "interpolate": "linear"}
BAND = {"type": "area", "clip": True, "opacity": 0.16, "line": False}
POINT = {"type": "point", "clip": True, "size": 18, "filled": True, "opacity": 1}

#: Rows of a table below which its points are drawn on the curves.
FEW = 40


def style_of(names: Sequence[str], keys: Mapping[str, Key]) -> tuple[str, list[int]]:
    """Colour and dashes of a series: of the first of its keys that has them."""
    colors = [key.color for key in map(keys.__getitem__, names) if key.color is not None]
    dashes = [key.dash for key in map(keys.__getitem__, names) if key.dash is not None]
    return f"var(--{colors[0] if colors else 'ink'})", list(dashes[0]) if dashes else [1, 0]


def label_of(names: Sequence[str], keys: Mapping[str, Key]) -> str:
    """What a series is called: the labels of its keys."""
    return ", ".join(keys[name].label for name in names)


def _panel(table: str, params: list[Spec], **parts: Any) -> Spec:
    hidden = {"name": "hidden", "value": []}
    return {
        "width": "container",
        "height": HEIGHT,
        "autosize": {"type": "fit", "contains": "padding"},
        "data": {"name": table},
        "params": [hidden, *params],
        **parts,
    }


def _scale(axis: Axis) -> Spec:
    return {"type": "log"} if axis.log else {"zero": False}


def _ticks(axis: Axis) -> Spec:
    return {"tickCount": 5, **({"format": "~g"} if axis.log else {})}


#: The row of a mark; where the nearest one is pointed at, the mark is that of a mark.
ROW = "(datum.datum || datum)"


def _field(column: str) -> str:
    """The name of a column as Vega reads it, for which a bare dot leads into an object."""
    return column.replace(".", "\\.")


def _in_words(column: str) -> str:
    """A Vega expression: the value of a column and its interval, to three digits."""
    value, low, high = (f"{ROW}['{column}{end}']" for end in ("", "_low", "_high"))
    interval = f"isValid({low}) ? ' [' + format({low}, '.3g') + ', ' + format({high}, '.3g') + ']' : ''"
    return f"isValid({value}) ? format({value}, '.3g') + ({interval}) : 'none'"


def _onset(panel: Panel) -> Spec:
    at = {"x": {"datum": 0}}
    text = {**at, "y": {"value": 0}, "text": {"value": "t*"}}
    return {
        "data": {"values": [{}]},
        "layer": [{"mark": RULE | {"strokeDash": [2, 3]}, "encoding": at}, {"mark": LABEL, "encoding": text}],
    }


def _zero(panel: Panel) -> Spec:
    return {
        "data": {"values": [{}]},
        "mark": RULE,
        "encoding": {"y": {"datum": 0}, "x": {"value": 0}, "x2": {"value": "width"}},
    }


def _transient(panel: Panel) -> Spec:
    """The steps before the median end of the transient, shaded."""
    return {
        "data": {"name": "moments"},
        "transform": [
            {"aggregate": [{"op": "median", "field": "transient", "as": "end"}]},
            {"calculate": "1e-3" if panel.x.log else "0", "as": "start"},
        ],
        "layer": [
            {
                "mark": {"type": "rect", "color": "var(--soft)", "opacity": 0.13, "clip": True},
                "encoding": {"x": {"field": "start", "type": "quantitative"}, "x2": {"field": "end"}},
            },
            {"mark": LABEL, "encoding": {"x": {"value": 0}, "y": {"value": 0}, "text": {"value": "transient"}}},
        ],
    }


def _settled(panel: Panel) -> Spec:
    """A bar along the bottom under the later half, over which a gain is averaged."""
    assert isinstance(panel, Curves)
    first = panel.series[0].column
    ends = [{"op": "median", "field": "x", "as": "start"}, {"op": "max", "field": "x", "as": "end"}]
    return {
        "transform": [{"filter": f"isValid(datum['{first}'])"}, {"aggregate": ends}],
        "layer": [
            {
                "mark": {"type": "rule", "strokeWidth": 5, "color": "var(--soft)"},
                "encoding": {
                    "x": {"field": "start", "type": "quantitative"},
                    "x2": {"field": "end"},
                    "y": {"value": "height"},
                },
            },
            {
                "mark": LABEL | {"align": "right", "baseline": "bottom", "dx": -2, "dy": -5},
                "encoding": {
                    "x": {"field": "end", "type": "quantitative"},
                    "y": {"value": "height"},
                    "text": {"value": "settled"},
                },
            },
        ],
    }


def _second_onset(column: str) -> Any:
    """The median step at which the exit branch reaches its own threshold, over the seeds in which it does."""

    def marked(panel: Panel) -> Spec:
        median = [{"aggregate": [{"op": "median", "field": column, "as": "x"}]}, {"filter": "isValid(datum.x)"}]
        text = {"x": {"field": "x", "type": "quantitative"}, "y": {"value": 0}, "text": {"value": "t**"}}
        return {
            "data": {"name": "moments"},
            "transform": median,
            "layer": [
                {
                    "mark": RULE | {"strokeDash": [2, 3], "clip": True},
                    "encoding": {"x": {"field": "x", "type": "quantitative"}},
                },
                {"mark": LABEL | {"clip": True}, "encoding": text},
            ],
        }

    return marked


#: What can be marked in a panel.
MARKS = {
    "onset": _onset,
    "zero": _zero,
    "transient": _transient,
    "settled": _settled,
    "t_star_star": _second_onset("t_star_star"),
    "t_star_star_equal_time": _second_onset("t_star_star_equal_time"),
}
#: Of those, what lies behind the curves.
BEHIND = {"transient", "zero"}
