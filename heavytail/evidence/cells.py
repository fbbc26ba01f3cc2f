"""A cell: one number with its interval, over seeds or repeats, and the word that it gives a claim."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import pandas as pd
from scipy import stats

from heavytail.evidence.intervals import LEVEL, family_level, median_interval, share_interval
from heavytail.evidence.scales import Scale
from heavytail.evidence.verdicts import Verdict, judge, seeds_needed, seeds_needed_share

Middle = Literal["median", "share", "other"]


@dataclass(frozen=True)
class Cell:
    """One number with its interval: `label` says of what, `runs` how many went in, `failed` how many had no number.

    noise     the noise type that it belongs to; "" for plain SGD, and where there is none
    seeds     how many seeds, or independent repeats, were asked, those without a number too
    diverged  how many of the runs diverged and went in at chance accuracy
    middle    what the number is: the median over seeds, a share of them, or something other
    points    the numbers of the seeds, ascending, where it is a median or a share over seeds
    level     of the interval
    verdict   the word for it against a claim; None before it was `judged`
    scale     of the table that it was measured from; None before it was `judged`
    needed    how many seeds it would take to decide; None where it is decided, and where nobody can say
    """

    label: str
    value: float
    low: float
    high: float
    runs: int
    failed: int = 0
    noise: str = ""
    seeds: int = 0
    diverged: int = 0
    middle: Middle = "other"
    points: tuple[float, ...] = ()
    level: float = LEVEL
    verdict: Verdict | None = None
    scale: Scale | None = None
    needed: int | None = None

    def number(self, digits: int = 3, *, percent: bool = False) -> str:
        """The number with its interval, with the range of its points where there is none, or that there is no number.

        >>> Cell("", 0.2, 0.1, 0.3, 9).number(), Cell("", 0.2, 0.1, 0.3, 9).number(percent=True)
        ('+0.2 [+0.1, +0.3]', '+20.0 [+10.0, +30.0]')
        """
        if not self.runs:
            return f"none of {self.failed} runs finished"

        def text(value: float) -> str:
            return f"{100 * value:+z.1f}" if percent else f"{value:+.{digits}g}"

        if math.isfinite(self.low) or math.isfinite(self.high):
            return f"{text(self.value)} [{text(self.low)}, {text(self.high)}]"
        if not self.points:
            return f"{text(self.value)}, no interval"
        return f"{text(self.value)}, {self.seeds} seeds: {text(self.points[0])} to {text(self.points[-1])}"

    def judged(self, expected: tuple[float, float], margin: float = 0.0, scale: Scale | None = None) -> Cell:
        """The cell with its word for a claimed range and margin, see `verdicts.judge`, and the seeds it would take.

        >>> cell = median_cell("four seeds", [0.1, 0.2, 0.3, 0.2]).judged((0.0, math.inf))
        >>> cell.verdict, cell.needed
        ('undecided', 6)
        """
        word = judge(self.low, self.high, expected, margin)
        needed = None
        if word == "undecided" and self.middle == "median":
            needed = seeds_needed(self.points, expected, margin, self.level)
        if word == "undecided" and self.middle == "share" and self.runs:
            needed = seeds_needed_share(self.value, expected, self.level)
        return replace(self, verdict=word, scale=scale, needed=needed)


@dataclass(frozen=True, eq=False)
class Sample:
    """The numbers of one cell, indexed by seed; `diverged` says how many of them are of diverged runs, at chance."""

    label: str
    noise: str
    values: pd.Series
    diverged: int = 0


def medians(samples: Sequence[Sample]) -> list[Cell]:
    """A cell a sample: the median over seeds. The samples of all noise types are one family, see `family_level`.

    >>> values = pd.Series([0.2, 0.3, 0.4, 0.1, 0.5, 0.6, 0.7])
    >>> [round(cell.level, 3) for cell in medians([Sample("a", "shared", values), Sample("b", "entrywise", values)])]
    [0.975, 0.975]
    """
    level = _level(samples)
    return [replace(median_cell(s.label, s.values, level), noise=s.noise, diverged=s.diverged) for s in samples]


def shares(samples: Sequence[Sample]) -> list[Cell]:
    """A cell a sample of true, false or NaN: the share of runs, whose interval counts seeds; one family as `medians`.

    >>> (cell,) = shares([Sample("a", "shared", pd.Series([True] * 16, index=[*range(8), *range(8)]))])
    >>> cell.number(), cell.runs, cell.seeds
    ('+1 [+0.631, +1]', 16, 8)
    """
    level = _level(samples)
    cells = []
    for sample in samples:
        found = share_interval(sample.values, level)
        runs = int(sample.values.notna().sum())
        cells.append(
            Cell(
                *(sample.label, found.value, found.low, found.high, runs, len(sample.values) - runs),
                *(sample.noise, found.seeds, sample.diverged, "share", found.points, level),
            )
        )
    return cells


def median_cell(label: str, values: Iterable[float], level: float = LEVEL) -> Cell:
    """The median over seeds with its order-statistic interval; values that are not finite widen it and are counted.

    >>> cell = median_cell("six seeds", [0.2, 0.3, 0.4, 0.1, 0.5, 0.6])
    >>> round(cell.value, 2), cell.low, cell.high, cell.runs
    (0.35, 0.1, 0.6, 6)
    """
    found = median_interval(values, level)
    runs = found.seeds - found.missing
    ends = (found.value, found.low, found.high)
    return Cell(label, *ends, runs, found.missing, "", found.seeds, 0, "median", found.points, level)


def share_cell(label: str, count: int, total: int, failed: int = 0) -> Cell:
    """A share of independent repeats with the interval of Clopper and Pearson.

    >>> share_cell("heads", 9, 10).number()
    '+0.9 [+0.555, +0.997]'
    """
    share = stats.binomtest(count, total).proportion_ci(LEVEL, "exact")
    ends = (count / total, float(share.low), float(share.high))
    return Cell(label, *ends, total, failed, seeds=total + failed, middle="share")


def _level(samples: Sequence[Sample]) -> float:
    return family_level(max(1, len({sample.noise for sample in samples})))
