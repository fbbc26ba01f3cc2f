"""A network as it was: whatever a call or a trace of it leaves behind is taken away again."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn


@contextmanager
def as_it_was(model: nn.Module) -> Iterator[None]:
    """Afterwards the network has its modes, buffers, flags and attributes again, and so have the random states."""
    flags = [(p, p.requires_grad) for p in model.parameters()]
    devices = {p.device.index for p in model.parameters() if p.device.type == "cuda"}
    met: set[int] = set()
    undo = [again for module in model.modules() for again in _kept(vars(module), met)]
    try:
        with torch.random.fork_rng(devices):
            yield
    finally:
        for again in undo:
            again()
        for p, flag in flags:
            p.requires_grad = flag


def _kept(value: Any, met: set[int]) -> Iterator[Callable[[], None]]:
    """What makes a value, and all that lies in it, again what it is now; each object once."""
    if id(value) in met or isinstance(value, nn.Parameter | nn.Module):
        return
    met.add(id(value))
    if isinstance(value, Tensor):
        yield _tensor(value)
    elif isinstance(value, dict):
        yield _mapping(value)
        for part in list(value.values()):
            yield from _kept(part, met)
    elif isinstance(value, list | tuple | set | deque):
        if not isinstance(value, tuple):
            yield _sequence(value)
        for part in list(value):
            yield from _kept(part, met)


def _tensor(tensor: Tensor) -> Callable[[], None]:
    value = tensor.detach().clone()

    def again() -> None:
        with torch.no_grad():
            tensor.copy_(value)

    return again


def _mapping(mapping: dict[Any, Any]) -> Callable[[], None]:
    entries = dict(mapping)

    def again() -> None:
        mapping.clear()
        mapping.update(entries)

    return again


def _sequence(values: Any) -> Callable[[], None]:
    entries = list(values)

    def again() -> None:
        values.clear()
        (values.update if isinstance(values, set) else values.extend)(entries)

    return again
