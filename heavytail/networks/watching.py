"""The calls of a network, seen while it is called with a sample."""

from __future__ import annotations

import inspect
import re
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn
from torch._C._functorch import is_functorch_wrapped_tensor
from torch.overrides import TorchFunctionMode

from heavytail.networks.calls import (
    NONE,
    PLACES,
    SCALES,
    Call,
    Params,
    Use,
    flat,
    harmless,
    matrices,
    operands,
    ordered,
    padding,
    product,
    turned,
)
from heavytail.networks.keeping import as_it_was
from heavytail.networks.paper import MeanField
from heavytail.networks.reading import alone, read

_ATTENTION = "multi_head_attention_forward"
_LOOKUPS = ("getitem", "index_select", "gather", "take_along_dim")


def observe(model: nn.Module, sample: Any) -> list[Call]:
    """The calls of a network while it is called with a sample: a tensor, a tuple of arguments, or a dict of named ones.

    The network is called in eval mode. Afterwards its modes, buffers, `requires_grad` and the random states are what
    they were. Raises ValueError if the call fails, or no output comes from a weight.
    """
    if isinstance(model, MeanField):
        return read(model)
    with as_it_was(model), uncompiled(), torch.inference_mode(False), torch.enable_grad():
        model.eval()
        own = {id(p): p for p in model.parameters()}
        for p in own.values():
            if p.is_leaf and p.is_floating_point():
                p.requires_grad_(True)  # a frozen layer has its place too
        watch = _Watch(own)
        try:
            with watch:
                result = _call(model, watch, sample)
        except (Exception, SystemExit) as error:
            raise ValueError(f"the model cannot be called with sample=: {message_of(error)}") from error
        uses = [Use(call, watch.before(nodes)) for call, nodes in watch.seen]
        returned = [t.grad_fn for t in tensors(result)]
        outputs = watch.upstream(returned)
        unseen = watch.unseen(returned)
    if watch.mapped:
        raise ValueError("torch.vmap hides the layers that it calls: call them on the whole batch, without torch.vmap")
    if not outputs:
        raise ValueError("no output of the model comes from one of its weights: pass the sample= of a training step")
    left_alone = matrices(p for layer in model.modules() if alone(layer) for p in layer.parameters())
    for name, p in model.named_parameters():
        if p in unseen - left_alone:
            raise ValueError(
                f"what the model does with its weight {name!r} is no layer, product or sum of torch's that is known, "
                "so its output layer cannot be told: use the weight by torch.nn.functional, as in linear or conv2d"
            )
    return ordered(uses, outputs)


def message_of(error: BaseException) -> str:
    """What an error says: its name where it has no text, as one of somebody else's may, and of SystemExit both."""
    name = type(error).__name__
    try:
        said = str(error)
    except Exception:
        return name
    return f"{name}: {said}" if isinstance(error, SystemExit) else said or name


def uncompiled() -> AbstractContextManager[Any]:
    """Compiled parts run as they were written, and are not compiled once more for the watch."""
    return torch.compiler.set_stance("force_eager") if "torch._dynamo" in sys.modules else nullcontext()


