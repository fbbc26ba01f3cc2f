"""What can be taken out of a network, and the network without it: units that say the same whatever the input is."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from heavytail.compress import heads
from heavytail.compress.following import KERNELS, Following
from heavytail.compress.units import Reader, Units


@dataclass(frozen=True, eq=False)
class Fold:
    """What units that go have said to a layer, for its bias."""

    layer: str | None  # whose bias is made if there is none; None where `bias` names it
    bias: str | None
    weight: str
    axis: int  # of the weight, along which its inputs lie
    said: np.ndarray  # (inputs,): 0 where the unit stays


@dataclass(frozen=True, eq=False)
class Plan:
    """What goes: parts of parameters and buffers, by all their names."""

    kept: Mapping[tuple[str, ...], Mapping[int, np.ndarray]]  # along which axes, which entries stay
    folds: tuple[Fold, ...]
    grouped: frozenset[str]  # weights of convolutions that lose whole groups
    numbers: Mapping[tuple[str, str], int] = field(default_factory=dict)  # attributes of layers that tell of heads


def removable(model: nn.Module, following: Following) -> Plan:
    """What can be taken out of a network that was followed through a call: all tied units together, or none of them.

    Units go together if one of them has a weight that is all zero, and every layer that reads one of them reads a
    number that is the same whatever the input is. Each axis of a weight keeps at least one.
    """
    units = following.units
    shared = Counter(id(reader.bias) for reader in following.readers.values() if reader.bias is not None)
    values: dict[int, np.ndarray] = {}  # what is said to a reader, by its place
    for number, reader in enumerate(following.readers.values()):
        said = np.stack(reader.said)
        same = np.ptp(said, axis=0) <= 1e-9 * np.abs(said).max(0)  # called twice, it has one bias for both calls
        if reader.bias is not None and (shared[id(reader.bias)] > 1 or id(reader.bias) in following.elsewhere):
            same &= (said == 0).all(0)
        units.keep(following.place(reader.weight, reader.axis)[~same])
        values[number] = said[0]
    read = {
        units.of(int(u)) for reader in following.readers.values() for u in following.place(reader.weight, reader.axis)
    }
    stay, dead = {units.of(u) for u in units.stay}, {units.of(u) for u in units.dead}
    gone = (dead & read) - stay
    gone = _leave_one(gone, units, following)
    named = _names(model)
    kept: dict[tuple[str, ...], dict[int, np.ndarray]] = {}
    for (tensor, axis), place in following.places.items():
        staying = np.array([units.of(int(u)) not in gone for u in place], dtype=bool)
        if not staying.all():
            kept.setdefault(named[tensor], {})[axis] = np.flatnonzero(staying)
    layers = {id(module): name for name, module in model.named_modules()}
    folds = [
        fold
        for number, reader in enumerate(following.readers.values())
        if (fold := _fold(reader, values[number], gone, following, named, layers))
    ]
    grouped = frozenset(name for one in following.grouped for name in named[one])
    return Plan(kept, tuple(folds), grouped, dict(_numbers(following, gone, layers)))


def _numbers(following: Following, gone: set[int], layers: Mapping[int, str]) -> Iterator[tuple[tuple[str, str], int]]:
    """What attributes say of heads when some are gone: how many, or how many numbers they have together."""
    for (layer, name), members in following.named.items():
        left = sum(following.units.of(int(row[0])) not in gone for row in members)
        if left < len(members):
            sized = "dim" in name or "size" in name
            yield (layers[layer], name), left * members.shape[1] if sized else left


def _leave_one(gone: set[int], units: Units, following: Following) -> set[int]:
    """Of units that would leave an axis without any, one comes back."""
    gone, changed = set(gone), True
    while changed:
        changed = False
        for place in following.places.values():
            roots = [units.of(int(u)) for u in place]
            if roots and all(root in gone for root in roots):
                gone.discard(roots[0])
                changed = True
    return gone


def _fold(
    reader: Reader,
    said: np.ndarray,
    gone: set[int],
    following: Following,
    named: Mapping[int, tuple[str, ...]],
    layers: Mapping[int, str],
) -> Fold | None:
    columns = following.place(reader.weight, reader.axis)
    going = np.array([following.units.of(int(u)) in gone for u in columns], dtype=bool)
    said = np.where(going, said, 0.0)
    if not said.any():
        return None
    bias = None if reader.bias is None else named[id(reader.bias)][0]
    layer = None if reader.layer is None else layers[id(reader.layer)]
    return Fold(layer, bias, named[id(reader.weight)][0], reader.axis, said)


def without(model: nn.Module, plan: Plan) -> nn.Module:
    """The model itself, less what the plan takes out of it; what was said goes into biases, computed in float64."""
    tensors = dict(_tensors(model))
    rows = {name: entries[0] for names, entries in plan.kept.items() for name in names if 0 in entries}
    with torch.no_grad():
        for fold in plan.folds:
            weight = tensors[fold.weight]
            wide = weight.detach().double()
            shift = (wide.flatten(2).sum(2) if wide.ndim > 2 else wide) @ torch.from_numpy(fold.said).to(wide)
            if fold.bias is not None:
                bias = tensors[fold.bias]
                bias.copy_((bias.double() + shift).to(bias.dtype))
            else:
                made = shift[torch.from_numpy(rows[fold.weight]).to(shift.device)] if fold.weight in rows else shift
                layer: Any = model.get_submodule(str(fold.layer))
                layer.bias = nn.Parameter(made.to(weight.dtype), requires_grad=weight.requires_grad)
        for names, entries in plan.kept.items():
            old = tensors[names[0]]
            new = old.detach()
            for axis, staying in entries.items():
                new = new.index_select(axis, torch.from_numpy(staying).to(new.device))
            new = new.contiguous(memory_format=_format(old))
            for name in names:
                owner, _, attribute = name.rpartition(".")
                part: Any = model.get_submodule(owner)
                if isinstance(old, nn.Parameter):
                    new = new if isinstance(new, nn.Parameter) else nn.Parameter(new, requires_grad=old.requires_grad)
                    part._parameters[attribute] = new
                else:
                    part._buffers[attribute] = new
    for (name, attribute), number in plan.numbers.items():
        setattr(model.get_submodule(name), attribute, number)
    for name, module in model.named_modules():
        _resize(module, f"{name}.weight".lstrip(".") in plan.grouped)
    return model


def _format(tensor: Tensor) -> torch.memory_format:
    for axes, layout in ((4, torch.channels_last), (5, torch.channels_last_3d)):
        if tensor.ndim == axes and tensor.is_contiguous(memory_format=layout) and not tensor.is_contiguous():
            return layout
    return torch.contiguous_format


def _resize(module: Any, grouped: bool) -> None:
    """The sizes that a layer says it has are those of its weight."""
    weight = getattr(module, "weight", None)
    if type(module) in heads.KINDS:
        heads.lose(module)
    if isinstance(module, nn.modules.batchnorm._BatchNorm) and isinstance(module.running_mean, Tensor):
        module.num_features = len(module.running_mean)
    if not isinstance(weight, Tensor):
        return
    if isinstance(module, nn.Linear):
        module.out_features, module.in_features = weight.shape
    elif isinstance(module, KERNELS):
        if grouped:
            module.groups = module.groups * len(weight) // module.out_channels
        rows, columns = len(weight), weight.shape[1] * module.groups
        module.out_channels, module.in_channels = (columns, rows) if module.transposed else (rows, columns)
    elif isinstance(module, nn.Embedding):
        module.embedding_dim = weight.shape[1]
    elif isinstance(module, nn.PReLU):
        module.num_parameters = len(weight)


def _tensors(model: nn.Module) -> Iterator[tuple[str, Tensor]]:
    yield from model.named_parameters(remove_duplicate=False)
    yield from model.named_buffers(remove_duplicate=False)


def _names(model: nn.Module) -> dict[int, tuple[str, ...]]:
    """All names of each parameter and buffer."""
    found: dict[int, tuple[str, ...]] = {}
    for name, tensor in _tensors(model):
        found[id(tensor)] = (*found.get(id(tensor), ()), name)
    return found
