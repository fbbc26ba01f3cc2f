"""The graph of a network by torch.fx, given up wherever a call could go another way than the trace."""

from __future__ import annotations

import inspect
import operator
import sys
import warnings
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, fx, nn

# What a tensor or its shape has: asking for anything else may be a question for what the value is.
_KNOWN = frozenset([*dir(Tensor), *dir(torch.Size)])
IN_PLACE = ("iadd", "isub", "imul", "itruediv", "ifloordiv", "imod", "ipow", "imatmul", "iand", "ior", "ixor")


def graph(model: nn.Module) -> fx.Graph:
    """What a call with the defaults of `forward` does. Raises whatever a trace cannot follow raises."""
    tracer = _Tracer()
    parameters = inspect.signature(model.forward).parameters.values()
    defaults = {p.name: p.default for p in parameters if p.default is not p.empty}
    with warnings.catch_warnings(action="ignore"):
        found = tracer.trace(model, concrete_args=defaults)
    if tracer.doubted:  # though the network caught the error
        raise fx.proxy.TraceError("the network asks what its values are")
    for node in found.nodes:
        if node.op == "placeholder" and str(node.target).startswith("*") and node.users:
            raise fx.proxy.TraceError("the network asks which arguments it was given")
    return found


class _Tracer(fx.Tracer):
    """Remembers that the network asked for something that only a real value can answer."""

    doubted = False

    def doubt(self) -> fx.proxy.TraceError:
        self.doubted = True
        return fx.proxy.TraceError("the network asks what its values are")

    def proxy(self, node: fx.Node) -> fx.Proxy:
        return _Stand(node, self)

    def to_bool(self, obj: fx.Proxy) -> bool:
        raise self.doubt()

    def iter(self, obj: fx.Proxy) -> Iterator[Any]:
        try:
            return super().iter(obj)
        except fx.proxy.TraceError:
            raise self.doubt() from None

    def keys(self, obj: fx.Proxy) -> Any:
        raise self.doubt()


class _Stand(fx.Proxy):
    """Stands for a value in a trace: it is changed in place where the value would be, and will not be asked its type.

    torch.fx and the functions of torch look at its type themselves, which tells nothing of the network.
    """

    tracer: _Tracer

    @property  # type: ignore[misc]
    def __class__(self) -> type:
        frame = sys._getframe(1)
        own = frame.f_globals.get("__name__", "").startswith("torch.")
        if not own and "isinstance" in frame.f_code.co_names:
            raise self.tracer.doubt()
        return _Stand

    def __getattr__(self, name: str) -> Any:
        if name not in _KNOWN:
            raise self.tracer.doubt()
        return super().__getattr__(name)

    def __len__(self) -> int:
        raise self.tracer.doubt()


def _changed(name: str) -> Any:
    function = getattr(operator, name)

    def method(self: _Stand, other: Any) -> Any:
        return self.tracer.create_proxy("call_function", function, (self, other), {})

    return method


for _name in IN_PLACE:
    setattr(_Stand, f"__{_name}__", _changed(_name))
