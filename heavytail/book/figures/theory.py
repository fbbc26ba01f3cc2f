"""Plots of the theory: paths, exponents against their lines, laws, and required widths."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from itertools import cycle

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import Tensor

from heavytail import laws
from heavytail.book.figures.style import (
    CLEAR,
    COLOURS,
    DEPTHS,
    GREY,
    GROUND,
    HALO,
    INK,
    MARKED,
    SINGLE,
    WIDE,
    alpha_axis,
    alpha_colour,
    alpha_colours,
    ordered_colours,
)
from heavytail.evidence import theorems


def paths(panels: Mapping[str, Tensor], horizon: float = 1.0) -> Figure:
    """One panel a title: trajectories (steps + 1, particles) in time, each drawn as the steps it takes."""
    figure, axes = plt.subplots(1, len(panels), figsize=WIDE, squeeze=False)
    for axis, (title, values) in zip(axes[0], panels.items(), strict=True):
        time = np.linspace(0, horizon, len(values))
        axis.plot(time, values.numpy(), linewidth=0.9, drawstyle="steps-post", rasterized=True)  # thousands of steps
        axis.set(title=title, xlabel="time $t$", xlim=(0, horizon))
    axes[0][0].set_ylabel("one weight of a neuron")
    return figure


def coupled(panels: Mapping[str, tuple[Tensor, Tensor]], horizon: float = 1.0) -> Figure:
    """One panel a title: trajectories (steps + 1, particles) of particles (lines) and of their limits (dashed)."""
    figure, axes = plt.subplots(1, len(panels), figsize=WIDE, squeeze=False, sharey=True)
    for axis, (title, (ours, limits)) in zip(axes[0], panels.items(), strict=True):
        time = np.linspace(0, horizon, len(ours))
        for k, (one, limit) in enumerate(zip(ours.T.numpy(), limits.T.numpy(), strict=True)):
            axis.plot(time, one, color=SINGLE[k % len(SINGLE)], linewidth=1.2, label="particle" if k == 0 else None)
            axis.plot(time, limit, color=INK, linewidth=1, linestyle=(0, (3, 2)), label="limit" if k == 0 else None)
        axis.set(title=title, xlabel="time $t$", xlim=(0, horizon))
    axes[0][0].set_ylabel("one weight of a neuron")
    axes[0][-1].legend()
    return figure


def power_laws(
    panels: Mapping[str, tuple[pd.DataFrame, str, Callable[[float], float]]],
    xlabel: str,
    ylabel: str,
    *,
    typical: bool = False,
) -> Figure:
    """One panel a title: averages over repeats against x on logarithmic axes, a colour and a form of point an alpha.

    A panel is (rows, x, slope): rows with the columns alpha, sigma, x and value. The dashed lines have the
    slope(α) of the theory and pass through the middle of the points. With `typical` the average is the geometric mean.
    """
    figure, axes = plt.subplots(1, len(panels), figsize=(8.0, 3.4), squeeze=False, sharey=True)
    alphas = sorted({float(alpha) for rows, *_ in panels.values() for alpha in rows["alpha"]})
    points = dict(zip(alphas, cycle("os^Dv"), strict=False))  # where two colours are near, their points are not
    for axis, (title, (rows, x, slope)) in zip(axes[0], panels.items(), strict=True):
        for (alpha, sigma), part in rows.groupby(["alpha", "sigma"]):
            averages = _averages(part, x, typical)
            name, colour = _named(alpha, sigma)
            axis.loglog(averages.index, averages, points[float(alpha)], markersize=4, color=colour, label=name)
            _dashed(axis, averages, slope(float(alpha)), colour)
        axis.set_xscale("log", base=2)
        axis.set(title=title, xlabel=xlabel)
    axes[0][0].set_ylabel(ylabel)
    found = [(text, line) for axis in axes[0] for line, text in zip(*axis.get_legend_handles_labels(), strict=True)]
    handles = dict(sorted(found, key=lambda pair: pair[0]))
    figure.legend(handles.values(), handles, ncols=len(handles), loc="outside upper center", handletextpad=0.2)
    return figure


def largest_in_width(rows: pd.DataFrame, kicks: Mapping[float, Mapping[int, float]]) -> Figure:
    """One panel an alpha: the typical largest error among n neurons, beside what the largest of n kicks does.

    Rows have the columns alpha, width and value; points are geometric means. `kicks` are typical largest sizes by alpha
    and width: the full line. Dashed is n^(1/α), which they tend to. Both pass through the middle of the points.
    """
    figure, axes = plt.subplots(1, len(kicks), figsize=(8.0, 3.0), squeeze=False, sharey=True)
    colours = alpha_colours(kicks)
    for axis, (alpha, sizes) in zip(axes[0], kicks.items(), strict=True):
        averages = _averages(rows[rows["alpha"] == alpha], "width", typical=True)
        axis.loglog(averages.index, averages, "o", color=colours[alpha], label="measured")
        x = averages.index.to_numpy()
        size = np.array([sizes[int(n)] for n in x])
        axis.loglog(
            x,
            size * np.exp((np.log(averages) - np.log(size)).mean()),
            color=colours[alpha],
            label="largest of $n$ kicks",
        )
        _dashed(axis, averages, 1 / alpha, GREY)
        axis.lines[-1].set_label("$n^{1/\\alpha}$")
        axis.set_xscale("log", base=2)
        axis.set_yscale("log", base=2)
        axis.set(title=f"$\\alpha={alpha:g}$", xlabel="neurons $n$")
    axes[0][0].set_ylabel("largest error among $n$")
    axes[0][0].legend()
    return figure


def pairwise_correlation(table: pd.DataFrame) -> Figure:
    """n times the correlation of two neurons' outputs, by the variance of their mean; bars are 95% intervals."""
    figure, axis = plt.subplots(figsize=WIDE)
    settings = table[table["quantity"] == "output"].groupby(["alpha", "sigma"])
    for k, ((alpha, sigma), rows) in enumerate(settings):
        cells = []
        for width, some in rows.groupby("width"):
            cell = theorems.scaled(theorems.pair_correlation(some, table), width)
            cells.append((width * 1.07**k, cell.value, cell.low, cell.high))
        x, value, low, high = np.array(cells).T
        name, colour = _named(alpha, sigma)
        axis.errorbar(x, value, [value - low, high - value], fmt="o", markersize=4, color=colour, label=name)
    axis.axhline(0, color=INK, linewidth=0.6)
    axis.set_xscale("log", base=2)
    axis.set(xlabel="width $n$", ylabel="$n$ × correlation of two neurons", ylim=(-1.5, 1.0))
    axis.legend(ncols=5, loc="upper center")
    return figure


