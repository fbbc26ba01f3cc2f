"""A network as data: the operations of torch that a call makes, in order, and the network made of them anew.

A program is what JSON holds: {"inputs": names, "steps": [...], "returns": ...}. A step says what to "do", "of" what,
and "with" which named options, as pairs. Values are numbers, texts and lists as they are, and objects with one key:
{"step": k} for the result of a step, {"input": name}, {"state": name} for a weight or buffer, {"dtype": name} and the
like.

Nothing in a program is run to read it, and it can name nothing but operations on tensors: those of torch's `aten`, less
the private ones and the one that opens files, and arithmetic of whole numbers, for shapes.
"""

from __future__ import annotations

import keyword
import math
import operator
import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import torch
from torch import Tensor, fx, nn

from heavytail.compress.batches import Batch
from heavytail.compress.calling import first_line
from heavytail.compress.layers import layer_of
from heavytail.compress.quiet import quiet
from heavytail.networks.keeping import as_it_was

Program = dict[str, Any]

# Arithmetic of shapes. No powers: a small file could ask for a number without end.
_ARITHMETIC: dict[str, Callable[..., Any]] = {
    **{
        name: getattr(operator, name)
        for name in ("add", "sub", "mul", "floordiv", "truediv", "mod", "neg", "eq", "ne", "lt", "le", "gt", "ge")
    },
    **{name: getattr(torch, name) for name in ("sym_max", "sym_min", "sym_int", "sym_float", "sym_not")},
    **{name: getattr(math, name) for name in ("floor", "ceil", "trunc")},
    "getitem": operator.getitem,
}
_NAMES = {function: name for name, function in _ARITHMETIC.items()}
_OPERATION = re.compile(r"aten\.([a-z_]\w*)\.(\w+)")
_FORBIDDEN = {"from_file"}  # opens, and may write
# Of the private ones, those that layers and functions of torch are made of.
_KNOWN = {"_softmax", "_log_softmax", "_to_copy", "_unsafe_view", "_weight_norm", "_weight_norm_interface"} | {
    f"_upsample_{kind}2d_aa" for kind in ("bilinear", "bicubic")
}
_NAME = re.compile(r"(?!__)[\w -]+")  # of a part: it stands in code between quotes
_SEQUENCES = {"tuple": (tuple,), "list": (list, fx.immutable_collections.immutable_list)}
_KINDS = ("dtype", "layout", "memory_format")
_CHECKS = ("_assert", "sym_constrain", "_check")  # of shapes, which the operations themselves check too


def traced(model: nn.Module, batch: Batch) -> torch.export.ExportedProgram:
    """What torch.export makes of a model in eval mode, for batches of any size. ValueError where it cannot."""
    two = batch.of(max(2, batch.rows))  # torch takes a batch of one for a size that is always one
    any_size = [{0: torch.export.Dim.DYNAMIC} if has else None for has in two.has_rows()]
    kwargs = dict(zip(two.names, two.tensors, strict=True)) if two.named else {}
    args = () if two.named else two.tensors
    shapes: Any = dict(zip(two.names, any_size, strict=True)) if two.named else tuple(any_size)
    with as_it_was(model), quiet():
        model.eval()
        try:
            return torch.export.export(model, args, kwargs, dynamic_shapes=_shapes(model, shapes, two))
        except Exception as error:
            raise ValueError(_reason(model, error)) from error


