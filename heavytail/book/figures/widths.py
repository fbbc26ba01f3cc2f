"""Networks of several widths: how far they prune, and what is left of their accuracy."""

from __future__ import annotations

from collections.abc import Iterable

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from heavytail.book.figures.style import CLEAR, COLOURS, INK, in_words, ordered_colours
from heavytail.book.figures.training import named_type
from heavytail.book.tables import accuracy_curves
from heavytail.evidence.widths import limit_share

SHIFT = 1.09  # between the noises, so that points of one width do not lie on one another


def pruning_by_width(table: pd.DataFrame, law: pd.DataFrame) -> Figure:
    """Pruning ratio at squared error 0.1 against width: a panel an α, a point a run, medians over seeds joined.

    Dashed is plain SGD. `law` is that of start plus noise, as `untrained.by_width` has it: dotted. Thin and black is
    the limit law of pure Type-I noise.
    """
    alphas = sorted(table["alpha"].dropna().unique())
    figure, axes = plt.subplots(1, max(len(alphas), 1), figsize=(8.0, 3.6), sharex=True, sharey=True, squeeze=False)
    table, law = (frame.assign(type=named_type(frame)) for frame in (table, law))
    present = [name for name in COLOURS if name in set(table["type"])]
    every = np.geomspace(table["width"].min(), table["width"].max(), 25)
    for axis, alpha in zip(axes[0], alphas, strict=False):
        for number, name in enumerate(present):
            rows, guess = (
                frame[(frame["type"] == name) & ((frame["alpha"] == alpha) | frame["alpha"].isna())]
                for frame in (table, law)
            )
            shift = SHIFT ** (number - (len(present) - 1) / 2)
            middle = rows.groupby("width")["pruning_ratio"].median()
            look = {"color": COLOURS[name], "label": in_words(name)}
            axis.plot(rows["width"] * shift, rows["pruning_ratio"], "o", color=COLOURS[name], markersize=4, alpha=CLEAR)
            axis.plot(middle.index * shift, middle, "--" if name == "none" else "-", linewidth=1.6, **look)
            axis.plot(guess["width"] * shift, guess["predicted"], ":", color=COLOURS[name], linewidth=1.1)
        if "Type-I" in present and alpha < 2:
            axis.plot(every, [limit_share(alpha, n) for n in every], color=INK, linewidth=0.8)
        axis.set(title=f"$\\alpha={alpha:g}$", xlabel="width $n$", xscale="log", ylim=(0, 1.03))
    axes[0][0].set_ylabel("share pruned at error 0.1")
    handles, labels = axes[0][0].get_legend_handles_labels()
    for line, text, width in ((":", "start plus noise", 1.1), ("-", "limit law", 0.8)):
        handles += axes[0][0].plot([], [], line, color=INK, linewidth=width)
        labels.append(text)
    figure.legend(handles, labels, ncols=len(labels), loc="outside upper center", columnspacing=1.2, handlelength=1.6)
    return figure


def curves_by_width(table: pd.DataFrame, alpha: float) -> Figure:
    """Test accuracy against the share of neurons pruned: a panel a noise at this α, a line a width, medians."""
    chosen = table[(table["alpha"] == alpha) | table["noise"].isna()]
    chosen = chosen.assign(type=named_type(chosen))
    types = [name for name in COLOURS if name in set(chosen["type"])]
    figure, axes = plt.subplots(1, len(types), figsize=(8.0, 3.0), sharex=True, sharey=True, squeeze=False)
    colours = width_colours(table["width"])
    for axis, name in zip(axes[0], types, strict=True):
        for width, rows in chosen[chosen["type"] == name].groupby("width"):
            medians = accuracy_curves(rows).groupby("share")["accuracy"].median()
            axis.plot(medians.index, medians, color=colours[width], linewidth=1.6, label=f"$n={width}$")
        axis.set(title=in_words(name), xlabel="share pruned", xlim=(0, 1))
        axis.set_xticks([0, 0.5, 1])
    axes[0][0].set_ylim(top=1)
    axes[0][0].set_ylabel("test accuracy")
    handles, labels = axes[0][0].get_legend_handles_labels()
    figure.legend(handles, labels, ncols=len(labels), loc="outside upper center")
    return figure


def width_colours(widths: Iterable[int]) -> dict[int, str]:
    """One colour a width, the widest darkest."""
    ordered = sorted({int(width) for width in widths})
    return dict(zip(ordered, ordered_colours(len(ordered)), strict=True))
