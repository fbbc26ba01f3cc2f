"""A folder put in the place of another in one step, so that its readers find the old one or the new one."""

from __future__ import annotations

import ctypes
import os
import shutil
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_WORK, _FORMER = "work-", "former"


@contextmanager
def work_folder(home: Path, place: Path) -> Iterator[Path]:
    """A new folder in `home` that no other process knows, to make in it what `put` will move to `place`.

    It is gone after the block. All folders that lay in `home` before are what killed processes left, and go first.
    """
    home.mkdir(parents=True, exist_ok=True)
    for left in [entry for entry in home.iterdir() if entry.is_dir()]:
        if not place.exists() and (left / _FORMER).is_dir():  # killed between the two moves of `put`
            os.replace(left / _FORMER, place)
        shutil.rmtree(left, ignore_errors=True)  # a dying child may still write there; the next build comes again
    with tempfile.TemporaryDirectory(prefix=_WORK, dir=home, ignore_cleanup_errors=True) as work:
        yield Path(work)


def put(made: Path, place: Path, work: Path) -> None:
    """Move the folder `made` to `place`. What was there goes to `work`, and both trade places at once where they can.

    Elsewhere there are two moves; `work_folder` mends it if the process is killed between them.
    """
    if not place.exists():
        place.parent.mkdir(parents=True, exist_ok=True)
        os.replace(made, place)
    elif not _traded(made, place):
        os.replace(place, work / _FORMER)
        os.replace(made, place)


def _traded(one: Path, other: Path) -> bool:
    """Whether the system could let two folders trade places: Linux and macOS can, on most file systems."""
    here, names = -100, (os.fsencode(one), os.fsencode(other))
    try:
        if sys.platform.startswith("linux"):
            return ctypes.CDLL(None).renameat2(here, names[0], here, names[1], 2) == 0
        if sys.platform == "darwin":
            return ctypes.CDLL(None).renamex_np(*names, 2) == 0
    except (OSError, AttributeError):  # a C library that has no such function
        pass
    return False
