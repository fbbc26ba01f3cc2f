"""Whom the processes of a test contact: what Python tells of itself, and what the system lists of all others."""

from __future__ import annotations

import contextlib
import ipaddress
import os
import re
import shutil
import socket
import struct
import threading
from collections.abc import Iterator
from pathlib import Path

import contact_hook

HOOK = Path(contact_hook.__file__)


def watched(environment: dict[str, str], folder: Path) -> dict[str, str]:
    """The environment of processes that write into a folder whom they contact, and of all that they start."""
    (folder / "watch").mkdir(exist_ok=True)
    shutil.copy(HOOK, folder / "watch" / "sitecustomize.py")
    path = os.pathsep.join([str(folder / "watch"), *filter(None, [environment.get("PYTHONPATH")])])
    return environment | {"PYTHONPATH": path, "CONTACTS": str(folder / "contacts")}


def told(folder: Path) -> tuple[list[str], list[str]]:
    """The processes of Python that were watched, and the contacts to others than this machine."""
    place = folder / "contacts"
    lines = place.read_text("utf-8", "replace").splitlines() if place.exists() else []
    return [line for line in lines if line.startswith("watched")], [x for x in lines if x.startswith("contact")]


@contextlib.contextmanager
def listed(folder: Path, pause: float = 0.5) -> Iterator[list[str]]:
    """Connections of watched processes to other machines, in any language, as the system lists them meanwhile.

    It is looked at now and then, so what is open for less than the pause may be missed: Python tells of its own. Empty
    where there is no /proc.
    """
    found: list[str] = []
    ended = threading.Event()

    def look() -> None:
        while not ended.wait(pause):
            if abroad := _abroad():
                found.extend(abroad[inode] for inode in _sockets(folder) & abroad.keys())

    thread = threading.Thread(target=look, daemon=True)
    thread.start()
    try:
        yield found
    finally:
        ended.set()
        thread.join()


def _abroad() -> dict[str, str]:
    """The far ends of all sockets that are connected to another machine, by their inodes."""
    found = {}
    for table in ("tcp", "tcp6", "udp", "udp6"):
        with contextlib.suppress(OSError):
            for line in Path("/proc/net", table).read_text().splitlines()[1:]:
                columns = line.split()
                host = _address(columns[2].split(":")[0])
                if not (host.is_loopback or host.is_unspecified or contact_hook.of_this_machine(str(host))):
                    found[columns[9]] = f"{table} {host}"
    return found


def _address(words: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address:
    """An address as the system lists it, in words of 32 bits in the order of the machine."""
    content = b"".join(struct.pack("=I", int(word, 16)) for word in re.findall("........", words))
    host = ipaddress.ip_address(socket.inet_ntop(socket.AF_INET if len(content) == 4 else socket.AF_INET6, content))
    return getattr(host, "ipv4_mapped", None) or host


def processes(folder: Path) -> Iterator[Path]:
    """The places in /proc of all watched processes that run and may be looked into, whoever started them."""
    mark = f"CONTACTS={folder / 'contacts'}".encode()
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if mark in (process / "environ").read_bytes().split(b"\0"):
                yield process


def _sockets(folder: Path) -> set[str]:
    """The inodes of the sockets of all watched processes."""
    found = set()
    for process in processes(folder):
        with contextlib.suppress(OSError):
            for handle in (process / "fd").iterdir():
                with contextlib.suppress(OSError):
                    if match := re.fullmatch(r"socket:\[(\d+)\]", os.readlink(handle)):
                        found.add(match[1])
    return found
