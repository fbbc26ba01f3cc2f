"""What clients and server agree on before the first message: the names, shapes and order of a network's weights."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

import torch
from torch import Tensor, nn
from torch.nn.modules.dropout import _DropoutNd

from heavytail.networks import hidden_weights

State: TypeAlias = Mapping[str, Tensor]  # weights by name, or what moved them


@dataclass(frozen=True)
class Layout:
    """The weights of a network in their order, and which of them are hidden: those get kicks and are sent in part."""

    shapes: tuple[tuple[str, tuple[int, ...]], ...]
    hidden: tuple[str, ...]

    @property
    def numbers(self) -> int:
        """How many numbers the weights are, all together."""
        return sum(math.prod(shape) for _, shape in self.shapes)


def layout(model: nn.Module, sample: Any = None) -> Layout:
    """The layout of a network; `sample` is that of `heavytail.hidden_weights`.

    Raises ValueError for a network with buffers, such as running means, whose average over clients is nobody's, with
    dropout, whose random numbers have no address, or with frozen weights, as all are trained; for weights that are not
    float32, and where the hidden weights cannot be told.

    >>> model = nn.Sequential(nn.Linear(4, 3), nn.ReLU(), nn.Linear(3, 2))
    >>> layout(model).hidden, layout(model).numbers
    (('0.weight',), 23)
    """
    for name, buffer in model.named_buffers():
        if buffer is not None:
            raise ValueError(f"the network has a buffer {name!r}, of which clients have no average: use one without")
    for name, module in model.named_modules():
        if isinstance(module, _DropoutNd) and module.p > 0:
            raise ValueError(f"the network has dropout {name!r}, whose draws no seed decides: use one without, or p=0")
    for name, weight in model.named_parameters():
        if not weight.requires_grad:
            raise ValueError(f"the weight {name!r} is frozen, and a federation trains all: call requires_grad_(True)")
        if weight.dtype != torch.float32:
            raise ValueError(f"the weight {name!r} is {weight.dtype}, and messages hold float32: call model.float()")
    shapes = tuple((name, tuple(weight.shape)) for name, weight in model.named_parameters())
    return Layout(shapes, tuple(hidden_weights(model, sample)))


def state_of(model: nn.Module) -> dict[str, Tensor]:
    """A copy of the weights of a network, by name."""
    return {name: weight.detach().clone().contiguous() for name, weight in model.named_parameters()}


def nothing(state: State) -> dict[str, Tensor]:
    """Zeros in the place of every weight."""
    return {name: torch.zeros_like(weight) for name, weight in state.items()}


def fill(model: nn.Module, state: State) -> nn.Module:
    """The network with these weights in place of its own, changed in place and returned.

    Raises ValueError where names or shapes are others.
    """
    own = dict(model.named_parameters())
    if own.keys() != state.keys() or any(own[name].shape != value.shape for name, value in state.items()):
        raise ValueError("these are not the weights of this network: their names or shapes are others")
    with torch.no_grad():
        for name, value in state.items():
            own[name].copy_(value)
    return model
