"""Ctrl-C on the command line: one line and exit status 130, at whatever moment it comes and however often.

Python makes a KeyboardInterrupt of it, which is right while work is done: it ends workers and takes away what is half
written. It is wrong while modules are imported, where others turn it into an error of their own or print a trace, and
while an earlier one is on its way. There the process ends at once. Nothing is lost by that: what is kept is whole at
every moment, and workers follow their parent (see `heavytail.lab.machine`).

Whatever other process may outlive the one that started it can `follow` it. That is here, where nothing large is
imported, for it is the first that such a process does.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import FrameType
from typing import Any

STATUS = 130  # as a shell has it for a process that SIGINT ended


class Stopped(KeyboardInterrupt):
    """Stopped by the user; the message says what is left of the work."""


@dataclass
class _State:
    """What the handler knows."""

    message: str = "stopped; nothing was written"
    asked: bool = False


_state = _State()
_ending = threading.Lock()


@contextmanager
def listening() -> Iterator[None]:
    """In the block Ctrl-C is as this module says, and after it, until the process ends, without effect.

    For the main thread of a process that is a command. Where the process was started to ignore Ctrl-C, it does.
    """
    if signal.getsignal(signal.SIGINT) is not signal.default_int_handler:
        yield
        return
    signal.signal(signal.SIGINT, _ask)
    sys.unraisablehook = _unraisable
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, _ignore)
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # a handler of Python's own goes before the process does


@contextmanager
def saying(message: str) -> Iterator[None]:
    """What Ctrl-C in the block says: a KeyboardInterrupt leaves it as `Stopped(message)`.

    >>> with saying("stopped; the table is half done"):
    ...     print("at work")
    at work
    """
    before, _state.message = _state.message, message
    try:
        yield
    except KeyboardInterrupt:
        raise Stopped(message) from None
    finally:
        _state.message = before


def asked() -> bool:
    """Whether there was a Ctrl-C, also where others made another error of it.

    >>> asked()
    False
    """
    return _state.asked


def say(stop: BaseException | None = None) -> int:
    """Say in one line that the user stopped it; the exit status."""
    if signal.getsignal(signal.SIGINT) is _ask:
        signal.signal(signal.SIGINT, _ignore)  # the process is at its end, and has said so
    print(f"heavytail: {stop if isinstance(stop, Stopped) else _state.message}", file=sys.stderr, flush=True)
    return STATUS


def follow(parent: int) -> None:
    """End this process soon after its parent, of that process id, has ended, however that came."""

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(0.5)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def _ask(number: int, frame: FrameType | None) -> None:
    if _state.asked or _imports(frame):
        _end()
        return  # an earlier one is at it
    _state.asked = True
    raise KeyboardInterrupt


def _ignore(number: int, frame: FrameType | None) -> None:
    """Before `SIG_IGN`, of which Python complains where a signal is under way already."""


def _imports(frame: FrameType | None) -> bool:
    while frame is not None:
        if frame.f_code.co_filename == "<frozen importlib._bootstrap>":
            return True
        frame = frame.f_back
    return False


def _end() -> None:
    """End this process and its children now; does nothing while another call is at it."""
    if not _ending.acquire(blocking=False):
        return
    try:
        os.write(2, f"heavytail: {_state.message}\n".encode(errors="backslashreplace"))
        if processes := sys.modules.get("multiprocessing"):
            for child in processes.active_children():
                child.kill()
    finally:
        os._exit(STATUS)


def _unraisable(caught: Any) -> None:
    """An exception where Python can raise none, as in a `__del__`: Ctrl-C there would be lost."""
    if issubclass(caught.exc_type, KeyboardInterrupt):
        _end()
    elif "ignored due to race condition" not in str(caught.exc_value):  # Ctrl-C at the very end
        sys.__unraisablehook__(caught)
