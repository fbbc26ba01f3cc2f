"""The ledger as pages ask for it. Three do in one build and it takes half a minute, so it is written down once."""

from __future__ import annotations

import json
import platform
import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from heavytail.book import stamps
from heavytail.book.page import project_root
from heavytail.evidence import claims
from heavytail.evidence.cells import Cell
from heavytail.lab.machine import files


def ledger(folder: Path | str | None = None, written: Path | None = None) -> list[claims.Entry]:
    """What `claims.ledger` says of a folder of tables (default: the committed ones), from `written` if it is there.

    `written` (default: `_build/ledger.json` of the project) is made anew whenever any of what it was made from has
    changed: the package, its pinned environment, the tables and the reports beside them. Raises as `claims.ledger`.
    """
    root = project_root()
    folder = files.named(folder) if folder is not None else root / "data" / "results"
    written = written or root / "_build" / "ledger.json"
    made_from = _inputs(root, folder)
    written.parent.mkdir(parents=True, exist_ok=True)
    while True:
        with files.locked(written.with_suffix(".lock")) as ours:
            entries = _read(written, made_from)
            if ours and entries is None:
                entries = claims.ledger(folder)
                _write(written, made_from, entries)
        if entries is not None:
            return entries
        time.sleep(0.2)  # another page is at it


def held(*names: str, written: Path | None = None) -> dict[str, claims.Entry]:
    """The entries of these claims, by id, against the committed tables: as written down, or else these alone made now.

    >>> list(held("t1-propagation-of-chaos"))
    ['t1-propagation-of-chaos']
    """
    root = project_root()
    folder = root / "data" / "results"
    entries = _read(written or root / "_build" / "ledger.json", _inputs(root, folder))
    found = {entry.claim.id: entry for entry in entries or claims.ledger(folder, names)}
    return {name: found[name] for name in names}


def _inputs(root: Path, folder: Path) -> str:
    """A digest of all that the ledger is made from."""
    found = [root / "requirements.txt", *(root / "heavytail").rglob("*.py")]
    found += [*folder.rglob("*.parquet"), *(folder.parent / "performance").rglob("*.json")]
    digests = [(path.as_posix(), stamps.digest(path.read_bytes())) for path in sorted(found)]
    return stamps.digest(repr((platform.python_version(), digests)).encode())


def _write(written: Path, made_from: str, entries: Sequence[claims.Entry]) -> None:
    lines = [{"claim": e.claim.id, "profile": e.profile, "cells": list(map(asdict, e.cells))} for e in entries]
    stamps.write_text(written, json.dumps({"made from": made_from, "entries": lines}))


def _read(written: Path, made_from: str) -> list[claims.Entry] | None:
    """The entries that were written down, if they were made from this; None for anything else."""
    try:
        ledger = json.loads(written.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    if not isinstance(ledger, dict) or ledger.get("made from") != made_from:
        return None
    known = {claim.id: claim for claim in claims.CLAIMS}
    return [
        claims.Entry(known[line["claim"]], line["profile"], tuple(map(_cell, line["cells"])))
        for line in ledger["entries"]
    ]


def _cell(line: dict[str, Any]) -> Cell:
    return Cell(**line | {"points": tuple(line["points"])})