def recorded(model: nn.Module, batch: Batch) -> tuple[Program, dict[str, Tensor]]:
    """The program of a model in eval mode, and the weights and buffers that it uses by name.

    Raises ValueError, in one sentence, for a model that torch.export cannot follow, and for what no program can say.
    """
    exported = traced(model, batch)
    signature = exported.graph_signature
    states = {
        **signature.inputs_to_parameters,
        **signature.inputs_to_buffers,
        **signature.inputs_to_lifted_tensor_constants,
    }
    held = {**exported.constants, **exported.state_dict}
    writer = _Writer(type(model).__name__, _averages(model))
    names = iter(batch.names)
    given = {}
    for node in exported.graph.find_nodes(op="placeholder"):
        if node.name in states:
            given[node] = _Ref(state=states[node.name])
        elif node.name in signature.user_inputs:
            given[node] = _Ref(input=node.name if node.name in batch.names and batch.named else next(names))
        else:
            raise ValueError(f"{writer.model} has an input {node.name!r} that is no tensor, which no file holds")
    (flat,) = writer.write(exported.graph_module, given)
    returned = torch.utils._pytree.tree_map(lambda k: flat[k], _numbered(exported.call_spec.out_spec))
    sizes = [
        [None if k == 0 and has else n for k, n in enumerate(t.shape)]
        for t, has in zip(batch.tensors, batch.has_rows(), strict=True)
    ]
    program = _needed(
        {"inputs": list(batch.names), "sizes": sizes, "steps": writer.steps, "returns": writer.template(returned)}
    )
    used = {name: held[name] for name in sorted(_used(program))}
    for name, value in used.items():
        _path(name)
        if value.layout != torch.strided or value.is_quantized or value.is_complex():
            raise ValueError(f"{name!r} is no dense tensor of real numbers: convert it first")
    return program, used


def rebuilt(program: Program, states: Mapping[str, Tensor], device: torch.device | str = "cpu") -> fx.GraphModule:
    """The network of a program, in eval mode. ValueError for what is no program, or asks for what none may do."""
    try:
        return _Reader(program, states, torch.device(device)).read()
    except Exception as error:  # of whatever kind a layer or an operation raises that was asked for nonsense
        raise ValueError(f"it holds no network that can be made ({first_line(error)})") from error


def _shapes(model: nn.Module, shapes: Any, batch: Batch) -> Any:
    """The shapes as torch.export wants them, where the forward takes any number of arguments under one name."""
    if not batch.named and batch.names and batch.names[0].startswith("input_"):
        return (shapes,)
    return shapes


def _reason(model: nn.Module, error: Exception) -> str:
    """One sentence of why a model cannot be followed."""
    kind, said = type(error).__name__, first_line(error)
    start = f"this {type(model).__name__} cannot be saved or exported: "
    if kind in ("GuardOnDataDependentSymNode", "DataDependentOutputException", "PendingUnbackedSymbolNotFound"):
        return f"{start}which way its forward goes, or a shape in it, depends on the values that it is given"
    if "specialized" in str(error) and "dynamic" in str(error):
        return f"{start}it takes batches of one size alone, for its forward names the number of samples"
    return f"{start}{said}"


def _numbered(spec: Any) -> Any:
    return torch.utils._pytree.tree_unflatten(list(range(spec.num_leaves)), spec)


def _averages(model: nn.Module) -> dict[str, int]:
    """Means that are averages over all batches, which no operation tells: by name, of how many."""
    return {
        f"{name}.running_mean".lstrip("."): int(layer.num_batches_tracked)
        for name, layer in model.named_modules()
        if isinstance(layer, nn.modules.batchnorm._BatchNorm)
        and layer.momentum is None
        and layer.num_batches_tracked is not None
    }


class _Ref(dict[str, Any]):
    """A value that is written as an object with one key."""


