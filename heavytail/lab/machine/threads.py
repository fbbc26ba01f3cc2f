"""Work on the CPU that is cut into independent parts, each done by one thread on one core.

Every part runs torch on one thread, so its result does not depend on how many threads there are.
"""

from __future__ import annotations

import itertools
import math
import os
import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import contextmanager
from functools import cache
from typing import TypeVar

import torch
from torch import Tensor

Part = TypeVar("Part")
Done = TypeVar("Done")

_own = threading.local()


def each(do: Callable[[Part], Done], parts: Iterable[Part], device: torch.device) -> list[Done]:
    """`do` of every part, in order: on the CPU on as many threads as torch has, elsewhere one after the other.

    The caller's thread does its share, because waking one costs tens of microseconds. A part that has parts itself
    does them one after the other, on the thread that it has.
    """
    todo = list(parts)
    if device.type != "cpu" or getattr(_own, "is_one", False):
        return list(map(do, todo))
    done: dict[int, Done] = {}
    numbers = itertools.count()  # shared: `next` of it is one step of the interpreter

    def take() -> None:
        while (number := next(numbers)) < len(todo):
            done[number] = do(todo[number])

    count = torch.get_num_threads()
    helpers = [_pool(count - 1, os.getpid()).submit(take) for _ in range(min(count, len(todo)) - 1)]
    try:
        with _one_thread():
            take()
    finally:
        wait(helpers)
    for helper in helpers:
        helper.result()  # what it raised
    return [done[number] for number in range(len(todo))]


def scratch(*shape: int, like: Tensor) -> Tensor:
    """Memory of this thread, with anything in it: valid until the thread asks again. On a GPU memory of its own."""
    if like.device.type != "cpu":  # where memory is had again at once, and a recorded step may hold it
        return like.new_empty(shape)
    size = math.prod(shape)
    held: Tensor | None = getattr(_own, "held", None)
    if held is None or held.numel() < size or held.dtype != like.dtype or held.device != like.device:
        held = _own.held = like.new_empty(size)
    return held[:size].view(shape)


@contextmanager
def using(count: int) -> Iterator[None]:
    """That many torch threads in the block, and as many as before after it."""
    before = _set(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _set(count: int) -> int:
    """Give this thread so many torch threads; returns how many it had.

    Torch itself sets a thread's count, to the last one set anywhere, when the thread first asks for it, and after that
    never again: so ask before you set.
    """
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    return before


@contextmanager
def _one_thread() -> Iterator[None]:
    _own.is_one = True
    try:
        with using(1):
            yield
    finally:
        _own.is_one = False


@cache
def _pool(threads: int, process: int) -> ThreadPoolExecutor:
    """The threads of a process: a fork has none of its parent's, so the process is part of what is cached."""
    before = torch.get_num_threads()
    pool = ThreadPoolExecutor(threads, thread_name_prefix="heavytail", initializer=_settle)
    here = threading.Barrier(threads + 1)
    for _ in range(threads):
        pool.submit(here.wait)  # starts every thread now
    here.wait()
    torch.set_num_threads(before)  # what the threads set for themselves is also the default of threads to come
    return pool


def _settle() -> None:
    _own.is_one = True
    _set(1)
