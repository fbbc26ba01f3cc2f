"""The calls of a network that need not be called for it: a chain of layers, or what torch.fx can trace."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Any

from torch import fx, nn
from torch.nn.modules.batchnorm import _NormBase
from torch.nn.modules.conv import _ConvNd

from heavytail.networks import tracing
from heavytail.networks.calls import (
    NONE,
    SCALES,
    Call,
    Params,
    Use,
    flat,
    harmless,
    made_anew,
    matrices,
    operands,
    ordered,
    padding,
    product,
    turned,
)
from heavytail.networks.keeping import as_it_was
from heavytail.networks.paper import MeanField

_NORMS = (_NormBase, nn.LayerNorm, nn.GroupNorm, nn.RMSNorm)
_MATRICES = (nn.Linear, nn.Bilinear, nn.RNNBase, nn.RNNCellBase, nn.Embedding, nn.EmbeddingBag)


class Unreadable(Exception):
    """Why the order of calls cannot be had without calling the network."""


def read(model: nn.Module) -> list[Call]:
    """The calls of a network that is a chain of layers or can be traced. Raises Unreadable for another."""
    if isinstance(model, MeanField):  # its output layer is a buffer: nothing that is trained comes last
        return [Call(matrices(model.parameters()))]
    calls = []
    try:
        for layer in _chain(model):
            call = _of(layer)
            if call is not None:
                calls.append(call)
    except Unreadable:
        return _traced(model)
    uses = [Use(call, frozenset([number - 1]) if number else frozenset()) for number, call in enumerate(calls)]
    return ordered(uses, {len(uses) - 1} if uses else set())


def alone(layer: nn.Module) -> bool:
    """Whether the weights of a layer are no matrices of the network: they are of a norm, or one is made of them."""
    return isinstance(layer, _NORMS) or made_anew(layer)


# ---- a chain of layers


def _chain(model: nn.Module) -> Iterator[nn.Module]:
    """The layers of nested Sequentials in the order of their calls."""
    if type(model).forward is nn.Sequential.forward:
        for layer in model._modules.values():
            if layer is not None:
                yield from _chain(layer)
    else:
        yield model


def _of(layer: nn.Module) -> Call | None:
    """The call of one layer; None for a layer without weights. Raises Unreadable for one that is not of torch.nn."""
    weights = matrices(layer.parameters())
    if not weights or isinstance(layer, _NORMS):
        return None
    if not type(layer).__module__.startswith("torch.nn"):
        raise Unreadable
    if isinstance(layer, nn.MultiheadAttention):
        last = matrices(layer.out_proj.parameters())
        return Call(last, weights - last)
    if isinstance(layer, _ConvNd):
        return Call(weights, convolution=True)
    if isinstance(layer, _MATRICES):
        return Call(weights)
    raise Unreadable


# ---- a trace


# Functions that tell of a value only what it looks like, or make another that looks alike.
_LOOKS = frozenset(
    ["size", "dim", "numel", "nelement", "stride", "element_size", "is_floating_point", "is_contiguous", "len"]
)
_LOOKS |= {f"{what}_like" for what in ("zeros", "ones", "empty", "full", "rand", "randn", "randint")}
_LOOKS |= {f"new_{what}" for what in ("zeros", "ones", "empty", "full", "tensor", "empty_strided")}
_ATTRIBUTES = frozenset(
    ["shape", "dtype", "device", "ndim", "layout", "requires_grad", "is_cuda", "itemsize", "nbytes"]
)
# Those whose result may lie in the memory of the first argument.
_VIEWS = frozenset([
    "getitem", "getattr", "view", "view_as", "reshape", "reshape_as", "flatten", "unflatten", "ravel", "squeeze",
    "unsqueeze", "transpose", "swapaxes", "swapdims", "permute", "movedim", "moveaxis", "t", "adjoint", "select",
    "narrow", "chunk", "split", "tensor_split", "hsplit", "vsplit", "dsplit", "unbind", "unsafe_chunk", "unsafe_split",
    "expand", "expand_as", "diagonal", "unfold", "as_strided", "detach", "contiguous", "to", "float", "double", "half",
    "bfloat16", "type", "type_as", "cpu", "cuda", "real", "imag", "conj", "view_as_real", "view_as_complex",
])  # fmt: skip


@dataclass(frozen=True, eq=False)
class _Read:
    """What is known of the values of a trace so far."""

    calls: dict[fx.Node, set[int]] = field(default_factory=dict)  # whose results a value is made from
    fixed: dict[fx.Node, Params] = field(default_factory=dict)  # of values that no data is in: their parameters
    flipped: set[fx.Node] = field(default_factory=set)  # which of those were transposed
    remade: set[fx.Node] = field(default_factory=set)  # which were made of parameters multiplied with one another
    memory: dict[fx.Node, Any] = field(default_factory=dict)  # the same for values that may share theirs


def _traced(model: nn.Module) -> list[Call]:
    with as_it_was(model):
        model.eval()  # as with a sample
        try:
            graph = tracing.graph(model)
        except (Exception, SystemExit) as error:  # whatever a network does that a trace cannot follow
            raise Unreadable from error
        uses: list[Use] = []
        so_far = _Read()
        for node in graph.nodes:
            call = _use(model, node, so_far)
            if call is not None:
                uses.append(Use(call, frozenset(so_far.calls[node])))
                so_far.calls[node] = {len(uses) - 1}
    (output,) = (node for node in graph.nodes if node.op == "output")
    found = ordered(uses, so_far.calls[output])
    _refuse_questions(model, found)
    return found


def _use(model: nn.Module, node: fx.Node, so_far: _Read) -> Call | None:
    """What a node calls, and what it makes known of its value."""
    given = node.all_input_nodes
    so_far.calls[node] = set().union(*(so_far.calls[other] for other in given))
    so_far.memory[node] = node
    if node.op == "get_attr":
        value = _attribute(model, str(node.target))
        so_far.fixed[node] = frozenset([value]) if isinstance(value, nn.Parameter) else NONE
        so_far.memory[node] = str(node.target)
    elif node.op == "call_module":
        layer = model.get_submodule(str(node.target))
        if getattr(layer, "inplace", False) or isinstance(layer, nn.Flatten | nn.Unflatten | nn.Identity | nn.Dropout):
            so_far.memory[node] = so_far.memory[given[0]]
        return _of(layer)
    elif node.op in ("call_function", "call_method"):
        return _function(node, so_far)
    return None


def _function(node: fx.Node, so_far: _Read) -> Call | None:
    name, given = _name(node), node.all_input_nodes
    if name in _LOOKS or (name == "getattr" and node.args[1] in _ATTRIBUTES):
        so_far.calls[node], so_far.fixed[node] = set(), NONE
        return None
    params = [so_far.fixed[other] for other in given if other in so_far.fixed]
    if not name and any(params):  # a function of the user's own
        raise Unreadable
    weights = [o for o in operands(name, node.args, node.kwargs) if isinstance(o, fx.Node)]
    call = _product(node, name, weights, so_far)
    if call is None and given and len(params) == len(given):
        so_far.fixed[node] = NONE.union(*params)
        _made(node, name, params, so_far)
    elif call is None and not harmless(name, matrices(NONE.union(*params))):
        raise Unreadable
    if given and name.strip("_") in _VIEWS:
        so_far.memory[node] = so_far.memory[given[0]]
    _change(node, name, so_far)
    return call


def _product(node: fx.Node, name: str, weights: list[fx.Node], so_far: _Read) -> Call | None:
    params = [matrices(so_far.fixed.get(o, NONE)) for o in weights]
    call = product(name, params)
    if call is None:
        return None
    turns = turned(name, node.args[0] if node.args else None, params, [o in so_far.flipped for o in weights])
    remade = any(o in so_far.remade for o in weights)
    return replace(call, turned=turns, remade=remade, padding=padding(name, node.args, node.kwargs))


def _made(node: fx.Node, name: str, params: list[Params], so_far: _Read) -> None:
    """How a value is made of parameters: transposed, or some multiplied with others."""
    given = node.all_input_nodes
    turns = name in ("t", "adjoint") or (name == "getattr" and node.args[1] in ("T", "mT", "H", "mH"))
    if name in ("transpose", "swapaxes", "swapdims"):
        turns = 0 in node.args[1:] or all(p.ndim == 2 for p in NONE.union(*params))
    elif name == "permute":
        order = list(flat(node.args[1:]))
        turns = order[0] not in (0, -len(order))
    if turns != any(other in so_far.flipped for other in given):
        so_far.flipped.add(node)
    sides = {part for part in params if part}
    if any(other in so_far.remade for other in given) or (name in SCALES and len(sides) > 1):
        so_far.remade.add(node)


def _change(node: fx.Node, name: str, so_far: _Read) -> None:
    """What a function that changes its first argument puts into all that share its memory."""
    if node.kwargs.get("out") is not None:
        raise Unreadable
    changes = name.endswith("_") or name == "setitem" or name in tracing.IN_PLACE or node.kwargs.get("inplace") is True
    if not changes or not node.all_input_nodes:
        return
    place = so_far.memory[node.all_input_nodes[0]]
    so_far.memory[node] = place
    for other in [other for other, memory in so_far.memory.items() if memory == place]:
        so_far.calls[other] |= so_far.calls[node]
        if node not in so_far.fixed:
            so_far.fixed.pop(other, None)


def _name(node: fx.Node) -> str:
    """The name of a function of torch or Python, or of a method; nothing for a function of the user's own."""
    if isinstance(node.target, str):
        return node.target
    name = getattr(node.target, "__name__", "")
    home = str(getattr(node.target, "__module__", "") or "")
    return "" if inspect.isfunction(node.target) and home.split(".")[0] != "torch" else name


def _refuse_questions(model: nn.Module, found: list[Call]) -> None:
    """Raise Unreadable where a weight may be left out because the network was told a wrong type."""
    used = NONE.union(*(call.weights | call.inner for call in found))
    others = matrices(p for layer in model.modules() if alone(layer) for p in layer.parameters())
    if matrices(model.parameters()) <= used | others:
        return
    codes = [getattr(layer.forward, "__code__", None) for layer in model.modules()]
    own = [type(layer).__module__.split(".")[0] != "torch" for layer in model.modules()]
    if any(mine and code is not None and "type" in code.co_names for code, mine in zip(codes, own, strict=True)):
        raise Unreadable


def _attribute(model: nn.Module, path: str) -> Any:
    value: Any = model
    for name in path.split("."):
        value = getattr(value, name)
    return value
