"""A claim with its source and its measure, and the verdict that follows from the interval.

A claim states the range in which its measure must lie. A measure is computed from a results table, cell by cell (a cell
is one setting, such as one noise at one alpha and sigma), each with an interval. The verdict is a rule, not a
judgement:

    supported      every cell's interval lies inside the claimed range
    not supported  every cell's interval lies outside it
    mixed          anything else
    not tested     there is no table yet

Asking every cell to exclude chance is an intersection-union test: its level is that of one cell, however many there
are.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import asdict, dataclass

import pandas as pd

from heavytail.evidence.cells import Cell

# From small to large: seconds a chapter; about an hour on two cores; wants a GPU.
PROFILES = ("quick", "workstation", "paper")
VERDICTS = ("supported", "not supported", "mixed", "not tested")
INFINITY = math.inf

SOURCES = {
    "P": "stated in the paper's abstract or published summary",
    "C": "read from the authors' released code or its README",
    "D": "derived here, from the paper's published statements",
    "M": "measured by us before this book, with throw-away prototypes",
    "?": "the paper's own statement or number is not known to us",
}


@dataclass(frozen=True)
class Claim:
    """A statement that a table can contradict. `expected` is the range the measure `what` must lie in."""

    id: str
    statement: str
    source: str
    chapter: str
    what: str = ""
    expected: tuple[float, float] = (0.0, INFINITY)
    table: str = ""
    measure: Callable[[pd.DataFrame], list[Cell]] | None = None


@dataclass(frozen=True)
class Entry:
    """A claim held against the largest table there is. `weakest` is the cell that supports it least."""

    claim: Claim
    profile: str | None
    cells: tuple[Cell, ...]

    @property
    def verdict(self) -> str:
        """One of VERDICTS, by the rule of this module."""
        if not self.cells:
            return "not tested"
        found = {cell.verdict(self.claim.expected) for cell in self.cells}
        return found.pop() if len(found) == 1 else "mixed"

    @property
    def weakest(self) -> Cell | None:
        """The cell whose interval reaches least far inside the claimed range."""
        low, high = self.claim.expected
        return min(self.cells, key=lambda cell: min(cell.low - low, high - cell.high), default=None)

    @property
    def agreeing(self) -> int:
        """How many cells support the claim by themselves."""
        return sum(cell.verdict(self.claim.expected) == "supported" for cell in self.cells)

    def as_dict(self) -> dict[str, object]:
        """Plain data for JSON: numbers are None where nothing was measured or an end is open."""
        claim, weakest = self.claim, self.weakest
        return {
            "id": claim.id,
            "statement": claim.statement,
            "source": claim.source,
            "chapter": claim.chapter,
            "what": claim.what,
            "expected": [_plain(end) for end in claim.expected],
            "measure": _plain(weakest.value) if weakest else None,
            "interval": [_plain(weakest.low), _plain(weakest.high)] if weakest else None,
            "where": weakest.label if weakest else None,
            "cells": [{name: _plain(value) for name, value in asdict(cell).items()} for cell in self.cells],
            "profile": self.profile,
            "table": claim.table or None,
            "verdict": self.verdict,
        }


def _plain(value: object) -> object:
    """None for inf and NaN, which JSON does not have."""
    return None if isinstance(value, float) and not math.isfinite(value) else value
