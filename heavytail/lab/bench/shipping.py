"""How long networks of the sizes that one would ship take for a batch, in turns with the whole one.

What a network takes depends on its shape, not on its weights, so those are drawn, and tables of trained networks are
joined to these figures by the number of units.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from torch import nn

from heavytail import compress, networks, streams
from heavytail.compress import Measurements
from heavytail.extras import need
from heavytail.lab.bench.stage import ECG5000, MNIST, Shape
from heavytail.lab.bench.timing import Figure, Missing
from heavytail.lab.simulations import Shipping

BATCHES = (1, 64, 1024)
#: Multiples of 8 and their neighbours.
NEIGHBOURS = ((24, 23, 25), (64, 63, 65), (512, 509))


def shipping(
    device: torch.device,
    seconds: float = 90.0,
    sizes: Sequence[tuple[Shape, int]] = ((ECG5000, 2000), (MNIST, 1000)),
    neighbours: Sequence[Sequence[int]] = NEIGHBOURS,
    batches: Sequence[int] = BATCHES,
) -> Iterator[Figure]:
    """Times of bias-free networks with one hidden layer, of every size of the study `shipping`, on one thread.

    In eager torch and ONNX Runtime, for each batch: `shipping.WAY.ms` from the median of all calls to their 95th
    percentile, and `shipping.WAY.over_whole`, times the whole network in the same round, with the spread of rounds.
    `shipping.WAY.over_multiple` is the same of odd widths against a multiple of 8. About `seconds` for each shape.
    """
    try:
        for package in ("safetensors", "onnx", "onnxscript", "onnxruntime"):
            need(package, "the case shipping", "ship")
    except ModuleNotFoundError as error:
        raise Missing(str(error)) from error
    for shape, width in sizes:
        ladder = [width, *reversed(Shipping(width=width).ladder[:-1])]
        found = _measured(shape, ladder, seconds, batches)
        yield from _figures(found, f"{shape.name}, {{}} units", "over_whole", ms=True)
    shape = sizes[0][0]
    for multiple, *others in neighbours:
        found = _measured(shape, [multiple, *others], seconds / 4, batches)
        yield from _figures(found, f"{shape.name}, {{}} units against {multiple}", "over_multiple", ms=False)


def _measured(shape: Shape, widths: Sequence[int], seconds: float, batches: Sequence[int]) -> Measurements:
    words = streams.generator(0, "weights")
    models: dict[str, nn.Module] = {
        str(width): networks.fcn(shape.inputs, width, 1, shape.classes, generator=words).eval() for width in widths
    }
    sample = torch.randn(max(batches), shape.inputs, generator=streams.generator(0, "data"))
    return compress.measure(models, sample, batches=batches, seconds=seconds, device="cpu")


def _figures(found: Measurements, case: str, against: str, *, ms: bool) -> Iterator[Figure]:
    for one in found.networks:
        for t in one.timings:
            about = f"{case.format(one.name)}, batch {t.batch}"
            if ms:
                yield Figure(f"shipping.{t.way}.ms", about, 1e3 * t.median, 1e3 * t.median, 1e3 * t.p95, "ms")
            if t.ratio is not None and t.low is not None and t.high is not None and one is not found.networks[0]:
                yield Figure(f"shipping.{t.way}.{against}", about, t.ratio, t.low, t.high, "ratio")
