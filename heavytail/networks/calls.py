"""Which weights a network uses, in which order, and which of them nothing comes after.

A call is one use of weights: a linear or recurrent layer, a convolution, a lookup in an embedding. Calls are read off a
chain of layers, or traced by torch.fx (`read`), or seen while the network is called with a sample (`observe`).
"""

from __future__ import annotations

import inspect
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.nn.modules.batchnorm import _NormBase
from torch.nn.modules.conv import _ConvNd
from torch.overrides import TorchFunctionMode

from heavytail.networks.paper import MeanField

Params = frozenset[nn.Parameter]
NONE: Params = frozenset()

# Functions that multiply by a weight, and the place of the weight among their arguments.
_AT = {"linear": 1, "bilinear": 2, "embedding": 1, "embedding_bag": 1}
_AT |= {f"conv{transposed}{d}d": 1 for transposed in ("", "_transpose") for d in (1, 2, 3)}
# Those that multiply whatever they are given: what comes from parameters alone is the weight.
_MULTI = ("multi_dot", "chain_matmul", "einsum", "tensordot", "inner")
_PRODUCTS = frozenset(["matmul", "mm", "bmm", "mv", "addmm", "addmv", "baddbmm", "addbmm", *_MULTI])
_RECURRENT = frozenset(f"{kind}{cell}" for kind in ("lstm", "gru", "rnn_tanh", "rnn_relu") for cell in ("", "_cell"))
_ATTENTION = "multi_head_attention_forward"
_NORMS = (_NormBase, nn.LayerNorm, nn.GroupNorm, nn.RMSNorm)
_MATRICES = (nn.Linear, nn.Bilinear, nn.RNNBase, nn.RNNCellBase)


@dataclass(frozen=True)
class Call:
    """One use of weights on the way to the output."""

    weights: Params  # whose product leaves the call
    inner: Params = NONE  # used before them within the call: the projections into an attention
    convolution: bool = False
    last: bool = False  # no other call comes after it


@dataclass(frozen=True)
class _Use:
    """A call, and the numbers of the calls whose results it works on."""

    call: Call
    reads: frozenset[int]


class Unreadable(Exception):
    """Why the order of calls cannot be had without calling the network."""


def read(model: nn.Module) -> list[Call]:
    """The calls of a network that is a chain of layers or can be traced. Raises Unreadable for another."""
    if isinstance(model, MeanField):  # its output layer is a buffer: nothing that is trained comes last
        return [Call(_matrices(model.parameters()))]
    calls = []
    try:
        for layer in _chain(model):
            call = _of(layer)
            if call is not None:
                calls.append(call)
    except Unreadable:
        return _traced(model)
    uses = [_Use(call, frozenset([number - 1]) if number else frozenset()) for number, call in enumerate(calls)]
    return _ordered(uses, {len(uses) - 1} if uses else set())


def observe(model: nn.Module, sample: Any) -> list[Call]:
    """The calls of a network while it is called with a sample: a tensor, a tuple of arguments, or a dict of named ones.

    The network is called in eval mode. Afterwards its modes, buffers, `requires_grad` and the random states are what
    they were. Raises ValueError if the call fails, or no output comes from a weight.
    """
    if isinstance(model, MeanField):
        return read(model)
    with _as_it_was(model), torch.inference_mode(False), torch.enable_grad():
        model.eval()
        own = {id(p): p for p in model.parameters()}
        for p in own.values():
            if p.is_leaf and p.is_floating_point():
                p.requires_grad_(True)  # a frozen layer has its place too
        watch = _Watch(own)
        try:
            with watch:
                result = _call(model, watch, sample)
        except Exception as error:
            raise ValueError(f"the model cannot be called with sample=: {error}") from error
        uses = [_Use(call, watch.before(nodes)) for call, nodes in watch.seen]
        outputs = watch.upstream(t.grad_fn for t in _tensors(result))
    if not outputs:
        raise ValueError("no output of the model comes from one of its weights: pass the sample= of a training step")
    return _ordered(uses, outputs)


def _ordered(uses: Sequence[_Use], outputs: Iterable[int]) -> list[Call]:
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
        call = uses[number].call
        calls.append(Call(call.weights, call.inner, call.convolution, last=number not in read_by_another))
    return calls


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
    weights = _matrices(layer.parameters())
    if not weights or isinstance(layer, _NORMS):
        return None
    if not type(layer).__module__.startswith("torch.nn"):
        raise Unreadable
    if isinstance(layer, nn.MultiheadAttention):
        last = _matrices(layer.out_proj.parameters())
        return Call(last, weights - last)
    if isinstance(layer, _ConvNd):
        return Call(weights, convolution=True)
    if isinstance(layer, (*_MATRICES, nn.Embedding, nn.EmbeddingBag)):
        return Call(weights)
    raise Unreadable


