"""Exponents measured: the slope of a logarithm against a logarithm, with a bootstrap interval over repeats.

Repeats of a simulation are cheap: there are tens to thousands of them, and what is claimed is often the exponent of an
expected distance. So these intervals are no order statistics: the slope of each repeat by itself would be that of a
typical distance.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np
import pandas as pd

from heavytail.evidence.cells import Cell
from heavytail.evidence.intervals import least_seeds

# Of every interval of an exponent. At 99% five cells together err at most once in twenty.
LEVEL = 0.99
RESAMPLES = 2000


def exponent(
    label: str, rows: pd.DataFrame, x: str, *, against: float = 0.0, typical: bool = False, seed: int = 0
) -> Cell:
    """The least-squares slope of log(average value) against log(x), less `against`.

    `rows` has the columns x, key, repeat and value. The average over repeats is the mean, or with `typical` the
    geometric mean, for values whose mean has no finite variance. Repeats are resampled with replacement: all rows of
    one simulation (one key) together, as they share their paths, different simulations independently. A percentile
    interval of level LEVEL; unbounded with fewer repeats than `least_seeds` of that level. Values without a finite
    logarithm count as failed.
    """
    usable = np.isfinite(rows["value"]) & (rows["value"] > 0)
    failed = int((~usable).sum())
    generator = np.random.default_rng(seed)
    logs: list[np.ndarray] = []  # (1 + RESAMPLES, points) for each simulation; row 0 is the sample itself
    places: list[np.ndarray] = []
    repeats: list[int] = []
    for _, group in rows[usable].groupby("key", sort=False):
        table = group.set_index(["repeat", x])["value"].unstack().dropna()
        if not (n := len(table)):
            continue
        drawn = generator.integers(n, size=(RESAMPLES, n), dtype=np.int32)
        values = np.log(table.to_numpy()) if typical else table.to_numpy()
        averages = np.vstack([values.sum(axis=0), *_sums(drawn, values)]) / n
        logs.append(averages if typical else np.log(averages))
        places.append(np.log(table.columns.to_numpy(dtype=float)))
        repeats.append(n)
    at = np.concatenate(places) if places else np.zeros(0)
    if len(set(at)) < 2:
        return Cell(label, math.nan, -math.inf, math.inf, sum(repeats), failed, seeds=sum(repeats))
    weight = (at - at.mean()) / ((at - at.mean()) ** 2).sum()
    slopes = np.hstack(logs) @ weight - against
    low, high = np.quantile(slopes[1:], [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    if min(repeats) < least_seeds(LEVEL):
        low, high = -math.inf, math.inf
    ends = (float(slopes[0]), float(low), float(high))
    return Cell(label, *ends, sum(repeats), failed, seeds=sum(repeats), level=LEVEL)


def _sums(drawn: np.ndarray, values: np.ndarray) -> Iterator[np.ndarray]:
    """The column sums of `values` (n, points) over every row of indices in `drawn` (resamples, n), in blocks of rows.

    A block counts how often each index was drawn, and is small enough for its counts to stay in a processor's cache.
    """
    n = len(values)
    rows = max(1, 2**17 // n)
    for start in range(0, len(drawn), rows):
        block = drawn[start : start + rows]
        places = block + n * np.arange(len(block))[:, None]
        yield np.bincount(places.ravel(), minlength=block.size).reshape(block.shape) @ values
