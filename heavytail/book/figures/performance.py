"""How the cost of a step grows, and how near it comes to its limits, from reports of `heavytail bench`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import matplotlib.pyplot as plt
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from heavytail.book.figures.style import COLOURS, WIDE

AXES = {"n": "neurons $n$", "d": "inputs $d$", "runs": "runs at once"}
LIMITS = {  # a figure: its axes, and our goal
    "noise.over_copy": ("noise over a copy of the same bytes", "weights", 1.25),
    "step.over_matmul": ("step over its products", "networks", 1.15),
}
_TYPES = {"no noise": "none", "shared": "Type-I", "entrywise": "Type-II", "isotropic": "Type-III"}
_MARKERS = "osD^v"


def growth(figures: pd.DataFrame) -> Figure:
    """Milliseconds a step against neurons, inputs and runs, where measured; bars reach over rounds, dashed is linear.

    Raises ValueError where no growth was measured.
    """
    axes = {name: label for name, label in AXES.items() if (figures["name"] == f"growth.{name}").any()}
    if not axes:
        raise ValueError("no growth was measured: run `heavytail bench growth --json`")
    figure, panels = plt.subplots(1, len(axes), figsize=(8.0, 2.8), squeeze=False)
    for axis, (name, label) in zip(panels[0], axes.items(), strict=True):
        rows = figures[figures["name"] == f"growth.{name}"]
        size = rows["case"].str.extract(r"= (\d+)")[0].astype(float)
        spread = [rows["value"] - rows["low"], rows["high"] - rows["value"]]
        axis.errorbar(size, rows["value"], yerr=spread, marker="o", markersize=4, color="0.2", capsize=2)
        last = rows["value"].iloc[-1] / size.iloc[-1]
        axis.plot(size, last * size, color="0.6", linestyle="--", label="linear")
        axis.set(xscale="log", yscale="log", xlabel=label)
    panels[0, 0].set_ylabel("ms a step")
    panels[0, 0].legend()
    return figure


def over_limits(reports: Mapping[str, tuple[Mapping[str, Any], pd.DataFrame]]) -> Figure:
    """How many times their limits noise and a step take: a point a case, a colour a noise, a marker a machine.

    Bars reach over rounds. The solid line is the limit, the dotted one our goal. Raises ValueError where neither was
    measured.
    """
    there = {name for _, figures in reports.values() for name in figures["name"]}
    limits = {name: about for name, about in LIMITS.items() if name in there}
    if not limits:
        raise ValueError("nothing was held against its limit: run `heavytail bench noise step --device cuda --json`")
    figure, panels = plt.subplots(1, len(limits), figsize=WIDE, squeeze=False)
    for axis, (name, (label, shapes, goal)) in zip(panels[0], limits.items(), strict=True):
        places: dict[str, int] = {}
        for number, (_, figures) in enumerate(reports.values()):
            _points(axis, figures[figures["name"] == name], _MARKERS[number % len(_MARKERS)], places)
        axis.axvline(1, color="0.6", linewidth=1)
        axis.axvline(goal, color="0.6", linewidth=1, linestyle=":")
        axis.set(xlabel=label, ylabel=shapes, yticks=list(places.values()), yticklabels=list(places))
        axis.set_ylim(len(places) - 0.5, -0.5)
    handles = {kind: Line2D([], [], marker="o", linestyle="", color=COLOURS[kind]) for kind in _TYPES.values()}
    if len(reports) > 1:
        for number, (machine, _) in enumerate(reports.values()):
            shape = Line2D([], [], marker=_MARKERS[number % len(_MARKERS)], linestyle="", color="0.2")
            handles[machine["device"]] = shape
    figure.legend(list(handles.values()), list(handles), loc="outside upper center", ncols=len(handles))
    return figure


def _points(axis: Axes, rows: pd.DataFrame, marker: str, places: dict[str, int]) -> None:
    """The rows of a machine; `places` numbers the lines of their shapes, and takes new ones."""
    for row in rows.itertuples():
        kind = next(word for word in _TYPES if word in str(row.case))
        shape = str(row.case).replace(f"{kind}, ", "").replace(f", {kind}", "")
        place = places.setdefault(_broken(shape), len(places))
        height = place + 0.15 * (list(_TYPES).index(kind) - 1.5)
        spread = [[row.value - row.low], [row.high - row.value]]
        colour = COLOURS[_TYPES[kind]]
        axis.errorbar(row.value, height, xerr=spread, marker=marker, markersize=4, color=colour, capsize=2)


def _broken(shape: str) -> str:
    """A shape in two lines if it is long."""
    parts = shape.split(", ")
    return f"{', '.join(parts[:2])}\n{', '.join(parts[2:])}" if len(parts) > 2 else shape
