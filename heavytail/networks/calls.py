"""What a call of weights is, and which calls of a network nothing comes after.

A call is one use of weights: a linear or recurrent layer, a convolution, a lookup in an embedding. Calls are read off a
network (`reading`) or seen while it is called (`watching`).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from torch import nn
from torch.nn.utils import parametrize

Params = frozenset[nn.Parameter]
NONE: Params = frozenset()

# Functions that multiply by a weight, and the place of the weight among their arguments.
PLACES = {"linear": 1, "bilinear": 2, "embedding": 1, "embedding_bag": 1}
PLACES |= {f"conv{transposed}{d}d": 1 for transposed in ("", "_transpose") for d in (1, 2, 3)}
# Those that multiply whatever they are given: what comes from parameters alone is the weight.
_MULTI = ("multi_dot", "chain_matmul", "einsum", "tensordot", "inner")
_PRODUCTS = frozenset(["matmul", "mm", "bmm", "mv", "addmm", "addmv", "baddbmm", "addbmm", *_MULTI])
_RECURRENT = frozenset(f"{kind}{cell}" for kind in ("lstm", "gru", "rnn_tanh", "rnn_relu") for cell in ("", "_cell"))
# Functions that add a parameter to data, or set it beside data: a table of places, a token, a bias.
_TERMS = frozenset(
    [
        "add",
        "iadd",
        "sub",
        "isub",
        "rsub",
        "subtract",
        "cat",
        "concat",
        "concatenate",
        "stack",
        "hstack",
        "vstack",
        "where",
        "masked_fill",
    ]
)
_NORMS = frozenset(f"{kind}_norm" for kind in ("layer", "group", "batch", "instance", "rms")) | {"prelu"}
SCALES = frozenset(["mul", "imul", "multiply", "div", "truediv", "itruediv", "divide"])


@dataclass(frozen=True)
class Call:
    """One use of weights on the way to the output."""

    weights: Params  # whose product leaves the call
    inner: Params = NONE  # used before them within the call: the projections into an attention
    convolution: bool = False
    last: bool = False  # no other call comes after it
    turned: Params = NONE  # weights whose first axis is not that of the outputs
    remade: bool = False  # made of several parameters, multiplied with one another
    padding: int | None = None  # the row of a table that is for padding


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


def harmless(name: str, given: Params) -> bool:
    """Whether a function that gets data and these parameters, but is no call of them, may leave them alone.

    A factor of one number a channel is a scale; one of a number for every input and output is a weight.
    """
    name = name.strip("_")
    vectors = all(max(p.shape) == p.numel() for p in given)
    return not given or name in _TERMS or name in _NORMS or (name in SCALES and vectors)


def turned(name: str, equation: Any, operands: Sequence[Params], flipped: Sequence[bool]) -> Params:
    """Which weights of a call have another axis than that of the outputs first; `flipped` operands were transposed."""
    name = name.strip("_")
    found, after_data = NONE, False
    if name in PLACES:
        return NONE.union(*(p for p, flip in zip(operands, flipped, strict=True) if flip != ("transpose" in name)))
    if name == "einsum" and isinstance(equation, str) and "->" in equation:
        terms, _, outputs = equation.replace(" ", "").replace("...", "").partition("->")
        for term, params, flip in zip(terms.split(","), operands, flipped, strict=True):
            if term[-1 if flip else 0] not in outputs:
                found |= params
        return found
    if name in _PRODUCTS:
        skipped = 1 if name.startswith(("add", "badd")) else 0
        for params, flip in list(zip(operands, flipped, strict=True))[skipped:]:
            if params and flip != (after_data and name != "inner"):
                found |= params
            after_data |= not params
    return found


def padding(name: str, args: Sequence[Any], kwargs: Mapping[str, Any]) -> int | None:
    """The row of a table that a lookup takes for padding."""
    place = {"embedding": 2, "embedding_bag": 10}.get(name)
    if place is None:
        return None
    row = kwargs.get("padding_idx", args[place] if len(args) > place else None)
    return row if isinstance(row, int) else None


def made_anew(layer: nn.Module) -> bool:
    """Whether the weight of a layer is made from other parameters at every call, by what torch has for that."""
    hooks = [type(hook) for hook in layer._forward_pre_hooks.values()]
    return parametrize.is_parametrized(layer) or any(hook.__module__.startswith("torch.nn.utils.") for hook in hooks)


def flat(values: Iterable[Any]) -> Iterator[Any]:
    """The values, and what lies in the lists, tuples and mappings among them."""
    for value in values:
        if isinstance(value, Mapping):
            yield from flat(value.values())
        elif isinstance(value, list | tuple):
            yield from flat(value)
        else:
            yield value
