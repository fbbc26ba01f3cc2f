"""The ledger: every claim held against the largest committed table there is."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import cache
from pathlib import Path

import pandas as pd

from heavytail.evidence.claims.claim import OURS, PROFILES, VERDICTS, WHOSE, Claim, Entry
from heavytail.evidence.claims.experiments import EXPERIMENTS
from heavytail.evidence.claims.law import LAW
from heavytail.evidence.claims.theory import THEORY
from heavytail.evidence.scales import scale
from heavytail.lab import bench, simulations
from heavytail.lab.machine import files
from heavytail.lab.results import read_table

CLAIMS: tuple[Claim, ...] = (*THEORY, *LAW, *EXPERIMENTS)

#: Of which study the simulations of a table are, by its name; for families of tables see `study_of`. Others hold runs.
_STUDIES = {
    **{name: name for name in ("chaos", "fluctuations", "discretisation", "batches", "surely", "ablation")},
    **dict.fromkeys(("trained", "rate", "limit-law", "required-width", "roles"), "pruning"),
    "averaging": "averaging",
    "exposure": "exposure",
    "assumptions": "chaos",
}


def hold(claim: Claim | str, table: pd.DataFrame, profile: str, figures: pd.DataFrame | None = None) -> Entry:
    """Hold one claim, or the claim of that id, against a results table, and the figures of the report that it names."""
    claim = named(claim) if isinstance(claim, str) else claim
    if claim.measure is None:
        raise ValueError(f"claim {claim.id!r} has no measure yet")
    if claim.report and figures is None:
        raise ValueError(f"claim {claim.id!r} is about time: pass the figures of data/performance/{claim.report}.json")
    cells = claim.measure(table, figures) if claim.report else claim.measure(table)
    return Entry(claim, profile, claim.judged(cells, scale(table)))


def ledger(folder: Path | str = "data/results", names: Iterable[str] | None = None) -> list[Entry]:
    """Every claim against the largest committed table `folder/PROFILE/TABLE.parquet`; "not tested" where there is none.

    With `names`, ids of claims, those alone. Reports of times lie beside the folder, in `performance`.
    Raises FileNotFoundError if there is no such folder, ValueError for a table that is not what its name promises or
    an unknown id.
    """
    folder = files.named(folder)
    if not folder.is_dir():
        raise FileNotFoundError(f"there is no results folder {folder}: run this in a clone, or name it with --results")
    once = cache(read)  # many claims are held against one table
    chosen = CLAIMS if names is None else map(named, names)
    return [_against_largest(claim, folder, once) for claim in chosen]


def largest(folder: Path | str, table: str) -> tuple[str, Path] | None:
    """The largest profile for which `folder/PROFILE/TABLE.parquet` exists, and its path."""
    paths = {profile: files.named(folder) / profile / f"{table}.parquet" for profile in reversed(PROFILES)}
    return next(((profile, path) for profile, path in paths.items() if path.exists()), None)


def study_of(table: str) -> str:
    """The study of a table of simulations, by its name; empty for a table of trained networks.

    >>> study_of("limit-law"), study_of("untrained-mnist"), study_of("mnist"), study_of("ship-mnist")
    ('pruning', 'untrained', '', 'shipping')
    """
    families = {"untrained-": "untrained", "ship-": "shipping", "federated-": "federated"}
    families |= {f"choose-{name}": families[name] for name in ("ship-", "federated-")}
    begins = (study for name, study in families.items() if table.startswith(name))
    return next(begins, _STUDIES.get(table, ""))


def read(path: Path) -> pd.DataFrame:
    """Read a table that claims know by the name of its file. ValueError where it is of another kind than that."""
    table, study = read_table(path), study_of(path.stem)
    if study:
        whole = "study" in table and (table["study"] == study).all() and len(table)
        missing = [name for name in simulations.fields_of(study) if name not in table]
        wanted, verb = f"simulations of study {study}", "simulate"
    else:
        whole, missing, wanted, verb = "quantity" not in table, [], "trained networks", "sweep"
    if not whole or missing:
        lacks = f" with a column {missing[0]}" if whole else ""
        raise ValueError(
            f"{path} is no table of {wanted}{lacks}, as its name promises: move it away, or make it again by "
            f"`heavytail {verb} data/grids/{path.stem}.toml`"
        )
    return _quick_to_cut(table)


def _quick_to_cut(table: pd.DataFrame) -> pd.DataFrame:
    """The same table with text as Python's own, in whole blocks: the claims cut it into rows some thousand times."""
    texts = [name for name, kind in table.dtypes.items() if isinstance(kind, pd.StringDtype)]
    return table.astype(dict.fromkeys(texts, object)).copy()