class _Watch(TorchFunctionMode):
    """Sees the functions of torch that are called with a weight, and the autograd nodes of their results."""

    def __init__(self, own: Mapping[int, nn.Parameter]) -> None:
        super().__init__()
        self.own = own
        self.seen: list[tuple[Call, list[Any]]] = []
        self.numbers: dict[Any, int] = {}  # of the call that a node is the result of
        self.data: set[Any] = set()
        self.within: set[Any] = set()  # nodes within calls
        self.tokens: dict[int, Tensor] = {}  # integers made of the inputs, by identity: they carry no mark
        self.mapped = False  # whether a call was made under torch.vmap

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        operation = getattr(func, "overloadpacket", None)  # of a network that was read from a file
        name = getattr(operation or func, "__name__", "")
        if operation is not None and name == "embedding":  # whose weight comes first there
            args = (args[1], args[0], *args[2:])
        call = self._attention(func, args, kwargs) if name == _ATTENTION else self._function(name, args, kwargs)
        looked_up = call is None and self._lookup(name, args, kwargs)
        if looked_up:
            call = Call(looked_up)
        if operation is not None and name == "embedding":
            args = (args[1], args[0], *args[2:])
        result = func(*args, **kwargs)
        if any(id(t) in self.tokens for t in flat([*args, *kwargs.values()])):
            self._remember(result)
        if call is not None:
            self.mapped |= any(is_functorch_wrapped_tensor(t) for t in tensors(result))
            nodes = [t.grad_fn for t in tensors(result) if t.grad_fn is not None]
            for node in nodes:
                self.numbers[node] = len(self.seen)
            given = {t.grad_fn: 0 for t in flat([*args, *kwargs.values()]) if isinstance(t, Tensor)}
            self.within.update(node for node in _back(nodes, given) if node not in given)
            if name.startswith("embedding") or looked_up:  # at integers, which carry no mark
                self.data.update(nodes)
            self.seen.append((call, nodes))
        return result

    def given(self, value: Tensor) -> Tensor:
        """A copy of an input that carries the mark of data."""
        value = value.clone() if value.is_inference() else value
        if not value.is_floating_point():
            token = value.clone()
            self._remember(token)
            return token
        marked = value.detach().requires_grad_(True).clone()
        self.data.add(marked.grad_fn)
        return marked

    def _remember(self, result: Any) -> None:
        self.tokens.update((id(t), t) for t in tensors(result) if not (t.is_floating_point() or t.is_complex()))

    def _lookup(self, name: str, args: Any, kwargs: Any) -> Params:
        """The matrices that are looked up at integers made of the inputs, without a function for embeddings."""
        given = list(flat([*args, *kwargs.values()]))
        if name.strip("_") not in _LOOKUPS or not any(id(t) in self.tokens for t in given):
            return NONE
        return NONE.union(*(self._params(t) for t in given if isinstance(t, Tensor) and t.is_floating_point()))

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

    def unseen(self, outputs: Iterable[Any]) -> Params:
        """The weights that meet data on the way to these nodes where no call of them was seen."""
        found = NONE
        fixed: dict[Any, Params | None] = {}  # the parameters of a node that no data is in
        for node in _after_their_own(outputs):
            parts = [fixed[other] for other, _ in node.next_functions if other is not None]
            params = NONE.union(*(part for part in parts if part is not None))
            if node in self.data or node in self.numbers or None in parts:
                fixed[node] = None
                if node not in self.within and node not in self.numbers and not harmless(_kind(node), params):
                    found |= params
            else:
                leaf = getattr(node, "variable", None)
                fixed[node] = params | matrices([leaf] if id(leaf) in self.own else [])
        return found

    def _function(self, name: str, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Call | None:
        given = [o for o in operands(name, args, kwargs) if isinstance(o, Tensor)]
        placed = name in PLACES  # the operand is the weight, though a product with a constant may have made it
        params = [self._params(o, placed) for o in given]
        call = product(name, params)
        if call is None:
            return None
        turns = turned(name, args[0] if args else None, params, [_flipped(o.grad_fn, o.ndim) for o in given])
        remade = any(self._remade(o) for o, own in zip(given, params, strict=True) if own)
        return replace(call, turned=turns, remade=remade, padding=padding(name, args, kwargs))

    def _remade(self, value: Tensor) -> bool:
        """Whether parameters were multiplied with others to make this value."""
        for node in _back([value.grad_fn], {}):
            if _kind(node) in (*SCALES, "weight_norm_interface"):
                sides = [{id(_leaf(n)) for n in _back([other], {})} & set(self.own) for other, _ in node.next_functions]
                if len({frozenset(side) for side in sides if side}) > 1:
                    return True
        return False

    def _attention(self, func: Any, args: Any, kwargs: Any) -> Call:
        given = inspect.signature(func).bind(*args, **kwargs).arguments
        last = self._params(given["out_proj_weight"], through=True)
        projections = [given.get(f"{part}_proj_weight") for part in ("in", "q", "k", "v")]
        return Call(last, NONE.union(*(self._params(p, through=True) for p in projections if p is not None)))

    def _params(self, value: Tensor, through: bool = False) -> Params:
        """The matrices of the network that a value comes from, if it comes from parameters alone; `through` calls."""
        if id(value) in self.own:
            return matrices([value])
        leaves = []
        for node in _back([value.grad_fn], {} if through else self.numbers):
            if node in self.data or (node in self.numbers and not through):
                return NONE
            leaves.append(getattr(node, "variable", None))
        return matrices(leaf for leaf in leaves if id(leaf) in self.own)


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


def _after_their_own(nodes: Iterable[Any]) -> Iterator[Any]:
    """These autograd nodes and all before them, each after those that it works on."""
    waiting, met = [(node, False) for node in nodes if node is not None], set()
    while waiting:
        node, ready = waiting.pop()
        if ready:
            yield node
        elif node not in met:
            met.add(node)
            waiting.append((node, True))
            waiting += [(other, False) for other, _ in node.next_functions if other is not None and other not in met]


def _leaf(node: Any) -> Any:
    return getattr(node, "variable", None)


def _flipped(node: Any, axes: int) -> bool:
    """Whether the first axis of a value is not that of the parameters that it was made from."""
    if node is None:
        return False
    kind, turns = _kind(node), False
    if kind in ("t", "numpy_t", "mt"):
        turns = True
    elif kind == "transpose":
        turns = axes == 2 or 0 in (node._saved_dim0, node._saved_dim1)
    elif kind == "permute":
        turns = node._saved_dims[0] not in (0, 2**64 - axes)
    return turns != any(_flipped(other, axes) for other, _ in node.next_functions)


def _kind(node: Any) -> str:
    """The function that made an autograd node, as torch names it: "add" for AddBackward0, "layer_norm" for a norm."""
    name = re.sub(r"(?<!^)(?=[A-Z])", "_", type(node).__name__.partition("Backward")[0]).lower()
    if name in ("copy_slices", "add_scalar", "index_put"):
        return "add"
    norm = re.search(r"(layer|group|batch|instance|rms)_norm|prelu", name)
    return norm.group() if norm else name


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


def tensors(value: Any) -> Iterator[Tensor]:
    """The tensors in what a network returns: in containers, records and distributions too."""
    for part in flat([value]):
        if isinstance(part, Tensor):
            yield part
        else:
            yield from (t for t in flat(list(getattr(part, "__dict__", {}).values())) if isinstance(t, Tensor))