def misplaced_jump(time: Tensor, fine: Tensor, coarse: Mapping[int, Tensor]) -> Figure:
    """A path, and coarse schemes held constant between their grid points; their distance in the panel below."""
    figure, axes = plt.subplots(
        2, len(coarse), figsize=(8.0, 3.8), sharex=True, sharey="row", height_ratios=(2, 1), squeeze=False
    )
    for (above, below), (steps, values) in zip(axes.T, coarse.items(), strict=True):
        held = np.append(values[:-1].numpy().repeat((len(fine) - 1) // steps), values[-1])
        above.plot(time, fine, color=GREY, linewidth=0.8, label="the path")
        above.plot(time, held, color=MARKED, linewidth=1.3, drawstyle="steps-post", label="Euler, held")
        below.fill_between(time, np.abs(fine.numpy() - held), color=MARKED, linewidth=0.3)
        above.set_title(f"$\\eta$ = 1/{steps}")
        below.set(xlabel="time $t$", xlim=(0, 1))
    axes[0][0].set_ylabel("one weight")
    axes[1][0].set_ylabel("distance")
    axes[0][-1].legend()
    return figure


def step_cost(alphas: Sequence[float], widths: Sequence[int]) -> Figure:
    """Steps that the condition η ≤ n^(−α/2−1) forces over one unit of time, against n."""
    figure, axis = plt.subplots(figsize=WIDE)
    colours = alpha_colours(alphas)
    for alpha in alphas:
        steps = [1 / laws.step_condition(alpha, width) for width in widths]
        axis.loglog(widths, steps, "o-", markersize=4, color=colours[alpha], label=f"$\\alpha={alpha:g}$")
    axis.set_xscale("log", base=2)
    axis.set(xlabel="width $n$", ylabel="steps for one unit of time")
    axis.legend()
    return figure


def laws_overlaid(table: pd.DataFrame) -> Figure:
    """One panel an alpha: the distribution of n^(2/α−1) error² over matrices and its limit law (dashed)."""
    groups = list(table[table["quantity"] == "error"].groupby("alpha"))
    figure, axes = plt.subplots(1, len(groups), figsize=(8.0, 3.0), sharey=True, squeeze=False)
    colours = alpha_colours([alpha for alpha, _ in groups])
    for axis, (alpha, rows) in zip(axes[0], groups, strict=True):
        law = theorems.noise_law(rows)
        ranked = np.sort(theorems.rescaled(rows))
        share = np.arange(1, len(ranked) + 1) / len(ranked)
        axis.plot(ranked, share, color=colours[alpha], linewidth=3.5, alpha=CLEAR, label="simulated")
        x = np.geomspace(ranked[0] / 2, ranked[-1] * 1.5, 200)
        axis.plot(x, law.cdf(x), color=INK, linestyle="--", linewidth=1, label="limit law")
        apart = theorems.from_law(rows)
        axis.set(xscale="log", title=f"$\\alpha={alpha:g}$, {apart:.3f} apart", xlabel="$n^{2/\\alpha-1}$ error$^2$")
    axes[0][0].set_ylabel("share of matrices below")
    axes[0][0].legend(loc="upper left")
    return figure


def predicted_errors(table: pd.DataFrame, titles: Mapping[tuple[float, float, float], str]) -> Figure:
    """Median error of trained networks against n (points), and what is predicted for them (lines).

    `titles` names the settings (spread, sigma, horizon) to show, in order. Dotted is the limit law of noise alone.
    """
    figure, axis = plt.subplots(figsize=(8.0, 3.6))
    colours = ordered_colours(len(titles))
    settings = dict(list(table.groupby(["spread", "sigma", "horizon"])))
    widths = np.unique(np.geomspace(table["width"].min(), table["width"].max(), 7).round().astype(int))
    for colour, (setting, title) in zip(colours, titles.items(), strict=True):
        rows = settings[setting]
        medians = rows[rows["quantity"] == "error"].groupby("width")["value"].median()
        axis.plot(medians.index, medians, "o", color=colour, markersize=5, label=title)
        axis.plot(widths, [theorems.predicted(rows, int(n), 0.5) for n in widths], color=colour, linewidth=1.2)
    alone = theorems.noise_law(table)
    axis.plot(widths, [laws.pruning_error(alone, n) for n in widths], color=GREY, linewidth=1, linestyle=":")
    axis.set_xscale("log", base=2)
    axis.set(xlabel="width $n$", ylabel="median relative error", ylim=(0, 1))
    axis.legend(ncols=2, loc="lower left")
    return figure


def bounds(rows: pd.DataFrame) -> Figure:
    """What an error surely stays below against the error itself, a point a network; on the dashed line they are equal.

    `rows` have the columns network, which says the panel, alpha, error and bound; a bound of 1 says nothing.
    """
    networks = list(dict.fromkeys(rows["network"]))
    figure, axes = plt.subplots(1, len(networks), figsize=(8.0, 3.4), sharex=True, sharey=True, squeeze=False)
    ends = [float(rows["error"].min()) / 1.2, 1.1]
    for axis, network in zip(axes[0], networks, strict=True):
        own = rows[rows["network"] == network]
        for alpha, colour in alpha_colours(rows["alpha"]).items():
            some = own[own["alpha"] == alpha]
            look = {
                "color": colour,
                "markersize": 3,
                "alpha": CLEAR,
                "label": f"$\\alpha={alpha:g}$",
                "rasterized": True,
            }
            axis.loglog(some["error"], some["bound"], "o", **look)
        axis.plot(ends, ends, "--", color=GREY, linewidth=1)
        axis.set(title=network, xlabel="error after training", xlim=ends)
    axes[0][0].set_ylabel("what it surely stays below")
    axes[0][0].legend(loc="lower right")
    return figure


def width_maps(marks: Sequence[tuple[float, float, str]], error: float, band: tuple[float, float]) -> Figure:
    """log10 of the required width over α and κ at this `error`, and over α and ε with a tenth kept.

    `marks` are (alpha, kept share, text) of experiments, set on the left map; `band` is the range of their α.
    """
    alphas, keeps, errors = np.linspace(1.05, 1.95, 19).round(2), np.linspace(0.02, 0.6, 15), np.linspace(0.04, 0.5, 30)
    kept = [[_log_width(laws.limit_law(float(a), float(k)), float(k), error) for a in alphas] for k in keeps]
    tenth = [laws.limit_law(float(a), 0.1) for a in alphas]
    found = [[_log_width(law, 0.1, float(e)) for law in tenth] for e in errors]
    panels = (
        (keeps, kept, "share kept $\\kappa$", f"error $\\varepsilon$ = {error:.2g}"),
        (errors, found, "error $\\varepsilon$", "a tenth kept"),
    )
    figure, axes = plt.subplots(1, 2, figsize=(8.0, 3.6))
    for axis, (ys, widths, ylabel, title) in zip(axes, panels, strict=True):
        shades = np.clip(widths, 0, 20)
        image = axis.contourf(alphas, ys, shades, levels=np.linspace(0, 20, 41), cmap=DEPTHS)
        lines = axis.contour(alphas, ys, np.array(widths), levels=[2, 3, 4, 6, 9, 15], colors=INK, linewidths=0.8)
        names = axis.clabel(lines, fmt=lambda level: f"$10^{{{level:.0f}}}$", fontsize=8.6, inline_spacing=3)
        plt.setp(names, rotation=0, path_effects=HALO)
        alpha_axis(axis)
        axis.set(ylabel=ylabel, title=title)
        for end in band:
            axis.axvline(end, color=MARKED, linestyle="--", linewidth=1)
    for alpha, keep, text in marks:
        axes[0].plot(alpha, keep, "o", color=MARKED, markeredgecolor=GROUND, markersize=6)
        named = text.replace(", ", ",\n")
        axes[0].annotate(
            named, (alpha, keep), (-7, 0), textcoords="offset points", ha="right", va="center", fontsize=8.6,
            path_effects=HALO,
        )  # fmt: skip
    figure.colorbar(image, ax=axes, label="$\\log_{10}$ of the required width", ticks=range(0, 21, 5), shrink=0.9)
    return figure


def error_shares(rows: pd.DataFrame) -> Figure:
    """Pruned share at squared error 0.1: measured after training against predicted from start and noise alone.

    Bars reach from `low` to `high`.
    """
    figure, axis = plt.subplots(figsize=(4.6, 4.0))
    for name, some in rows.groupby("type"):
        ends = [some["measured"] - some["low"], some["high"] - some["measured"]]
        axis.errorbar(some["predicted"], some["measured"], ends, fmt="o", markersize=5, color=COLOURS[name], label=name)
    axis.plot([0, 1], [0, 1], color=GREY, linestyle=":", linewidth=1)
    axis.set(xlabel="share pruned, start plus noise", ylabel="share pruned, trained", xlim=(0, 1), ylim=(0, 1))
    axis.legend(title=None)
    return figure


def _named(alpha: float, sigma: float) -> tuple[str, str]:
    """Name and colour of a setting."""
    return (f"$\\alpha={alpha:g}$", alpha_colour(alpha)) if sigma else ("$\\sigma=0$", GREY)


def _averages(rows: pd.DataFrame, x: str, typical: bool) -> pd.Series:
    if typical:
        return np.exp(rows.assign(log=np.log(rows["value"])).groupby(x)["log"].mean())
    return rows.groupby(x)["value"].mean()


def _dashed(axis: Axes, averages: pd.Series, slope: float, colour: object) -> None:
    """A line of this slope on logarithmic axes, through the middle of the points."""
    x = averages.index.to_numpy(dtype=float)
    middle = np.exp(np.log(averages).mean() - slope * np.log(x).mean())
    axis.loglog(x, middle * x**slope, color=colour, linestyle="--", linewidth=1)


def _log_width(law: laws.LimitLaw, keep: float, error: float) -> float:
    width = laws.required_width(law.alpha, keep, error, law=law)
    return math.log10(width) if math.isfinite(width) else 400.0
