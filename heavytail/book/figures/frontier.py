"""The frontier of accuracy against size, every arm in one figure."""

from __future__ import annotations

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from heavytail.book.figures.style import COLOURS, alpha_colours
from heavytail.book.tables import PAPER_TYPE
from heavytail.evidence.arms import DECAY, LASSO, PLAIN
from heavytail.noise import NOISES

REFERENCES = {PLAIN: ("0.35", "-"), DECAY: ("0.35", "--"), LASSO: ("0.35", ":")}
GAUSSIAN = (0, (1, 1))


def frontier(points: pd.DataFrame, way: str = "pruned") -> Figure:
    """Test accuracy against the share of units kept: a panel a noise type, its alphas in colour, the rest in grey.

    `points` is what `evidence.frontier.points` made of a table, `way` how networks came to that size. Lines are medians
    over seeds, bands their intervals; dotted in colour is Gaussian noise, crosses are small networks from scratch.
    """
    figure, axes = plt.subplots(1, len(NOISES), figsize=(8.0, 3.6), sharey=True)
    shown = points[points["way"] == way]
    for axis, kind in zip(axes, NOISES, strict=True):
        for arm, (grey, line) in REFERENCES.items():
            _line(axis, shown[shown["arm"] == arm], grey, line, arm)
        small = points[points["way"] == "small"]
        if len(small):
            axis.plot(small["kept"], small["accuracy"], "x", color="0.35", markersize=5, label="small, from scratch")
        own = shown[shown["arm"].str.startswith(f"{kind}, ")]
        alphas = own["arm"].str.extract(r"α = (.+)$")[0].astype(float)
        colours = alpha_colours(alphas[alphas < 2])
        for alpha in sorted(set(alphas)):
            gaussian = alpha == 2
            colour = COLOURS[PAPER_TYPE[kind]] if gaussian else colours[alpha]
            name = "α = 2" if gaussian else f"α = {alpha:g}"
            _line(axis, own[alphas == alpha], colour, GAUSSIAN if gaussian else "-", name)
        axis.set(title=PAPER_TYPE[kind], xlabel="share of units kept", xscale="log")
        axis.set_xticks([0.1, 0.2, 0.5, 1.0], ["0.1", "0.2", "0.5", "1"])
        axis.minorticks_off()
    axes[0].set_ylabel("test accuracy")
    named = {label: handle for axis in axes for handle, label in zip(*axis.get_legend_handles_labels(), strict=True)}
    figure.legend(named.values(), named.keys(), ncols=4, loc="outside upper center", columnspacing=1.2)
    return figure


def _line(axis: Axes, rows: pd.DataFrame, colour: object, line: object, name: str) -> None:
    if rows.empty:
        return
    rows = rows.sort_values("kept")
    axis.plot(rows["kept"], rows["accuracy"], color=colour, linestyle=line, label=name, linewidth=1.6)
    if np.isfinite(rows[["low", "high"]]).all(axis=None):
        axis.fill_between(rows["kept"], rows["low"], rows["high"], color=colour, alpha=0.15, linewidth=0)
