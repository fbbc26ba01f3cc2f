"""The ledger: every claim with its source, what was measured, and the verdict that follows from the interval.

A claim states the range in which its measure must lie. A measure is computed from a results table, cell by cell (a cell
is one noise at one alpha and sigma), each with a 95 % interval over seeds. The verdict is a rule, not a judgement:

    supported      every cell's interval lies inside the claimed range
    not supported  every cell's interval lies outside it
    mixed          anything else
    not tested     there is no table yet

Asking every cell to exclude chance is an intersection-union test: its level is that of one cell, 5 %, however many
there are.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import pandas as pd

from heavytail import measures
from heavytail.measures import Cell
from heavytail.results import read_table

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


def hold(claim: Claim | str, table: pd.DataFrame, profile: str) -> Entry:
    """Hold one claim, or the claim of that id, against a results table."""
    claim = named(claim) if isinstance(claim, str) else claim
    if claim.measure is None:
        raise ValueError(f"claim {claim.id!r} has no measure yet")
    return Entry(claim, profile, tuple(claim.measure(table)))


def ledger(folder: Path | str = "data/results") -> list[Entry]:
    """Every claim against the largest committed table `folder/PROFILE/TABLE.parquet`; "not tested" where there is none.

    Raises FileNotFoundError if there is no such folder.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise FileNotFoundError(f"there is no results folder {folder}: run this in a clone, or name it with --results")
    return [_against_largest(claim, folder) for claim in CLAIMS]


def largest(folder: Path | str, table: str) -> tuple[str, Path] | None:
    """The largest profile for which `folder/PROFILE/TABLE.parquet` exists, and its path."""
    paths = {profile: Path(folder) / profile / f"{table}.parquet" for profile in reversed(PROFILES)}
    return next(((profile, path) for profile, path in paths.items() if path.exists()), None)


def named(identity: str) -> Claim:
    """The claim of this id; ValueError lists the known ones."""
    known = {claim.id: claim for claim in CLAIMS}
    if identity not in known:
        raise ValueError(f"unknown claim {identity!r}: choose one of {', '.join(known)}")
    return known[identity]


def as_text(entries: Sequence[Entry]) -> str:
    """The ledger as lines for a terminal."""
    width = max(len(entry.claim.id) for entry in entries)
    return "\n".join(
        f"{entry.claim.id:<{width}}  [{entry.claim.source}]  {entry.verdict:<13}  {measured(entry)}"
        for entry in entries
    )


def measured(entry: Entry) -> str:
    """The measure in words: weakest cell with its interval, how many cells agree, the profile."""
    weakest = entry.weakest
    if weakest is None:
        return "no table yet"
    failed = sum(cell.failed for cell in entry.cells)
    lost = f", {failed} failed runs" if failed else ""
    where = (
        f"{entry.agreeing} of {len(entry.cells)} cells; weakest {weakest.label}"
        if len(entry.cells) > 1
        else weakest.label
    )
    return (
        f"{entry.claim.what}: {weakest.value:+.4g} [{weakest.low:+.4g}, {weakest.high:+.4g}] "
        f"({where}; {entry.profile}{lost})"
    )


def _plain(value: object) -> object:
    """None for inf and NaN, which JSON does not have."""
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _against_largest(claim: Claim, folder: Path) -> Entry:
    found = largest(folder, claim.table) if claim.measure else None
    return hold(claim, read_table(found[1]), found[0]) if found else Entry(claim, None, ())


