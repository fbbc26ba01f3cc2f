"""The frontier of accuracy against size, every arm in one figure, and the search that gave the arms their strengths."""

from __future__ import annotations

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from heavytail.book.figures.style import COLOURS, GREY, WIDE, alpha_colour
from heavytail.book.tables import PAPER_TYPE
from heavytail.evidence import arms
from heavytail.evidence.arms import DECAY, LASSO, PLAIN
from heavytail.evidence.experiments import most_accurate, outcomes, plain
from heavytail.evidence.intervals import median_interval
from heavytail.noise import NOISES

REFERENCES = {PLAIN: "-", DECAY: "--", LASSO: ":"}
GAUSSIAN = (0, (1, 1))


def frontier(points: pd.DataFrame, way: str = "pruned") -> Figure:
    """Test accuracy against the share of units kept: a panel a noise type, its alphas in colour, the rest in grey.

    `points` is what `evidence.frontier.points` made of a table, `way` how networks came to that size. Lines are medians
    over seeds, bands their intervals; dotted in colour is Gaussian noise, crosses are small networks from scratch.
    """
    figure, axes = plt.subplots(1, len(NOISES), figsize=(8.0, 3.6), sharey=True)
    shown = points[points["way"] == way]
    for axis, kind in zip(axes, NOISES, strict=True):
        for arm, line in REFERENCES.items():
            _line(axis, shown[shown["arm"] == arm], GREY, line, arm)
        small = points[points["way"] == "small"]
        if len(small):
            axis.plot(small["kept"], small["accuracy"], "x", color=GREY, markersize=5, label="small, from scratch")
        own = shown[shown["arm"].str.startswith(f"{kind}, ")]
        alphas = own["arm"].str.extract(r"α = (.+)$")[0].astype(float)
        for alpha in sorted(set(alphas)):
            _line(axis, own[alphas == alpha], alpha_colour(alpha), GAUSSIAN if alpha == 2 else "-", f"α = {alpha:g}")
        axis.set(title=PAPER_TYPE[kind], xlabel="share of units kept", xscale="log")
        axis.set_xticks([0.1, 0.2, 0.5, 1.0], ["0.1", "0.2", "0.5", "1"])
        axis.minorticks_off()
    axes[0].set_ylabel("test accuracy")
    named = {label: handle for axis in axes for handle, label in zip(*axis.get_legend_handles_labels(), strict=True)}
    figure.legend(named.values(), named.keys(), ncols=4, loc="outside upper center", columnspacing=1.2)
    return figure


def strengths(search: pd.DataFrame, *, before: bool = False) -> Figure:
    """What a search for settings saw: accuracy of pruned networks and pruning ratio against σ, a line a noise type.

    `search` is a table of one network on a validation part; each noise is shown at the step size of its strongest
    setting, which is ringed. Dashed is plain SGD at its best, dotted the accuracy that `arms.strongest` asks for. With
    `before` accuracies are those before pruning and settings those of `arms.boldest`.
    """
    figure, (left, right) = plt.subplots(1, 2, figsize=WIDE)
    rule, judged = (arms.boldest, "accuracy") if before else (arms.strongest, "score")
    settings = rule(search).set_index("arm")
    whole = outcomes(search, ["test_accuracy"])["test_accuracy"]
    rows = search.assign(arm=arms.named(search), score=arms.score(search), accuracy=whole)
    for kind in NOISES:
        for arm in settings.index[settings.index.str.startswith(f"{kind}, ")]:
            setting = settings.loc[arm]
            own = rows[(rows["arm"] == arm) & (rows["lr"] == setting["lr"])].groupby("sigma")
            for axis, column in ((left, judged), (right, "pruning_ratio")):
                middle, look = own[column].median(), {"color": COLOURS[PAPER_TYPE[kind]]}
                axis.plot(middle.index, middle, "o-", markersize=4, label=PAPER_TYPE[kind], **look)
                axis.plot(setting["sigma"], middle[setting["sigma"]], "o", markersize=11, fillstyle="none", **look)
    for axis, name in ((left, judged), (right, "ratio")):
        axis.axhline(settings.loc[PLAIN, name], color=COLOURS["none"], linestyle="--", linewidth=1, label="plain SGD")
        axis.set(xscale="log", xlabel="noise scale $\\sigma$")
    left.axhline(settings.loc[PLAIN, judged] - arms.LOSS, color=GREY, linestyle=":", linewidth=1)
    left.set_ylabel("accuracy before pruning" if before else "accuracy, mean over shares pruned")
    right.set(ylabel="share pruned at squared error 0.1", ylim=(0, 1))
    left.legend(title=None)
    return figure


def dose(table: pd.DataFrame) -> Figure:
    """Accuracy of pruned networks and pruning ratio against σ, a line a noise type, of a table with one alpha.

    Lines are medians over seeds, bands their intervals, where there are seeds enough. Dashed is plain SGD at the step
    size that is best for it in the table.
    """
    figure, (left, right) = plt.subplots(1, 2, figsize=WIDE)
    rows = table.assign(score=arms.score(table))
    kinds = [kind for kind in NOISES if (rows["noise"] == kind).any()]
    alone = most_accurate(plain(rows))
    for axis, column in ((left, "score"), (right, "pruning_ratio")):
        for kind in kinds:
            of_sigma = rows[rows["noise"] == kind].groupby("sigma")
            cells = {sigma: median_interval(part[column]) for sigma, part in of_sigma}
            colour, name = COLOURS[PAPER_TYPE[kind]], PAPER_TYPE[kind]
            axis.plot(
                list(cells), [cell.value for cell in cells.values()], "o-", markersize=4, color=colour, label=name
            )
            low, high = ([getattr(cell, end) for cell in cells.values()] for end in ("low", "high"))
            if np.isfinite([low, high]).all():
                axis.fill_between(list(cells), low, high, color=colour, alpha=0.15, linewidth=0)
        axis.axhline(alone[column].median(), color=COLOURS["none"], linestyle="--", linewidth=1, label="plain SGD")
        axis.set(xscale="log", xlabel="noise scale $\\sigma$")
    left.set_ylabel("accuracy, mean over shares pruned")
    right.set(ylabel="share pruned at squared error 0.1", ylim=(0, 1))
    left.legend(title=None)
    return figure


def _line(axis: Axes, rows: pd.DataFrame, colour: object, line: object, name: str) -> None:
    if rows.empty:
        return
    rows = rows.sort_values("kept")
    axis.plot(rows["kept"], rows["accuracy"], color=colour, linestyle=line, label=name, linewidth=1.6)
    if np.isfinite(rows[["low", "high"]]).all(axis=None):
        axis.fill_between(rows["kept"], rows["low"], rows["high"], color=colour, alpha=0.15, linewidth=0)
