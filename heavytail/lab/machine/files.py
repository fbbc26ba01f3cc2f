"""Files that are whole or not there: written beside their place, pressed to the disk, moved in one step.

Locks are the kernel's (`flock`). Windows has none of that kind, and some file systems have none at all: there everybody
gets what they ask for, and what dead writers left is not removed, for they might be living.
"""

from __future__ import annotations

import errno
import os
import re
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

_opens_folders = os.name != "nt"

_PART = re.compile(r"\.(?P<name>.+)\.[a-z0-9_]{8}\.part")  # what a writer fills; `name` is where it will go


def write_atomically(path: Path, write: Callable[[Path], object]) -> None:
    """Let `write` fill a file beside `path`, then put it in place in one move; on failure leave no trace.

    Contents reach the disk before the move and the move before the return, so a power cut leaves the old file or the
    new one. What writers of the same path left when they were killed is removed.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    remove_dead_parts(path.parent, path.name)
    part, lock = _begin(path)
    try:
        write(part)
        os.chmod(part, 0o644)
        _flush(part)
        os.replace(part, path)
        _flush(path.parent)
    finally:
        part.unlink(missing_ok=True)
        if lock is not None:
            os.close(lock)


def remove_dead_parts(folder: Path, name: str | None = None) -> None:
    """Remove what killed writers of `folder / name` left behind, or of any file there; never a living writer's."""
    for entry in list(os.scandir(folder)):
        match = _PART.fullmatch(entry.name)
        if match and name in (None, match["name"]):
            with locked(Path(entry.path), make=False):  # removes the file, if nobody else holds it
                pass


@contextmanager
def locked(path: Path, *, make: bool = True) -> Iterator[bool]:
    """Whether this caller alone holds the file `path`, which is removed when it lets go.

    Does not wait. The kernel lets go of it when the process dies. Where there are no locks every caller gets True and
    the file stays. With `make=False` a file that is not there is nobody's, and False.
    """
    while True:
        try:
            handle = os.open(path, os.O_RDWR | (os.O_CREAT if make else 0), 0o644)
        except FileNotFoundError:
            if make:
                raise
            yield False
            return
        held = _lock(handle)
        if held and not _is_still(path, handle):  # removed by its last holder between our two lines
            os.close(handle)
            continue
        break
    try:
        yield held is not False
    finally:
        if held:
            path.unlink(missing_ok=True)
        os.close(handle)


def _begin(path: Path) -> tuple[Path, int | None]:
    """A new file beside `path`, locked so that nobody takes it for a dead writer's, and the lock's handle if any."""
    while True:
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".part")
        held = _lock(handle)
        if held and _is_still(Path(name), handle):
            return Path(name), handle
        os.close(handle)  # Windows moves no file that is open
        if held is None:
            return Path(name), None
        # else taken for dead before it was locked, and removed


def _lock(handle: int) -> bool | None:
    """True: ours; False: another's; None: there are no locks here."""
    try:
        import fcntl
    except ModuleNotFoundError:
        return None
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:
        return None
    return True


def _is_still(path: Path, handle: int) -> bool:
    try:
        return os.path.samestat(os.stat(path), os.fstat(handle))
    except FileNotFoundError:
        return False


def _flush(path: Path) -> None:
    """Wait until a file, or the names in a folder, are on the disk."""
    is_folder = path.is_dir()
    if is_folder and not _opens_folders:
        return
    handle = os.open(path, os.O_RDONLY if is_folder else os.O_RDWR)  # Windows flushes no file that was opened to read
    try:
        os.fsync(handle)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOTSUP):  # a file system that cannot
            raise
    finally:
        os.close(handle)
