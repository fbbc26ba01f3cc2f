"""What one would ship: test accuracy against the bytes of a file, and against the time for a batch."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from heavytail.book.figures.style import CLEAR, COLOURS, GREY, INK
from heavytail.book.tables import PAPER_TYPE
from heavytail.evidence import arms, shipping

_STYLES = {arms.PLAIN: "-", arms.DECAY: "--", arms.LASSO: ":"}
_BELOW = 0.12  # of accuracy, below what is enough: what is worse is left out


def accuracy_by_bytes(files: Mapping[str, pd.DataFrame]) -> Figure:
    """Test accuracy against bytes, a row of panels a data set, left pruned and right tuned too, a line an arm.

    `files` has by title what `evidence.shipping.networks` made of a table. Lines are medians over seeds, bands their
    spread from the lowest to the highest seed for plain SGD; a dot is one seed's smallest file that is accurate enough,
    which is what lies above the thin line. Of two strengths of an arm the lesser is drawn thin.
    """
    figure, axes = plt.subplots(len(files), 2, figsize=(8.0, 3.0 * len(files) + 0.8), sharey="row", squeeze=False)
    for panels, (title, own) in zip(axes, files.items(), strict=True):
        own = own.assign(kilobytes=own["bytes"] / 1000)
        chosen = shipping.smallest(own)
        for axis, way in zip(panels, ("pruned", "tuned"), strict=True):
            for label, look, rows in _lines(own[own["way"] == way]):
                middle = _medians(rows, "kilobytes")
                axis.plot(middle["kilobytes"], middle["accuracy"], label=label, **look)
                of_arm = (chosen["arm"] == rows["arm"].iloc[0]) & (chosen["strength"] == rows["strength"].iloc[0])
                dots = chosen[of_arm & (chosen["way"] == way) & chosen["enough"]]
                axis.plot(dots["kilobytes"], dots["accuracy"], ".", color=look["color"], markersize=4, alpha=CLEAR)
                if label == arms.PLAIN:
                    ends = rows.groupby("units").agg(
                        x=("kilobytes", "median"), low=("accuracy", "min"), high=("accuracy", "max")
                    )
                    axis.fill_between(ends["x"], ends["low"], ends["high"], color=GREY, alpha=0.12, linewidth=0)
            _rivals(axis, own, "kilobytes")
            _frame(axis, own, f"{title}, {'pruned' if way == 'pruned' else 'pruned and tuned'}")
        panels[0].set_ylabel("test accuracy")
    for axis in axes[-1]:
        axis.set_xlabel("size of the file in kB")
    _legend(figure, axes)
    return figure


def accuracy_by_time(files: Mapping[str, pd.DataFrame], times: pd.DataFrame) -> Figure:
    """Test accuracy of tuned networks against the time for a batch in ONNX Runtime, a panel a data set and batch.

    `times` is what `evidence.shipping.latencies` made of a report. Marks as in `accuracy_by_bytes`, without dots.
    """
    batches = sorted(times["batch"].unique())
    size = (8.0, 2.7 * len(files) + 0.8)
    figure, axes = plt.subplots(len(files), len(batches), figsize=size, sharey="row", squeeze=False)
    for panels, (title, own) in zip(axes, files.items(), strict=True):
        for axis, batch in zip(panels, batches, strict=True):
            known = times[times["batch"] == batch][["dataset", "units", "ms"]]
            timed = own.merge(known, on=["dataset", "units"])
            for label, look, rows in _lines(timed[timed["way"] == "tuned"]):
                middle = _medians(rows, "ms")
                axis.plot(middle["ms"], middle["accuracy"], label=label, **look)
            _rivals(axis, timed, "ms", int8=False)
            _frame(axis, own, f"{title}, batch {batch}")
        panels[0].set_ylabel("test accuracy")
    for axis in axes[-1]:
        axis.set_xlabel("ms for a batch")
    _legend(figure, axes)
    return figure


def _lines(rows: pd.DataFrame) -> Iterator[tuple[str, dict[str, object], pd.DataFrame]]:
    """The networks of each arm and strength, with its label and look."""
    for (arm, strength, noise), own in rows.groupby(["arm", "strength", "noise"], sort=False):
        most = strength == rows.loc[rows["arm"] == arm, "strength"].max()
        look: dict[str, object] = {"color": GREY, "linestyle": _STYLES.get(arm, "-"), "linewidth": 1.8 if most else 0.8}
        if noise:
            look["color"] = COLOURS[PAPER_TYPE[noise]]
        yield PAPER_TYPE[noise] if noise else str(arm), look, own


def _medians(rows: pd.DataFrame, across: str) -> pd.DataFrame:
    """By number of units; one that few seeds have, as a lasso leaves any, is no median over seeds."""
    seeds = rows.groupby("units")["seed"].nunique()
    common = rows["units"].isin(seeds.index[2 * seeds > rows["seed"].nunique()])
    return rows[common].groupby("units")[[across, "accuracy"]].median().sort_values(across)


def _rivals(axis: Axes, own: pd.DataFrame, across: str, *, int8: bool = True) -> None:
    for way, mark, label in (
        ("small", "x", "small, from scratch"),
        ("int8", "*", "whole, int8"),
        ("small int8", "+", "small, int8"),
    ):
        rows = own[own["way"] == way]
        if len(rows) and (int8 or way == "small"):
            middle = rows.groupby("width")[[across, "accuracy"]].median()
            axis.plot(middle[across], middle["accuracy"], mark, color=INK, markersize=6, label=label)


def _frame(axis: Axes, own: pd.DataFrame, title: str) -> None:
    least = shipping.target(own)
    axis.axhline(least, color=GREY, linewidth=0.8)
    axis.set(title=title, xscale="log", ylim=(least - _BELOW, own["accuracy"].max() + 0.01))


def _legend(figure: Figure, axes: np.ndarray) -> None:
    """One for all panels: the arms in their order, then the marks."""
    named = {
        label: handle
        for axis in axes.flat
        for handle, label in zip(*axis.get_legend_handles_labels(), strict=True)
        if handle.get_linewidth() > 1 or handle.get_marker() != "None"
    }
    order = [*_STYLES, *(kind for kind in PAPER_TYPE.values() if kind in named)]
    labels = sorted(named, key=lambda label: order.index(label) if label in order else len(order))
    handles = [named[label] for label in labels]
    figure.legend(handles, labels, ncols=5, loc="outside upper center", columnspacing=1.2)
