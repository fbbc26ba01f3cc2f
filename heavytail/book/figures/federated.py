"""Federated training: accuracy against what clients sent, accuracy at a cap of it, and what is left to prune."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from heavytail.book.figures.style import CLEAR, COLOURS, GREY, alpha_colours
from heavytail.evidence import federated

SPLITS = {"even": "even", "dirichlet": "skewed labels", "classes": "few classes"}
_KICKS = COLOURS["Type-III"]

#: Ways that the curves show, each with its look: grey without kicks, in colour with heavy-tailed ones.
_LOOKS: Mapping[tuple[str, str, str], dict[str, Any]] = {
    ("", "", federated.DENSE): {"color": COLOURS["none"], "linestyle": "-", "linewidth": 1.8},
    ("", "", federated.SMALL): {"color": COLOURS["none"], "linestyle": "--"},
    ("", "", "largest columns"): {"color": COLOURS["none"], "linestyle": ":"},
    ("", "", "top numbers"): {"color": COLOURS["none"], "linestyle": "-."},
    ("heavy", "local", "largest columns"): {"color": _KICKS, "linestyle": "-"},
    ("heavy", "common", "largest columns"): {"color": _KICKS, "linestyle": "--"},
    ("heavy", "server", "largest columns"): {"color": _KICKS, "linestyle": ":"},
    ("heavy", "common", "known columns"): {"color": _KICKS, "linestyle": "-."},
}


def accuracy_by_upload(rows: pd.DataFrame, title: str) -> Figure:
    """Test accuracy against the upload of a client, a row of panels a number of clients and a column a split.

    `rows` is what `evidence.federated.trainings` made of a table, at the best settings. Lines are medians over seeds,
    at the same round; dots are the seeds at the cap, the thin vertical line; the thin horizontal one is the target.
    """
    counts = sorted(rows["clients"].unique())
    size = (8.0, 2.6 * len(counts) + 1.2)
    figure, axes = plt.subplots(len(counts), len(SPLITS), figsize=size, sharey=True, sharex=True, squeeze=False)
    wanted, capped = federated.target(rows), federated.at_cap(rows)
    for panels, clients in zip(axes, counts, strict=True):
        for axis, split in zip(panels, SPLITS, strict=True):
            here = (rows["clients"] == clients) & (rows["split"] == split)
            dots = capped[(capped["clients"] == clients) & (capped["split"] == split)]
            _curves(axis, rows[here], dots)
            axis.axvline(federated.CAP, color=GREY, linewidth=0.8)
            axis.axhline(wanted[clients, split], color=GREY, linewidth=0.8)
            axis.set(title=f"{clients} clients, {SPLITS[split]}", xscale="log")
    _frame(axes, rows, wanted)
    figure.suptitle(title, fontsize=11)
    handles, labels = axes[0, 0].get_legend_handles_labels()
    figure.legend(handles, labels, ncols=3, loc="outside lower center", columnspacing=1.2)
    return figure


def accuracy_at_cap(capped: Mapping[str, pd.DataFrame], clients: int) -> Figure:
    """Test accuracy at the cap, a panel a data set, a line a way to train, a dot a seed and a bar their median.

    Dots are hollow where kicks are Gaussian, and the best way is on top. `capped` has by title what
    `evidence.federated.at_cap` returned of trainings with one split.
    """
    figure, axes = plt.subplots(len(capped), 1, figsize=(8.0, 4.0 * len(capped)), squeeze=False)
    for axis, (title, every) in zip(axes[:, 0], capped.items(), strict=True):
        rows = every[every["clients"] == clients]
        named = rows.assign(name=[named_way(*row) for row in rows[["kicks", "design", "way"]].itertuples(index=False)])
        middle = named.groupby("name")["accuracy"].median().sort_values()
        for height, name in enumerate(middle.index):
            own = named[named["name"] == name]
            kicks = own["kicks"].iloc[0]
            colour, face = (
                _KICKS if kicks else COLOURS["none"],
                {"markerfacecolor": "none"} if kicks == "Gaussian" else {},
            )
            axis.plot(own["accuracy"], [height] * len(own), "o", color=colour, markersize=3.5, alpha=CLEAR, **face)
            axis.plot([middle[name]], [height], "|", color=colour, markersize=12, markeredgewidth=2)
        axis.set_yticks(range(len(middle)), list(middle.index))
        axis.set(title=title, xlabel="test accuracy at the cap", ylim=(-0.7, len(middle) - 0.3))
    return figure


def ratio_by_clients(last: pd.DataFrame) -> Figure:
    """The pruning ratio of a trained global model against its number of clients, a colour an alpha, with the law.

    `last` has the trainings of one setting after their last round. Dots are seeds, bars medians, the lines are
    `evidence.federated.predicted`; a square is the median of common kicks, of whatever number of clients.
    """
    figure, axis = plt.subplots(figsize=(8.0, 3.6))
    colours = alpha_colours(last["alpha"])
    for place, (alpha, own) in enumerate(last.groupby("alpha")):
        local, common = own[own["design"] == "local"], own[own["design"] == "common"]
        shift = 1.035 ** (place - 1.5)  # dots of several alphas would hide each other
        colour = colours[alpha]
        axis.plot(local["clients"] * shift, local["pruning_ratio"], ".", color=colour, markersize=4, alpha=CLEAR)
        middle = local.groupby("clients")["pruning_ratio"].median()
        axis.plot(middle.index * shift, middle, "_", color=colour, markersize=11, markeredgewidth=2)
        law = {clients: federated.predicted(rows) for clients, rows in local.groupby("clients")}
        axis.plot(list(law), list(law.values()), color=colour, linewidth=1.2, label=f"$\\alpha={alpha:g}$")
        if len(common):
            axis.plot([1.35 * local["clients"].max()], [common["pruning_ratio"].median()], "s", color=colour)
    counts = sorted(last["clients"].unique())
    axis.set_xscale("log")
    axis.set_xticks([*counts, 1.35 * counts[-1]], [*(f"{count:g}" for count in counts), "\ncommon"])
    axis.minorticks_off()
    axis.set(xlabel="clients $K$ with local kicks", ylabel="share pruned at squared error 0.1", ylim=(0, 1.03))
    axis.legend(loc="center left", bbox_to_anchor=(1.0, 0.5))
    return figure


def named_way(kicks: str, design: str, way: str) -> str:
    """A way to train as figures and tables call it; kicks are heavy-tailed unless it says that they are Gaussian.

    >>> named_way("", "", "dense"), named_way("Gaussian", "local", "largest columns")
    ('dense', 'Gaussian local kicks, largest columns')
    """
    if not kicks:
        return way
    return f"{'Gaussian ' if kicks == 'Gaussian' else ''}{design} kicks, {way}"


def _curves(axis: Axes, rows: pd.DataFrame, dots: pd.DataFrame) -> None:
    for (kicks, design, way), look in _LOOKS.items():
        own, seeds = (
            part[(part["kicks"] == kicks) & (part["design"] == design) & (part["way"] == way)] for part in (rows, dots)
        )
        middle = own.groupby("round")[["sent", "accuracy"]].median()
        axis.plot(middle["sent"], middle["accuracy"], label=named_way(kicks, design, way), **{"linewidth": 1.2, **look})
        axis.plot(seeds["sent"].where(seeds["round"] > 0), seeds["accuracy"], ".", color=look["color"], markersize=3.5)


def _frame(axes: np.ndarray, rows: pd.DataFrame, wanted: pd.Series) -> None:
    first = rows[rows["round"] == 1].groupby(["clients", "split", "kicks", "design", "way"])["accuracy"].median()
    low = max(float(wanted.min()) - 0.25, float(first.min()) - 0.03)  # what is worse is left out
    axes[0, 0].set(ylim=(low, float(rows["accuracy"].max()) + 0.01))
    for panels in axes:
        panels[0].set_ylabel("test accuracy")
    for axis in axes[-1]:
        axis.set_xlabel("upload, in whole models")
