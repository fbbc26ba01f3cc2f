"""A kernel is talked to through files. Of ports, two kernels that start at once may have been given the same.

A manager looks for ports that are free and names them to the kernel, which takes them a second later.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

LONGEST = 100  # bytes that the path of a socket may have, on every system


@contextmanager
def of_a_kernel() -> Iterator[dict[str, str]]:
    """Settings of jupyter_client's `KernelManager` for a kernel that lives in the block.

    There are none, so that it takes ports, where a path would be too long, or on Windows.

    >>> with of_a_kernel() as settings:
    ...     settings.get("transport", "tcp") in ("ipc", "tcp")
    True
    """
    with TemporaryDirectory(prefix="kernel-", ignore_cleanup_errors=True) as folder:
        path = Path(folder) / "k.json"
        fits = len(os.fsencode(path)) <= LONGEST and os.name == "posix"
        yield {"transport": "ipc", "connection_file": str(path)} if fits else {}
