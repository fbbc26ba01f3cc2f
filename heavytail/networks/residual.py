"""A small residual network with batch normalisation, for images: three stages, each with a projection beside it."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn.utils import skip_init

from heavytail.networks.paper import Mean

STEM = 16  # channels before the first stage, which pruning leaves alone


class Residual(nn.Module):
    """Two 3x3 convolutions beside a 1x1 one, each normalised, and the ReLU of their sum.

    Channels of the sum are written by the second and the 1x1 convolution alone: pruned together, they can go.
    """

    def __init__(self, channels: int, width: int, stride: int, *, generator: torch.Generator) -> None:
        super().__init__()
        self.conv1 = _convolution(channels, width, 3, stride, generator)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = _convolution(width, width, 3, 1, generator)
        self.bn2 = nn.BatchNorm2d(width)
        self.short = _convolution(channels, width, 1, stride, generator)
        self.bn3 = nn.BatchNorm2d(width)

    def forward(self, x: Tensor) -> Tensor:
        """(batch, channels, height, width) to (batch, width, height / stride, width / stride)."""
        y = torch.relu(self.bn1(self.conv1(x)))
        return torch.relu(self.bn2(self.conv2(y)) + self.bn3(self.short(x)))

    @torch.no_grad()
    def silence(self) -> None:
        """Let channels whose filter is all zero say 0, in place.

        Their normalisation would go on to say a constant, which no bias can stand for before a convolution that pads
        with zeros: `compress.shrink` then keeps them.
        """
        for layer, norm in ((self.conv1, self.bn1), (self.conv2, self.bn2), (self.short, self.bn3)):
            gone = (layer.weight == 0).flatten(1).all(1)
            norm.weight[gone] = 0
            norm.bias[gone] = 0


def resnet(shape: Sequence[int], classes: int, *, width: int, depth: int, generator: torch.Generator) -> nn.Sequential:
    """A residual network with stages of `width`, 2 `width` and 4 `width` channels, after a stem of stride 2.

    `shape` is (channels, height, width) of one image; of other depths than 1 there is none. After He et al. (2016).

    >>> model = resnet((3, 32, 32), 10, width=4, depth=1, generator=torch.Generator().manual_seed(0))
    >>> model(torch.ones(2, 3, 32, 32)).shape
    torch.Size([2, 10])
    """
    if len(shape) != 3 or depth != 1:
        raise ValueError(f"a residual network takes images at depth=1, not shape {tuple(shape)} at depth={depth}")
    stem = _convolution(shape[0], STEM, 3, 2, generator)
    layers: list[nn.Module] = [stem, nn.BatchNorm2d(STEM), nn.ReLU()]
    before = STEM
    for times, stride in ((1, 1), (2, 2), (4, 2)):
        layers.append(Residual(before, times * width, stride, generator=generator))
        before = times * width
    last = skip_init(nn.Linear, before, classes, device=generator.device)
    nn.init.kaiming_uniform_(last.weight, a=math.sqrt(5), generator=generator)
    nn.init.zeros_(last.bias)
    return nn.Sequential(*layers, Mean(), nn.Flatten(), last)


def _convolution(channels: int, width: int, size: int, stride: int, generator: torch.Generator) -> nn.Conv2d:
    layer = skip_init(
        nn.Conv2d, channels, width, size, stride=stride, padding=size // 2, bias=False, device=generator.device
    )
    nn.init.kaiming_normal_(layer.weight, mode="fan_out", nonlinearity="relu", generator=generator)
    return layer
