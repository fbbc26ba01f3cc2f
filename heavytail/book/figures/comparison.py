"""The three noises beside each other: norms of their kicks, what inputs see of them, what they prune."""

from __future__ import annotations

import math
from collections.abc import Mapping

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from numpy.typing import ArrayLike
from torch import Tensor

from heavytail import laws
from heavytail.book.figures.depths import MARKERS
from heavytail.book.figures.style import CLEAR, COLOURS, GREY, alpha_slots, in_words
from heavytail.book.figures.training import named_type, thinned
from heavytail.book.tables import PAPER_TYPE
from heavytail.evidence import arms
from heavytail.evidence.intervals import median_interval
from heavytail.noise import NOISES, Noise

LEAST_SEEN = 1e-4  # where the axis of `exposures` begins
STYLES = {"shared": "-", "entrywise": "-", "isotropic": (0, (4, 2))}  # Types II and III can lie on one another


def kick_norms(
    norms: Mapping[Noise, Tensor], alpha: float, inputs: int, medians: Mapping[Noise, Mapping[int, float]]
) -> Figure:
    """Left: share of kicks whose norm exceeds x times the median, the tail law dotted. Right: the median against d.

    `norms` holds for each noise the norms of unit kicks of `inputs` entries, `medians` for each noise the median norm
    by the number of entries d. Dotted on the right: d^(1/2) and d^(1/α).
    """
    figure, (left, right) = plt.subplots(1, 2, figsize=(8.0, 3.4))
    for kind, values in norms.items():
        name, median = PAPER_TYPE[kind], float(values.median())
        ranked, drawn = np.sort(values.numpy() / median)[::-1], thinned(len(values))
        left.loglog(ranked[drawn - 1], drawn / len(ranked), color=COLOURS[name], linestyle=STYLES[kind], label=name)
        x = np.geomspace(3, ranked[0], 50)
        if alpha < 2:
            law = laws.tail_constant(alpha, kind, inputs) * (x * median) ** -alpha
            left.loglog(x, law, color=COLOURS[name], linestyle=":", linewidth=1)
    left.set(xlabel="norm of a kick over the median, $x$", ylabel="share of neurons kicked beyond $x$")
    left.set(xlim=(0.1, None), ylim=(0.7 / max(len(values) for values in norms.values()), 1.5))
    left.legend(loc="lower left")
    every = sorted({d for own in medians.values() for d in own})
    for kind, own in medians.items():
        name = PAPER_TYPE[kind]
        right.loglog(
            list(own),
            list(own.values()),
            marker="o",
            markersize=4,
            color=COLOURS[name],
            linestyle=STYLES[kind],
            label=name,
        )
    ends = np.array([every[0], every[-1]], dtype=float)
    for power, text in ((0.5, "$d^{1/2}$"), (1 / alpha, "$d^{1/\\alpha}$")):
        right.loglog(ends, 0.5 * (ends / ends[0]) ** power, color=GREY, linestyle=":", linewidth=1)
        right.annotate(text, (ends[1], 0.5 * (ends[1] / ends[0]) ** power), xytext=(4, -4), textcoords="offset points")
    right.set(xlabel="weights of a neuron, $d$", ylabel="median norm of a kick at scale 1")
    return figure


