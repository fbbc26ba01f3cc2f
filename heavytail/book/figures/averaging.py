"""Kicks of many clients that a server averages: their scale, and what is left to prune."""

from __future__ import annotations

from collections.abc import Mapping

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from heavytail import laws
from heavytail.book.figures.style import COLOURS, GROUND, alpha_colours
from heavytail.evidence import averaged


def averaged_kicks(table: pd.DataFrame) -> Figure:
    """Against the number of clients, a colour an alpha: the scale of averaged kicks, and the error of pruning them.

    `table` is one of the study `averaging`, of one noise type. Points are medians over repeats. Lines, which no
    number was fitted for, are K^(1/α-1) and the predicted median error of start plus kicks of that scale; that for α
    above 1.
    """
    figure, (left, right) = plt.subplots(1, 2, figsize=(8.0, 3.4))
    colours = alpha_colours(table["alpha"])
    for (alpha, quantity), rows in table.groupby(["alpha", "quantity"]):
        axis = {"scale": left, "error": right}.get(quantity)
        if axis is None or (axis is right and alpha <= 1):
            continue
        points = rows.groupby("clients")["value"].median()
        look = {"color": colours[alpha], "label": f"$\\alpha={alpha:g}$"}
        axis.plot(points.index, points, "o", markersize=4, **look)
        if axis is left:
            line = [float(rows["sigma"].iloc[0]) * laws.averaged_scale(alpha, int(k)) for k in points.index]
        else:
            line = averaged.predicted(rows).groupby(rows["clients"]).first()
        axis.plot(points.index, line, color=colours[alpha], linewidth=1.2)
    for axis in (left, right):
        axis.set_xscale("log", base=2)
        axis.set(xlabel="clients $K$")
    left.set_yscale("log")
    left.set(ylabel="scale of the averaged kicks")
    right.set(ylabel="median relative error", ylim=(0, 1))
    handles, labels = left.get_legend_handles_labels()
    figure.legend(handles, labels, ncols=len(labels), loc="outside upper center", handletextpad=0.2)
    return figure


def pruned_by_clients(ratios: pd.DataFrame, balance: Mapping[float, float], start: float) -> Figure:
    """The share of a layer that pruning takes, against the number of clients, a colour an alpha.

    `ratios` has the columns alpha, clients, ratio: lines, of local kicks. The thin line at the height of their left end
    is that of common kicks, or the server's. `balance` marks by alpha the clients at which the start outweighs the
    kicks; `start` is what the start alone lets go: dotted.
    """
    figure, axis = plt.subplots(figsize=(8.0, 3.4))
    ends = (int(ratios["clients"].min()), int(ratios["clients"].max()))
    colours = alpha_colours(ratios["alpha"])
    for alpha, rows in ratios.groupby("alpha"):
        rows, colour = rows.sort_values("clients"), colours[alpha]
        label = f"$\\alpha={alpha:g}$"
        axis.plot(rows["clients"], rows["ratio"], "-o", color=colour, markersize=4, label=label)
        axis.plot(ends, [rows["ratio"].iloc[0]] * 2, color=colour, linewidth=0.7)
        if ends[0] <= balance.get(alpha, 0) <= ends[1]:
            height = np.interp(np.log(balance[alpha]), np.log(rows["clients"]), rows["ratio"])
            (mark,) = axis.plot([balance[alpha]], [height], "D", color=GROUND, markersize=8, zorder=3)
            mark.set_markeredgecolor(colour)
    axis.plot(ends, [start] * 2, ":", color=COLOURS["none"], linewidth=1.2, label="start alone")
    axis.set_xscale("log", base=2)
    axis.set(xlabel="clients $K$", ylabel="share pruned at squared error 0.1", ylim=(0, 1.03))
    axis.legend(ncols=1, loc="center left", bbox_to_anchor=(1.0, 0.5))
    return figure
