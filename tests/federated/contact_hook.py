"""As `sitecustomize` on PYTHONPATH Python runs this first: each process says whom it contacts on other machines.

Lines go to the file that CONTACTS names: "watched" and a program for each process, "contact" and an address for what is
neither of this machine nor a file of the system.
"""

from __future__ import annotations

import contextlib
import functools
import ipaddress
import os
import socket
import sys

_PLACE = os.environ.get("CONTACTS")
#: Where the address is among what an event tells.
_EVENTS = {
    **{"socket.connect": 1, "socket.sendto": 1, "socket.sendmsg": 1},
    **{"socket.getaddrinfo": 0, "socket.gethostbyname": 0, "socket.gethostbyaddr": 0},
}


def _is_own(address: object) -> bool:
    """Whether an address, or a name that is looked up, is of this machine."""
    host = address[0] if isinstance(address, tuple) else address
    if isinstance(address, tuple) and not isinstance(host, str):
        return True  # of no internet: netlink, say
    if host is None or host in ("", "localhost"):
        return True
    with contextlib.suppress(ValueError):
        own = ipaddress.ip_address(host)
        return own.is_loopback or own.is_unspecified or of_this_machine(str(own))
    return False


@functools.cache
def of_this_machine(host: str) -> bool:
    """Whether one of the network interfaces here has an address: only then can a socket be bound to it."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with contextlib.suppress(OSError), socket.socket(family, socket.SOCK_DGRAM) as bound:
        bound.bind((host, 0))
        return True
    return False


def _write(*words: object) -> None:
    line = " ".join(map(str, words)).replace("\n", " ")
    file = os.open(str(_PLACE), os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o666)
    try:
        os.write(file, f"{line}\n".encode("utf-8", "replace"))
    finally:
        os.close(file)


def _hear(event: str, arguments: tuple[object, ...]) -> None:
    if event not in _EVENTS:
        return
    address = arguments[_EVENTS[event]]
    is_file = _EVENTS[event] == 1 and not isinstance(address, tuple)
    if not is_file and not _is_own(address):
        _write("contact", event, address, "by", os.getpid(), *sys.argv[:2])


if _PLACE:
    sys.addaudithook(_hear)
    _write("watched", os.getpid(), *sys.orig_argv[:4])
