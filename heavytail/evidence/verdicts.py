"""The words for what a table says of a claim, and the rule by which an interval gives one.

    holds          the interval lies beyond the margin, on the side claimed
    fails          it lies beyond the margin on the other side
    no difference  it lies within the margin of the bound: whatever there is, is smaller than what would matter
    undecided      anything else; said with the number of seeds that it would take

A claim states its range and its margin before a table is read. A range with two ends claims by itself that something is
small: there is no margin then, and inside is "holds".
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable
from functools import cache
from typing import Any, Literal, get_args

import numpy as np
import pandas as pd
from scipy import stats

from heavytail.evidence.intervals import LEVEL, Interval, least_seeds

Verdict = Literal["holds", "fails", "no difference", "undecided"]
VERDICTS: tuple[Verdict, ...] = get_args(Verdict)

MOST = 10_000  # seeds: what would take more is out of reach


def check(word: Any) -> None:
    """Raise ValueError unless it is one of the four words.

    >>> check("holds")
    """
    if word not in VERDICTS:
        raise ValueError(f"unknown verdict {word!r}: choose one of {', '.join(VERDICTS)}")


def check_claimed(expected: tuple[float, float], margin: float) -> None:
    """Raise ValueError unless a range (low, high) and a margin can be claimed together.

    >>> check_claimed((0.0, math.inf), 0.01)
    """
    low, high = expected
    if not (low < high and (math.isfinite(low) or math.isfinite(high))):
        raise ValueError(f"a claimed range has a low end below a high end, and one of them is finite, got {expected}")
    if not 0 <= margin < math.inf:
        raise ValueError(f"an equivalence margin is a finite number >= 0, got {margin:g}")
    if margin and math.isfinite(low) and math.isfinite(high):
        raise ValueError("a range with two ends says itself how small is small: leave the margin at 0")


def judge(low: float, high: float, expected: tuple[float, float], margin: float = 0.0) -> Verdict:
    """The word for an interval [low, high] against the claimed range, ends excluded, and an equivalence margin.

    Infinite or NaN ends, as of too few seeds, are beyond nothing. Raises ValueError as `check_claimed` does.

    >>> above = (0.0, math.inf)
    >>> judge(0.02, 0.3, above, 0.01), judge(-0.3, -0.02, above, 0.01), judge(-0.002, 0.003, above, 0.01)
    ('holds', 'fails', 'no difference')
    >>> judge(-0.1, 0.3, above, 0.01), judge(-0.1, 0.3, (-1.0, 1.0))
    ('undecided', 'holds')
    """
    check_claimed(expected, margin)
    least, most = expected
    if not low <= high:  # NaN
        return "undecided"
    if (low > least + margin or math.isinf(least)) and (high < most - margin or math.isinf(most)):
        return "holds"
    if high < least - margin or low > most + margin:
        return "fails"
    one_ended = [end for end in expected if math.isfinite(end)]
    if len(one_ended) == 1 and one_ended[0] - margin <= low and high <= one_ended[0] + margin:
        return "no difference"
    return "undecided"


def verdict(interval: Interval, expected: tuple[float, float], margin: float = 0.0) -> Verdict:
    """The word for an interval over seeds; see `judge`.

    >>> from heavytail.evidence.intervals import median_interval
    >>> verdict(median_interval([0.1, 0.2, 0.3, 0.2, 0.4, 0.1]), (0.0, math.inf), 0.01)
    'holds'
    >>> verdict(median_interval([0.1, 0.2, 0.3, 0.2, 0.4]), (0.0, math.inf), 0.01)  # five seeds
    'undecided'
    """
    return judge(interval.low, interval.high, expected, margin)


def seeds_needed(
    points: Iterable[float], expected: tuple[float, float], margin: float = 0.0, level: float = LEVEL
) -> int | None:
    """How many seeds it would take to decide about a median, as far as the numbers of these seeds tell.

    For each number of seeds the interval is taken to have the ends that it would typically have if the spread seen
    were the law: its order statistics j and n + 1 - j, at the quantiles j/(n+1) and 1 - j/(n+1) of the numbers seen. So
    about every second sample of that many seeds would decide. None where fewer than two seeds were seen, or more than
    MOST would be needed, as where the median lies on the margin itself. A guide for planning, no promise.

    >>> seeds_needed([0.1, 0.2, 0.3, 0.2], (0.0, math.inf)), seeds_needed([-0.1, 0.2, 0.3, 0.2], (0.0, math.inf))
    (6, 17)
    """
    check_claimed(expected, margin)
    seen = np.sort([value for value in points if math.isfinite(value)])
    if len(seen) < 2:
        return None
    counts, lower = _lower_ends(level)
    lows, highs = (np.quantile(seen, at, method="weibull") for at in (lower, 1 - lower))
    ends = zip(counts.tolist(), lows.tolist(), highs.tolist(), strict=True)
    return next((n for n, low, high in ends if judge(low, high, expected, margin) != "undecided"), None)


def seeds_needed_share(share: float, expected: tuple[float, float], level: float = LEVEL) -> int | None:
    """How many seeds it would take to decide about a share of seeds, if the share seen is the true one.

    For each number of seeds the interval is that of Clopper and Pearson at the count nearest to the share. None for no
    share, or where more than MOST would be needed.

    >>> seeds_needed_share(1.0, (0.9, 1.1)), seeds_needed_share(0.9, (0.9, 1.1))
    (36, None)
    """
    check_claimed(expected, 0.0)
    if not 0 <= share <= 1:
        return None
    counts, miss = np.arange(least_seeds(level), MOST + 1), (1 - level) / 2
    hits = np.rint(share * counts)
    lows = np.where(hits == 0, 0.0, stats.beta.ppf(miss, hits, counts - hits + 1))
    highs = np.where(hits == counts, 1.0, stats.beta.ppf(1 - miss, hits + 1, counts - hits))
    ends = zip(counts.tolist(), lows.tolist(), highs.tolist(), strict=True)
    return next((n for n, low, high in ends if judge(low, high, expected) != "undecided"), None)


def accuracy_outcomes(accuracy: pd.Series, status: pd.Series, chance: float) -> pd.Series:
    """Accuracies with those of diverged runs at `chance`: such a run did end, with a network that guesses.

    For claims about accuracy. Without it the worst outcomes of noise would be left out of the count. Other missing
    numbers stay missing. `chance` is one over the number of classes; raises ValueError outside (0, 1].

    >>> accuracy_outcomes(pd.Series([0.9, math.nan]), pd.Series(["max_steps", "diverged"]), 0.1).tolist()
    [0.9, 0.1]
    """
    if not 0 < chance <= 1:
        raise ValueError(f"chance is an accuracy in (0, 1], one over the number of classes, got {chance:g}")
    return accuracy.mask(status == "diverged", chance)


def tally(words: Iterable[Verdict]) -> dict[Verdict, int]:
    """How often each word occurs, in the order of VERDICTS, none left out. Raises ValueError for another word.

    >>> tally(["holds", "undecided", "holds"])
    {'holds': 2, 'fails': 0, 'no difference': 0, 'undecided': 1}
    """
    counts = Counter(words)
    for word in counts:
        check(word)
    return {word: counts[word] for word in VERDICTS}


def whole(words: Iterable[Verdict]) -> str:
    """The word that all cells have, or else how many cells have which. Raises ValueError for no words, or another.

    That all cells must have it makes the word of many cells no likelier to be wrong than the word of one: an
    intersection-union test.

    >>> whole(["holds", "holds"]), whole(["holds", "undecided", "holds"])
    ('holds', 'holds 2, undecided 1')
    """
    counts = {word: count for word, count in tally(words).items() if count}
    if not counts:
        raise ValueError("a verdict needs the word of one cell at least")
    if len(counts) == 1:
        return next(iter(counts))
    return ", ".join(f"{word} {count}" for word, count in counts.items())


@cache
def _lower_ends(level: float) -> tuple[np.ndarray, np.ndarray]:
    """Numbers of seeds that have an interval, and the quantile at which its lower end typically lies."""
    counts = np.arange(least_seeds(level), MOST + 1)
    return counts, stats.binom.ppf((1 - level) / 2, counts, 0.5) / (counts + 1)