class _Writer:
    """Writes the steps of a graph of torch.export, parts without gradients laid in line."""

    def __init__(self, model: str, averages: Mapping[str, int]) -> None:
        self.model = model
        self.averages = averages
        self.steps: list[dict[str, Any]] = []

    def write(self, module: fx.GraphModule, given: Mapping[fx.Node, Any]) -> list[Any]:
        """Write the steps of one graph whose inputs are known; returns what it returns."""
        known: dict[fx.Node, Any] = dict(given)
        for node in module.graph.nodes:
            if node.op == "call_function":
                known[node] = self._step(module, node, known)
            elif node.op == "output":
                return [self._value(part, known) for part in node.args]
            elif node.op == "get_attr":
                known[node] = getattr(module, node.target)
        raise ValueError(f"{self.model} returns nothing")

    def _step(self, module: fx.GraphModule, node: fx.Node, known: dict[fx.Node, Any]) -> Any:
        target: Any = node.target
        args: Any = node.args
        if getattr(target, "__name__", "") == "wrap_with_set_grad_enabled":
            _, inner, *rest = args
            part = known[inner]
            places = part.graph.find_nodes(op="placeholder")
            values = [self._value(value, known) for value in rest]
            return self.write(part, dict(zip(places, values, strict=True)))[0]
        if "autocast" in getattr(target, "__name__", ""):
            raise ValueError(f"{self.model} turns on autocast, which no file holds: convert the network itself")
        if target is operator.getitem and isinstance(known.get(args[0]), list):
            return known[args[0]][args[1]]
        if isinstance(target, torch._ops.OpOverload):
            name = str(target)
            if target._schema.name.partition("::")[2].startswith(_CHECKS):
                return None
            if not _is_allowed(name):
                raise ValueError(f"{self.model} uses {name}, which no file holds: it is no public operation of torch")
            if name == "aten.dropout.default" and args[2:] == (False,):
                return known[args[0]]
        elif target in _NAMES:
            name = _NAMES[target]
        else:
            raise ValueError(f"{self.model} uses {getattr(target, '__name__', target)}, which no file holds")
        step: dict[str, Any] = {"do": name, "of": [self._value(value, known) for value in args]}
        if node.kwargs:
            step["with"] = [[key, self._value(value, known)] for key, value in node.kwargs.items()]
        if "batch_norm" in name or "instance_norm" in name:
            step["axes"] = args[0].meta["val"].ndim  # as the layers for one, two and three axes are content apart
            for value in step["of"]:
                if isinstance(value, _Ref) and value.get("state") in self.averages:
                    step["batches"] = self.averages[value["state"]]
        self.steps.append(step)
        return _Ref(step=len(self.steps) - 1)

    def _value(self, value: Any, known: Mapping[fx.Node, Any]) -> Any:
        if isinstance(value, fx.Node):
            return known[value]
        if isinstance(value, list | tuple):
            return [self._value(part, known) for part in value]
        if value is None or isinstance(value, bool | int | str) or (isinstance(value, float) and math.isfinite(value)):
            return value
        if isinstance(value, float):
            return _Ref(float=str(value))
        if isinstance(value, torch.device):
            return _Ref(device="own")
        for kind in _KINDS:
            if isinstance(value, getattr(torch, kind)):
                return _Ref({kind: str(value).removeprefix("torch.")})
        raise ValueError(f"{self.model} uses a {type(value).__name__} as an option, which no file holds")

    def template(self, value: Any) -> Any:
        """What is returned: tensors and numbers in tuples, lists and dicts."""
        for kind in _SEQUENCES:
            if type(value) in _SEQUENCES[kind]:
                return {kind: [self.template(part) for part in value]}
        if type(value) in (dict, fx.immutable_collections.immutable_dict):
            if not all(isinstance(key, str) for key in value):
                raise ValueError(f"{self.model} returns a dict whose keys are no texts, which no file holds")
            return {"dict": [[key, self.template(part)] for key, part in value.items()]}
        if value is None or isinstance(value, _Ref | bool | int | float | str):
            return value
        raise ValueError(
            f"{self.model} returns a {type(value).__name__}: have it return tensors, or tuples, lists and dicts of them"
        )


def _is_allowed(name: str) -> bool:
    match = _OPERATION.fullmatch(name)
    return match is not None and (match[1] in _KNOWN or not (match[1].startswith("_") or match[1] in _FORBIDDEN))


