"""A proxy on this machine that counts the bytes of what goes through it, up to a SuperLink and down from it."""

from __future__ import annotations

import contextlib
import re
import socket
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field


@dataclass(eq=False)
class Counted:
    """The port of a proxy, and what went through it up to now: of each path of HTTP the requests, bytes up and down."""

    port: int
    paths: dict[str, list[int]] = field(default_factory=dict)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def add(self, path: str, *more: int) -> None:
        """Count for a path so many requests, bytes up and bytes down."""
        with self.lock:
            before = self.paths.get(path, [0, 0, 0])
            self.paths[path] = [a + b for a, b in zip(before, more, strict=True)]

    def total(self, *paths: str) -> tuple[int, int]:
        """The bytes up and down of some paths, or of all."""
        with self.lock:
            lines = [line for path, line in self.paths.items() if not paths or path in paths]
        return sum(line[1] for line in lines), sum(line[2] for line in lines)


@contextlib.contextmanager
def counting(port: int) -> Iterator[Counted]:
    """Hand everything on to a port of this machine and back, and count it; closed at the end."""
    with socket.create_server(("127.0.0.1", 0)) as server, contextlib.ExitStack() as opened:
        counted = Counted(server.getsockname()[1])
        opened.callback(server.close)
        threading.Thread(target=_accept, args=(server, port, counted, opened), daemon=True).start()
        yield counted


def _accept(server: socket.socket, port: int, counted: Counted, opened: contextlib.ExitStack) -> None:
    """Take connections until the server is closed."""
    with contextlib.suppress(OSError):
        while True:
            near, _ = server.accept()
            opened.callback(near.close)
            try:
                far = socket.create_connection(("127.0.0.1", port))
            except OSError:  # nobody is there, as where the SuperLink is being started again
                near.close()
                continue
            opened.callback(far.close)
            path = [""]  # that of the last request, which both ways belong to: a client waits for its answer
            for ends in ((near, far, True), (far, near, False)):
                threading.Thread(target=_hand_on, args=(*ends, path, counted), daemon=True).start()


def _hand_on(source: socket.socket, target: socket.socket, is_up: bool, path: list[str], counted: Counted) -> None:
    """All that comes, until one of both has closed; then the other is closed too."""
    with contextlib.suppress(OSError):
        while content := source.recv(2**16):
            request = re.match(rb"[A-Z]+ (/\S*) HTTP/1\.1\r\n", content) if is_up else None
            if request:
                path[0] = request[1].decode()
            counted.add(path[0], int(request is not None), len(content) * is_up, len(content) * (not is_up))
            target.sendall(content)
    for end in (source, target):
        with contextlib.suppress(OSError):
            end.shutdown(socket.SHUT_RDWR)
