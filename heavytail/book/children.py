"""Sphinx and nbval in processes of their own, which end when the one that started them does, however that happens."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

# What a child does first. Nothing is ever written to its standard input: a read returns when nobody holds the other
# end any more. Then it runs the module as `python -m` does, or the program that lies at a path.
_CHILD = """
import os, runpy, sys, threading
line, nothing = os.dup(0), os.open(os.devnull, os.O_RDONLY)
os.dup2(nothing, 0)
def follow():
    os.read(line, 1)
    os._exit(1)
threading.Thread(target=follow, daemon=True).start()
del sys.argv[0]
if os.path.isabs(sys.argv[0]):
    sys.path[0] = os.path.dirname(sys.argv[0])
    runpy.run_path(sys.argv[0], run_name="__main__")
else:
    runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)
"""


@dataclass(frozen=True)
class Children:
    """Threads that each wait for one child, and the line that all children hang on."""

    threads: ThreadPoolExecutor
    line: int


@contextmanager
def children(count: int) -> Iterator[Children]:
    """So many children at once. None of them outlives the block: an exception inside it, Ctrl-C too, ends them."""
    line, ours = os.pipe()  # no child inherits `ours`, so it is closed when this process dies
    threads = ThreadPoolExecutor(count)
    try:
        yield Children(threads, line)
    finally:
        threads.shutdown(wait=False, cancel_futures=True)
        os.close(ours)
        threads.shutdown()
        os.close(line)


def run(
    program: str, arguments: Sequence[str], group: Children, *, folder: Path, environment: Mapping[str, str]
) -> subprocess.CompletedProcess[str]:
    """Run a module, or the Python program at an absolute path; what it printed is all in `stdout`."""
    return subprocess.run(
        [sys.executable, "-c", _CHILD, program, *arguments],
        cwd=folder,
        env=dict(environment),
        stdin=group.line,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
