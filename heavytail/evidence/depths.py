"""Depth: what the pruning of each layer at one error does to a network of several, and how that grows with layers."""

from __future__ import annotations

import pandas as pd

from heavytail import compress
from heavytail.evidence import arms
from heavytail.evidence.cells import Cell, Sample, medians
from heavytail.evidence.experiments import unpenalised


def compounded(layers: int, squared_error: float = compress.SQUARED_ERROR) -> float:
    """Relative error of outputs if each layer lost the share e = `squared_error` of the energy that reaches it. [D]

    Then `(1 - e)^layers` of the energy is left, and what is lost is orthogonal to it: `√(1 - (1 - e)^layers)`.
    It is a yardstick, not a bound: the error of a weight matrix says nothing of the inputs that meet it.
    """
    return float((1 - (1 - squared_error) ** layers) ** 0.5)


def accuracy_lost(table: pd.DataFrame) -> pd.Series:
    """Test accuracy that each run loses by pruning at squared error 0.1 a layer."""
    return table["test_accuracy"] - table["test_accuracy_pruned"]


def growth_of_loss(table: pd.DataFrame) -> list[Cell]:
    """Accuracy lost at the largest depth less at the smallest, seed by seed: plain SGD, then each noise and alpha.

    Each noise is at the strongest setting of its depth, plain SGD at the step size that is best for it there.
    """
    shallow, deep = table["depth"].min(), table["depth"].max()
    if shallow == deep:
        return []  # nothing to compare
    samples = []
    rows = arms.of_strength(unpenalised(table).reset_index(drop=True), "most")
    lost = pd.DataFrame(
        {"arm": arms.named(rows), "lost": accuracy_lost(rows), "seed": rows["seed"], "depth": rows["depth"]}
    )
    noises = dict(zip(lost["arm"], rows["noise"], strict=True))
    for arm, losses in lost.groupby("arm"):
        by_seed = losses.pivot_table(index="seed", columns="depth", values="lost", dropna=False)
        if not {shallow, deep} <= set(by_seed.columns):
            continue
        noise = "" if arm == arms.PLAIN else str(noises[arm])
        growth = by_seed[deep] - by_seed[shallow]
        samples.append(Sample(f"{arm}, depth {deep} less {shallow}", noise, growth))
    return sorted(medians(samples), key=lambda cell: not cell.label.startswith("plain"))
