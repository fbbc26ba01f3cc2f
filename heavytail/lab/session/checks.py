"""The tests of a session: those that want a GPU, file by file, on from where the last call was cut off."""

from __future__ import annotations

import os
import re
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from heavytail.lab.session import parts
from heavytail.lab.session.parts import Session

MARKS = "gpu or needs_cuda"
_MARKED = re.compile(r"pytest\.mark\.(gpu|needs_cuda)\b")
ENDED = (0, 1, 2, 3, 4, 5)  # exit statuses of a pytest that came to its end
TRIES = 3  # of a file whose process died


def wanted(root: Path) -> list[Path]:
    """The files with tests that want a GPU, those of the kernels first."""
    found = [path for path in sorted((root / "tests").rglob("test_*.py")) if marks(path)]
    return sorted(found, key=lambda path: "gpu" not in marks(path))


def marks(path: Path) -> set[str]:
    """Which of the two marks a file of tests has."""
    return set(_MARKED.findall(path.read_text(encoding="utf-8")))


def run(session: Session, tag: str, until: float) -> None:
    """Run what is left of the tests, several files at once where there are cores for it."""
    lanes = max(1, min(4, (os.cpu_count() or 1) // 4))
    todo = [path for path in wanted(session.root) if not _ended(session, tag, path)]
    with ThreadPoolExecutor(lanes) as pool:
        list(pool.map(lambda path: _run(session, tag, path, until), todo))


def _run(session: Session, tag: str, path: Path, until: float) -> None:
    place = _place(session, tag, path)
    place.parent.mkdir(parents=True, exist_ok=True)
    words = ["-m", MARKS, "-p", "outcomes", "-p", "no:cacheprovider", "-q", "--no-header", "--tb=short"]
    env = {"HEAVYTAIL_OUTCOMES": str(place), "TRITON_INTERPRET": "0" if session.device == "cuda" else "1"}
    for _ in range(TRIES):
        start = time.time()
        status = parts.call(session, ["-m", "pytest", str(path), *words], _log(path), until, env)
        if status is None:
            return
        if status in ENDED:
            break
    parts.add_line(place, {"status": status, "seconds": time.time() - start})


def outcomes(session: Session, tag: str) -> list[dict[str, Any]]:
    """What is known of each test: its file, name, outcome (or "begun"), seconds, and why it failed or skipped.

    A file that could not be run to its end has a line with the outcome "broken"; one that is still to be run or to be
    run to its end, "waiting".
    """
    outcomes = []
    for path in wanted(session.root):
        name = str(path.relative_to(session.root))
        known = parts.lines(_place(session, tag, path))
        tests = {line["test"]: line for line in known if "test" in line}
        outcomes += [{"file": name, **line} for line in tests.values()]
        if not any("status" in line for line in known):
            outcomes.append({"file": name, "test": name, "outcome": "waiting", "why": "cut off, or not begun"})
        elif not _ended(session, tag, path):
            why = parts.last_line(session, _log(path)) or "pytest could not run it"
            outcomes.append({"file": name, "test": name, "outcome": "broken", "why": why})
    return outcomes


def _ended(session: Session, tag: str, path: Path) -> bool:
    """Whether a file was run to its end: pytest says so, and where it says that tests failed, some have."""
    known = parts.lines(_place(session, tag, path))
    failed = any(line.get("outcome") == "failed" for line in known)
    return any(line.get("status") in (0, 5) or (line.get("status") == 1 and failed) for line in known)


def _log(path: Path) -> str:
    return f"tests-{path.stem}"


def _place(session: Session, tag: str, path: Path) -> Path:
    return session.store / "tests" / tag / f"{path.stem}.jsonl"
