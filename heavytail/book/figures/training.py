"""Plots of noise, trained networks and their pruning, from tables and tensors."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import seaborn as sns
import torch
from matplotlib.axes import Axes
from matplotlib.colors import SymLogNorm
from matplotlib.figure import Figure
from torch import Tensor

from heavytail import compress, noise, stable
from heavytail.book.figures.style import (
    BLANK,
    CLEAR,
    COLOURS,
    SHADES,
    SLOTS,
    WIDE,
    alpha_colours,
    alpha_slots,
    in_words,
)
from heavytail.book.tables import PAPER_TYPE, accuracy_curves

HALF_OF = 6  # seeds, of which the middle half is a band; of fewer it is all
FEW = 10  # seeds, of which large points still stand side by side, on a phone too


def thinned(count: int) -> np.ndarray:
    """Which ranks of so many are drawn on a logarithmic axis, from 1 on: where they are dense no more can be seen."""
    return np.unique(np.geomspace(1, count, 2000).astype(int))


def named_type(table: pd.DataFrame) -> pd.Series:
    """The paper's name of each row's noise."""
    return table["noise"].map(lambda name: PAPER_TYPE[None if pd.isna(name) else name])


def weight_matrices(weights: Mapping[str, Tensor], squared_error: float = compress.SQUARED_ERROR) -> Figure:
    """Weight matrices before (top) and after pruning at `squared_error` (bottom), neurons sorted by norm.

    `weights` maps a title to a (neurons, inputs) matrix. A neuron is a column of the picture, as in the paper.
    """
    figure, axes = plt.subplots(2, len(weights), figsize=(8.0, 3.8), sharex="col", sharey="row", squeeze=False)
    for (title, weight), (above, below) in zip(weights.items(), axes.T, strict=True):
        order = compress.norms(weight).argsort(descending=True)
        ranked = weight[order].T.numpy()
        gone = round(compress.prunable_share(weight, squared_error) * len(weight))
        pruned = ranked.copy()
        pruned[:, len(weight) - gone :] = np.nan
        how = "none" if weight.numel() < 50_000 else "nearest"  # a pixel an entry, or else as many as the page shows
        for axis, picture in ((above, ranked), (below, pruned)):
            axis.imshow(_saturated(picture), aspect="auto", cmap=SHADES, vmin=-1, vmax=1, interpolation=how)
            axis.set_facecolor(BLANK)
            axis.set(xticks=[], yticks=[])
            axis.spines[:].set_visible(False)
        above.set_title(in_words(title))
        below.set_xlabel(f"{gone / len(weight):.0%} of neurons pruned")
    axes[0][0].set_ylabel("trained")
    axes[1][0].set_ylabel("pruned")
    return figure


def norm_tails(norms: Mapping[str, Tensor]) -> Figure:
    """Share of neurons whose column norm exceeds x times the median, on log axes; one line an entry of `norms`."""
    figure, axis = plt.subplots(figsize=WIDE)
    least = 1.0
    for title, values in norms.items():
        ranked = np.sort(values.numpy() / np.median(values.numpy()))[::-1]
        least = min(least, float(ranked[-1]))
        share = np.arange(1, len(ranked) + 1) / len(ranked)
        axis.loglog(ranked, share, label=in_words(title), color=_colour(title), drawstyle="steps-post")
    axis.set(xlabel="column norm over its median, $x$", ylabel="share of neurons above $x$")
    axis.set_xlim(left=max(0.3, 0.95 * least))
    axis.legend()
    return figure


def accuracy_by_share(table: pd.DataFrame, alpha: float | None = None, *, units: str = "neurons") -> Figure:
    """Test accuracy against the share of `units` pruned: medians over seeds, and bands as `band` has them."""
    figure, axis = plt.subplots(figsize=WIDE)
    chosen = table if alpha is None else table[(table["alpha"] == alpha) | table["noise"].isna()]
    curves = accuracy_curves(chosen)
    curves = curves.assign(type=named_type(curves))
    present = [name for name in COLOURS if name in set(curves["type"])]
    sns.lineplot(
        curves, x="share", y="accuracy", hue="type", hue_order=present, palette=COLOURS, estimator="median",
        errorbar=band(chosen), err_kws={"alpha": 0.15}, ax=axis,
    )  # fmt: skip
    axis.set(xlabel=f"share of {units} pruned", ylabel="test accuracy", xlim=(0, 1))
    legend_of_types(axis)
    return figure


def band(table: pd.DataFrame) -> tuple[str, int]:
    """What seaborn draws over the seeds of a table: their middle half, or of fewer than HALF_OF all."""
    return ("pi", 50 if table["seed"].nunique() >= HALF_OF else 100)


def pruning_by_alpha(table: pd.DataFrame) -> Figure:
    """Pruning ratio at squared error 0.1 against α: a point a run, a bar at the median, plain SGD as a dashed line.

    Points of about one height stand side by side; where, follows from their heights alone.
    """
    figure, axis = plt.subplots(figsize=WIDE)
    noisy = table[table["noise"].notna()]
    noisy = noisy.assign(type=named_type(noisy), index=noisy["alpha"].map("{:g}".format))
    present = [name for name in COLOURS if name in set(noisy["type"])]
    order = [f"{alpha:g}" for alpha in sorted({*SLOTS, *noisy["alpha"]})]
    shared = {"x": "index", "y": "pruning_ratio", "order": order, "hue": "type", "hue_order": present, "ax": axis}
    shared["palette"] = COLOURS
    size = 4.5 if noisy["seed"].nunique() <= FEW else 2.8
    sns.swarmplot(noisy, dodge=True, size=size, alpha=CLEAR, legend=False, **shared)
    sns.pointplot(
        noisy, dodge=0.53, linestyle="none", marker="_", markersize=16, errorbar=None, estimator="median", **shared
    )
    plain = table.loc[table["noise"].isna(), "pruning_ratio"].median()
    axis.axhline(plain, color=COLOURS["none"], linestyle="--", linewidth=1, label=f"plain SGD, {plain:.0%}")
    alpha_slots(axis, noisy["alpha"])
    axis.set(ylabel="share pruned at squared error 0.1", ylim=(0, 1.03))
    axis.legend(title=None, ncols=len(present) + 1, loc="lower center", bbox_to_anchor=(0.5, 1.0))
    return figure


def loss_and_pruning(table: pd.DataFrame) -> Figure:
    """Two panels against σ: train loss relative to the noiseless run of the same seed, and the pruning ratio."""
    figure, (left, right) = plt.subplots(1, 2, figsize=WIDE)
    plain = table[table["noise"].isna()].set_index("seed")["train_loss"]
    table = table.assign(relative=table["train_loss"] / table["seed"].map(plain), type=named_type(table))
    for axis, column in ((left, "relative"), (right, "pruning_ratio")):
        for _, rows in table.sort_values("sigma").groupby("seed"):
            axis.plot(rows["sigma"], rows[column], "o-", color=COLOURS["Type-I"], alpha=CLEAR, markersize=4)
        axis.set(xlabel="noise scale $\\sigma$")
    spread = max(0.05, float((table["relative"] - 1).abs().max()) * 1.2)
    left.set(ylabel="train loss over noiseless", ylim=(1 - spread, 1 + spread))
    right.set(ylabel="share pruned at squared error 0.1", ylim=(0, 1))
    return figure


def noise_types(alpha: float, *, generator: torch.Generator, neurons: int = 60, inputs: int = 30) -> Figure:
    """One draw of each noise on a weight matrix; a neuron is a column of the picture."""
    figure, axes = plt.subplots(1, 3, figsize=(8.0, 2.9), sharey=True)
    for axis, kind in zip(axes, noise.NOISES, strict=True):
        kick = noise.draw(alpha, kind, (neurons, inputs), generator=generator).expand(neurons, inputs)
        image = axis.imshow(
            kick.T.numpy(),
            cmap=SHADES,
            norm=SymLogNorm(1, vmin=-100, vmax=100),
            aspect="auto",
            interpolation="none",  # a pixel an entry; the file is small
        )
        axis.set(title=f"{PAPER_TYPE[kind]}: {kind}", xlabel="neuron", xticks=[], yticks=[])
        axis.spines[:].set_visible(False)
    axes[0].set_ylabel("input")
    figure.colorbar(image, ax=axes, label="noise at scale 1", shrink=0.9, ticks=[-100, -10, -1, 0, 1, 10, 100])
    return figure


def stable_tails(alphas: Sequence[float], draws: int, *, generator: torch.Generator) -> Figure:
    """Left: running largest |X| of one sequence of draws an α. Right: share beyond x, with the law c x^(-α) dashed."""
    figure, (left, right) = plt.subplots(1, 2, figsize=(8.0, 3.4))
    x = np.geomspace(3, 3e3, 50)
    drawn = thinned(draws)
    for alpha, hue in alpha_colours(alphas).items():
        size = stable.symmetric(alpha, draws, generator=generator).abs()
        left.loglog(drawn, size.cummax(0).values.numpy()[drawn - 1], color=hue)
        ranked = np.sort(size.numpy())[::-1]
        right.loglog(ranked[drawn - 1], drawn / draws, color=hue, label=f"$\\alpha={alpha:g}$")
        if alpha < 2:
            right.loglog(x, stable.tail_constant(alpha) * x**-alpha, color=hue, linestyle=":", linewidth=1)
    left.set(xlabel="draws so far", ylabel="largest $|X|$ so far")
    right.set(xlabel="$x$", ylabel="share of draws with $|X| > x$", xlim=(0.1, 3e3), ylim=(1 / draws, 1.5))
    right.legend()
    return figure


def _saturated(picture: np.ndarray) -> np.ndarray:
    """Values over their 99.5% quantile of size, so that one giant does not bleach the rest."""
    return picture / np.nanquantile(np.abs(picture), 0.995)


def legend_of_types(axis: Axes, loc: Literal["best", "lower left"] = "best") -> None:
    """A legend whose lines are noise types, without a title."""
    handles, names = axis.get_legend_handles_labels()
    axis.legend(handles, [in_words(name) for name in names], loc=loc)


def _colour(title: str) -> object:
    return COLOURS.get(title.split(",")[0])
