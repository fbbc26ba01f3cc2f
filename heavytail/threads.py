"""Threads for work on the CPU that is cut into independent parts, each part on one core.

Every part runs torch on one thread, so its result does not depend on how many threads there are.
"""

from __future__ import annotations

import math
import os
import threading
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from typing import TypeVar

import torch
from torch import Tensor

Part = TypeVar("Part")
Done = TypeVar("Done")

_own = threading.local()


def each(do: Callable[[Part], Done], parts: Iterable[Part], device: torch.device) -> list[Done]:
    """`do` of every part, in order: on the CPU on as many threads as torch has, elsewhere one after the other."""
    if device.type != "cpu":
        return list(map(do, parts))
    return list(_pool(torch.get_num_threads(), os.getpid()).map(do, parts))


def scratch(*shape: int, like: Tensor) -> Tensor:
    """Memory of this thread, with anything in it: valid until the thread asks again."""
    size = math.prod(shape)
    held: Tensor | None = getattr(_own, "held", None)
    if held is None or held.numel() < size or held.dtype != like.dtype or held.device != like.device:
        held = _own.held = like.new_empty(size)
    return held[:size].view(shape)


@cache
def _pool(threads: int, process: int) -> ThreadPoolExecutor:
    """The threads of a process: a fork has none of its parent's, so the process is part of what is cached."""
    pool = ThreadPoolExecutor(threads, thread_name_prefix="heavytail", initializer=torch.set_num_threads, initargs=(1,))
    here = threading.Barrier(threads + 1)
    for _ in range(threads):
        pool.submit(here.wait)  # starts every thread now
    here.wait()
    torch.set_num_threads(threads)  # what the threads set for themselves is also the default of threads to come
    return pool
