"""Kernels that have imported what every chapter imports: forked from one process that did so once.

A chapter of five seconds spends four of them on importing torch, SciPy, pandas and matplotlib. Nothing of `heavytail`
is imported beforehand: a module that is edited while chapters run is the one that the next chapter imports.
"""

from __future__ import annotations

import gc
import json
import os
import select
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from heavytail.book import kernel_door
from heavytail.book.sockets import LONGEST

WARM = (
    "torch",
    "torch.func",
    "numba",
    "scipy.stats",
    "scipy.special",
    "scipy.optimize",
    "pandas",
    "pyarrow.parquet",
    "matplotlib.pyplot",
    "matplotlib.backends.backend_svg",
    "seaborn",
    "safetensors.torch",
    "IPython",
    "ipykernel.kernelapp",
)
FEWEST = 4  # chapters for which it is worth the imports
INLINE = "module://matplotlib_inline.backend_inline"  # how a kernel shows figures: matplotlib asks as it is imported


@contextmanager
def warm(count: int, environment: Mapping[str, str], imported: Sequence[str] = WARM) -> Iterator[dict[str, str]]:
    """In the block kernels have `imported` these modules: `environment` with what a process needs to be given one.

    It is that of the kernels as far as it is read when modules are imported, such as the number of threads.
    Nothing is added where few kernels are to start (`count`), where processes are not forked, or where the path
    of a socket would be too long. Two blocks have two processes, whose hashes and addresses differ, so that a chapter
    that depends on these does not give the same outputs twice.
    """
    if count < FEWEST or not sys.platform.startswith("linux"):
        yield dict(environment)
        return
    with ExitStack() as stack:
        folder = Path(stack.enter_context(TemporaryDirectory(prefix="kernels-", ignore_cleanup_errors=True)))
        address = folder / "door"
        if len(os.fsencode(address)) > LONGEST:
            yield dict(environment)
            return
        listener = stack.enter_context(socket.socket(socket.AF_UNIX))
        listener.bind(os.fspath(address))
        listener.listen(64)  # who asks before the imports are done waits
        server = subprocess.Popen(
            [sys.executable, "-m", "heavytail.book.kernels", str(listener.fileno()), *imported],
            stdin=subprocess.PIPE,  # its end is this process's
            pass_fds=[listener.fileno()],
            env={**os.environ, **environment, "MPLBACKEND": INLINE},
            start_new_session=True,  # Ctrl-C is this process's to hear
        )
        stack.callback(server.wait)
        assert server.stdin is not None
        stack.callback(server.stdin.close)
        listener.close()
        kernel = folder / "kernels" / "python3" / "kernel.json"
        kernel.parent.mkdir(parents=True)
        door = [sys.executable, "-I", "-S", kernel_door.__file__, str(address), "-f", "{connection_file}"]
        kernel.write_text(json.dumps({"argv": door, "display_name": "Python 3", "language": "python"}))
        found = os.pathsep.join(filter(None, [str(folder), os.environ.get("JUPYTER_PATH")]))
        yield {**environment, "JUPYTER_PATH": found}


def main(listener: socket.socket, imported: Sequence[str]) -> None:
    """Import these modules, then fork a kernel for each who asks, until standard input ends."""
    for module in imported:
        with suppress(ImportError):  # the chapter that needs it says so
            __import__(module)
    gc.collect()
    gc.freeze()  # a kernel does not look for cycles among all that is imported, nor copy it for that
    gc.set_threshold(10_000, 10, 10)
    line = _forked(listener)
    if line is not None:
        _be_a_kernel(line)


def _forked(listener: socket.socket) -> socket.socket | None:
    """In a kernel its line to the door, in the server None when no more kernels are wanted."""
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nobody waits for a kernel here
    with listener:
        while True:
            ready, _, _ = select.select([listener.fileno(), 0], [], [])
            if 0 in ready:
                return None
            line, _ = listener.accept()
            if os.fork() == 0:
                signal.signal(signal.SIGCHLD, signal.SIG_DFL)
                return line
            line.close()


def _be_a_kernel(line: socket.socket) -> None:
    os.setsid()
    if sys.path[0] == os.getcwd():
        del sys.path[0]  # which `python -m` put there
    for name in [name for name in sys.modules if name.partition(".")[0] == "heavytail"]:
        del sys.modules[name]  # the chapter imports what is there now
    request = _request(line)
    threading.Thread(target=_end_with, args=[line], daemon=True).start()
    os.environ.clear()
    os.environ.update(request["environment"])
    os.chdir(request["folder"])
    status = 1
    try:
        import numpy as np
        from ipykernel.kernelapp import launch_new_instance

        np.random.seed()  # noqa: NPY002  # from the system, as in a process of its own
        launch_new_instance(request["arguments"])
        status = 0
    except SystemExit as end:
        status = end.code if isinstance(end.code, int) else int(end.code is not None)
    finally:
        with suppress(OSError):
            line.sendall(bytes([status & 255]))


def _request(line: socket.socket) -> dict[str, Any]:
    """What the door asks for; its streams become this process's."""
    head, streams, _, _ = socket.recv_fds(line, 8, 3)
    for number, stream in enumerate(streams):
        os.dup2(stream, number)
        os.close(stream)
    line.sendall(os.getpid().to_bytes(8, "big"))
    length, message = int.from_bytes(head, "big"), b""
    while len(message) < length and (part := line.recv(length - len(message))):
        message += part
    request: dict[str, Any] = json.loads(message)
    return request


def _end_with(line: socket.socket) -> None:
    """End this process when its door does."""
    with suppress(OSError):
        line.recv(1)
    os._exit(1)


if __name__ == "__main__":
    main(socket.socket(fileno=int(sys.argv[1])), sys.argv[2:])
