"""The figures of a session: `heavytail bench` case by case, each figure kept as it comes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from heavytail.lab import bench
from heavytail.lab.bench import Figure, on_gpu
from heavytail.lab.session import parts
from heavytail.lab.session.parts import Session

TRIES = 2  # of a case that was cut off


def plan(device: str) -> bench.Plan | None:
    """None for the sizes of `bench`; small ones for a rehearsal, whose figures are those of a CPU."""
    return None if device == "cuda" else on_gpu.REHEARSAL


def cases(session: Session) -> tuple[str, ...]:
    """The cases that a session measures."""
    return tuple(bench.cases_on(session.device, plan(session.device)))


def run(session: Session, tag: str, until: float) -> None:
    """Measure what is left of the cases."""
    for case in cases(session):
        place = _place(session, tag, case)
        known = _read(place)
        if known["ended"] or known["tries"] >= TRIES:
            continue
        parts.put(place, {**known, "tries": known["tries"] + 1})
        status = parts.part(session, "figures", until, f"figures-{case}", case=case, path=str(place))
        if status is None:
            return
        if status:
            parts.put(place, {**_read(place), "ended": True, "error": f"its process ended with {status}"})


def measure(case: str, device: str, path: Path) -> None:
    """Measure one case into its file, figure by figure; those that are measured again replace the older ones."""
    known = _read(path)
    figures = {(figure["name"], figure["case"]): figure for figure in known["figures"]}
    for figure in bench.bench([case], device=device, plan=plan(device)):
        print(bench.as_text(figure), flush=True)
        figures |= {(figure.name, figure.case): bench.report([figure], device)["figures"][0]}
        parts.put(path, {**known, "figures": list(figures.values())})
    parts.put(path, {**known, "figures": list(figures.values()), "ended": True})


def figures(session: Session, tag: str) -> dict[str, dict[str, Any]]:
    """What is known of each case: its figures, whether it has ended, how often it was tried, and an error if any."""
    return {case: _read(_place(session, tag, case)) for case in cases(session)}


def lines(known: dict[str, Any]) -> list[str]:
    """The figures of a case as text."""
    return [bench.as_text(Figure(**figure)) for figure in known["figures"]]


def _place(session: Session, tag: str, case: str) -> Path:
    return session.store / "bench" / tag / f"{case}.json"


def _read(path: Path) -> dict[str, Any]:
    fresh = {"tries": 0, "ended": False, "error": "", "figures": []}
    return fresh | (json.loads(path.read_text("utf-8")) if path.exists() else {})
