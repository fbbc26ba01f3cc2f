"""The three noises beside each other: how large a neuron's kick is, and what pruning it buys."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pandas as pd
import torch

from heavytail import compress, laws, noise
from heavytail.evidence.cells import Cell, Sample, medians
from heavytail.evidence.experiments import architectures
from heavytail.evidence.intervals import paired
from heavytail.lab.results import SHARES, runs_of
from heavytail.lab.runs import Run

ALLOWANCE = 0.05  # accuracy that pruning may cost in all, against plain SGD unpruned; our threshold


def path_size(run: Run, inputs: int) -> float:
    """Median Euclidean norm of all that noise adds to a neuron of `inputs` weights in a run: `σ (η K)^(1/α) m`.

    K is the number of kicks, one fewer than the steps, and m the median norm of a unit draw: a sum of K independent
    stable kicks has the law of K^(1/α) times one of them. 0 for plain SGD. [D]
    """
    if run.noise is None or run.alpha is None:
        return 0.0
    kicks = max(run.max_steps - 1, 0)
    return noise.scale(run.alpha, run.sigma, run.lr * kicks) * laws.median_norm(run.alpha, run.noise, inputs)


def pure_share(
    alpha: float, kind: noise.Noise, neurons: int, inputs: int, repeats: int, *, generator: torch.Generator
) -> float:
    """Share of neurons that squared error 0.1 lets go where the weights are one draw of a noise; median of `repeats`.

    Weights that noise has long outgrown are such a draw, whatever sigma is.
    """
    shares = []
    for _ in range(repeats):
        norms = noise.vectors(alpha, kind, (neurons, inputs), generator=generator).double().norm(dim=1)
        shares.append(compress.prunable_share(norms.unsqueeze(1)))
    return float(np.median(shares))


def usable_share(table: pd.DataFrame, allowance: float = ALLOWANCE) -> pd.Series:
    """How far each network can be pruned at equal accuracy: the share of units at which it falls too low.

    Too low is a test accuracy of more than `allowance` below that of the plain network of the same seed, unpruned.
    Between the shares measured the accuracy is taken as straight. 0 for a network that is too low unpruned, NaN for a
    run that failed or has no plain partner.
    """
    plain = table[table["noise"].isna()].drop_duplicates("seed").set_index("seed")["test_accuracy"]
    target = table["seed"].map(plain) - allowance
    curves = table[[f"test_accuracy_share_{share:.1f}" for share in SHARES]].to_numpy(dtype=float)
    found = [_crossing(curve, least) for curve, least in zip(curves, target, strict=True)]
    return pd.Series(found, index=table.index, dtype=float)


def at_equal_accuracy(table: pd.DataFrame, allowance: float = ALLOWANCE) -> list[Cell]:
    """`usable_share` with noise less plain SGD's, seed by seed; a cell is one noise at one alpha and sigma."""
    samples = []
    for suffix, part in architectures(table):
        part = part.assign(usable=usable_share(part, allowance))
        plain = part[part["noise"].isna()].set_index("seed")["usable"]
        for (kind, alpha, sigma), rows in part[part["noise"].notna()].groupby(["noise", "alpha", "sigma"]):
            label = f"{kind}, α = {alpha:g}, σ = {sigma:g}{suffix}"
            samples.append(Sample(label, str(kind), paired(rows.set_index("seed")["usable"], plain)))
    return medians(samples)


def with_path(table: pd.DataFrame, inputs: int) -> pd.DataFrame:
    """The table with a column `path`: `path_size` of each row's run, over the steps that it took."""
    runs = zip(runs_of(table), table["steps"], strict=True)
    return table.assign(path=[path_size(replace(run, max_steps=int(steps)), inputs) for run, steps in runs])


def _crossing(curve: np.ndarray, least: float) -> float:
    if not (math.isfinite(least) and all(map(math.isfinite, curve))):
        return math.nan
    if curve[0] < least:
        return 0.0
    for k in range(1, len(curve)):
        if curve[k] < least:
            before, after = curve[k - 1], curve[k]
            return float(SHARES[k - 1] + (SHARES[k] - SHARES[k - 1]) * (before - least) / (before - after))
    return 1.0
