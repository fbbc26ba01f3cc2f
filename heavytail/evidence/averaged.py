"""Measures of the claims about kicks of many clients that a server averages: a cell is a noise type at one alpha."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import cache

import pandas as pd

from heavytail import laws
from heavytail.evidence.cells import Cell, Sample, medians, shares
from heavytail.evidence.slopes import exponent

EVERY = 3  # the prediction of an error takes long: it is asked at every third K, from the fewest clients on


def scale(table: pd.DataFrame) -> list[Cell]:
    """Exponent of K in the scale of the averaged kicks, less 1/α − 1; alpha < 2."""
    return _exponents(table[table["alpha"] < 2], lambda alpha: 1 / alpha - 1)


def gaussian(table: pd.DataFrame) -> list[Cell]:
    """Exponent of K in the scale of averaged Gaussian kicks."""
    return _exponents(table[table["alpha"] == 2], lambda _: 0.0)


def _exponents(table: pd.DataFrame, law: Callable[[float], float]) -> list[Cell]:
    return [
        replace(exponent(label, rows, "clients", against=law(alpha), typical=True), noise=kind)
        for label, kind, alpha, rows in _cells(table, "scale")
    ]


def index(table: pd.DataFrame) -> list[Cell]:
    """Median stability index of kicks of the most clients, less α; alpha < 2."""
    most = table[(table["clients"] == table["clients"].max()) & (table["alpha"] < 2)]
    return medians(
        [
            Sample(f"{label}, K = {rows['clients'].iloc[0]}", kind, rows["value"].reset_index(drop=True) - alpha)
            for label, kind, alpha, rows in _cells(most, "index")
        ]
    )


def compressibility(table: pd.DataFrame) -> list[Cell]:
    """Share of layers whose pruning error is at most its predicted median, K from few to many; alpha from 1 to 2."""
    return shares(
        [
            Sample(label, str(rows["noise"].iloc[0]), (rows["value"] <= predicted(rows)).reset_index(drop=True))
            for label, rows in errors(table)
        ]
    )


def errors(table: pd.DataFrame) -> list[tuple[str, pd.DataFrame]]:
    """The rows of pruning errors that are held against the law, cell by cell."""
    some = sorted(table["clients"].unique())[::EVERY]
    chosen = table[table["clients"].isin(some) & (table["alpha"] > 1) & (table["alpha"] < 2)]
    return [(label, rows) for label, _, _, rows in _cells(chosen, "error")]


def predicted(rows: pd.DataFrame) -> pd.Series:
    """The median error that the law says for start plus one kick of scale σ K^(1/α−1), row by row."""
    settings = rows.groupby(["alpha", "sigma", "noise", "width", "inputs", "clients", "keep", "spread"])
    said = pd.Series(float("nan"), index=rows.index)
    for setting, same in settings:
        said[same.index] = _predicted(*setting)
    return said


@cache
def _predicted(
    alpha: float, sigma: float, noise: str, width: int, inputs: int, clients: int, keep: float, spread: float
) -> float:
    shrunk = sigma * laws.averaged_scale(alpha, int(clients))
    layer = {"noise": noise, "inputs": int(inputs), "spread": spread, "scale": shrunk}
    return laws.predicted_error(alpha, int(width), keep, **layer)  # type: ignore[arg-type]


def _cells(table: pd.DataFrame, quantity: str) -> Iterator[tuple[str, str, float, pd.DataFrame]]:
    """One quantity's rows cell by cell: (label, noise, alpha, rows)."""
    for (kind, alpha), rows in table[table["quantity"] == quantity].groupby(["noise", "alpha"], sort=False):
        yield f"{kind}, α = {alpha:g}", str(kind), float(alpha), rows
