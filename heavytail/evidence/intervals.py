"""Intervals over seeds that cover whatever the law is: the median of a difference, and a share.

Seeds are the units of evidence. The numbers of one seed share its start and its noise, so they count once, however many
there are; numbers of different seeds are independent. Pruning ratios and accuracies under heavy tails have no law that
Student's t would fit: its intervals miss far too often, and more seeds do not mend it. The intervals here use
only that seeds are independent and alike.

A seed whose number is missing, as of a run that failed, could have been anything: it counts as the smallest where the
lower end is chosen and as the largest where the upper end is. So a missing number widens, and never helps.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache

import numpy as np
import pandas as pd
from scipy import stats

LEVEL = 0.95  # of every interval, unless several are read together


@dataclass(frozen=True)
class Interval:
    """A number of `seeds` seeds with its interval.

    value     the sample's median, or share; NaN where no seed has a number
    low, high the ends, which belong to it; infinite where there is none
    seeds     how many seeds went in, those without a number too
    missing   how many of them have no number
    coverage  the least probability of covering, over all laws; None where there are too few seeds for an interval
    points    the numbers of the seeds that have one, ascending: what there is to show without an interval
    """

    value: float
    low: float
    high: float
    seeds: int
    missing: int
    coverage: float | None
    points: tuple[float, ...]


@dataclass(frozen=True)
class SignTest:
    """How many seeds lie `above`, `below` and `at` a number, how many have none, and the two-sided p-value."""

    above: int
    below: int
    at: int
    missing: int
    p: float


def least_seeds(level: float = LEVEL) -> int:
    """The fewest seeds that have an interval of this level: `2 (1/2)^seeds <= 1 - level`.

    With fewer, even the span of all seeds misses the median too often. Raises ValueError for a level outside (0, 1).

    >>> least_seeds(), least_seeds(family_level(3))
    (6, 7)
    """
    _check_level(level)
    return max(2, math.ceil(1 - math.log2(1 - level)))


def family_level(members: int, level: float = LEVEL) -> float:
    """The level of each of several intervals, so that all of them cover at once with probability `level` (Bonferroni).

    `members` is how many noise types a claim speaks of. The cells of one type at several alphas are no members: they
    share their seeds and their random words, and a word for the type asks all of them, which needs no correction.
    Raises ValueError for less than one member, or a level outside (0, 1).

    >>> round(family_level(3), 4)
    0.9833
    """
    _check_level(level)
    if members < 1:
        raise ValueError(f"a family has one member or more, got {members}")
    return 1 - (1 - level) / members


def paired(first: pd.Series, second: pd.Series) -> pd.Series:
    """`first` less `second`, seed by seed: both are indexed by seed, and the seeds are those of `first`.

    NaN where the partner is missing. Raises ValueError where a seed occurs twice: that is two cells, not one.

    >>> first, second = pd.Series([0.5, 0.9], index=[1, 2]), pd.Series([0.25], index=[1])
    >>> paired(first, second).tolist()
    [0.25, nan]
    """
    for side in (first, second):
        if not side.index.is_unique:
            seed = side.index[side.index.duplicated()][0]
            raise ValueError(f"seed {seed} occurs twice: pair the runs of one cell, not of several")
    return first - second.reindex(first.index)


def median_interval(values: Iterable[float], level: float = LEVEL) -> Interval:
    """The median of one number a seed, between two order statistics.

    `[x_(j), x_(n+1-j)]` misses the median with probability at most `2 P(B < j)`, B binomial (n, 1/2), with equality for
    a law without atoms; j is the largest for which that is at most `1 - level`. Values that are not finite are missing.
    Source: W. R. Thompson (1936), S. R. Savur (1937); `scipy.stats.quantile_test` has the same ends.

    >>> interval = median_interval([0.1, 0.5, 0.2, 0.3, 0.9, 0.4, 0.7, 0.8])
    >>> interval.value, interval.low, interval.high, round(interval.coverage, 3)
    (0.45, 0.1, 0.9, 0.992)
    >>> median_interval([0.1, 0.5, 0.2]).coverage is None  # too few
    True
    """
    every = np.asarray(list(values), dtype=float)
    points = np.sort(every[np.isfinite(every)])
    n, present = len(every), len(points)
    missing = n - present
    place, coverage = _place(n, level)
    value = float(np.median(points)) if present else math.nan
    low, high = -math.inf, math.inf
    if place:
        low = float(points[place - 1 - missing]) if place > missing else low
        high = float(points[n - place]) if n - place < present else high
    return Interval(value, low, high, n, missing, coverage, tuple(points.tolist()))


def sign_test(values: Iterable[float], at: float = 0.0) -> SignTest:
    """Whether the median over seeds can be `at`: exact, two-sided, and right for laws with atoms.

    A seed that lies `at` the number, or has none, counts for the side with fewer. So p is at most `1 - level` exactly
    where the interval of `median_interval` of that level leaves the number out.

    >>> sign_test([0.1, 0.2, 0.3, 0.2, 0.4, 0.1, 0.0])
    SignTest(above=6, below=0, at=1, missing=0, p=0.125)
    """
    every = np.asarray(list(values), dtype=float)
    points = every[np.isfinite(every)]
    above, below = int((points > at).sum()), int((points < at).sum())
    n = len(every)
    tail = float(stats.binom.sf(max(above, below) - 1, n, 0.5)) if n else 1.0
    return SignTest(above, below, len(points) - above - below, n - len(points), min(1.0, 2 * tail))


def share_interval(agrees: pd.Series, level: float = LEVEL) -> Interval:
    """The share of cells that agree, over seeds: `agrees` is indexed by seed, which may occur in it many times.

    Values are true, false, or NaN where it is not known. The share is the mean over seeds of the share within the seed.
    The interval is that of Clopper and Pearson over seeds: the lower end counts the seeds all of whose cells agree,
    the upper end those that have any. Of one seed the share lies between the two, so the interval covers however the
    cells of a seed depend on each other; where they agree with each other nothing is lost. Raises ValueError for values
    other than these.

    >>> share_interval(pd.Series([True] * 16, index=[*range(8), *range(8)])).low > 0.6  # 8 seeds, not 16
    True
    """
    known = agrees.astype(float)
    if not known.dropna().isin([0.0, 1.0]).all():
        raise ValueError("a cell agrees or it does not: give true, false, or NaN where it is not known")
    _check_level(level)
    every, some = (known.fillna(worst).groupby(level=0).agg(how) for worst, how in ((0.0, "min"), (1.0, "max")))
    within = known.groupby(level=0).mean()
    points = tuple(sorted(within.dropna().tolist()))
    n, missing = len(within), int(within.isna().sum())
    value = float(np.mean(points)) if points else math.nan
    if n < least_seeds(level):
        return Interval(value, -math.inf, math.inf, n, missing, None, points)
    low, high = _clopper_pearson(int(every.sum()), n, level)[0], _clopper_pearson(int(some.sum()), n, level)[1]
    return Interval(value, low, high, n, missing, level, points)


@cache
def _place(seeds: int, level: float) -> tuple[int, float | None]:
    """The place j of the lower end among `seeds` numbers, and what it covers; 0 and None with too few."""
    _check_level(level)
    miss = (1 - level) / 2
    place = int(stats.binom.ppf(miss, seeds, 0.5)) if seeds else 0
    if not place:
        return 0, None
    return place, 1 - 2 * float(stats.binom.cdf(place - 1, seeds, 0.5))


@cache
def _clopper_pearson(count: int, total: int, level: float) -> tuple[float, float]:
    ends = stats.binomtest(count, total).proportion_ci(level, "exact")
    return float(ends.low), float(ends.high)


def _check_level(level: float) -> None:
    if not 0 < level < 1:
        raise ValueError(f"the level of an interval lies in (0, 1), got {level:g}")
