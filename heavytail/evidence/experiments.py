"""Measures of the claims: a results table in, cells out. A cell is one noise at one alpha and sigma, with its interval.

Comparisons are paired by seed: a run with noise against the plain run of the same seed, which has the same initial
weights and the same batches. A cell's number is the median over seeds.

A table may hold plain SGD at several step sizes. What noise does to a network is compared at the same step size;
whether noise makes the better network, with plain SGD at the step size that is best for it.

A table may hold a noise at several settings. What noise does is asked at the strongest sigma of each alpha. Whether it
makes the better network is asked of each noise type once, at the setting that is best for it in the table, as rivals
are: where even that is behind, so is the type.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

import numpy as np
import pandas as pd

from heavytail.evidence.cells import Cell, Sample, medians, shares
from heavytail.evidence.intervals import paired
from heavytail.evidence.verdicts import accuracy_outcomes
from heavytail.lab.datasets.official import published
from heavytail.lab.results import MIDDLE

#: What tells the networks apart of which a table may hold several: only runs of one are compared.
NETWORK = ("dataset", "network", "width", "depth", "unit")

AT_SHARES = [f"test_accuracy_share_{share:.1f}" for share in MIDDLE]


def mean_accuracy(table: pd.DataFrame) -> pd.Series:
    """Each run's test accuracy, mean over the pruned shares 0.1 to 0.9."""
    return table[AT_SHARES].mean(axis=1, skipna=False)


def heavy(table: pd.DataFrame) -> pd.DataFrame:
    """The rows with heavy-tailed noise that the inputs see: Gaussian and unseen noise are controls."""
    return table[table["noise"].notna() & (table["sigma"] > 0) & (table["alpha"] < 2) & (table["along"] == "ones")]


def strongest(table: pd.DataFrame) -> pd.DataFrame:
    """The table without those noisy rows whose noise has a larger sigma too, at this alpha and on this network."""
    arm = [table[name] for name in (*NETWORK, "noise", "alpha", "along")]
    largest = table["sigma"].groupby(arm).transform("max")  # NaN without noise
    return table[table["noise"].isna() | (table["sigma"] == largest)]


def best(table: pd.DataFrame) -> pd.DataFrame:
    """The table with each heavy-tailed noise type at its most accurate alpha, sigma and step size alone, by network."""
    noisy = heavy(table)
    arms = noisy.groupby([*NETWORK, "noise"])
    kept = pd.concat([most_accurate(rows, ("alpha", "sigma", "lr")) for _, rows in arms] or [noisy])
    return table.drop(noisy.index.difference(kept.index))


def unpenalised(table: pd.DataFrame) -> pd.DataFrame:
    """The rows without weight decay and without a group lasso."""
    return table[(table["weight_decay"] == 0) & (table["group_lasso"] == 0)]


def plain(table: pd.DataFrame) -> pd.DataFrame:
    """The rows of plain SGD, without a penalty on its weights."""
    return unpenalised(table[table["noise"].isna()])


def most_accurate(rows: pd.DataFrame, settings: Sequence[str] = ("lr", "weight_decay", "group_lasso")) -> pd.DataFrame:
    """Those at the setting, one value of each of `settings`, whose median run is the most accurate when pruned.

    A run that diverged guesses, and a setting with a run that failed otherwise comes last. Of settings that are alike
    those with the smallest values.
    """
    names = list(settings)
    held = outcomes(rows[["dataset", "status", *names, *AT_SHARES]], AT_SHARES)
    accuracy = held[names].assign(accuracy=mean_accuracy(held))
    middle = accuracy.groupby(names)["accuracy"].median(skipna=False).fillna(-1.0)
    return rows if middle.empty else rows[(rows[names].to_numpy() == np.array(middle.idxmax())).all(axis=1)]


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


def outcomes(table: pd.DataFrame, columns: Sequence[str]) -> pd.DataFrame:
    """The table with these accuracies of diverged runs at chance, where the number of classes is known.

    For comparisons between networks: one that diverged guesses. How well one network stands pruning it does not say.
    """
    held = table.copy()
    for dataset in table.loc[table["status"] == "diverged", "dataset"].unique():
        if (official := published(dataset)) is not None:
            others = held["dataset"] != dataset
            for name in columns:
                at_chance = accuracy_outcomes(held[name], held["status"], 1 / official.classes[0])
                held[name] = held[name].where(others, at_chance)
    return held


def diverged(rows: pd.DataFrame, values: pd.Series) -> int:
    """How many of these runs diverged and have a number all the same, as `outcomes` gives them."""
    return int(((rows["status"] == "diverged").to_numpy() & values.notna().to_numpy()).sum())


