"""The program that Jupyter starts as a chapter's kernel where `heavytail.book.kernels` keeps one warm: a door to it.

It needs the standard library alone and is there at once. The kernel lives as long as its door, and the other way round.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import sys


def main(address: str, arguments: list[str]) -> int:
    """Ask for a kernel with these arguments, this process's environment, folder and streams; its exit status."""
    parent = os.getppid()
    with socket.socket(socket.AF_UNIX) as line:
        line.connect(address)
        request = {"arguments": arguments, "folder": os.getcwd(), "environment": dict(os.environ)}
        message = json.dumps(request).encode()
        socket.send_fds(line, [len(message).to_bytes(8, "big")], [0, 1, 2])
        line.sendall(message)
        if not (number := line.recv(8)):
            return 1
        kernel = int.from_bytes(number, "big")
        for each in (signal.SIGINT, signal.SIGTERM):
            signal.signal(each, lambda number, _: os.kill(kernel, number))
        line.settimeout(1)
        status = 1
        while os.getppid() == parent:
            try:
                said = line.recv(1)
            except TimeoutError:
                continue
            if not said:  # the kernel is gone
                return status
            status = said[0]
    return 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], sys.argv[2:]))
