"""Steps that are made often: on a CUDA GPU recorded once and replayed, so that their many launches become one.

A recorded step reads what lies in the same tensors as when it was recorded. So what changes from step to step is
written into tensors that stay where they are.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Hashable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from heavytail.lab.machine import devices

Step = Callable[[], Tensor]


@dataclass(frozen=True, eq=False)
class Tape:
    """What a group of runs trained in step on a GPU reads at every step, and the steps that were recorded."""

    clock: Tensor  # (R,) int64: how many steps each run has made
    places: dict[Hashable, Tensor] = field(default_factory=dict)  # (R, batch): which samples are taken
    steps: dict[Hashable, tuple[Step, bool]] = field(default_factory=dict)  # and whether it stays as it is
    refused: list[str] = field(default_factory=list)  # why a step could not be recorded: then none is any more
    pool: Any = None  # memory that all of them use, one at a time


def tape(steps: Sequence[int], device: torch.device) -> Tape:
    """An empty tape for runs that have made so many steps each."""
    pool = torch.cuda.graph_pool_handle() if device.type == "cuda" else None
    return Tape(torch.tensor(steps, dtype=torch.int64).to(device), pool=pool)


def repeat(tape: Tape, kind: Hashable, make: Callable[[], Step]) -> Tensor:
    """Make a step of this kind: `make` gives it the first time, which compiles what it calls; the next is recorded."""
    if kind not in tape.steps:
        step = make()
        tape.steps[kind] = step, False
        return step()
    step, settled = tape.steps[kind]
    if not settled:
        step = _recorded(tape, step)
        tape.steps[kind] = step, True
    return step()


def _recorded(tape: Tape, step: Step) -> Step:
    """The step recorded; with a warning as it is where that cannot be, as of a network that reads numbers back."""
    if tape.refused:
        return step
    try:
        return record(step, tape.pool)
    except Exception as error:
        for cause in _causes(error):
            if devices.ran_out(cause) or devices.broke(cause):
                raise cause from None
            tape.refused.append(f"{type(cause).__name__}: {cause}".partition("\n")[0])
    warnings.warn(
        f"a step cannot be recorded for the GPU, and is launched piece by piece, slowly: {tape.refused[-1]}",
        stacklevel=2,
    )
    return step


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    """An error, what it hides, and so on to the first."""
    while error is not None:
        yield error
        error = error.__context__


def record(step: Step, pool: Any = None) -> Step:
    """The step as one launch, with memory of a pool for what it makes. It is not made meanwhile."""
    graph = torch.cuda.CUDAGraph()
    with _left_whole(pool), torch.cuda.graph(graph, pool=pool):
        result = step()

    def replay() -> Tensor:
        graph.replay()
        return result.clone()  # the next replay writes over it

    return replay


@contextmanager
def _left_whole(pool: Any) -> Iterator[None]:
    """After a recording that failed, torch stays on the stream of the recording, and takes memory for it."""
    before = torch.cuda.current_stream()
    try:
        yield
    except BaseException:
        torch.cuda.set_stream(before)
        with suppress(Exception):  # where torch has seen to it
            torch._C._cuda_endAllocateToPool(before.device_index, pool)
        raise
