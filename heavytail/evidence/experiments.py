"""Measures of the claims: a results table in, cells out. A cell is one noise at one alpha and sigma, with its interval.

Comparisons are paired by seed: a run with noise against the plain run of the same seed, which has the same initial
weights and the same batches.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

import pandas as pd

from heavytail.evidence.cells import Cell, mean_cell, share_cell
from heavytail.lab.results import MIDDLE


def _noisy(table: pd.DataFrame) -> pd.DataFrame:
    return table[table["noise"].notna() & (table["sigma"] > 0)]


def _shared(table: pd.DataFrame) -> pd.DataFrame:
    """The plain rows and those with Type-I noise."""
    return table[table["noise"].isna() | (table["noise"] == "shared")]


def architectures(table: pd.DataFrame) -> Iterable[tuple[str, pd.DataFrame]]:
    """A table's rows by network, since only runs of one network are compared; a suffix says which if there are many."""
    varied = [name for name in ("width", "depth", "unit") if table[name].nunique() > 1]
    if not varied:
        yield "", table
    else:
        for values, rows in table.groupby(varied):
            yield "".join(f", {name} {value}" for name, value in zip(varied, values, strict=True)), rows


def _noisy_cells(table: pd.DataFrame) -> Iterable[tuple[str, pd.DataFrame]]:
    """Each cell's rows indexed by seed: one noise at one alpha and sigma on one network."""
    for suffix, part in architectures(table):
        for (noise, alpha, sigma), rows in _noisy(part).groupby(["noise", "alpha", "sigma"], sort=True):
            yield f"{noise}, α = {alpha:g}, σ = {sigma:g}{suffix}", rows.set_index("seed")


def _against_plain(table: pd.DataFrame, quantity: Callable[[pd.DataFrame], pd.Series]) -> list[Cell]:
    """Per cell: the quantity with noise less the quantity of plain SGD from the same seed."""
    cells = []
    for suffix, part in architectures(table):
        plain = quantity(part[part["noise"].isna()].set_index("seed"))
        for label, rows in _noisy_cells(part):
            cells.append(mean_cell(f"{label}{suffix}", quantity(rows) - plain.reindex(rows.index)))
    return cells


def compressibility(table: pd.DataFrame) -> list[Cell]:
    """Pruning ratio with noise less without."""
    return _against_plain(table, lambda rows: rows["pruning_ratio"])


def accuracy_before(table: pd.DataFrame) -> list[Cell]:
    """Test accuracy before pruning, with noise less without."""
    return _against_plain(table, lambda rows: rows["test_accuracy"])


def accuracy_at_equal_share(table: pd.DataFrame) -> list[Cell]:
    """Test accuracy with noise less without, mean over the pruned shares 0.1 to 0.9."""
    columns = [f"test_accuracy_share_{share:.1f}" for share in MIDDLE]
    return _against_plain(table, lambda rows: rows[columns].mean(axis=1, skipna=False))


def accuracy_kept(table: pd.DataFrame) -> list[Cell]:
    """Test accuracy after pruning at squared error 0.1 less before, with noise."""
    return [
        mean_cell(label, rows["test_accuracy_pruned"] - rows["test_accuracy"]) for label, rows in _noisy_cells(table)
    ]


def heavier_tail(table: pd.DataFrame) -> list[Cell]:
    """Per noise: pruning ratio at the smallest alpha less that at the largest, seed by seed."""
    cells = []
    for suffix, part in architectures(table):
        for noise, rows in _noisy(part).groupby("noise"):
            by_seed = rows.pivot_table(index="seed", columns="alpha", values="pruning_ratio", dropna=False)
            heavy, light = by_seed.columns.min(), by_seed.columns.max()
            if heavy != light:
                label = f"{noise}, α = {heavy:g} against {light:g}{suffix}"
                cells.append(mean_cell(label, by_seed[heavy] - by_seed[light]))
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


def largest_sigma(table: pd.DataFrame, allowance: float = 0.02) -> dict[tuple[str, str], float]:
    """Per data set and noise the largest sigma whose median run ends at most `allowance` below plain SGD.

    What ends is the train accuracy, at the largest alpha of the table; a run that failed counts as accuracy 0. This is
    the rule by which the tables of the experiments chose their sigma. A noise that no sigma suits is left out.
    """
    chosen = {}
    for dataset, rows in table.groupby("dataset"):
        target = rows.loc[rows["noise"].isna(), "train_accuracy"].median() - allowance
        noisy = _noisy(rows)
        noisy = noisy[noisy["alpha"] == noisy["alpha"].max()].fillna({"train_accuracy": 0.0})
        for noise, cells in noisy.groupby("noise"):
            medians = cells.groupby("sigma")["train_accuracy"].median()
            if (medians >= target).any():
                chosen[str(dataset), str(noise)] = float(medians.index[medians >= target].max())
    return chosen
