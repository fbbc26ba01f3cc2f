"""Networks of several depths: how far they prune and what it costs, from tables."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import matplotlib.pyplot as plt
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from heavytail.book.figures.style import CLEAR, COLOURS, GROUND
from heavytail.book.figures.training import band, legend_of_types, named_type
from heavytail.book.tables import accuracy_curves
from heavytail.evidence import depths

MARKERS = ("D", "o", "^", "s")  # the heaviest tail first
LAYERS = "hidden layers"


def pruning_by_depth(table: pd.DataFrame) -> Figure:
    """Pruning ratio at squared error 0.1 a layer against depth: a panel a noise, a point a run, medians joined."""
    figure = _by_depth(table, table["pruning_ratio"], "share pruned at error 0.1")
    figure.axes[0].set_ylim(0, 1.03)
    return figure


def loss_by_depth(table: pd.DataFrame) -> Figure:
    """Test accuracy that pruning at squared error 0.1 a layer costs, against depth: a panel a noise, a point a run."""
    return _by_depth(table, 100 * depths.accuracy_lost(table), "points of accuracy lost")


def curves_by_depth(table: pd.DataFrame, alpha: float) -> Figure:
    """Test accuracy against the share pruned in each layer, a panel a depth; medians over seeds, bands as of `band`."""
    parts = list(table[(table["alpha"] == alpha) | table["noise"].isna()].groupby("depth"))
    figure, axes = plt.subplots(1, len(parts), figsize=(8.0, 3.0), sharex=True, sharey=True, squeeze=False)
    for axis, (depth, rows) in zip(axes[0], parts, strict=True):
        curves = accuracy_curves(rows)
        curves = curves.assign(type=named_type(curves))
        present = [name for name in COLOURS if name in set(curves["type"])]
        sns.lineplot(
            curves, x="share", y="accuracy", hue="type", hue_order=present, palette=COLOURS, estimator="median",
            errorbar=band(rows), err_kws={"alpha": 0.15}, ax=axis, legend=axis is axes[0][0],
        )  # fmt: skip
        axis.set(title=f"{depth} {LAYERS}", xlabel="share pruned in each layer", xlim=(0, 1), ylim=(0, 1))
        axis.set_xticks([0, 0.5, 1])
    axes[0][0].set_ylabel("test accuracy")
    legend_of_types(axes[0][0], "lower left")
    return figure


def _by_depth(table: pd.DataFrame, values: pd.Series, ylabel: str) -> Figure:
    """A panel a noise; runs as points, an α a marker, medians over seeds joined; plain SGD in each panel, dashed."""
    table = table.assign(value=values, type=named_type(table))
    types = [name for name in COLOURS if name in set(table["type"]) and name != "none"]
    figure, axes = plt.subplots(1, max(len(types), 1), figsize=(8.0, 3.2), sharex=True, sharey=True, squeeze=False)
    every = sorted(table["depth"].unique())
    plain = table[table["noise"].isna()]
    for axis, name in zip(axes[0], types, strict=False):
        own = table[table["type"] == name]
        series = [("plain SGD", plain, "x", COLOURS["none"], "--")]
        series += [(label, rows, marker, COLOURS[name], "-") for label, rows, marker in _alphas(own)]
        for number, (label, rows, marker, colour, line) in enumerate(series):
            shift = 0.14 * (number - (len(series) - 1) / 2)
            _points(axis, rows, shift, marker, colour, line, label, filled=number < 2)
        axis.set(title=name, xlabel=LAYERS, xticks=every, xlim=(every[0] - 0.4, every[-1] + 0.4))
    axes[0][0].set_ylabel(ylabel)
    handles, labels = axes[0][0].get_legend_handles_labels()
    legend = figure.legend(handles, labels, ncols=len(labels), loc="outside upper center")
    for entry in legend.get_lines():  # a marker is one α in every panel, whatever the colour
        entry.set(color=COLOURS["none"], markeredgecolor=COLOURS["none"])
    return figure


def _alphas(rows: pd.DataFrame) -> Iterator[tuple[str, pd.DataFrame, str]]:
    for (alpha, own), marker in zip(rows.groupby("alpha"), MARKERS, strict=False):
        yield f"$\\alpha={alpha:g}$", own, marker


def _points(
    axis: Axes, rows: pd.DataFrame, shift: float, marker: str, colour: object, line: str, label: str, filled: bool
) -> None:
    look: dict[str, Any] = {"marker": marker, "color": colour, "markersize": 4.5} | (
        {} if filled else {"markerfacecolor": GROUND}
    )
    axis.plot(rows["depth"] + shift, rows["value"], linestyle="none", alpha=CLEAR, zorder=3, **look)
    middle = rows.groupby("depth")["value"].median()
    axis.plot(middle.index + shift, middle, line, color=colour, linewidth=1.2)
    axis.plot([], [], linestyle=line, linewidth=1.2, label=label, **look)
