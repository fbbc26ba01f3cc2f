"""Heavy-tailed noise beside its controls, from the table of the controls."""

from __future__ import annotations

from collections.abc import Iterator

import matplotlib.pyplot as plt
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from heavytail.book.figures.style import CLEAR, COLOURS, FAINT, GREY, INK
from heavytail.book.tables import PAPER_TYPE
from heavytail.lab.results import SHARES

OTHERS = {"plain SGD": "o", "weight decay": "v", "unseen direction": "s"}


def controls(table: pd.DataFrame) -> Figure:
    """Test error after pruning, least on top, against the share pruned at squared error 0.1: a panel a noise.

    A point is a run; those of other controls are small.
    """
    figure, axes = plt.subplots(1, 3, figsize=(8.0, 3.2), sharex=True, sharey=True)
    for axis, (name, heavy, light) in zip(axes, _noises(table), strict=True):
        for label, rows in _others(table):
            _points(axis, rows, OTHERS[label], {"plain SGD": INK, "weight decay": FAINT}.get(label, GREY), label, 2.5)
        _points(axis, heavy, "D", COLOURS[name], None)
        for _, rows in light.groupby("sigma"):
            _points(axis, rows, "x", COLOURS[name], None)
        axis.set(title=name, xlabel="share pruned at error 0.1", xlim=(0, 1), yscale="log")
    axes[0].set_ylabel("test error after pruning")
    axes[0].invert_yaxis()
    for alpha, marker in ((table["alpha"].min(), "D"), (2, "x")):
        axes[0].plot([], [], marker, color=GREY, markersize=4, label=f"α = {alpha:g}")
    handles, labels = axes[0].get_legend_handles_labels()
    figure.legend(handles, labels, ncols=5, loc="outside upper center", handletextpad=0.2)
    return figure


def control_curves(table: pd.DataFrame) -> Figure:
    """Median test accuracy against the pruned share: a panel a noise, by norm, at random, and with Gaussian kicks."""
    figure, axes = plt.subplots(1, 3, figsize=(8.0, 3.2), sharex=True, sharey=True)
    plain = next(rows for label, rows in _others(table) if label == "plain SGD")
    for axis, (name, heavy, light) in zip(axes, _noises(table), strict=True):
        matched = light[light["sigma"] == light["sigma"].min()]
        for rows, kind, line, colour, label in (
            (plain, "share", "-", INK, "plain SGD"),
            (matched, "share", "--", COLOURS[name], "α = 2, same kick"),
            (heavy, "random", ":", COLOURS[name], "pruned at random"),
            (heavy, "share", "-", COLOURS[name], f"α = {heavy['alpha'].iloc[0]:g}"),
        ):
            held = {s: f"test_accuracy_{kind}_{s:.1f}" for s in SHARES if f"test_accuracy_{kind}_{s:.1f}" in rows}
            axis.plot(list(held), rows[list(held.values())].median(), line, color=colour, label=label)
        axis.set(title=name, xlabel="share of neurons pruned", xlim=(0, 1), ylim=(0, 1))
        axis.legend(fontsize="x-small", loc="lower left")
    axes[0].set_ylabel("test accuracy")
    return figure


def _noises(table: pd.DataFrame) -> Iterator[tuple[str, pd.DataFrame, pd.DataFrame]]:
    """Each noise by the paper's name: its runs with a heavy tail, and those at alpha = 2."""
    seen = table[table["along"] == "ones"]
    for noise, name in PAPER_TYPE.items():
        rows = seen[seen["noise"] == noise]
        if noise is not None:
            yield name, rows[rows["alpha"] < 2], rows[rows["alpha"] == 2]


def _others(table: pd.DataFrame) -> Iterator[tuple[str, pd.DataFrame]]:
    quiet = table["noise"].isna()
    for label, chosen in zip(
        OTHERS, (quiet & (table["weight_decay"] == 0), quiet & (table["weight_decay"] > 0), table["along"] == "unseen"),
        strict=True,
    ):  # fmt: skip
        yield label, table[chosen]


def _points(axis: Axes, rows: pd.DataFrame, marker: str, colour: str, label: str | None, size: float = 4) -> None:
    axis.plot(
        rows["pruning_ratio"],
        1 - rows["test_accuracy_pruned"],
        marker,
        color=colour,
        markersize=size,
        alpha=CLEAR,
        label=label,
    )
