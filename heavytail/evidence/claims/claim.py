"""A claim with its source and its measure, and the verdict that follows from the intervals.

A claim states the range in which its measure must lie, and the margin within which a difference is none. A measure is
computed from a results table, cell by cell (a cell is one setting, such as one noise at one alpha and sigma), each with
an interval. The verdict is a rule, not a judgement: `verdicts.judge` gives each cell one of four words. A noise type
has a word if all its cells have it, which is an intersection-union test: its level is that of one cell, however many
there are. A claim has a word if all its noise types have it, and their intervals share one level: see `cells.medians`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass
from typing import cast

from heavytail.evidence.cells import Cell
from heavytail.evidence.scales import Scale
from heavytail.evidence.verdicts import VERDICTS as WORDS
from heavytail.evidence.verdicts import Verdict, check_claimed, whole

# From small to large: seconds a chapter; about an hour on two cores; wants a GPU.
PROFILES = ("quick", "workstation", "paper")
UNTESTED = "not tested"
VERDICTS: tuple[str, ...] = (*WORDS, UNTESTED)
INFINITY = math.inf

SOURCES = {
    "P": "stated in the paper's published abstract",
    "S": "stated in a machine-made summary of the paper only, which circulates with it",
    "Q": "quoted from the paper's text by a third party that we read; not seen in the paper itself",
    "C": "read from the authors' released code or its README",
    "D": "derived here, from the paper's published statements",
    "M": "measured by us before this book, with throw-away prototypes",
    "?": "our wording: the paper's own statement or number is not known to us",
}

#: Whose claims those of a source are, for counts that do not add up the paper's and ours.
OURS = "ours"
WHOSE = {"P": "the paper's [P]", "S": "a summary's of it [S]", "Q": "the paper's, as quoted [Q]"}

# Equivalence margins, stated before any table is read: what is smaller would not matter.
RATIO_MARGIN = 0.01  # of a pruning ratio: one point
ACCURACY_MARGIN = 0.005  # of an accuracy: half a point


@dataclass(frozen=True)
class Claim:
    """A statement that a table can contradict. `expected` is the range the measure `what` must lie in.

    Within `margin` of the one finite end of that range there is no difference; a range with two ends has no margin.
    A claim about time names a `report` of data/performance too: its measure takes the report's figures after the table.
    Raises ValueError for a range and a margin that do not go together.
    """

    id: str
    statement: str
    source: str
    chapter: str
    what: str = ""
    expected: tuple[float, float] = (0.0, INFINITY)
    table: str = ""
    measure: Callable[..., list[Cell]] | None = None
    margin: float = 0.0
    report: str = ""

    def __post_init__(self) -> None:
        check_claimed(self.expected, self.margin)

    @property
    def whose(self) -> str:
        """Whether the claim is the paper's, or ours."""
        return WHOSE.get(self.source, OURS)

    def judged(self, cells: Iterable[Cell], scale: Scale | None = None) -> tuple[Cell, ...]:
        """The cells with their words for this claim, drawn from a table of this scale."""
        return tuple(cell.judged(self.expected, self.margin, scale) for cell in cells)


@dataclass(frozen=True)
class Word:
    """What a table says of a claim for one noise type: a `verdict`, or counts of its cells', and of how many seeds."""

    verdict: str
    seeds: int


@dataclass(frozen=True)
class Entry:
    """A claim held against the largest table there is, cell by cell: see `ledger.hold`."""

    claim: Claim
    profile: str | None
    cells: tuple[Cell, ...]

    @property
    def by_noise(self) -> dict[str, Word]:
        """Each noise type's word if all its cells have it, else how many of its cells have which; "" is none."""
        found = {}
        for noise in dict.fromkeys(cell.noise for cell in self.cells):
            cells = [cell for cell in self.cells if cell.noise == noise]
            found[noise] = Word(whole(_word(cell) for cell in cells), max(cell.seeds for cell in cells))
        return found

    @property
    def words(self) -> tuple[str, ...]:
        """One of VERDICTS for each noise type: a type whose cells do not share a word is undecided."""
        if not self.cells:
            return (UNTESTED,)
        return tuple(word.verdict if word.verdict in WORDS else "undecided" for word in self.by_noise.values())

    @property
    def verdict(self) -> str:
        """The word of the whole claim, or else how many noise types have which, or cells if there is one type."""
        if not self.cells:
            return UNTESTED
        if len(by_noise := self.by_noise) == 1:
            return next(iter(by_noise.values())).verdict
        return whole(cast(tuple[Verdict, ...], self.words))

    @property
    def scale(self) -> Scale | None:
        """The scale of the table."""
        return self.cells[0].scale if self.cells else None

    @property
    def weakest(self) -> Cell | None:
        """The cell whose interval reaches least far inside the claimed range; of those without one, the number."""
        low, high = self.claim.expected

        def reach(cell: Cell) -> tuple[float, float]:
            if math.isnan(cell.value):
                return -INFINITY, -INFINITY
            return min(cell.low - low, high - cell.high), min(cell.value - low, high - cell.value)

        return min(self.cells, key=reach, default=None)

    @property
    def agreeing(self) -> int:
        """In how many cells the claim holds."""
        return sum(cell.verdict == "holds" for cell in self.cells)

    def as_dict(self) -> dict[str, object]:
        """Plain data for JSON: numbers are None where nothing was measured or an end is open."""
        claim, weakest = self.claim, self.weakest
        return {
            "id": claim.id,
            "statement": claim.statement,
            "source": claim.source,
            "whose": claim.whose,
            "chapter": claim.chapter,
            "what": claim.what,
            "expected": [_plain(end) for end in claim.expected],
            "margin": claim.margin,
            "measure": _plain(weakest.value) if weakest else None,
            "interval": [_plain(weakest.low), _plain(weakest.high)] if weakest else None,
            "where": weakest.label if weakest else None,
            "cells": [{name: _plain(value) for name, value in asdict(cell).items()} for cell in self.cells],
            "profile": self.profile,
            "scale": self.scale,
            "table": claim.table or None,
            "verdict": self.verdict,
            "by_noise": {noise: asdict(word) for noise, word in self.by_noise.items()},
        }


def _word(cell: Cell) -> Verdict:
    if cell.verdict is None:
        raise ValueError(f"cell {cell.label!r} was not judged: make an entry of cells that `Claim.judged` returns")
    return cell.verdict


def _plain(value: object) -> object:
    """None for inf and NaN, which JSON does not have."""
    return None if isinstance(value, float) and not math.isfinite(value) else value
