"""One command of the book at a time in a project: two would write over each other's chapters and pages."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from heavytail.lab.machine.files import locked


class Busy(RuntimeError):
    """Another command of the book is at work in the same project."""


@contextmanager
def alone(root: Path) -> Iterator[None]:
    """Hold the project at `root` while chapters run and pages are built; a process that dies lets go of it.

    Raises Busy, at once and before anything is touched, while another holds it.
    """
    place = root / "_build" / "book.lock"
    place.parent.mkdir(parents=True, exist_ok=True)
    with locked(place) as ours:
        if not ours:
            raise Busy(
                "another build of the book is at it in this project (it holds _build/book.lock): "
                "wait until it has ended, then run this again"
            )
        yield
