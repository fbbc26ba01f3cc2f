"""The ledger: every claim held against the largest committed table there is."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path

import pandas as pd

from heavytail.evidence.claims.claim import PROFILES, Claim, Entry
from heavytail.evidence.claims.experiments import EXPERIMENTS
from heavytail.evidence.claims.theory import THEORY
from heavytail.lab.results import read_table

CLAIMS: tuple[Claim, ...] = (*THEORY, *EXPERIMENTS)


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
    read = cache(read_table)  # many claims are held against one table
    return [_against_largest(claim, folder, read) for claim in CLAIMS]


def largest(folder: Path | str, table: str) -> tuple[str, Path] | None:
    """The largest profile for which `folder/PROFILE/TABLE.parquet` exists, and its path."""
    paths = {profile: Path(folder) / profile / f"{table}.parquet" for profile in reversed(PROFILES)}
    return next(((profile, path) for profile, path in paths.items() if path.exists()), None)


def named(identity: str) -> Claim:
    """The claim of this id; ValueError lists the known ones.

    >>> named("t1-propagation-of-chaos").source
    'P'
    """
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
    return f"{entry.claim.what}: {weakest.number(4)} ({where}; {entry.profile}{lost})"


def _against_largest(claim: Claim, folder: Path, read: Callable[[Path], pd.DataFrame]) -> Entry:
    found = largest(folder, claim.table) if claim.measure else None
    return hold(claim, read(found[1]), found[0]) if found else Entry(claim, None, ())
