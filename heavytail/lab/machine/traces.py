"""Paths of this machine: what is made to be handed to others holds none of them."""

from __future__ import annotations

import os
import re
import tempfile
from collections.abc import Mapping
from pathlib import Path


def paths(root: Path) -> dict[str, str]:
    """Paths of this machine, each with what it is: the project, the data, the home folder, the temporary one."""
    known = {
        "the project's folder": str(root),
        "the data folder": os.environ.get("HEAVYTAIL_DATA", ""),
        "the home folder": "~",
        "the temporary folder": tempfile.gettempdir(),
    }
    return spellings(known)


def spellings(known: Mapping[str, str | Path]) -> dict[str, str]:
    """What each path is, by the path as it stands and with its links followed; of two things that are one the first."""
    named: dict[str, str] = {}
    for what, text in known.items():
        place = Path(os.path.expanduser(text)) if str(text) else None
        for path in (place.absolute(), place.resolve()) if place else ():
            if path != Path(path.anchor):
                named.setdefault(str(path), what)
    return named


def held(text: str, path: str) -> bool:
    """Whether a text holds a path, or what lies in it. Only whole words and folders count.

    Where its letters are nowhere, no expression is tried, which takes a hundred times as long.
    """
    return any(way in text for way in _ways(path)) and re.search(rf"(?<![\w.-]){_anywhere(path)}", text) is not None


def _anywhere(path: str) -> str:
    return rf"(?:{'|'.join(map(re.escape, _ways(path)))})(?![\w-])"


def _ways(path: str) -> list[str]:
    return sorted({path, path.replace("\\", "\\\\"), path.replace("\\", "/")})  # as Windows, JSON and links have it


def without(text: str, known: Mapping[str, str]) -> str:
    """A text with what each path is in the place of the path, the longest path first, whatever stands before it.

    >>> without("cc -I/home/ada/include, not /home/adam", {"/home/ada": "the home folder"})
    'cc -I<the home folder>/include, not /home/adam'
    """
    for path in sorted(known, key=len, reverse=True):
        text = re.sub(_anywhere(path), f"<{known[path]}>", text)
    return text
