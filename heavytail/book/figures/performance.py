"""How the cost of a step grows, and how near it comes to its limits, from reports of `heavytail bench`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import matplotlib.pyplot as plt
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from heavytail.book.figures.style import COLOURS, FAINT, INK, WIDE

AXES = {"n": "neurons $n$", "d": "inputs $d$", "runs": "runs at once"}
LIMITS = {  # a figure: its axes, and our goal
    "noise.over_copy": ("noise over a copy of the same bytes", "weights", 1.25),
    "step.over_matmul": ("step over its products", "networks", 1.15),
}
_LOOP = "grid.speedup_over_loop", "grid.speedup_of_products_alone"
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
        axis.errorbar(size, rows["value"], yerr=spread, marker="o", markersize=4, color=INK, capsize=2)
        last = rows["value"].iloc[-1] / size.iloc[-1]
        axis.plot(size, last * size, color=FAINT, linestyle="--", label="linear")
        axis.set(xscale="log", yscale="log", xlabel=label)
    panels[0, 0].set_ylabel("ms a step")
    panels[0, 0].legend()
    return figure


def over_loop(figures: pd.DataFrame) -> Figure:
    """How many times as fast as an ordinary loop a grid is: a point a case, in the colour of its noise.

    Bars reach over rounds. A ring is the limit, a trainer that does nothing but matrix products. Raises ValueError
    where no grid was held against a loop.
    """
    ours, limits = (figures[figures["name"] == name] for name in _LOOP)
    if ours.empty:
        raise ValueError("no grid was held against a loop: run `heavytail bench grid --json`")
    shapes = {case: _shape(str(case)) for case in ours["case"]}
    places = {shape: number for number, shape in enumerate(dict.fromkeys(shapes.values()))}
    figure, axis = plt.subplots(figsize=(8.0, 0.9 + 0.75 * len(places)))
    most = limits.set_index("case")["value"]
    for row in ours.itertuples():
        kind = next(word for word in _TYPES if word in str(row.case))
        height = places[shapes[row.case]] + 0.36 * (list(_TYPES).index(kind) - 1.5)
        colour = COLOURS[_TYPES[kind]]
        spread = [[row.value - row.low], [row.high - row.value]]
        axis.errorbar(row.value, height, xerr=spread, marker="o", markersize=6, color=colour, capsize=3)
        label = f"{_TYPES[kind]}: {row.value:.1f}"
        axis.annotate(label, (row.low, height), (-8, 0), textcoords="offset points", ha="right", va="center")
        if row.case in most:
            axis.plot(most[row.case], height, "o", markersize=10, markerfacecolor="none", markeredgecolor=colour)
    axis.axvline(1, color=FAINT, linewidth=1)
    top = max(ours["high"].max(), limits["value"].max())
    axis.set(xscale="log", xlim=(0.6, 1.3 * top), xlabel="times as fast as the loop", ylabel="on the shape of")
    ticks = [tick for tick in (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000) if tick <= 1.3 * top]
    axis.set_xticks(ticks, list(map(str, ticks)))
    axis.minorticks_off()
    axis.set_yticks(list(places.values()), list(places))
    axis.set_ylim(len(places) - 0.5, -0.5)
    return figure


def _shape(case: str) -> str:
    """What a grid is trained on, in lines, without its noise and its number of runs."""
    data, *rest = [part for part in case.split(", ") if part not in _TYPES and not part.endswith(" steps")]
    looks = [part for part in case.split(", ") if part.startswith("evaluated every")]
    batch = [part for part in rest if "batch" in part]
    return "\n".join([f"{data.upper()}, {', '.join(batch)}", *looks])


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
        axis.axvline(1, color=FAINT, linewidth=1)
        axis.axvline(goal, color=FAINT, linewidth=1, linestyle=":")
        axis.set(xlabel=label, ylabel=shapes, yticks=list(places.values()), yticklabels=list(places))
        axis.set_ylim(len(places) - 0.5, -0.5)
    handles = {kind: Line2D([], [], marker="o", linestyle="", color=COLOURS[kind]) for kind in _TYPES.values()}
    if len(reports) > 1:
        for number, (machine, _) in enumerate(reports.values()):
            shape = Line2D([], [], marker=_MARKERS[number % len(_MARKERS)], linestyle="", color=INK)
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
