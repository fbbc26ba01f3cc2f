"""A pytest plugin: nbval keeps the history of its cells, as every notebook does, and takes no ports for its kernel.

Without one, IPython does not see that a cell ends in `;` and shows the value which that hides, so a page with
`figures.some_plot(table);` would never give the same outputs again.
"""

from __future__ import annotations

import atexit
from contextlib import ExitStack
from functools import partial

from nbval import kernel as nbval
from nbval.kernel import RunningKernel

from heavytail.book import sockets


def execute_cell_input(kernel: RunningKernel, cell_input: str, allow_stdin: bool | None = None) -> str:
    return kernel.kc.execute(cell_input, store_history=True, allow_stdin=allow_stdin, stop_on_error=False)


RunningKernel.execute_cell_input = execute_cell_input
held = ExitStack()
atexit.register(held.close)
nbval.KernelManager = partial(nbval.KernelManager, **held.enter_context(sockets.of_a_kernel()))
