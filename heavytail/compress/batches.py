"""What a network is called with: one batch, of any number of tensors, and the same batch with more or fewer rows."""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from heavytail.compress.calling import called, first_line, freed, refuse_scripted, refuse_sparse, repeated
from heavytail.networks.keeping import as_it_was

CONVOLUTIONS: dict[type, int] = {nn.Conv1d: 1, nn.Conv2d: 2, nn.Conv3d: 3}  # with the number of axes they slide along
_SIZES = (32, 28, 64, 224, 16, 8, 4, 1)  # of made-up images, until one fits
_LARGEST = 64  # of those with three axes


@dataclass(frozen=True, eq=False)
class Batch:
    """One batch of a network: its tensors with the names of the arguments that they are given for.

    `rows` is the number of samples. A tensor has them along its first axis if that is so long.
    """

    names: tuple[str, ...]
    tensors: tuple[Tensor, ...]
    named: bool
    rows: int

    def has_rows(self) -> tuple[bool, ...]:
        """Which of the tensors have the samples along their first axis."""
        return tuple(tensor.ndim > 0 and len(tensor) == self.rows for tensor in self.tensors)

    def of(self, rows: int) -> Batch:
        """The batch with so many samples, the first of these, again from the front where there are not so many."""
        tensors = tuple(repeated(tensor, self.rows, rows) for tensor in self.tensors)
        return Batch(self.names, tensors, self.named, rows)

    def to(self, device: torch.device | str) -> Batch:
        """The batch on a device."""
        return Batch(self.names, tuple(tensor.to(device) for tensor in self.tensors), self.named, self.rows)

    @property
    def sample(self) -> dict[str, Tensor] | tuple[Tensor, ...]:
        """What the batch was made of: the arguments, or named ones."""
        return dict(zip(self.names, self.tensors, strict=True)) if self.named else self.tensors

    def call(self, model: nn.Module) -> Any:
        """What a network says of the batch."""
        return called(model, self.sample)


def batch_for(model: nn.Module, sample: Any = None) -> Batch:
    """The batch of `sample`, a tensor, a tuple of tensors or a dict of named ones, on the model's device.

    Without one it is made up, for a model that begins with a Linear layer or a convolution. Raises TypeError for a
    sample that holds anything but tensors, ValueError for one that has no samples or that the model fails on, and for
    a quantised model.
    """
    if not isinstance(model, nn.Module):
        raise TypeError(f"a model is a torch.nn.Module, got {type(model).__name__}")
    refuse_scripted(model)
    refuse_sparse(model)
    for name, held in [*model.named_parameters(), *model.named_buffers()]:
        if is_lazy(held):
            raise ValueError(f"{name!r} has no shape before the network's first call: call it once")
        if held.is_meta:
            raise ValueError(f"{name!r} is on the meta device and has no values: load or draw them first")
    for name, module in model.named_modules():
        if type(module).__module__.startswith(("torch.ao.nn.quantized", "torch.nn.quantized")):
            raise ValueError(f"layer {name!r} is quantised: take the network before that")
    if sample is None:
        return _made_up(model)
    batch = _given(model, sample)
    try:
        _tried(model, batch)
    except Exception as error:
        raise ValueError(f"the model cannot be called with sample=: {first_line(error)}") from error
    return batch


def eager(model: nn.Module) -> nn.Module:
    """The network that torch.compile was given, or the model itself: compiling takes its time, and nothing needs it."""
    inner = getattr(model, "_orig_mod", None)
    return inner if isinstance(inner, nn.Module) and type(model).__name__ == "OptimizedModule" else model


def device_of(model: nn.Module) -> torch.device:
    """Where a model is; ValueError if it is in several places at once."""
    places = {held.device for held in [*model.parameters(), *model.buffers()]}
    if len(places) > 1:
        raise ValueError(f"the model lies on {' and '.join(sorted(map(str, places)))}: move it to one device")
    return places.pop() if places else torch.device("cpu")


def _given(model: nn.Module, sample: Any) -> Batch:
    named = isinstance(sample, Mapping)
    values = list(sample.values()) if named else list(sample) if isinstance(sample, tuple) else [sample]
    names = [str(name) for name in sample] if named else _names(model, len(values))
    if not values:
        raise TypeError("sample= is empty: pass one batch that the model is called with")
    for name, value in zip(names, values, strict=True):
        if not isinstance(value, Tensor):
            raise TypeError(
                f"sample= holds a {type(value).__name__} as {name!r}: it is a tensor, a tuple of tensors or a dict of "
                "named ones; whatever else the model wants, give it a default"
            )
    rows = next((len(value) for value in values if value.ndim), 0)
    if not rows:
        raise ValueError("sample= has no samples: pass a batch of one at least, with samples along the first axis")
    device = device_of(model)
    return Batch(tuple(names), tuple(freed(value.detach()).to(device) for value in values), named, rows)


def _names(model: nn.Module, count: int) -> list[str]:
    """What the forward of a model calls its first arguments."""
    try:
        known = [
            name
            for name, parameter in inspect.signature(model.forward).parameters.items()
            if parameter.kind in (parameter.POSITIONAL_ONLY, parameter.POSITIONAL_OR_KEYWORD)
        ]
    except (TypeError, ValueError):
        known = []
    return [known[k] if k < len(known) else f"input_{k}" for k in range(count)]


def _tried(model: nn.Module, batch: Batch) -> None:
    with as_it_was(model), torch.no_grad():
        batch.call(model.eval())


def _made_up(model: nn.Module) -> Batch:
    for tensor in _tensors(model):
        batch = Batch(tuple(_names(model, 1)), (tensor,), False, len(tensor))
        try:
            _tried(model, batch)
        except Exception:  # images of the wrong size: the next ones
            continue
        return batch
    raise ValueError(
        f"no batch can be made up for this {type(model).__name__}: pass sample=, one that it is called with"
    )


def _tensors(model: nn.Module) -> Iterator[Tensor]:
    """Batches for a network whose first layer with weights is a Linear layer or a convolution."""
    first: Any = next((m for m in model.modules() if next(m.parameters(recurse=False), None) is not None), None)
    if type(first) not in (nn.Linear, *CONVOLUTIONS):
        return
    yield from made_up(first)


def made_up(layer: Any) -> Iterator[Tensor]:
    """Batches of two for a Linear layer or a convolution, in its dtype: of one size of image after the other."""
    weight, generator = layer.weight, torch.Generator().manual_seed(0)
    axes = CONVOLUTIONS.get(type(layer), 0)
    channels = weight.shape[1] * getattr(layer, "groups", 1)
    for size in _SIZES if axes else (0,):
        if axes < 3 or size <= _LARGEST:
            made = torch.randn((2, channels, *[size] * axes), generator=generator)
            yield made.to(weight.device, weight.dtype)