CLAIMS: tuple[Claim, ...] = (
    Claim(
        "t1-propagation-of-chaos",
        "Under the same initial points and noise, the expected largest distance in time between a particle and its "
        "mean-field limit is at most C n^(-1/2).",
        "P",
        "theory",
    ),
    Claim(
        "t2-fixed-time",
        "At a fixed time the strong Euler error of one particle falls at least as η^(1/α).",
        "D",
        "theory",
    ),
    Claim(
        "t2-all-particles",
        "The largest strong Euler error among n particles is at most C (η n)^(1/α).",
        "D",
        "theory",
    ),
    Claim(
        "t2-on-grid",
        "On grid points, with additive noise and a smooth drift, the strong Euler error has order about 1.",
        "M",
        "theory",
    ),
    Claim(
        "t2-sup-in-time",
        "The supremum over time of the piecewise-constant Euler error does not vanish: a jump is misplaced by less "
        "than a step, but has size O(1).",
        "M",
        "theory",
    ),
    Claim(
        "t3-compressibility",
        "For any share of columns kept there is a width beyond which, with steps η ≤ n^(-α/2-1), the trained weight "
        "matrix is compressible with high probability.",
        "P",
        "theory",
    ),
    Claim("rate", "The relative error at a kept share behaves as n^(1/2 - 1/α).", "D", "theory"),
    Claim(
        "limit-law",
        "n^(2/α-1) times the squared relative error tends to m(κ) c^(-2/α) / Z, with Z a positive α/2-stable variable.",
        "D",
        "theory",
    ),
    Claim(
        "required-width",
        "A median relative error of 0.1 with a tenth of the columns kept needs n of about 1.8e3, 8.9e5 and 1.5e13 at "
        "α = 1.2, 1.5 and 1.75.",
        "D",
        "theory",
    ),
    Claim(
        "noise-compresses",
        "Heavy-tailed noise makes the trained network more compressible.",
        "P",
        "ecg5000",
        "pruning ratio with noise less without",
        (0.0, INFINITY),
        "ecg5000",
        measures.compressibility,
    ),
    Claim(
        "heavier-compresses-more",
        "Compressibility rises as α falls.",
        "D",
        "ecg5000",
        "pruning ratio at the smallest α less at the largest",
        (0.0, INFINITY),
        "ecg5000",
        measures.heavier_tail,
    ),
    Claim(
        "accuracy-before-pruning",
        "Noise barely costs test accuracy before pruning (our threshold: two points).",
        "?",
        "ecg5000",
        "test accuracy with noise less without",
        (-0.02, INFINITY),
        "ecg5000",
        measures.accuracy_before,
    ),
    Claim(
        "accuracy-survives-pruning",
        "Test accuracy survives pruning at squared error 0.1 with minimal degradation (our threshold: two points).",
        "P",
        "ecg5000",
        "test accuracy after pruning less before",
        (-0.02, INFINITY),
        "ecg5000",
        measures.accuracy_kept,
    ),
    Claim(
        "better-at-equal-share",
        "At an equal pruned share the network trained with noise is the more accurate one.",
        "?",
        "ecg5000",
        "test accuracy with noise less without, mean over shares 0.1 to 0.9",
        (0.0, INFINITY),
        "ecg5000",
        measures.accuracy_at_equal_share,
    ),
    Claim(
        "shared-noise-unseen",
        "Type-I noise on ECG5000 does not move the training loss (by more than one part in a thousand).",
        "D",
        "ecg5000",
        "relative change of the train loss",
        (-1e-3, 1e-3),
        "ecg5000-shared",
        measures.relative_loss,
    ),
    Claim(
        "shared-noise-compresses",
        "Type-I noise on ECG5000 raises the pruning ratio all the same.",
        "M",
        "ecg5000",
        "pruning ratio with noise less without",
        (0.0, INFINITY),
        "ecg5000-shared",
        measures.shared_compressibility,
    ),
    Claim(
        "small-error-can-collapse",
        "A pruning error of 0.1 does not secure accuracy: some runs collapse, because one column holds the norm (our "
        "threshold: one noisy run in a hundred). On the digits.",
        "M",
        "story",
        "share of noisy runs that lose over ten points of train accuracy",
        (0.01, INFINITY),
        "digits",
        measures.collapses,
    ),
    Claim(
        "small-error-can-collapse-ecg5000",
        "The same on ECG5000, where our prototype saw one such run in five at σ = 0.2.",
        "M",
        "ecg5000",
        "share of noisy runs that lose over ten points of train accuracy",
        (0.01, INFINITY),
        "ecg5000",
        measures.collapses,
    ),
    Claim("holds-on-mnist", "The empirical claims hold on MNIST.", "P", "experiments"),
    Claim("holds-on-cifar10", "The empirical claims hold on CIFAR-10.", "P", "experiments"),
    Claim("holds-on-cifar100", "The empirical claims hold on CIFAR-100.", "P", "experiments"),
    Claim(
        "holds-beyond-theory",
        "They hold in architectures beyond the theory: deeper and convolutional networks.",
        "P",
        "experiments",
    ),
    Claim(
        "practical-use",
        "The compressibility is of use for model deployment and for federated learning.",
        "P",
        "experiments",
    ),
)
