"""What is measured on: made-up data of a shape, networks on it, kicks for them, and a step as the trainer makes it."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from heavytail import noise, streams
from heavytail.lab.datasets import Dataset
from heavytail.lab.engines import protocol, two_layer
from heavytail.lab.machine import threads
from heavytail.noise import Kick

ALPHA = 1.75


@dataclass(frozen=True)
class Shape:
    """The shape of a training step: what decides its cost."""

    name: str
    inputs: int
    classes: int
    train: int
    test: int

    def data(self) -> Dataset:
        """Made-up samples of this shape: what they hold decides no time."""
        g = torch.Generator().manual_seed(1)
        x_train, x_test = (torch.randn(count, self.inputs, generator=g) for count in (self.train, self.test))
        y_train, y_test = (torch.randint(0, self.classes, (n,), generator=g) for n in (self.train, self.test))
        return Dataset(
            self.name, x_train, y_train, x_test, y_test, classes=self.classes, verified=False, source="made up"
        )


ECG5000 = Shape("ecg5000", 140, 2, 500, 4500)
MNIST = Shape("mnist", 784, 10, 60_000, 10_000)


def networks(
    runs: int, width: int, inputs: int, classes: int, batch: int, device: torch.device, low: str = "float32"
) -> two_layer.Networks:
    """Networks with one hidden layer, drawn anew but always alike, on a device."""
    g = torch.Generator(device).manual_seed(1)
    hidden = torch.randn(runs, width, inputs, generator=g, device=device) / math.sqrt(inputs)
    output = torch.randn(runs, width, classes, generator=g, device=device) / math.sqrt(width)
    room = torch.empty(runs * width * batch, device=device)
    return two_layer.Networks(hidden, output, ("1.weight", "3.weight"), protocol.lowered(low), room)


def stage(
    shape: Shape, runs: int, width: int, batch: int, device: torch.device, low: str = "float32"
) -> tuple[two_layer.Networks, Tensor, Tensor]:
    """Networks, and a batch of inputs and labels for a step of them."""
    data = replace(shape, train=batch, test=1).data().to(device)
    return networks(runs, width, shape.inputs, shape.classes, batch, device, low), data.x_train, data.y_train


def kick(kind: noise.Noise, seed: int) -> Kick:
    """A kick so small that the weights stay as they are, however often it is given."""
    return Kick(ALPHA, kind, "filter", 1e-9, streams.key(seed, "noise"), 1)


def descend(nets: two_layer.Networks, x: Tensor, y: Tensor, rates: Tensor, kicks: Mapping[int, Kick]) -> None:
    """A step of every run as the trainer makes it: on a CPU each on a thread."""
    apart = two_layer.apart(nets)
    if len(apart) == 1:
        two_layer.descend(nets, x, y, rates, kicks)
        return

    def alone(row: int) -> None:
        two_layer.descend(apart[row], x, y, rates[row : row + 1], {0: kicks[row]} if row in kicks else {})

    threads.each(alone, range(len(apart)), x.device)
