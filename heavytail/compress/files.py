"""A file that is whole or not there: written beside its place, pressed to the disk, moved in one step."""

from __future__ import annotations

import os
import stat
from contextlib import suppress
from pathlib import Path


def put(path: Path | str, content: bytes) -> Path:
    """Write a file whole or not at all, and say where; the folder is made, an older file replaced, a link followed.

    Raises OSError in one sentence where no file can be put, or where something is that is no regular file.
    """
    place = checked(path)
    part = place.with_name(f".{place.name}.{os.urandom(4).hex()}.part")
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        with part.open("xb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(part, place)
    except OSError as error:
        raise OSError(f"{path} cannot be written ({error.strerror or error}): name another place") from error
    finally:
        with suppress(OSError):
            part.unlink(missing_ok=True)
    return place


def checked(path: Path | str) -> Path:
    """Where a file of this name goes; OSError where one cannot, for before the work."""
    try:
        place = Path(os.path.realpath(Path(path).expanduser()))
    except (RuntimeError, ValueError) as error:
        raise OSError(f"{str(path)!r} names no file ({error})") from error
    try:
        if not stat.S_ISREG(os.stat(place).st_mode):
            raise OSError(f"{path} is no regular file, and is not replaced: name another place")
    except (FileNotFoundError, NotADirectoryError):
        pass
    return place


def content_of(path: Path | str, most: int = -1) -> bytes:
    """All of a regular file, or so many bytes at most.

    Raises OSError as the system does, and for what is no such file: a pipe would never end.
    """
    try:
        place = Path(path).expanduser()
    except RuntimeError as error:
        raise OSError(f"{path} is in the home of nobody here: correct its name") from error
    if not stat.S_ISREG(os.stat(place).st_mode):
        raise OSError(f"{path} is no regular file: name another")
    with place.open("rb") as file:
        return file.read(most)
