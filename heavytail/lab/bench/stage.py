"""What is measured on: made-up data of a shape, networks on it, kicks for them, and a step as the trainer makes it."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial

import torch
from torch import Tensor

from heavytail import noise, streams
from heavytail.lab.datasets import Dataset
from heavytail.lab.engines import protocol, two_layer
from heavytail.lab.machine import recording, threads
from heavytail.noise import Kick, Kicks

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


def kicked(weights: Tensor, kicks: Mapping[int, Kick]) -> Callable[[], object]:
    """Kicks of runs in place, (R, units, d), to be called often; on a GPU as in `stepped`."""
    if not noise.launched(weights.device):
        return partial(noise.kick_each, weights, kicks)

    ready = noise.launches(kicks, len(weights), weights.device)
    return _replayed(len(weights), weights.device, lambda _: partial(_kicked, weights, ready))


def _kicked(weights: Tensor, ready: Kicks) -> Tensor:
    noise.kick_each(weights, ready)
    return weights[:0]  # of which a replay has nothing to copy


def stepped(
    nets: two_layer.Networks, x: Tensor, y: Tensor, rates: Tensor, kicks: Mapping[int, Kick]
) -> Callable[[], object]:
    """A step of every run, to be called often. On a GPU the trainer prepares and records it once: so does this."""
    if not noise.launched(x.device):
        return partial(descend, nets, x, y, rates, kicks)

    def make(clock: Tensor) -> recording.Step:
        return partial(_stepped, nets, x, y, rates, noise.launches(kicks, len(rates), x.device, clock), clock)

    return _replayed(len(rates), x.device, make)


def _stepped(nets: two_layer.Networks, x: Tensor, y: Tensor, rates: Tensor, ready: Kicks, clock: Tensor) -> Tensor:
    clock.add_(1)
    return two_layer.descend(nets, x, y, rates, ready)


def _replayed(runs: int, device: torch.device, make: Callable[[Tensor], recording.Step]) -> Callable[[], Tensor]:
    """What `make` makes of a clock of so many runs, recorded."""
    tape = recording.tape([1] * runs, device)
    again = partial(recording.repeat, tape, "", partial(make, tape.clock))
    for _ in range(2):  # the first call compiles, the second records: neither is to be timed
        again()
    return again
