"""Whatever may lie where a file should be, limits of a process, and the rights of another user."""

from __future__ import annotations

import os
import shutil
import socket
import stat
import tempfile
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest


def a_folder(path: Path) -> None:
    (path / "inner").mkdir(parents=True)


def a_pipe(path: Path) -> None:
    os.mkfifo(path)


def a_socket(path: Path) -> None:
    with closing(socket.socket(socket.AF_UNIX)) as new:
        here = os.getcwd()
        os.chdir(path.parent)  # a socket's path may have no more than a hundred letters
        try:
            new.bind(path.name)
        finally:
            os.chdir(here)


def a_link_to_a_device(path: Path) -> None:
    path.symlink_to("/dev/full")  # that nothing can be lost of


def a_link_to_itself(path: Path) -> None:
    path.symlink_to(path.name)


def a_link_to_nothing(path: Path) -> None:
    path.symlink_to("nothing")


#: What is no file and no way to one.
HOSTILE: list[Callable[[Path], None]] = [a_folder, a_pipe, a_socket, a_link_to_a_device, a_link_to_itself]


def state(path: Path) -> dict[str, tuple[int, ...]]:
    """What tells that nothing in a folder was made, removed, written or given other rights."""
    found = {}
    for one in [path, *path.rglob("*")]:
        is_like = one.lstat()
        written = () if stat.S_ISDIR(is_like.st_mode) else (is_like.st_size, is_like.st_mtime_ns)
        found[str(one)] = (is_like.st_ino, is_like.st_mode, *written)
    return found


@contextmanager
def limit(kind: str, value: int) -> Iterator[None]:
    """A lower limit of this process, such as RLIMIT_NOFILE."""
    resource = pytest.importorskip("resource")
    number = getattr(resource, kind)
    before = resource.getrlimit(number)
    resource.setrlimit(number, (value, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(number, before)


def opened() -> int:
    """How many files this process has open: in a long session of tests some dozens."""
    return len(os.listdir("/dev/fd")) - 1


@contextmanager
def umask(mask: int) -> Iterator[None]:
    before = os.umask(mask)
    try:
        yield
    finally:
        os.umask(before)


@contextmanager
def user(number: int, group: int) -> Iterator[None]:
    """This process with the rights of another user. Only root can; others skip."""
    if os.geteuid() != 0:
        pytest.skip("only root can be another user")
    groups, own = os.getgroups(), os.getegid()
    os.setgroups([])
    os.setegid(group)
    os.seteuid(number)
    try:
        yield
    finally:
        os.seteuid(0)
        os.setegid(own)
        os.setgroups(groups)


@contextmanager
def somebody() -> Iterator[None]:
    """This process with no more rights than the modes of files give: its own, or another user's where it is root's."""
    if os.geteuid() != 0:
        yield
        return
    with user(NOBODY, NOBODY):
        yield


NOBODY = 65534


@contextmanager
def open_folder() -> Iterator[Path]:
    """A folder that any user may enter, as those that pytest makes are not."""
    path = Path(tempfile.mkdtemp(dir="/tmp"))
    path.chmod(0o777)
    try:
        yield path
    finally:
        for one in path.rglob("*"):
            if one.is_dir() and not one.is_symlink():
                one.chmod(0o700)
        shutil.rmtree(path)
