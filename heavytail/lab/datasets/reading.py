"""The bytes of a file, within bounds: of a regular file alone, and no more than what it is for can hold.

What a file says of its own size is never trusted, packed or not: it is read in pieces until it ends or passes a bound.
"""

from __future__ import annotations

import errno
import gzip
import os
import stat
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Protocol

from heavytail.lab.datasets.arrays import DataDamaged, DataUnreadable
from heavytail.lab.datasets.official import Official

PIECE = 2**20  # bytes that are read at once


class Stream(Protocol):
    """What can be read a piece at a time."""

    def read(self, size: int = -1, /) -> bytes:
        """The next bytes, so many at most; none at the end."""
        ...


_KINDS = {
    stat.S_IFDIR: "a folder",
    stat.S_IFIFO: "a FIFO",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
}


@dataclass(frozen=True)
class Most:
    """How many bytes may be read, and why not more: 'the 46 MB that a file of ecg5000 can hold'."""

    size: int
    why: str

    def __str__(self) -> str:
        return f"the {amount(self.size)} {self.why}"


def of(official: Official) -> Most:
    """What a file of a published data set can hold."""
    return Most(official.most_bytes, f"that a file of {official.name} can hold")


def of_memory() -> Most:
    """What a file of one's own can hold: no more than the memory of this machine."""
    try:
        size = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError):  # not every system tells
        size = 2**34
    return Most(size, "of memory that this machine has")


def amount(size: int) -> str:
    """A number of bytes to read: 46 MB.

    >>> amount(46_120_000), amount(8 * 10**12), amount(17), amount(10**30)
    ('46 MB', '8 TB', '17 bytes', '1e+12 EB')
    """
    if size < 1000:
        return f"{size} bytes"
    for unit in ("kB", "MB", "GB", "TB", "PB"):
        size //= 1000
        if size < 1000:
            return f"{size} {unit}"
    return f"{float(min(size // 1000, 10**300)):.3g} EB"


def brief(error: BaseException) -> str:
    """What an error says, as the part of a sentence: one line, no control characters, no more than 150 characters."""
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    first = (str(error).strip().splitlines() or [""])[0]
    text = "".join(letter if letter.isprintable() else "?" for letter in first[:150])
    return text or ("there is not enough memory" if isinstance(error, MemoryError) else type(error).__name__)


def stands(path: Path) -> bool:
    """Whether anything of that name is there, a file or not; DataUnreadable where one cannot look."""
    try:
        os.lstat(path)
    except (FileNotFoundError, NotADirectoryError):
        return False
    except (OSError, ValueError) as error:  # a path with a NUL is a ValueError
        raise DataUnreadable(path, brief(error)) from error
    return True


@contextmanager
def opened(path: Path, most: Most | None = None) -> Iterator[BinaryIO]:
    """A regular file, open to read. Raises DataUnreadable, and DataDamaged if it is larger than it can be.

    Nothing else is opened: a FIFO would wait for its writer, and a device may act on it.
    """
    try:
        _regular(path, os.stat(path))
        handle = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0))
        with os.fdopen(handle, "rb") as file:
            state = os.fstat(handle)
            _regular(path, state)
            if most is not None and state.st_size > most.size:
                raise DataDamaged(path, f"it is of {amount(state.st_size)}, more than {most}")
            yield file
    except FileNotFoundError as error:
        why = "it is a link to nothing" if path.is_symlink() else brief(error)
        raise DataUnreadable(path, why) from error
    except OSError as error:
        why = "it is a link to itself" if error.errno == errno.ELOOP else brief(error)
        raise DataUnreadable(path, why) from error


def _regular(path: Path, state: os.stat_result) -> None:
    if not stat.S_ISREG(state.st_mode):
        kind = _KINDS.get(stat.S_IFMT(state.st_mode), "something else")
        raise DataUnreadable(path, f"it is {kind}, not a file")


def contents(path: Path, most: Most) -> bytes:
    """The bytes of a file, unpacked if its name ends in .gz."""
    with opened(path, most) as file:
        if path.suffix != ".gz":
            return up_to(file, most, path)
        try:
            with gzip.GzipFile(fileobj=file) as stream:
                return up_to(stream, most, path)
        except (EOFError, gzip.BadGzipFile, zlib.error) as error:
            raise DataDamaged(path, f"it does not unpack: {brief(error)}") from error


def up_to(stream: Stream, most: Most, source: Path | str) -> bytes:
    """All bytes of a stream; DataDamaged as soon as they are more than it may hold."""
    pieces, size = [], 0
    while piece := stream.read(PIECE):
        size += len(piece)
        if size > most.size:
            raise DataDamaged(source, f"it unpacks to more than {most}")
        pieces.append(piece)
    return b"".join(pieces)
