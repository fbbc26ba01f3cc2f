"""The networks of the paper: fully connected, mean-field with two layers, wide VGG. None has a bias.

Every constructor takes the generator that draws its initial weights; the global random state is never used.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import TypeVar

import torch
from torch import Tensor, nn

_Layer = TypeVar("_Layer", nn.Linear, nn.Conv2d)

NETWORKS = ("fcn", "mean_field", "vgg")
VGG_PLAN = (
    1,
    "M",
    2,
    "M",
    4,
    4,
    "M",
    8,
    8,
    "M",
    8,
    8,
    "M",
)  # multiples of the first width (128 in the paper) [C]


class MeanField(nn.Module):
    """`f(x) = (1/n) Σ_i c_i φ(⟨θ_i, x⟩)` with fixed second-layer signs c. Source: the paper [P, form D].

    `hidden.weight` is (neurons, inputs), a row a particle θ_i; `signs` is (classes, neurons) with entries ±1.
    The theory steps along `-n ∇R`, so a trainer multiplies the gradient by `gradient_scale` = n.
    """

    signs: Tensor

    def __init__(
        self,
        inputs: int,
        width: int,
        classes: int,
        *,
        generator: torch.Generator,
        activation: Callable[[Tensor], Tensor] = torch.tanh,
    ) -> None:
        super().__init__()
        self.hidden = _linear(inputs, width, generator)
        coins = torch.randint(0, 2, (classes, width), generator=generator, device=generator.device)
        self.register_buffer("signs", 2.0 * coins - 1.0)
        self.activation = activation
        self.gradient_scale = float(width)

    def forward(self, x: Tensor) -> Tensor:
        """Outputs (batch, classes) for inputs (batch, ...), which are flattened."""
        return self.activation(self.hidden(x.flatten(1))) @ self.signs.T / self.gradient_scale


class Mean(nn.Module):
    """Average over height and width: (batch, channels, height, width) to (batch, channels, 1, 1).

    It is torch's `AdaptiveAvgPool2d(1)`, which many networks cannot pass at once: it has no batching rule.
    """

    def forward(self, x: Tensor) -> Tensor:
        """The average of each channel."""
        return x.mean((2, 3), keepdim=True)


def fcn(inputs: int, width: int, depth: int, classes: int, *, generator: torch.Generator) -> nn.Sequential:
    """ReLU network with `depth` hidden layers of `width` neurons, torch's default linear init. [C]

    >>> fcn(20, width=100, depth=2, classes=3, generator=torch.Generator().manual_seed(0))
    Sequential(
      (0): Flatten(start_dim=1, end_dim=-1)
      (1): Linear(in_features=20, out_features=100, bias=False)
      (2): ReLU()
      (3): Linear(in_features=100, out_features=100, bias=False)
      (4): ReLU()
      (5): Linear(in_features=100, out_features=3, bias=False)
    )
    """
    if depth < 1:
        raise ValueError(f"a fully connected network needs at least one hidden layer, got depth={depth}")
    layers: list[nn.Module] = [nn.Flatten()]
    for fan_in in [inputs] + [width] * (depth - 1):
        layers += [_linear(fan_in, width, generator), nn.ReLU()]
    return nn.Sequential(*layers, _linear(width, classes, generator))


def vgg(channels: int, width: int, classes: int, *, generator: torch.Generator) -> nn.Sequential:
    """The paper's "vgg11_wide" with `width` filters in the first convolution (128 in the paper). [C]

    3x3 convolutions, ReLU, 2x2 max-pooling, average pooling to 1x1, one linear layer; He-normal init with fan-out.
    """
    layers: list[nn.Module] = []
    fan_in = channels
    for step in VGG_PLAN:
        if isinstance(step, str):
            layers.append(nn.MaxPool2d(2))
            continue
        fan_out = step * width
        conv = _unfilled(nn.Conv2d(fan_in, fan_out, 3, padding=1, bias=False, device="meta"), generator.device)
        nn.init.kaiming_normal_(conv.weight, mode="fan_out", nonlinearity="relu", generator=generator)
        layers += [conv, nn.ReLU()]
        fan_in = fan_out
    return nn.Sequential(*layers, Mean(), nn.Flatten(), _linear(fan_in, classes, generator))


def build(
    network: str, shape: Sequence[int], classes: int, *, width: int, depth: int, generator: torch.Generator
) -> nn.Module:
    """The named network for inputs of `shape` (without the batch axis), on the generator's device.

    >>> model = build("mean_field", (20,), 3, width=100, depth=1, generator=torch.Generator().manual_seed(0))
    >>> {name: tuple(weight.shape) for name, weight in model.named_parameters()}
    {'hidden.weight': (100, 20)}
    """
    check(network, shape)
    if network == "fcn":
        return fcn(math.prod(shape), width, depth, classes, generator=generator)
    if network == "mean_field":
        return MeanField(math.prod(shape), width, classes, generator=generator)
    return vgg(shape[0], width, classes, generator=generator)


def check(network: str, shape: Sequence[int]) -> None:
    """Raise ValueError with one sentence unless there is such a network and it takes inputs of `shape`."""
    if network not in NETWORKS:
        raise ValueError(f"unknown network {network!r}: choose one of {', '.join(NETWORKS)}")
    if network == "vgg" and len(shape) != 3:
        raise ValueError(f"network 'vgg' needs images of shape (channels, height, width), the data have {tuple(shape)}")
    if network == "vgg" and min(shape[1:]) < 32:
        raise ValueError(f"network 'vgg' halves its images five times: they need 32x32 pixels, not {tuple(shape)}")


def _linear(fan_in: int, fan_out: int, generator: torch.Generator) -> nn.Linear:
    layer = _unfilled(nn.Linear(fan_in, fan_out, bias=False, device="meta"), generator.device)
    nn.init.kaiming_uniform_(layer.weight, a=math.sqrt(5), generator=generator)
    return layer


def _unfilled(layer: _Layer, device: torch.device) -> _Layer:
    """A layer on the meta device with memory for its weight, and nothing drawn from torch's own generator.

    torch.nn.utils.skip_init does it too, and imports SymPy for that: a third of a second in every process.
    """
    layer.weight = nn.Parameter(torch.empty(layer.weight.shape, device=device))
    return layer
