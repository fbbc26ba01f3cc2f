"""The one way in which this package compiles a loop."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from numba import njit


def compiled(**options: Any) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Compile for any number of threads; the result is kept on disk where there is a folder for it.

    What is kept follows the file of the function alone: after a change of `philox.py`, touch `kernels.py` too.
    """

    def compile_(function: Callable[..., Any]) -> Callable[..., Any]:
        try:
            return njit(nogil=True, cache=True, **options)(function)
        except RuntimeError:  # no folder that can be written
            return njit(nogil=True, **options)(function)

    return compile_
