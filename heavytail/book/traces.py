"""Traces: texts that say on which machine something was made, and that nothing which is shared may hold."""

from __future__ import annotations

import getpass
import re
import socket
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from heavytail.lab.machine.traces import held, paths

__all__ = ["first", "in_outputs", "names", "paths"]

SHORTEST = 4  # letters of a user's or a machine's name; shorter ones are words of every script


def names(root: Path) -> dict[str, str]:
    """Names of this user and this machine; not those that are also words of the project, such as `root`."""
    try:
        user = getpass.getuser()
    except (OSError, KeyError, ImportError):  # a number without a name
        user = ""
    known = {user: "the user's name", socket.gethostname().partition(".")[0]: "the machine's name"}
    files = [*(root / "book").glob("*.md"), *(root / "heavytail").rglob("*.py"), root / "README.md"]
    words = {word for file in files if file.is_file() for word in re.findall(r"[\w-]+", file.read_text("utf-8"))}
    return {name: what for name, what in known.items() if len(name) >= SHORTEST and name not in words}


def first(text: str, traces: Mapping[str, str]) -> str | None:
    """What the first of these traces in a text is; None if there is none. Only whole words and folders count.

    >>> traces = {"/home/ada": "the home folder"}
    >>> first("open /home/ada/data.csv", traces), first("open /home/adam/data.csv", traces)
    ('the home folder', None)
    """
    for trace, what in traces.items():
        if held(text, trace):
            return what
    return None


def in_outputs(notebook: Any, traces: Mapping[str, str]) -> tuple[int, str] | None:
    """The number of the first code cell whose outputs hold a trace, and what that is; None if no cell's do."""
    cells = [cell for cell in notebook.cells if cell.cell_type == "code"]
    for number, cell in enumerate(cells, 1):
        what = first("\n".join(_texts(cell.outputs)), traces)
        if what:
            return number, what
    return None


def _texts(node: Any) -> list[str]:
    """Every text of an output, however deep: streams, tracebacks, all forms of a picture or table."""
    if isinstance(node, str):
        return [node]
    inner = node.values() if isinstance(node, Mapping) else node if isinstance(node, list | tuple) else ()
    return [text for item in inner for text in _texts(item)]
