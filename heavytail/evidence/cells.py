"""A cell: one number with its interval, over seeds, and where the interval lies against what is claimed."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from scipy import stats

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

    def number(self, digits: int = 3) -> str:
        """The number with its interval, or that there is none."""
        if not self.runs:
            return f"none of {self.failed} runs finished"
        return f"{self.value:+.{digits}g} [{self.low:+.{digits}g}, {self.high:+.{digits}g}]"

    def verdict(self, expected: tuple[float, float]) -> str:
        """Where the interval lies against the claimed range (low, high), ends excluded."""
        if expected[0] < self.low and self.high < expected[1]:
            return "supported"
        if self.high < expected[0] or expected[1] < self.low:
            return "not supported"
        return "mixed"


def mean_cell(label: str, values: Iterable[float]) -> Cell:
    """Mean over seeds with Student's t interval; values that are not finite (failed runs) are counted, not hidden.

    >>> cell = mean_cell("three seeds", [0.2, 0.3, 0.4])
    >>> round(cell.value, 2), round(cell.low, 2), round(cell.high, 2), cell.runs
    (0.3, 0.05, 0.55, 3)
    """
    every = np.asarray(list(values), dtype=float)
    x = every[np.isfinite(every)]
    if len(x) < 2:
        return Cell(label, float(x.mean()) if len(x) else math.nan, -math.inf, math.inf, len(x), len(every) - len(x))
    half = float(stats.t.ppf((1 + LEVEL) / 2, len(x) - 1)) * x.std(ddof=1) / math.sqrt(len(x))
    return Cell(label, float(x.mean()), float(x.mean() - half), float(x.mean() + half), len(x), len(every) - len(x))


def share_cell(label: str, count: int, total: int, failed: int = 0) -> Cell:
    """A share with the interval of Clopper and Pearson.

    >>> share_cell("heads", 9, 10).number()
    '+0.9 [+0.555, +0.997]'
    """
    share = stats.binomtest(count, total).proportion_ci(LEVEL, "exact")
    return Cell(label, count / total, float(share.low), float(share.high), total, failed)