def exposures(panels: Mapping[str, Mapping[str, ArrayLike]]) -> Figure:
    """How much of a kick's length an input sees, a panel a data set, a colour a noise: the share of pairs beyond x.

    `panels` maps a data set's title to what is seen with each noise: of every pair of a kick and an input, or quantiles
    of it at equal distances, as a record of the study `exposure` has them.
    """
    figure, axes = plt.subplots(1, len(panels), figsize=(8.0, 3.0), sharex=True, sharey=True, squeeze=False)
    for axis, (title, own) in zip(axes[0], panels.items(), strict=True):
        for kind, values in own.items():
            ranked = np.sort(np.ravel(values))[::-1]
            share = np.arange(1, len(ranked) + 1) / len(ranked)
            step = max(1, len(ranked) // 2000)
            name = PAPER_TYPE[kind]
            if ranked[0] < LEAST_SEEN:
                axis.text(0.03, 0.3, f"{name}:\nnone is seen", color=COLOURS[name], transform=axis.transAxes)
                continue
            axis.semilogx(ranked[::step], share[::step], color=COLOURS[name], linestyle=STYLES[kind], label=name)
        axis.set(title=title, xlabel="share that is seen, $x$", xlim=(LEAST_SEEN, 1), ylim=(0, 1))
    axes[0][0].set_ylabel("share of pairs beyond $x$")
    handles = {
        label: handle for axis in axes[0] for handle, label in zip(*axis.get_legend_handles_labels(), strict=True)
    }
    labels = [name for name in PAPER_TYPE.values() if name in handles]
    axes[0][-1].legend([handles[label] for label in labels], labels, loc="lower left")
    return figure


def ratio_and_accuracy(panels: Mapping[str, pd.DataFrame]) -> Figure:
    """Pruning ratio at error 0.1 against test accuracy before pruning: a panel a data set, a point a run."""
    figure, axes = _panels(panels, rows=1)
    marker_of = _markers(panels)
    for axis, (title, table) in zip(axes[0], panels.items(), strict=True):
        table = table.assign(type=named_type(table))
        for (name, alpha), rows in table.groupby(["type", "alpha"], dropna=False):
            marker = "x" if math.isnan(alpha) else marker_of[alpha]
            axis.plot(
                rows["test_accuracy"], rows["pruning_ratio"], marker, color=COLOURS[name], markersize=4.5, alpha=CLEAR,
                zorder=3 if name == "none" else 2,
            )  # fmt: skip
        axis.set(title=title, xlabel="test accuracy", ylim=(0, 1.03))
    axes[0][0].set_ylabel("share pruned at error 0.1")
    present = {name for table in panels.values() for name in named_type(table)}
    for name in (name for name in COLOURS if name in present):
        axes[0][0].plot([], [], "x" if name == "none" else "o", color=COLOURS[name], label=in_words(name))
    for alpha, marker in marker_of.items():
        axes[0][0].plot([], [], marker, color=GREY, markersize=4.5, linestyle="none", label=f"$\\alpha={alpha:g}$")
    handles, labels = axes[0][0].get_legend_handles_labels()
    figure.legend(
        handles, labels, ncols=min(len(labels), 8), loc="outside upper center", columnspacing=1.0, handletextpad=0.1
    )
    return figure


def at_a_glance(panels: Mapping[str, pd.DataFrame]) -> Figure:
    """How far networks prune at squared error 0.1 (above) and how accurate they are at equal shares (below), against α.

    A column a data set, with the runs of the paper's arms. Dots are medians over seeds, bars their intervals where
    there are seeds enough; accuracy is a mean over pruned shares, and a run that diverged guesses. Dashed is plain SGD.
    """
    figure, axes = _panels(panels, rows=2)
    for (above, below), (title, table) in zip(axes.T, panels.items(), strict=True):
        table = table.assign(score=arms.score(table))
        for axis, column in ((above, "pruning_ratio"), (below, "score")):
            slots = alpha_slots(axis, table["alpha"].dropna())
            for place, kind in enumerate(NOISES):
                colour = COLOURS[PAPER_TYPE[kind]]
                for alpha, values in table[table["noise"] == kind].groupby("alpha")[column]:
                    interval, x = median_interval(values), slots[alpha] + (place - 1) / 5
                    axis.plot(x, interval.value, "o", markersize=4, label=PAPER_TYPE[kind], color=colour)
                    if math.isfinite(interval.high - interval.low):
                        axis.vlines(x, interval.low, interval.high, linewidth=1.2, color=colour)
            middle = table.loc[table["noise"].isna(), column].median()
            axis.axhline(middle, color=COLOURS["none"], linestyle="--", linewidth=1, label="plain SGD")
            axis.set(ylim=(0, 1))
        above.set(title=title, xlabel="")
    axes[0][0].set_ylabel("share pruned\nat squared error 0.1")
    axes[1][0].set_ylabel("test accuracy, mean\nover equal shares")
    labelled = dict(zip(*reversed(axes[0][0].get_legend_handles_labels()), strict=True))
    figure.legend(labelled.values(), labelled.keys(), ncols=4, loc="outside upper center")
    return figure


def ratio_by_kick(panels: Mapping[str, pd.DataFrame]) -> Figure:
    """Pruning ratio (above) and accuracy (below) of searches, against how far noise moves a neuron; medians over seeds.

    A panel a data set. The tables have the column `path` of `noise_types.with_path`. Dashed is plain SGD; dotted on the
    x axis is the median norm of its neurons.
    """
    figure, axes = _panels(panels, rows=2)
    for (above, below), (title, table) in zip(axes.T, panels.items(), strict=True):
        plain = table[table["noise"].isna()]
        for axis, column in ((above, "pruning_ratio"), (below, "test_accuracy")):
            for kind in NOISES:
                rows = table[table["noise"] == kind]
                if len(rows):
                    name = PAPER_TYPE[kind]
                    # By sigma, since a run that stops early has a path of its own.
                    medians = rows.groupby("sigma")[["path", column]].median()
                    axis.plot(medians["path"], medians[column], "o-", markersize=4, color=COLOURS[name], label=name)
            axis.axhline(plain[column].median(), color=COLOURS["none"], linestyle="--", linewidth=1, label="plain SGD")
            if math.isfinite(norm := plain["norm_median"].median()):
                axis.axvline(norm, color=GREY, linestyle=":", linewidth=1)
            axis.set(xscale="log")
        above.set(title=title, ylim=(0, 1))
        below.set_xlabel("median norm of\nthe noise a neuron gets")
    axes[0][0].set_ylabel("share pruned")
    axes[1][0].set_ylabel("validation accuracy")
    figure.legend(*axes[0][0].get_legend_handles_labels(), ncols=4, loc="outside upper center")
    return figure


def _panels(panels: Mapping[str, pd.DataFrame], rows: int) -> tuple[Figure, np.ndarray]:
    return plt.subplots(
        rows, len(panels), figsize=(8.0, 3.4 if rows == 1 else 4.6), sharey="row", sharex="col" if rows > 1 else False,
        squeeze=False,
    )  # fmt: skip


def _markers(panels: Mapping[str, pd.DataFrame]) -> dict[float, str]:
    """A marker an α, the heaviest tail first, the same in every panel."""
    alphas = sorted({float(alpha) for table in panels.values() for alpha in table["alpha"].dropna()})
    return {alpha: MARKERS[min(k, len(MARKERS) - 1)] for k, alpha in enumerate(alphas)}
