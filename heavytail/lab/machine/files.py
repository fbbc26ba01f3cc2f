"""Files that are whole or not there: written beside their place, pressed to the disk, moved in one step.

Locks are the kernel's (`flock`). Windows has none of that kind, and some file systems have none at all: there everybody
gets what they ask for, and what dead writers left is not removed, for they might be living.

Files and folders get the mode that the umask gives. Only regular files are replaced.
"""

from __future__ import annotations

import errno
import os
import re
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

_opens_folders = os.name != "nt"

_PART = re.compile(r"\.(?P<name>.+)\.[a-z0-9_]{8}\.part")  # what a writer fills; `name` is where it will go
# Neither waits for somebody at the other end of a pipe nor follows a link.
_AS_IT_IS = getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_NOFOLLOW", 0)

_KINDS = {
    stat.S_IFDIR: "a folder",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
    stat.S_IFIFO: "a pipe",
    stat.S_IFSOCK: "a socket",
    stat.S_IFLNK: "a link that leads nowhere",
}


class Unwritable(OSError):
    """No file can be put at `filename`, and `strerror` says why."""

    def __str__(self) -> str:
        return f"{self.filename} cannot be written ({self.strerror})"


def named(path: Path | str) -> Path:
    """The path of a file that somebody names: a home folder in the place of its `~`, and nothing else means more.

    A lone `~x` where nobody is called x is a name as any other. ValueError for a folder in the home of nobody here.
    """
    path = Path(path)
    try:
        return path.expanduser()
    except RuntimeError as error:
        if len(path.parts) == 1:
            return path
        raise ValueError(f"{path} is in the home of nobody here: correct its name") from error


def write_atomically(path: Path, write: Callable[[Path], object]) -> None:
    """Let `write` fill a file beside `path`, then put it in place in one move; on failure leave no trace.

    Contents reach the disk before the move and the move before the return, so a power cut leaves the old file or the
    new one. What writers of the same path left when they were killed is removed. A link is followed. Raises Unwritable
    where no file can be put, or where something is that is no regular file.
    """
    with _telling(path):
        place = _place(path)
        remove_dead_parts(place.parent, re.escape(place.name))
        part, lock = _begin(place)
        try:
            write(part)
            _flush(part)
            os.replace(part, place)
            _flush(place.parent)
        finally:
            part.unlink(missing_ok=True)
            if lock is not None:
                os.close(lock)


def check_place(path: Path) -> None:
    """Raise Unwritable if no file could be put at `path`, as `write_atomically` would: for before the work, not after.

    Makes its folder.
    """
    with _telling(path):
        part, lock = _begin(_place(path))
        part.unlink()
        if lock is not None:
            os.close(lock)


def kind_of(path: Path) -> str:
    """What is at a path where a file should be: "a folder", "a pipe", ...; empty for a regular file or nothing."""
    try:
        return _kind(os.stat(path).st_mode)
    except OSError as error:
        if error.errno in (errno.ENOENT, errno.ELOOP):
            return _KINDS[stat.S_IFLNK] if path.is_symlink() else ""
        raise


def remove_dead_parts(folder: Path, name: str = ".+") -> None:
    """Remove what killed writers left behind of the files in `folder` with such names, a regular expression.

    Never a living writer's, and never what only looks like it: a folder, a pipe, a link. What may not be removed stays.
    """
    for entry in list(os.scandir(folder)):
        match = _PART.fullmatch(entry.name)
        if match and re.fullmatch(name, match["name"]):
            remove_if_free(Path(entry.path))


def remove_if_free(path: Path) -> None:
    """Remove a file that nobody holds and that may be removed; leave another."""
    with suppress(OSError), locked(path, make=False):
        pass


@contextmanager
def locked(path: Path, *, make: bool = True) -> Iterator[bool]:
    """Whether this caller alone holds the file `path`, which is removed when it lets go.

    Does not wait. The kernel lets go of it when the process dies. Where there are no locks every caller gets True and
    the file stays. With `make=False` a file that is not there is nobody's, and False. Another user's file is held too,
    if it may be read. Raises Unwritable for one that cannot be held.
    """
    while True:
        with _telling(path):
            handle = _open(path, make)
        if handle is None:
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
            with suppress(PermissionError):  # another user's, in a folder where each removes only their own
                path.unlink(missing_ok=True)
        os.close(handle)


def at_once(most: int) -> int:
    """How many files to hold at once, `most` at the most: half of what this process may open beside what it has."""
    try:
        import resource
    except ModuleNotFoundError:  # Windows has no such limit
        return most
    limit, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return most if limit == resource.RLIM_INFINITY else max(1, min(most, (limit - _opened()) // 2))


def _opened() -> int:
    """How many files this process has open, as far as the system tells."""
    try:
        return len(os.listdir("/dev/fd")) - 1  # the list itself was open
    except OSError:
        return 0


def _place(path: Path) -> Path:
    """Where a file at `path` goes, links followed; its folder is made. OSError for what is there and is no file."""
    place = Path(os.path.realpath(path)) if path.is_symlink() else path
    place.parent.mkdir(parents=True, exist_ok=True)
    with suppress(FileNotFoundError):
        if kind := _kind(os.lstat(place).st_mode):
            raise OSError(errno.EEXIST, f"it is {kind}, which is not replaced")
    return place


def _kind(mode: int) -> str:
    return "" if stat.S_ISREG(mode) else _KINDS.get(stat.S_IFMT(mode), "no regular file")


@contextmanager
def _telling(path: Path) -> Iterator[None]:
    """What the system says of a failure, with the path that was meant, which need not be the one it names."""
    try:
        yield
    except OSError as error:
        if error.errno is None:
            raise
        raise Unwritable(error.errno, error.strerror, str(path)) from error


def _open(path: Path, make: bool) -> int | None:
    """A handle of a lock's file, only to read where it may not be written; None if it is not there and not made."""
    while True:
        try:
            try:
                handle = os.open(path, os.O_RDWR | _AS_IT_IS)
            except PermissionError:
                handle = os.open(path, os.O_RDONLY | _AS_IT_IS)
        except FileNotFoundError:
            if not make:
                return None
            try:
                return os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o666)
            except FileExistsError:
                continue  # somebody else made it between our two lines
        except OSError as error:
            if error.errno == errno.ELOOP:
                raise OSError(error.errno, "it is a link") from error
            raise
        if kind := _kind(os.fstat(handle).st_mode):
            os.close(handle)
            raise OSError(errno.EEXIST, f"it is {kind}")
        return handle


def _begin(path: Path) -> tuple[Path, int | None]:
    """A new file beside `path`, locked so that nobody takes it for a dead writer's, and the lock's handle if any."""
    while True:
        part = path.with_name(f".{path.name}.{os.urandom(4).hex()}.part")
        try:
            handle = os.open(part, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o666)
        except FileExistsError:
            continue
        held = _lock(handle)
        if held and _is_still(part, handle):
            return part, handle
        os.close(handle)  # Windows moves no file that is open
        if held is None:
            return part, None
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
