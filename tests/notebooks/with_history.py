"""A pytest plugin: nbval keeps the history of its cells, as every notebook does.

Without one, IPython does not see that a cell ends in `;` and shows the value which that hides, so a page with
`figures.some_plot(table);` would never give the same outputs again.
"""

from __future__ import annotations

from nbval.kernel import RunningKernel


def execute_cell_input(kernel: RunningKernel, cell_input: str, allow_stdin: bool | None = None) -> str:
    return kernel.kc.execute(cell_input, store_history=True, allow_stdin=allow_stdin, stop_on_error=False)


RunningKernel.execute_cell_input = execute_cell_input