def _matrices(params: Iterable[Any]) -> Params:
    return frozenset(p for p in params if isinstance(p, nn.Parameter) and p.ndim >= 2)


# ---- a trace


def _traced(model: nn.Module) -> list[Call]:
    with _as_it_was(model):
        try:
            graph = fx.Tracer().trace(model)
        except Exception as error:  # whatever a network does that a trace cannot follow
            raise Unreadable from error
    uses: list[_Use] = []
    reads: dict[fx.Node, set[int]] = {}  # the calls whose results a node works on
    params: dict[fx.Node, Params] = {}  # of the nodes that come from parameters alone
    for node in graph.nodes:
        before = set().union(*(reads[other] for other in node.all_input_nodes))
        call = None
        if node.op == "get_attr":
            params[node] = _matrices([_attribute(model, str(node.target))])
        elif node.op == "call_module":
            call = _of(model.get_submodule(str(node.target)))
        elif node.op in ("call_function", "call_method"):
            name = node.target if isinstance(node.target, str) else getattr(node.target, "__name__", "")
            operands = _operands(name, node.args, node.kwargs)
            call = _product(name, [params.get(o, NONE) for o in operands if isinstance(o, fx.Node)])
            if call is None and node.all_input_nodes and all(other in params for other in node.all_input_nodes):
                params[node] = NONE.union(*(params[other] for other in node.all_input_nodes))
            if (name.endswith("_") and not name.endswith("__")) or name == "setitem":  # changed in place
                for changed in node.all_input_nodes[:1]:
                    reads[changed] |= before
        if call is not None:
            uses.append(_Use(call, frozenset(before)))
            before = {len(uses) - 1}
        reads[node] = before
    (output,) = (node for node in graph.nodes if node.op == "output")
    return _ordered(uses, reads[output])


def _attribute(model: nn.Module, path: str) -> Any:
    value: Any = model
    for name in path.split("."):
        value = getattr(value, name)
    return value


def _operands(name: str, args: Sequence[Any], kwargs: Mapping[str, Any]) -> list[Any]:
    """What may be the weight among the arguments of a function that multiplies; nothing for another function."""
    name = name.strip("_")
    if name in _AT:
        return [kwargs["weight"]] if "weight" in kwargs else list(args[_AT[name] : _AT[name] + 1])
    if name in _PRODUCTS or name in _RECURRENT:
        return list(_flat([*args, *kwargs.values()]))
    return []


def _product(name: str, operands: Sequence[Params]) -> Call | None:
    """The call of a function that multiplies by these operands: none if no weight is among them, or nothing else is."""
    name = name.strip("_")
    weights = NONE.union(*operands)
    if not weights or (name in _PRODUCTS and all(operands)):
        return None
    return Call(weights, convolution=name.startswith("conv"))


# ---- a call with a sample