def _needed(program: Program) -> Program:
    """The program without the steps that change nothing and that nobody reads, and with its steps numbered anew."""
    steps = program["steps"]
    wanted = set(_refs(program["returns"]))
    for number in reversed(range(len(steps))):
        if number in wanted or _changes(steps[number]["do"]):
            wanted.add(number)
            wanted.update(_refs([steps[number]["of"], steps[number].get("with")]))
    order = {old: new for new, old in enumerate(sorted(wanted))}
    kept = [steps[number] for number in order]
    renumbered: Program = _mapped({**program, "steps": kept}, order)
    return renumbered


def _changes(name: str) -> bool:
    return name.startswith("aten.") and _overload(name)._schema.is_mutable


def _refs(value: Any) -> Iterator[int]:
    if isinstance(value, dict):
        if len(value) == 1 and isinstance(value.get("step"), int):
            yield value["step"]
        else:
            for part in value.values():
                yield from _refs(part)
    elif isinstance(value, list):
        for part in value:
            yield from _refs(part)


def _mapped(value: Any, order: Mapping[int, int]) -> Any:
    if isinstance(value, dict):
        if len(value) == 1 and isinstance(value.get("step"), int):
            return {"step": order[value["step"]]}
        return {key: _mapped(part, order) for key, part in value.items()}
    return [_mapped(part, order) for part in value] if isinstance(value, list) else value


def _used(value: Any) -> set[str]:
    """The states that a program names."""
    if isinstance(value, dict):
        if len(value) == 1 and isinstance(value.get("state"), str):
            return {value["state"]}
        return set().union(*map(_used, value.values()))
    return set().union(*map(_used, value)) if isinstance(value, list) else set()


def _overload(name: str) -> Any:
    if not _is_allowed(name):
        raise ValueError(f"{name[:60]!r} is no operation that a network may use")
    _, packet, overload = name.split(".")
    return getattr(getattr(torch.ops.aten, packet), overload)


def sized(tensor: Any, name: str, sizes: tuple[int | None, ...]) -> Any:
    """The input of a network from a file, if it has the sizes that it was saved with; ValueError if not.

    Sizes that the network's code computed with are numbers in its steps.
    """
    if isinstance(tensor, fx.Proxy) or not isinstance(tensor, Tensor):  # a stand-in of one, as when it is traced
        return tensor
    pairs = zip(sizes, tensor.shape, strict=False)
    if tensor.ndim != len(sizes) or any(size is not None and size != own for size, own in pairs):
        wanted = ", ".join("any number" if size is None else str(size) for size in sizes)
        raise ValueError(
            f"this network was saved for {name} of the sizes ({wanted}), got {tuple(tensor.shape)}: save it with a "
            "sample of that size"
        )
    return tensor


