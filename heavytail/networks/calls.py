"""What a call of weights is, and which calls of a network nothing comes after.

A call is one use of weights: a linear or recurrent layer, a convolution, a lookup in an embedding. Calls are read off a
network (`reading`) or seen while it is called (`watching`).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import nn

Params = frozenset[nn.Parameter]
NONE: Params = frozenset()

# Functions that multiply by a weight, and the place of the weight among their arguments.
PLACES = {"linear": 1, "bilinear": 2, "embedding": 1, "embedding_bag": 1}
PLACES |= {f"conv{transposed}{d}d": 1 for transposed in ("", "_transpose") for d in (1, 2, 3)}
# Those that multiply whatever they are given: what comes from parameters alone is the weight.
_MULTI = ("multi_dot", "chain_matmul", "einsum", "tensordot", "inner")
_PRODUCTS = frozenset(["matmul", "mm", "bmm", "mv", "addmm", "addmv", "baddbmm", "addbmm", *_MULTI])
_RECURRENT = frozenset(f"{kind}{cell}" for kind in ("lstm", "gru", "rnn_tanh", "rnn_relu") for cell in ("", "_cell"))


@dataclass(frozen=True)
class Call:
    """One use of weights on the way to the output."""

    weights: Params  # whose product leaves the call
    inner: Params = NONE  # used before them within the call: the projections into an attention
    convolution: bool = False
    last: bool = False  # no other call comes after it


@dataclass(frozen=True)
class Use:
    """A call, and the numbers of the calls whose results it works on."""

    call: Call
    reads: frozenset[int]


def ordered(uses: Sequence[Use], outputs: Iterable[int]) -> list[Call]:
    """The calls that reach the outputs, in order; the last ones are those that no call among them reads."""
    reached: set[int] = set()
    waiting = list(outputs)
    while waiting:
        number = waiting.pop()
        if number not in reached:
            reached.add(number)
            waiting += uses[number].reads
    read_by_another = {number for reader in reached for number in uses[reader].reads}
    calls = []
    for number in sorted(reached):
        calls.append(replace(uses[number].call, last=number not in read_by_another))
    return calls


def matrices(params: Iterable[Any]) -> Params:
    """The parameters of two axes or more among these values."""
    return frozenset(p for p in params if isinstance(p, nn.Parameter) and p.ndim >= 2)


def operands(name: str, args: Sequence[Any], kwargs: Mapping[str, Any]) -> list[Any]:
    """What may be the weight among the arguments of a function that multiplies; nothing for another function."""
    name = name.strip("_")
    if name in PLACES:
        return [kwargs["weight"]] if "weight" in kwargs else list(args[PLACES[name] : PLACES[name] + 1])
    if name in _PRODUCTS or name in _RECURRENT:
        return list(flat([*args, *kwargs.values()]))
    return []


def product(name: str, operands: Sequence[Params]) -> Call | None:
    """The call of a function that multiplies by these operands: none if no weight is among them, or nothing else is."""
    name = name.strip("_")
    weights = NONE.union(*operands)
    if not weights or (name in _PRODUCTS and all(operands)):
        return None
    return Call(weights, convolution=name.startswith("conv"))


def flat(values: Iterable[Any]) -> Iterator[Any]:
    """The values, and what lies in the lists, tuples and mappings among them."""
    for value in values:
        if isinstance(value, Mapping):
            yield from flat(value.values())
        elif isinstance(value, list | tuple):
            yield from flat(value)
        else:
            yield value


@contextmanager
def as_it_was(model: nn.Module) -> Iterator[None]:
    """Afterwards the network has its modes, buffers and flags again, and the random states are what they were."""
    modules = list(model.modules())
    modes = [(module, module.training) for module in modules]
    buffers = [
        (module, name, buffer, buffer.clone())
        for module in modules
        for name, buffer in module._buffers.items()
        if buffer is not None
    ]
    flags = [(p, p.requires_grad) for p in model.parameters()]
    devices = {p.device.index for p in model.parameters() if p.device.type == "cuda"}
    try:
        with torch.random.fork_rng(devices):
            yield
    finally:
        for module, mode in modes:
            module.training = mode
        for module, name, buffer, value in buffers:
            with torch.no_grad():
                buffer.copy_(value)
            module._buffers[name] = buffer
        for p, flag in flags:
            p.requires_grad = flag