class _Watch(TorchFunctionMode):
    """Sees the functions of torch that are called with a weight, and the autograd nodes of their results."""

    def __init__(self, own: Mapping[int, nn.Parameter]) -> None:
        super().__init__()
        self.own = own
        self.seen: list[tuple[Call, list[Any]]] = []
        self.numbers: dict[Any, int] = {}  # of the call that a node is the result of
        self.data: set[Any] = set()

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        name = getattr(func, "__name__", "")
        call = self._attention(func, args, kwargs) if name == _ATTENTION else self._product(name, args, kwargs)
        result = func(*args, **kwargs)
        if call is not None:
            nodes = [t.grad_fn for t in _tensors(result) if t.grad_fn is not None]
            for node in nodes:
                self.numbers[node] = len(self.seen)
            if name.startswith("embedding"):  # looked up at integers, which carry no mark
                self.data.update(nodes)
            self.seen.append((call, nodes))
        return result

    def given(self, value: Tensor) -> Tensor:
        """A copy of an input that carries the mark of data."""
        if not value.is_floating_point():
            return value.clone()
        marked = value.detach().requires_grad_(True).clone()
        self.data.add(marked.grad_fn)
        return marked

    def before(self, nodes: Iterable[Any]) -> frozenset[int]:
        """The calls whose results the call with these nodes works on."""
        return frozenset(self.upstream(other for node in nodes for other, _ in node.next_functions))

    def upstream(self, nodes: Iterable[Any]) -> set[int]:
        """The nearest calls on every way back from these nodes."""
        found: set[int] = set()
        for node in _back(nodes, self.numbers):
            if node in self.numbers:
                found.add(self.numbers[node])
            elif type(node).__name__ == "CheckpointFunctionBackward":
                raise ValueError("a reentrant checkpoint hides the layers in it: call it with use_reentrant=False")
        return found

    def _product(self, name: str, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Call | None:
        operands = [o for o in _operands(name, args, kwargs) if isinstance(o, Tensor)]
        placed = name in _AT  # the operand is the weight, though a product with a constant may have made it
        return _product(name, [self._params(o, placed) for o in operands]) if operands else None

    def _attention(self, func: Any, args: Any, kwargs: Any) -> Call:
        given = inspect.signature(func).bind(*args, **kwargs).arguments
        last = self._params(given["out_proj_weight"], through=True)
        projections = [given.get(f"{part}_proj_weight") for part in ("in", "q", "k", "v")]
        return Call(last, NONE.union(*(self._params(p, through=True) for p in projections if p is not None)))

    def _params(self, value: Tensor, through: bool = False) -> Params:
        """The matrices of the network that a value comes from, if it comes from parameters alone; `through` calls."""
        if id(value) in self.own:
            return _matrices([value])
        leaves = []
        for node in _back([value.grad_fn], {} if through else self.numbers):
            if node in self.data or (node in self.numbers and not through):
                return NONE
            leaves.append(getattr(node, "variable", None))
        return _matrices(leaf for leaf in leaves if id(leaf) in self.own)


def _back(nodes: Iterable[Any], stops: Mapping[Any, int]) -> Iterator[Any]:
    """These autograd nodes and all before them, not beyond a stop."""
    waiting, met = [node for node in nodes if node is not None], set()
    while waiting:
        node = waiting.pop()
        if node in met:
            continue
        met.add(node)
        yield node
        if node not in stops:
            waiting += [other for other, _ in node.next_functions if other is not None]


def _call(model: nn.Module, watch: _Watch, sample: Any) -> Any:
    def given(value: Any) -> Any:
        if isinstance(value, Tensor):
            return watch.given(value)
        if isinstance(value, list | tuple) and not hasattr(value, "_fields"):
            return type(value)(given(part) for part in value)
        if isinstance(value, dict):
            return {name: given(part) for name, part in value.items()}
        return value

    sample = given(sample)
    if isinstance(sample, dict):
        return model(**sample)
    return model(*sample) if isinstance(sample, list | tuple) else model(sample)


def _tensors(value: Any) -> Iterator[Tensor]:
    """The tensors in what a network returns: in containers, records and distributions too."""
    for part in _flat([value]):
        if isinstance(part, Tensor):
            yield part
        else:
            yield from (t for t in _flat(list(getattr(part, "__dict__", {}).values())) if isinstance(t, Tensor))


def _flat(values: Iterable[Any]) -> Iterator[Any]:
    for value in values:
        if isinstance(value, Mapping):
            yield from _flat(value.values())
        elif isinstance(value, list | tuple):
            yield from _flat(value)
        else:
            yield value


class _as_it_was:
    """Afterwards the network has its modes, buffers and flags again, and the random states are what they were."""

    def __init__(self, model: nn.Module) -> None:
        self.model = model

    def __enter__(self) -> None:
        modules = list(self.model.modules())
        self.modes = [(module, module.training) for module in modules]
        self.buffers = [
            (module, name, buffer, buffer.clone())
            for module in modules
            for name, buffer in module._buffers.items()
            if buffer is not None
        ]
        self.flags = [(p, p.requires_grad) for p in self.model.parameters()]
        devices = {p.device for p in self.model.parameters() if p.device.type == "cuda"}
        self.random = torch.random.fork_rng([device.index for device in devices])
        self.random.__enter__()

    def __exit__(self, *error: Any) -> None:
        self.random.__exit__(*error)
        for module, mode in self.modes:
            module.training = mode
        for module, name, buffer, value in self.buffers:
            with torch.no_grad():
                buffer.copy_(value)
            module._buffers[name] = buffer
        for p, flag in self.flags:
            p.requires_grad = flag
