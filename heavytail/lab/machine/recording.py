"""Steps that are made often: on a CUDA GPU recorded once and replayed, so that their many launches become one.

A recorded step reads what lies in the same tensors as when it was recorded. So what changes from step to step is
written into tensors that stay where they are.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

Step = Callable[[], Tensor]


@dataclass(frozen=True, eq=False)
class Tape:
    """What a group of runs trained in step on a GPU reads at every step, and the steps that were recorded."""

    clock: Tensor  # (R,) int64: how many steps each run has made
    places: dict[Hashable, Tensor] = field(default_factory=dict)  # (R, batch): which samples are taken
    steps: dict[Hashable, tuple[Step, bool]] = field(default_factory=dict)  # and whether it was recorded
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
    step, recorded = tape.steps[kind]
    if not recorded:
        step = record(step, tape.pool)
        tape.steps[kind] = step, True
    return step()


def record(step: Step, pool: Any = None) -> Step:
    """The step as one launch, with memory of a pool for what it makes. It is not made meanwhile."""
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph, pool=pool):
        result = step()

    def replay() -> Tensor:
        graph.replay()
        return result.clone()  # the next replay writes over it

    return replay
