"""The calls of a network that need not be called for it: a chain of layers, or what torch.fx can trace."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from torch import fx, nn
from torch.nn.modules.batchnorm import _NormBase
from torch.nn.modules.conv import _ConvNd

from heavytail.networks.calls import NONE, Call, Params, Use, as_it_was, matrices, operands, ordered, product
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


def _traced(model: nn.Module) -> list[Call]:
    with as_it_was(model):
        try:
            graph = fx.Tracer().trace(model)
        except (Exception, SystemExit) as error:  # whatever a network does that a trace cannot follow
            raise Unreadable from error
    uses: list[Use] = []
    reads: dict[fx.Node, set[int]] = {}  # the calls whose results a node works on
    params: dict[fx.Node, Params] = {}  # of the nodes that come from parameters alone
    for node in graph.nodes:
        before = set().union(*(reads[other] for other in node.all_input_nodes))
        call = None
        if node.op == "get_attr":
            params[node] = matrices([_attribute(model, str(node.target))])
        elif node.op == "call_module":
            call = _of(model.get_submodule(str(node.target)))
        elif node.op in ("call_function", "call_method"):
            name = node.target if isinstance(node.target, str) else getattr(node.target, "__name__", "")
            given = [o for o in operands(name, node.args, node.kwargs) if isinstance(o, fx.Node)]
            call = product(name, [params.get(o, NONE) for o in given])
            if call is None and node.all_input_nodes and all(other in params for other in node.all_input_nodes):
                params[node] = NONE.union(*(params[other] for other in node.all_input_nodes))
            if (name.endswith("_") and not name.endswith("__")) or name == "setitem":  # changed in place
                for changed in node.all_input_nodes[:1]:
                    reads[changed] |= before
        if call is not None:
            uses.append(Use(call, frozenset(before)))
            before = {len(uses) - 1}
        reads[node] = before
    (output,) = (node for node in graph.nodes if node.op == "output")
    return ordered(uses, reads[output])


def _attribute(model: nn.Module, path: str) -> Any:
    value: Any = model
    for name in path.split("."):
        value = getattr(value, name)
    return value
