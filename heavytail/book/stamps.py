"""Stamps: what an executed chapter was made from, and so whether it still stands.

A stamp is `NAME.stamp.json` beside `NAME.ipynb`. It names every input with its digest, so that a chapter that runs
again can say why.
"""

from __future__ import annotations

import hashlib
import json
import platform
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from heavytail.lab.machine.files import write_atomically


@dataclass(frozen=True)
class Ran:
    """On which day a chapter ran, in UTC, and how many seconds that took."""

    day: str
    seconds: float


def digest(content: bytes) -> str:
    """SHA-256 of some bytes, shortened to 128 bits."""
    return hashlib.sha256(content).hexdigest()[:32]


def write_text(path: Path, text: str) -> None:
    """Write a file whole or not at all."""
    write_atomically(path, lambda part: part.write_text(text, encoding="utf-8"))


def sources(root: Path, page: Path, parameters: Mapping[str, Any]) -> dict[str, str]:
    """Digests of all that makes a chapter's outputs, except the data sets.

    That is its text, the whole package (a chapter may reach any of it), the committed grids, tables, timings, the
    pinned environment, Python's version and the parameters.
    """
    files = [page, root / "requirements.txt"]
    files += (root / "heavytail").rglob("*.py")
    for folder in ("grids", "performance", "results"):
        files += (path for path in (root / "data" / folder).rglob("*") if path.is_file())
    found = {path.relative_to(root).as_posix(): digest(path.read_bytes()) for path in files if path.is_file()}
    return found | {
        "the version of Python": platform.python_version(),
        "the parameters": json.dumps(parameters, sort_keys=True),
    }


def data_sets() -> dict[str, str]:
    """Which data sets are on this machine: sizes and times of their files, hashed so that no path is kept.

    A chapter says what it could not measure where a data set is missing, so it runs again once the data are there.
    """
    from heavytail.lab import datasets

    found = {}
    for name, official in datasets.OFFICIAL.items():
        if official.of is not None:  # it has no files of its own
            continue
        place = datasets.find(name)
        files = [place] if place and place.is_file() else sorted(place.rglob("*")) if place else []
        states = [(str(path), path.stat().st_size, path.stat().st_mtime_ns) for path in files if path.is_file()]
        found[f"the data set {name}"] = digest(repr(states).encode())
    return found


def _beside(notebook: Path) -> Path:
    return notebook.with_suffix(".stamp.json")


def _read(notebook: Path) -> dict[str, Any]:
    try:
        stamp = json.loads(_beside(notebook).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    sound = isinstance(stamp, dict) and isinstance(stamp.get("inputs"), dict)
    return stamp if sound and isinstance(stamp.get("changed", []), list) else {}


def write(
    notebook: Path, inputs: Mapping[str, str], changed: Sequence[str] = (), checked: str = "", ran: Ran | None = None
) -> None:
    """Stamp an executed notebook with its inputs as its run found them, and with when and how long it ran.

    `changed` names those that were others when the run ended: nobody knows which of the two a cell has read, so the
    notebook is out of date. `checked` says how its outputs were compared with a second run.
    """
    stamp = {
        "notebook": digest(notebook.read_bytes()),
        "checked": checked,
        "inputs": dict(inputs),
        "changed": list(changed),
        "ran": asdict(ran) if ran else {},
    }
    write_text(_beside(notebook), json.dumps(stamp, indent=1, sort_keys=True) + "\n")


def why_stale(notebook: Path, inputs: Mapping[str, str]) -> str | None:
    """Why an executed notebook cannot stand for these inputs, in a few words; None if it can."""
    stamp = _read(notebook)
    if not stamp or not notebook.is_file():
        return "never run"
    if stamp.get("notebook") != digest(notebook.read_bytes()):
        return "its notebook is not the one that was stamped"
    if while_it_ran := stamp.get("changed", []):
        return f"{_listed(while_it_ran)} changed while it ran"
    differs = differing(stamp.get("inputs", {}), inputs)
    return f"{_listed(differs)} changed" if differs else None


def differing(before: Mapping[str, str], after: Mapping[str, str]) -> list[str]:
    """Names of the inputs that are not the same in both, in order."""
    return sorted(name for name in before.keys() | after.keys() if before.get(name) != after.get(name))


def _listed(names: Sequence[str]) -> str:
    return names[0] + (f" and {len(names) - 1} more" if len(names) > 1 else "")


def checked(notebook: Path) -> str:
    """What `mark_checked` noted about this very notebook; empty if nothing."""
    stamp = _read(notebook)
    same = notebook.is_file() and stamp.get("notebook") == digest(notebook.read_bytes())
    return str(stamp.get("checked", "")) if same else ""


def mark_checked(notebook: Path, how: str) -> None:
    """Note that a second run gave the same outputs."""
    stamp = _read(notebook)
    write(notebook, stamp.get("inputs", {}), stamp.get("changed", []), how, ran(notebook))


def ran(notebook: Path) -> Ran | None:
    """When an executed notebook ran and how long, from its stamp: equal runs give equal notebooks. None if unknown."""
    return read_ran(_read(notebook).get("ran"))


def read_ran(noted: object) -> Ran | None:
    """What `asdict` made of a Ran, as one; None for anything else."""
    match noted:
        case {"day": str(day), "seconds": float(seconds) | int(seconds)}:
            return Ran(day, float(seconds))
    return None
