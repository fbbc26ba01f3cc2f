"""A network as it was, after a call or a trace that left something behind, or as a copy."""

from __future__ import annotations

import copy
from collections import OrderedDict, deque
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
    # A table that is kept within a norm is changed by looking up in it.
    renormed = [m.weight for m in model.modules() if isinstance(m, nn.Embedding | nn.EmbeddingBag) and m.max_norm]
    tables = [(weight, weight.detach().clone()) for weight in renormed]
    met: set[int] = set()
    undo = [again for module in model.modules() for again in _kept(vars(module), met)]
    try:
        with torch.random.fork_rng(devices):
            yield
    finally:
        for again in undo:
            again()
        with torch.no_grad():
            for weight, before in tables:
                if not torch.equal(weight, before):
                    weight.copy_(before)
        for p, flag in flags:
            if p.requires_grad != flag:  # those made within torch.inference_mode() cannot be told at all
                p.requires_grad = flag


def copied(model: nn.Module) -> nn.Module:
    """A copy in new memory, also of a network that keeps something of a call: without the graph that it came from."""
    memo: dict[int, Any] = {}
    met: set[int] = set()
    try:
        for module in reversed(list(model.modules())):  # layers before what holds them
            if id(module) in memo:  # copied with a layer that refers to it
                continue
            if _keeps_nothing(module):
                _copy_layer(module, memo)
            else:
                tensors = (value for value in _within(vars(module), met) if isinstance(value, Tensor))
                memo |= {id(tensor): tensor.detach().clone() for tensor in tensors if not tensor.is_leaf}
        return copy.deepcopy(model, memo)
    except TypeError as error:  # a lock or a file, say, that something in it holds
        raise ValueError(f"a {type(model).__name__} cannot be copied: {error}") from error


def _keeps_nothing(module: nn.Module) -> bool:
    """Whether it is a layer of torch's own with parameters, layers, and beside them numbers and words alone."""
    own = {name: value for name, value in vars(module).items() if name not in ("_parameters", "_modules")}
    return getattr(nn, type(module).__name__, None) is type(module) and all(map(_is_plain, own.values()))


def _is_plain(value: Any) -> bool:
    if isinstance(value, tuple):
        return all(map(_is_plain, value))
    return type(value) in (bool, int, float, str, type(None)) or _is_empty(value)


def _is_empty(value: Any) -> bool:
    return type(value) in (dict, OrderedDict, set, list) and not value


def _copy_layer(module: nn.Module, memo: dict[int, Any]) -> None:
    """Copy a layer that keeps nothing into `memo`; `deepcopy` would spend its time on a dozen empty dictionaries."""
    new = memo[id(module)] = type(module).__new__(type(module))
    for name, value in vars(module).items():
        if name in ("_parameters", "_modules"):
            value = type(value)((key, copy.deepcopy(part, memo)) for key, part in value.items())
        vars(new)[name] = type(value)() if _is_empty(value) else value


def _within(value: Any, met: set[int]) -> Iterator[Any]:
    """A value and all that lies in its containers, each object once; no layers and no parameters."""
    if id(value) in met or isinstance(value, nn.Parameter | nn.Module):
        return
    met.add(id(value))
    yield value
    if isinstance(value, dict | list | tuple | set | deque):
        for part in list(value.values() if isinstance(value, dict) else value):
            yield from _within(part, met)


def _kept(values: Any, met: set[int]) -> Iterator[Callable[[], None]]:
    """What makes these values, and all that lies in them, again what they are now."""
    for value in _within(values, met):
        if isinstance(value, Tensor):
            yield _tensor(value)
        elif isinstance(value, dict):
            yield _mapping(value)
        elif isinstance(value, list | set | deque):
            yield _sequence(value)


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
