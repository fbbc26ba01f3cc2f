"""Measures of the claims: a results table in, cells out. A cell is one noise at one alpha and sigma, with its interval.

Comparisons are paired by seed: a run with noise against the plain run of the same seed, which has the same initial
weights and the same batches.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy import stats

from heavytail.results import SHARES

LEVEL = 0.95  # of every interval


@dataclass(frozen=True)
class Cell:
    """One number with its interval: `label` says of what, `runs` how many went in, `failed` how many could not."""

    label: str
    value: float
    low: float
    high: float
    runs: int
    failed: int = 0

    def verdict(self, expected: tuple[float, float]) -> str:
        """Where the interval lies against the claimed range (low, high), ends excluded."""
        if expected[0] < self.low and self.high < expected[1]:
            return "supported"
        if self.high < expected[0] or expected[1] < self.low:
            return "not supported"
        return "mixed"


def mean_cell(label: str, values: Iterable[float]) -> Cell:
    """Mean over seeds with Student's t interval; values that are not finite (failed runs) are counted, not hidden."""
    every = np.asarray(list(values), dtype=float)
    x = every[np.isfinite(every)]
    if len(x) < 2:
        return Cell(label, float(x.mean()) if len(x) else math.nan, -math.inf, math.inf, len(x), len(every) - len(x))
    half = float(stats.t.ppf((1 + LEVEL) / 2, len(x) - 1)) * x.std(ddof=1) / math.sqrt(len(x))
    return Cell(label, float(x.mean()), float(x.mean() - half), float(x.mean() + half), len(x), len(every) - len(x))


def share_cell(label: str, count: int, total: int, failed: int = 0) -> Cell:
    """A share with the interval of Clopper and Pearson."""
    share = stats.binomtest(count, total).proportion_ci(LEVEL, "exact")
    return Cell(label, count / total, float(share.low), float(share.high), total, failed)


def _noisy(table: pd.DataFrame) -> pd.DataFrame:
    return table[table["noise"].notna() & (table["sigma"] > 0)]


def _shared(table: pd.DataFrame) -> pd.DataFrame:
    """The plain rows and those with Type-I noise."""
    return table[table["noise"].isna() | (table["noise"] == "shared")]


def _noisy_cells(table: pd.DataFrame) -> Iterable[tuple[str, pd.DataFrame]]:
    """Each cell's rows indexed by seed: one noise at one alpha and sigma."""
    for (noise, alpha, sigma), rows in _noisy(table).groupby(["noise", "alpha", "sigma"], sort=True):
        yield f"{noise}, α = {alpha:g}, σ = {sigma:g}", rows.set_index("seed")


def _against_plain(table: pd.DataFrame, quantity: Callable[[pd.DataFrame], pd.Series]) -> list[Cell]:
    """Per cell: the quantity with noise less the quantity of plain SGD from the same seed."""
    plain = quantity(table[table["noise"].isna()].set_index("seed"))
    return [mean_cell(label, quantity(rows) - plain.reindex(rows.index)) for label, rows in _noisy_cells(table)]


def compressibility(table: pd.DataFrame) -> list[Cell]:
    """Pruning ratio with noise less without."""
    return _against_plain(table, lambda rows: rows["pruning_ratio"])


def accuracy_before(table: pd.DataFrame) -> list[Cell]:
    """Test accuracy before pruning, with noise less without."""
    return _against_plain(table, lambda rows: rows["test_accuracy"])


def accuracy_at_equal_share(table: pd.DataFrame) -> list[Cell]:
    """Test accuracy with noise less without, mean over the pruned shares 0.1 to 0.9."""
    columns = [f"test_accuracy_share_{share:.1f}" for share in SHARES[1:-1]]
    return _against_plain(table, lambda rows: rows[columns].mean(axis=1, skipna=False))


def accuracy_kept(table: pd.DataFrame) -> list[Cell]:
    """Test accuracy after pruning at squared error 0.1 less before, with noise."""
    return [
        mean_cell(label, rows["test_accuracy_pruned"] - rows["test_accuracy"]) for label, rows in _noisy_cells(table)
    ]


def heavier_tail(table: pd.DataFrame) -> list[Cell]:
    """Per noise: pruning ratio at the smallest alpha less that at the largest, seed by seed."""
    cells = []
    for noise, rows in _noisy(table).groupby("noise"):
        by_seed = rows.pivot_table(index="seed", columns="alpha", values="pruning_ratio", dropna=False)
        heavy, light = by_seed.columns.min(), by_seed.columns.max()
        if heavy == light:
            continue  # nothing to compare
        cells.append(mean_cell(f"{noise}, α = {heavy:g} against {light:g}", by_seed[heavy] - by_seed[light]))
    return cells


def relative_loss(table: pd.DataFrame) -> list[Cell]:
    """Train loss with Type-I noise over train loss without, less one."""
    plain = table[table["noise"].isna()].set_index("seed")["train_loss"]
    cells = _noisy_cells(_shared(table))
    return [mean_cell(label, rows["train_loss"] / plain.reindex(rows.index) - 1) for label, rows in cells]


def shared_compressibility(table: pd.DataFrame) -> list[Cell]:
    """Pruning ratio with Type-I noise less without."""
    return compressibility(_shared(table))


def collapses(table: pd.DataFrame) -> list[Cell]:
    """Share of noisy runs that lose more than ten points of train accuracy at squared error 0.1 (Clopper-Pearson)."""
    noisy = _noisy(table)
    if noisy.empty:
        return []
    lost = (noisy["train_accuracy"] - noisy["train_accuracy_pruned"]).dropna()
    if lost.empty:
        return [mean_cell("0 of 0 runs", noisy["train_accuracy_pruned"])]
    collapsed = int((lost > 0.1).sum())
    return [share_cell(f"{collapsed} of {len(lost)} runs", collapsed, len(lost), len(noisy) - len(lost))]
