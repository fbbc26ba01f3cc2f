"""The frontier: how accurate a network is at each size that pruning leaves, for every arm and way to that size."""

from __future__ import annotations

from collections.abc import Iterator

import pandas as pd

from heavytail.evidence import arms
from heavytail.evidence.experiments import outcomes
from heavytail.evidence.intervals import family_level, median_interval, paired
from heavytail.evidence.verdicts import Verdict, verdict
from heavytail.lab.results import MIDDLE, SHARES, TUNED

WAYS = ("pruned", "tuned", "at random", "small")

MARGIN = 0.005  # of test accuracy: a smaller difference is none

_COLUMNS = {
    "pruned": {1 - share: f"test_accuracy_share_{share:.1f}" for share in SHARES[:-1]},
    "tuned": {1 - share: f"test_accuracy_tuned_{share:.1f}" for share in TUNED},
    "at random": {1 - share: f"test_accuracy_random_{share:.1f}" for share in MIDDLE},
}


def points(table: pd.DataFrame) -> pd.DataFrame:
    """Median test accuracy over seeds at every share kept, with its interval: one row an arm, way and share.

    Columns arm, way, kept, accuracy, low, high and seeds; ends are infinite where there are too few seeds. A network
    that diverged counts as a guess. The ways: the smallest units `pruned`, and then `tuned`, units gone `at random`,
    and a `small` network that plain SGD trained from scratch, whose width is that share of the widest of the table.
    Raises ValueError where an arm has two settings at one width: name the rows of one.
    """
    rows = []
    for arm, way, kept, values in _outcomes(table):
        interval = median_interval(values)
        low, high = interval.low, interval.high
        rows.append((arm, way, round(kept, 6), interval.value, low, high, interval.seeds))
    return pd.DataFrame(rows, columns=["arm", "way", "kept", "accuracy", "low", "high", "seeds"])


def against(table: pd.DataFrame, arm: str, other: str = arms.PLAIN) -> pd.DataFrame:
    """Pruned networks of one arm less those of another at every share kept, seed by seed, and the word for "better".

    Columns kept, difference, low, high, seeds and verdict: "holds" where the arm is more accurate by more than MARGIN,
    "fails" where it is less so, "no difference" where it lies within. The intervals cover together: their level is that
    of a family of as many as there are shares.
    """
    wide, names = table["width"] == table["width"].max(), arms.named(table)
    two = table[wide & names.isin([arm, other])]
    by_share = {(name, kept): values for name, way, kept, values in _outcomes(two) if way == "pruned"}
    shares = [kept for name, kept in by_share if name == arm]
    if not shares or (other, shares[0]) not in by_share:
        there = ", ".join(sorted(names[wide].unique()))
        raise ValueError(f"the table does not have both {arm!r} and {other!r}: name two of {there}")
    rows = []
    for kept in shares:
        interval = median_interval(paired(by_share[arm, kept], by_share[other, kept]), family_level(len(shares)))
        word: Verdict = verdict(interval, (0.0, float("inf")), MARGIN)
        rows.append((round(kept, 6), interval.value, interval.low, interval.high, interval.seeds, word))
    return pd.DataFrame(rows, columns=["kept", "difference", "low", "high", "seeds", "verdict"])


def _outcomes(table: pd.DataFrame) -> Iterator[tuple[str, str, float, pd.Series]]:
    """The test accuracies of every arm, way and share kept, by seed; NaN where nothing was measured."""
    widest = table["width"].max()
    measured = ["test_accuracy", *(column for columns in _COLUMNS.values() for column in columns.values())]
    held = outcomes(table, measured)
    for name, own in held.assign(arm=arms.named(table)).groupby("arm"):
        arm = str(name)
        for width, rows in own.groupby("width"):
            by_seed = rows.set_index("seed")
            if not by_seed.index.is_unique:
                raise ValueError(f"{arm} has more than one setting at width {width}: name the rows of one of them")
            if width < widest:
                if arm == arms.PLAIN:
                    yield arm, "small", width / widest, by_seed["test_accuracy"]
                continue
            for way, columns in _COLUMNS.items():
                for kept, column in columns.items():
                    if table.loc[rows.index, column].notna().any():
                        yield arm, way, kept, by_seed[column]
