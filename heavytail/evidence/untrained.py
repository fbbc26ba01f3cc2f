"""What the law of start plus noise says of pruning ratios, and how far trained networks leave it.

A table of the study `untrained` has a thousand networks a setting, which settles what a table of trained networks can
only estimate. That trained networks have the ratio of their own start and kicks is a claim by itself: `beyond_twins`.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

import pandas as pd

from heavytail.evidence.cells import Cell, Sample, medians
from heavytail.evidence.experiments import strongest

_LAYER = ["width", "inputs"]
_End = tuple[Any, pd.Series]  # a value on an axis, and the pruning ratios there by repeat


def compressibility(table: pd.DataFrame) -> list[Cell]:
    """Pruning ratio of start plus heavy-tailed noise less that of the start: a cell a noise, alpha and strength."""
    samples = []
    for label, noise, rows in _settings(table[table["alpha"] < 2]):
        samples.append(Sample(label, noise, _of(rows, "pruning_ratio") - _of(rows, "start_ratio")))
    return medians(samples)


def heavier_tail(table: pd.DataFrame) -> list[Cell]:
    """Per noise and layer: pruning ratio at the smallest alpha less that at the largest below 2, repeat by repeat."""
    samples = []
    for (noise, width, inputs), (heavy, more), (light, less) in _ends(table, ["noise", *_LAYER], "alpha"):
        label = f"{noise}, α = {heavy:g} against {light:g}, {width} neurons of {inputs} inputs"
        samples.append(Sample(label, str(noise), more - less))
    return medians(samples)


def wider(table: pd.DataFrame) -> list[Cell]:
    """Per noise, alpha and strength: pruning ratio at the largest width less that at the smallest.

    Layers of two widths share nothing, so repeats are paired by chance.
    """
    samples = []
    names = ["noise", "alpha", "sigma", "lr", "steps", "inputs"]
    for (noise, alpha, sigma, _, _, inputs), (narrow, less), (wide, more) in _ends(table, names, "width"):
        label = f"{noise}, α = {alpha:g}, σ = {sigma:g}, width {wide} less {narrow} of {inputs} inputs"
        samples.append(Sample(label, str(noise), more - less))
    return medians(samples)


def by_width(table: pd.DataFrame) -> pd.DataFrame:
    """Medians of the law by width: columns noise, alpha, width and predicted, one row a setting and, last, the start.

    The start has no noise: its ratio is that of all repeats of a width.
    """
    ratios = table[table["quantity"] == "pruning_ratio"].groupby(["noise", "alpha", "width"])["value"].median()
    starts = table[table["quantity"] == "start_ratio"].groupby("width")["value"].median()
    still = starts.rename("predicted").reset_index().assign(noise=None, alpha=math.nan)
    return pd.concat([ratios.rename("predicted").reset_index(), still], ignore_index=True)


def against_gaussian(table: pd.DataFrame) -> list[Cell]:
    """Per noise, layer and strength at alpha = 2: pruning ratio at the alpha nearest to 1.75 less that at 2."""
    samples = []
    for (noise, width, inputs), rows in table.groupby(["noise", *_LAYER]):
        tails = sorted(set(rows.loc[rows["alpha"] < 2, "alpha"]), key=lambda alpha: abs(alpha - 1.75))
        for sigma, light in rows[rows["alpha"] == 2].groupby("sigma"):
            if tails:
                heavy = _of(rows[rows["alpha"] == tails[0]], "pruning_ratio")
                label = f"{noise}, σ = {sigma:g} at α = 2, {width} neurons of {inputs} inputs"
                samples.append(Sample(label, str(noise), heavy - _of(light, "pruning_ratio")))
    return medians(samples)


def beyond_twins(table: pd.DataFrame) -> list[Cell]:
    """Pruning ratio of networks trained with noise at its strongest less that of their own start and kicks."""
    samples = []
    noisy = strongest(table[table["noise"].notna() & (table["sigma"] > 0)])
    names = ["noise", "alpha", "sigma", "lr", "width", "depth", "unit", "along"]
    varied = [name for name in ("depth", "unit") if noisy[name].nunique() > 1]
    for setting, rows in noisy.groupby(names):
        noise, alpha, sigma, lr, width, depth, unit, _ = setting
        values = rows.set_index("seed")["pruning_ratio"] - rows.set_index("seed")["twin_pruning_ratio"]
        label = f"{noise}, α = {alpha:g}, σ = {sigma:g}, η = {lr:g}, width {width}"
        label += "".join(f", {name} {value}" for name, value in (("depth", depth), ("unit", unit)) if name in varied)
        samples.append(Sample(label, str(noise), values))
    return medians(samples)


def _settings(table: pd.DataFrame) -> Iterable[tuple[str, str, pd.DataFrame]]:
    names = ["noise", "alpha", "sigma", "lr", "steps", *_LAYER]
    for (noise, alpha, sigma, _, _, width, inputs), rows in table.groupby(names):
        yield f"{noise}, α = {alpha:g}, σ = {sigma:g}, {width} neurons of {inputs} inputs", str(noise), rows


def _ends(table: pd.DataFrame, by: list[str], axis: str) -> Iterable[tuple[Any, _End, _End]]:
    """Per setting its smallest and its largest value on an axis, each with the pruning ratios there; alpha < 2."""
    for setting, rows in table[table["alpha"] < 2].groupby(by):
        ends = rows[axis].min(), rows[axis].max()
        if ends[0] != ends[1]:
            first, last = ((end, _of(rows[rows[axis] == end], "pruning_ratio")) for end in ends)
            yield setting, first, last


def _of(rows: pd.DataFrame, quantity: str) -> pd.Series:
    """One quantity by repeat; ValueError where rows of several settings would be one."""
    values = rows[rows["quantity"] == quantity].set_index("repeat")["value"]
    if not values.index.is_unique:
        raise ValueError(f"several settings at one alpha: give {quantity} of one noise, strength and step size a layer")
    return values
