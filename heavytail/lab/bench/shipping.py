"""How long networks of the sizes that one would ship take for a batch, in turns with the whole one.

What a network takes depends on its shape, not on its weights, so those are drawn, and tables of trained networks are
joined to these figures by the number of units.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial

import torch
from torch import nn

from heavytail import compress, networks, streams
from heavytail.compress import Measurements
from heavytail.extras import need
from heavytail.lab.bench.stage import ECG5000, MNIST
from heavytail.lab.bench.timing import Figure, Missing
from heavytail.lab.simulations import Shipping

BATCHES = (1, 64, 1024)


@dataclass(frozen=True)
class Family:
    """Networks of one kind in every size, on the data set `name`.

    shape    of one sample
    network  (width, generator) -> model; `width` is that of the whole one
    """

    name: str
    shape: tuple[int, ...]
    width: int
    network: Callable[[int, torch.Generator], nn.Module]


def _fcn(inputs: int, classes: int, width: int, generator: torch.Generator) -> nn.Module:
    return networks.fcn(inputs, width, 1, classes, generator=generator)


def _resnet(shape: tuple[int, ...], classes: int, width: int, generator: torch.Generator) -> nn.Module:
    return networks.resnet(shape, classes, width=width, depth=1, generator=generator)


FAMILIES = (
    Family("ecg5000", (ECG5000.inputs,), 2000, partial(_fcn, ECG5000.inputs, ECG5000.classes)),
    Family("mnist", (MNIST.inputs,), 1000, partial(_fcn, MNIST.inputs, MNIST.classes)),
    Family("cifar10", (3, 32, 32), 16, partial(_resnet, (3, 32, 32), 10)),
)
#: Multiples of 8 and their neighbours.
NEIGHBOURS = ((24, 23, 25), (64, 63, 65), (512, 509))


def shipping(
    device: torch.device,
    seconds: float = 90.0,
    families: Sequence[Family] = FAMILIES,
    neighbours: Sequence[Sequence[int]] = NEIGHBOURS,
    batches: Sequence[int] = BATCHES,
) -> Iterator[Figure]:
    """Times of networks of every size of the study `shipping`, on one thread: with one hidden layer, and residual ones.

    In eager torch and ONNX Runtime, for each batch: `shipping.WAY.ms` from the median of all calls to their 95th
    percentile, and `shipping.WAY.over_whole`, times the whole network in the same round, with the spread of rounds.
    `shipping.WAY.over_multiple` is the same of odd widths of the first family against a multiple of 8. About `seconds`
    for each family.
    """
    try:
        for package in ("safetensors", "onnx", "onnxscript", "onnxruntime"):
            need(package, "the case shipping", "ship")
    except ModuleNotFoundError as error:
        raise Missing(str(error)) from error
    for family in families:
        ladder = [family.width, *reversed(Shipping(width=family.width).ladder[:-1])]
        found = _measured(family, ladder, seconds, batches)
        yield from _figures(found, f"{family.name}, {{}} units", "over_whole", ms=True)
    first = families[0]
    for multiple, *others in neighbours:
        found = _measured(first, [multiple, *others], seconds / 4, batches)
        yield from _figures(found, f"{first.name}, {{}} units against {multiple}", "over_multiple", ms=False)


def _measured(family: Family, widths: Sequence[int], seconds: float, batches: Sequence[int]) -> Measurements:
    words = streams.generator(0, "weights")
    models = {str(width): family.network(width, words).eval() for width in widths}
    sample = torch.randn(max(batches), *family.shape, generator=streams.generator(0, "data"))
    return compress.measure(models, sample, batches=batches, seconds=seconds, device="cpu")


def _figures(found: Measurements, case: str, against: str, *, ms: bool) -> Iterator[Figure]:
    for one in found.networks:
        for t in one.timings:
            about = f"{case.format(one.name)}, batch {t.batch}"
            if ms:
                yield Figure(f"shipping.{t.way}.ms", about, 1e3 * t.median, 1e3 * t.median, 1e3 * t.p95, "ms")
            if t.ratio is not None and t.low is not None and t.high is not None and one is not found.networks[0]:
                yield Figure(f"shipping.{t.way}.{against}", about, t.ratio, t.low, t.high, "ratio")