class _Reader:
    """Makes the network of a program."""

    def __init__(self, program: Program, states: Mapping[str, Tensor], device: torch.device) -> None:
        self.program, self.states, self.device = program, states, device
        self.root = nn.Module()
        self.graph = fx.Graph()
        self.results: list[fx.Node] = []
        self.inputs: dict[str, fx.Node] = {}
        self.held: dict[str, fx.Node] = {}

    def read(self) -> fx.GraphModule:
        for name, state in self.states.items():
            self._hold(name, state)
        for name in self.program["inputs"]:
            if not (name.isidentifier() and not keyword.iskeyword(name)) or name in self.inputs:
                raise ValueError(f"{name[:60]!r} is no name of an argument")
            self.inputs[name] = self.graph.placeholder(name)
        for name, sizes in zip(self.program["inputs"], self.program.get("sizes", ()), strict=False):
            if not all(size is None or (type(size) is int and size >= 0) for size in sizes):
                raise ValueError("sizes of an input are whole numbers")
            self.inputs[name] = self.graph.call_function(sized, (self.inputs[name], name, tuple(sizes)))
        uses: dict[str, int] = {}
        for step in self.program["steps"]:
            for name in _used([step["of"], step.get("with")]):
                uses[name] = uses.get(name, 0) + 1
        for name in _used(self.program["returns"]):
            uses[name] = uses.get(name, 0) + 1
        for step in self.program["steps"]:
            self.results.append(self._step(step, uses))
        self.graph.output(self._returned(self.program["returns"]))
        return fx.GraphModule(self.root, self.graph, class_name="Loaded").eval()

    def _hold(self, name: str, state: Tensor) -> None:
        """Put a weight or a buffer where its name says."""
        *path, last = _path(name)
        place = self.root
        for part in path:
            if part not in place._modules:
                place.add_module(part, nn.Module())
            place = getattr(place, part)
        if isinstance(state, nn.Parameter):
            place.register_parameter(last, state)
        else:
            place.register_buffer(last, state)

    def _step(self, step: Mapping[str, Any], uses: Mapping[str, int]) -> fx.Node:
        name = step["do"]
        if name in _ARITHMETIC:
            args = tuple(self._value(value) for value in step["of"])
            return self.graph.call_function(_ARITHMETIC[name], args)
        function = _overload(name)
        places = [argument.name for argument in function._schema.arguments]
        if len(step["of"]) > len(places):
            raise ValueError(f"{name} is given more than it takes")
        named = dict(step.get("with", []))
        if unknown := named.keys() - set(places):
            raise ValueError(f"{name} has no option {min(unknown)[:60]!r}")
        options = dict(zip(places, step["of"], strict=False)) | named
        found = layer_of(name, options, self.states, uses, step.get("axes"), step.get("batches"))
        if found is not None:
            path, layer, given = found
            self._replace(path, layer)
            return self.graph.call_module(path, (self._value(given),))
        args = tuple(self._value(value) for value in step["of"])
        kwargs = {key: self._value(value) for key, value in named.items()}
        return self.graph.call_function(function, args, kwargs)

    def _replace(self, path: str, layer: nn.Module) -> None:
        parent, _, last = path.rpartition(".")
        self.root.get_submodule(parent)._modules[last] = layer

    def _value(self, value: Any) -> Any:
        if isinstance(value, list):
            return [self._value(part) for part in value]
        if not isinstance(value, dict):
            return value
        ((kind, content),) = value.items()
        if kind == "step":
            if not (type(content) is int and 0 <= content < len(self.results)):
                raise ValueError("a step works on one that comes later")
            return self.results[content]
        if kind == "input":
            return self.inputs[content]
        if kind == "state":
            if content not in self.states:
                raise ValueError(f"{str(content)[:60]!r} is not in the file")
            if content not in self.held:
                self.held[content] = self.graph.get_attr(content)
            return self.held[content]
        if kind == "float":
            return float(content)
        if kind == "device":
            return self._place()
        if kind in _KINDS and isinstance(found := getattr(torch, content, None), getattr(torch, kind)):
            return found
        raise ValueError(f"{kind[:60]!r} is nothing that a program knows")

    def _place(self) -> Any:
        """Where the network is: where its weights are, so that it can be moved."""
        if not self.states:
            return self.device
        return self.graph.call_function(getattr, (self._value({"state": min(self.states)}), "device"))

    def _returned(self, value: Any) -> Any:
        if isinstance(value, dict):
            ((kind, content),) = value.items()
            if kind == "dict":
                return {str(key): self._returned(part) for key, part in content}
            if kind in ("tuple", "list"):
                return (tuple if kind == "tuple" else list)(self._returned(part) for part in content)
        return self._value(value)


def _path(name: str) -> list[str]:
    """The parts of a state's name; ValueError for a name that is none."""
    parts = name.split(".")
    if not all(_NAME.fullmatch(part) for part in parts) or hasattr(fx.GraphModule, parts[0]):
        raise ValueError(f"{name[:60]!r} cannot be the name of a weight in a file: give it another")
    return parts