def named(identity: str) -> Claim:
    """The claim of this id; ValueError lists the known ones.

    >>> named("t1-propagation-of-chaos").source
    'S'
    """
    known = {claim.id: claim for claim in CLAIMS}
    if identity not in known:
        raise ValueError(f"unknown claim {identity!r}: choose one of {', '.join(known)}")
    return known[identity]


def tally(entries: Sequence[Entry]) -> dict[str, dict[str, int]]:
    """How often each of VERDICTS is the word for a noise type, by whose the claims are: the paper's or ours.

    >>> tally([Entry(named("t1-propagation-of-chaos"), None, ())])["a summary's of it [S]"]["not tested"]
    1
    """
    return _tally((entry.claim, word) for entry in entries for word in entry.words)


def tally_cells(entries: Sequence[Entry]) -> dict[str, dict[str, int]]:
    """How often each of VERDICTS is the word for a cell, by whose the claims are.

    >>> tally_cells([Entry(named("t1-propagation-of-chaos"), None, ())])
    {}
    """
    return _tally((entry.claim, str(cell.verdict)) for entry in entries for cell in entry.cells)


def _tally(words: Iterable[tuple[Claim, str]]) -> dict[str, dict[str, int]]:
    counts = {whose: dict.fromkeys(VERDICTS, 0) for whose in (*WHOSE.values(), OURS)}
    for claim, word in words:
        counts[claim.whose][word] += 1
    return {whose: counted for whose, counted in counts.items() if any(counted.values())}


def counted(counts: Mapping[str, int]) -> str:
    """Counts of words as a phrase.

    >>> counted({"holds": 3, "fails": 0, "no difference": 1, "undecided": 0, "not tested": 2})
    'holds 3, no difference 1, not tested 2'
    """
    return ", ".join(f"{word} {count}" for word, count in counts.items() if count)


def as_text(entries: Sequence[Entry]) -> str:
    """The ledger as lines for a terminal, and below it the words counted: of the paper's claims, and of ours."""
    width = max(len(entry.claim.id) for entry in entries)
    wide = max(len(entry.verdict) for entry in entries)
    lines = [
        f"{entry.claim.id:<{width}}  [{entry.claim.source}]  {entry.verdict:<{wide}}  {measured(entry)}"
        for entry in entries
    ]
    sums = []
    for title, counts in (("by noise type and table", tally(entries)), ("by cell", tally_cells(entries))):
        sums += ["", f"Verdicts {title}:", *(f"  {whose}: {counted(words)}" for whose, words in counts.items())]
    return "\n".join([*lines, *sums])


def measured(entry: Entry) -> str:
    """The measure in words: weakest cell with its interval, in how many cells the claim holds, the table, the seeds."""
    weakest = entry.weakest
    if weakest is None:
        return "no table yet"
    where = f"{entry.agreeing} of {len(entry.cells)} cells hold; " if len(entry.cells) > 1 else ""
    parts = [
        f"{where}{'weakest ' if where else ''}{weakest.label}",
        f"{entry.profile}",
        *([entry.scale] if entry.scale else []),
    ]
    for count, what in (
        (sum(cell.failed for cell in entry.cells), "failed runs"),
        (sum(cell.diverged for cell in entry.cells), "diverged runs at chance"),
    ):
        parts += [f"{count} {what}"] * bool(count)
    return f"{entry.claim.what}: {weakest.number(4)} ({parts[0]}; {', '.join(parts[1:])}{_needed(entry)})"


def _needed(entry: Entry) -> str:
    """How many seeds would decide all cells, as far as those seen tell."""
    undecided = [cell for cell in entry.cells if cell.verdict == "undecided"]
    if not undecided:
        return ""
    known = [cell.needed for cell in undecided if cell.needed is not None]
    if len(known) < len(undecided):
        return "; how many seeds would decide is not known"
    return f"; some {max(known)} seeds would decide"


def _against_largest(claim: Claim, folder: Path, read: Callable[[Path], pd.DataFrame]) -> Entry:
    found = largest(folder, claim.table) if claim.measure else None
    if not found:
        return Entry(claim, None, ())
    profile, path = found
    report = folder.parent / "performance" / f"{claim.report}.json"
    if claim.report and not report.exists():
        return Entry(claim, None, ())
    table, figures = read(path), bench.read(report)[1] if claim.report else None
    try:
        return hold(claim, table, profile, figures)
    except (ValueError, LookupError, ArithmeticError) as error:  # as of a table whose rows are those of another
        raise ValueError(
            f"{path} does not hold what claim {claim.id} is measured from ({error}): make it again by its grid"
        ) from error