def heavy_cells(table: pd.DataFrame) -> Iterable[tuple[str, str, pd.DataFrame]]:
    """Each cell's label, noise and rows indexed by seed: one noise at one alpha and sigma on one network."""
    for suffix, part in architectures(table):
        noisy = heavy(part)
        for (noise, alpha, sigma, lr), rows in noisy.groupby(["noise", "alpha", "sigma", "lr"], sort=True):
            step = f", η = {lr:g}" if noisy["lr"].nunique() > 1 else ""
            yield f"{noise}, α = {alpha:g}, σ = {sigma:g}{step}{suffix}", str(noise), rows.set_index("seed")


def compare_with_plain(
    table: pd.DataFrame,
    quantity: Callable[[pd.DataFrame], pd.Series],
    compared: Callable[[pd.Series, pd.Series], pd.Series] = paired,
    *,
    favoured: bool = False,
) -> list[Cell]:
    """Per cell: the quantity with noise `compared` with that of plain SGD from the same seed.

    Plain SGD is that of the same step size, or with `favoured`, and where there is none, that of its best.
    """
    samples = []
    for suffix, part in architectures(table):
        if heavy(part).empty:  # a small network, say, which is a rival
            continue
        alone, best_alone = plain(part), most_accurate(plain(part))
        for label, noise, rows in heavy_cells(part):
            same = alone[alone["lr"] == rows["lr"].iloc[0]]
            partner = best_alone if favoured or same.empty else same
            values = compared(quantity(rows), quantity(partner.set_index("seed")))
            samples.append(Sample(f"{label}{suffix}", noise, values, diverged(rows, values)))
    return medians(samples)


def compressibility(table: pd.DataFrame) -> list[Cell]:
    """Pruning ratio with noise at its strongest less without."""
    return compare_with_plain(strongest(table), lambda rows: rows["pruning_ratio"])


def accuracy_before(table: pd.DataFrame) -> list[Cell]:
    """Test accuracy before pruning, with noise at its strongest less without; a diverged run is at chance."""
    return compare_with_plain(outcomes(strongest(table), ["test_accuracy"]), lambda rows: rows["test_accuracy"])


def accuracy_at_equal_share(table: pd.DataFrame) -> list[Cell]:
    """Test accuracy with each noise at its best less without, mean over shares 0.1 to 0.9; a diverged run guesses."""
    return compare_with_plain(outcomes(best(table), AT_SHARES), mean_accuracy, favoured=True)


def accuracy_kept(table: pd.DataFrame) -> list[Cell]:
    """Test accuracy after pruning at squared error 0.1 less before, noise at its strongest; without diverged runs."""
    return medians(
        [
            Sample(label, noise, rows["test_accuracy_pruned"] - rows["test_accuracy"])
            for label, noise, rows in heavy_cells(strongest(table))
        ]
    )


def heavier_tail(table: pd.DataFrame) -> list[Cell]:
    """Per noise: pruning ratio at the smallest alpha less that at the largest, by seed, each at its largest sigma."""
    samples = []
    for suffix, part in architectures(table):
        for noise, rows in heavy(strongest(part)).groupby("noise"):
            by_seed = rows.drop_duplicates(["seed", "alpha"], keep="last").pivot(
                index="seed", columns="alpha", values="pruning_ratio"
            )
            low, high = by_seed.columns.min(), by_seed.columns.max()
            if low != high:
                label = f"{noise}, α = {low:g} against {high:g}{suffix}"
                samples.append(Sample(label, str(noise), by_seed[low] - by_seed[high]))
    return medians(samples)


def relative_loss(table: pd.DataFrame) -> list[Cell]:
    """Train loss with Type-I noise over train loss without, less one."""
    return compare_with_plain(_shared(table), lambda rows: rows["train_loss"], relative)


def relative(first: pd.Series, second: pd.Series) -> pd.Series:
    """`first` over `second`, less one, seed by seed as in `paired`.

    >>> relative(pd.Series([3.0], index=[1]), pd.Series([2.0], index=[1])).tolist()
    [0.5]
    """
    return paired(first, second) / second.reindex(first.index)


def shared_compressibility(table: pd.DataFrame) -> list[Cell]:
    """Pruning ratio with Type-I noise less without."""
    return compressibility(_shared(table))


def collapses(table: pd.DataFrame) -> list[Cell]:
    """Per cell: share of runs that lose more than ten points of train accuracy at squared error 0.1, strongest noise.

    Its interval counts seeds: see `share_interval`.
    """
    samples = []
    for label, noise, rows in heavy_cells(strongest(table)):
        lost = rows["train_accuracy"] - rows["train_accuracy_pruned"]
        collapsed = (lost > 0.1).astype(float).where(lost.notna())
        samples.append(Sample(f"{label}, {int(collapsed.sum())} of {collapsed.count()} runs", noise, collapsed))
    return shares(samples)
