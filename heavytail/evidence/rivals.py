"""What else makes a network small, against noise: Gaussian noise, penalties, a small network; and what noise costs.

A cell is one noise at one alpha, sigma and step size. Where noise is asked to be the better one, it, plain
SGD and the penalties come at the setting that is best for each in the table; small networks have one.
"""

from __future__ import annotations

import pandas as pd

from heavytail.evidence import arms
from heavytail.evidence.cells import Cell, Sample, medians
from heavytail.evidence.experiments import (
    AT_SHARES,
    best,
    compare_with_plain,
    diverged,
    heavy,
    heavy_cells,
    mean_accuracy,
    most_accurate,
    outcomes,
    plain,
    strongest,
)
from heavytail.evidence.intervals import paired
from heavytail.lab.results import DISTURBED, SHARES

PGD = [f"test_accuracy_pgd_{size:g}" for size in DISTURBED]


def against_gaussian_kick(table: pd.DataFrame) -> list[Cell]:
    """Pruning ratio at the alpha nearest 1.75 less that of the weakest Gaussian noise: matched by the median kick."""
    return _against_gaussian(table, "least")


def against_gaussian_total(table: pd.DataFrame) -> list[Cell]:
    """The same less that of the strongest Gaussian noise: matched by the median displacement over all steps."""
    return _against_gaussian(table, "most")


def accuracy_against_decay(table: pd.DataFrame) -> list[Cell]:
    """Test accuracy with each noise at its best less with weight decay, mean over the pruned shares 0.1 to 0.9."""
    return _accuracy_against(table, "weight_decay")


def accuracy_against_lasso(table: pd.DataFrame) -> list[Cell]:
    """Test accuracy with each noise at its best less with a group lasso, mean over the pruned shares 0.1 to 0.9."""
    return _accuracy_against(table, "group_lasso")


def ratio_against_lasso(table: pd.DataFrame) -> list[Cell]:
    """Pruning ratio of the strongest setting of each noise and alpha less that of the strongest group lasso."""
    strong = arms.of_strength(table, "most")
    lasso = strong[strong["group_lasso"] > 0].set_index("seed")["pruning_ratio"]
    return medians(
        [Sample(label, noise, paired(rows["pruning_ratio"], lasso)) for label, noise, rows in heavy_cells(strong)]
    )


def against_small(table: pd.DataFrame) -> list[Cell]:
    """Test accuracy of the pruned network less that of one of the size left, trained from scratch; noise at its best.

    Mean over the sizes of small networks that the table has; seed by seed, though the two networks share no weights. No
    cells where it has none.
    """
    outcome = outcomes(best(table), ["test_accuracy", *AT_SHARES])
    widest = outcome["width"].max()
    small = plain(outcome[outcome["width"] < widest]).pivot(index="seed", columns="width", values="test_accuracy")
    columns = {width: f"test_accuracy_share_{_share(1 - width / widest):.1f}" for width in small.columns}
    samples: list[Sample] = []
    for label, noise, rows in heavy_cells(outcome[outcome["width"] == widest]) if columns else ():
        differences = [paired(rows[column], small[width]) for width, column in columns.items()]
        values = sum(differences[1:], differences[0]) / len(differences)
        samples.append(Sample(label, noise, values, diverged(rows, values)))
    return medians(samples)


def robustness(table: pd.DataFrame) -> list[Cell]:
    """Test accuracy under projected gradient attacks, mean over sizes, with noise at its strongest less without."""
    return compare_with_plain(outcomes(strongest(table), PGD), lambda rows: rows[PGD].mean(axis=1, skipna=False))


def _accuracy_against(table: pd.DataFrame, penalty: str) -> list[Cell]:
    outcome = outcomes(best(table), AT_SHARES)
    rival = mean_accuracy(most_accurate(outcome[outcome[penalty] > 0]).set_index("seed"))
    samples = []
    for label, noise, rows in heavy_cells(outcome):
        values = paired(mean_accuracy(rows), rival)
        samples.append(Sample(label, noise, values, diverged(rows, values)))
    return medians(samples)


def _against_gaussian(table: pd.DataFrame, strength: arms.Strength) -> list[Cell]:
    samples = []
    strong, light = arms.of_strength(table, "most"), arms.of_strength(table, strength)
    for noise, rows in heavy(strong).groupby("noise"):
        gaussian = light[(light["noise"] == noise) & (light["alpha"] == 2)]
        nearest = min(rows["alpha"].unique(), key=lambda alpha: abs(alpha - 1.75))
        tail = rows[rows["alpha"] == nearest]
        if gaussian.empty:
            continue
        if set(gaussian["lr"]) != set(tail["lr"]):
            raise ValueError(f"{noise} noise at alpha = 2 wants the step size that it has at alpha = {nearest:g}")
        label = f"{noise}, α = {nearest:g} against σ = {gaussian['sigma'].iloc[0]:g} at α = 2"
        ratios = (part.set_index("seed")["pruning_ratio"] for part in (tail, gaussian))
        samples.append(Sample(label, str(noise), paired(*ratios)))
    return medians(samples)


def _share(share: float) -> float:
    """The pruned share that a table measures; ValueError where there is none."""
    measured = min(SHARES, key=lambda other: abs(other - share))
    if abs(measured - share) > 1e-6:
        raise ValueError(
            f"nothing is measured with the share {share:g} pruned: small networks are tenths of the widest"
        )
    return measured
