"""A run's twin: its initial weights and its own kicks, without data and without a gradient.

    W_twin = W_0 + Σ_k σ η^{1/α} ξ_k,    k = 1, ..., K - 1, of a run that made K steps

with the ξ_k that the run got, added in the same order. What a twin prunes is the noise's and the start's alone; what
the run prunes beyond it is of its training. Without noise the twin is the start.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial

import torch
from torch import Tensor, nn

from heavytail import compress, noise
from heavytail.lab import models
from heavytail.lab.datasets import Dataset
from heavytail.lab.engines.protocol import Engine, Networks
from heavytail.lab.machine import devices, recording, threads
from heavytail.lab.models import Build
from heavytail.lab.training import Training
from heavytail.noise import Kick, Kicks

BLOCK = 2**16  # numbers of a weight that get all kicks before the next ones do: they stay in a core's cache

_COPIES = 3  # of its weights that a twin takes at most: its module, those that are kicked together, those pruned


def measure(
    ended: Sequence[Training], dataset: Dataset, build: Build | None, engine: Engine[Networks]
) -> list[dict[str, float]]:
    """Columns of the twins of runs of one shape that have ended, in order; NaN where a twin is not finite.

    `build` makes a network that the user has given. A twin has the same bits alone and among others on the CPU.
    """
    columns: list[dict[str, float]] = []
    left = list(ended)
    while left:
        first = models.initial_model(left[0].run, dataset, build)
        size = _COPIES * sum(p.numel() * p.element_size() for p in first.parameters())
        some = left[: max(1, devices.available(dataset.x_train.device) // max(size, 1))]
        del left[: len(some)]
        made = [first, *(models.initial_model(one.run, dataset, build) for one in some[1:])]
        columns += _measured(some, made, dataset.x_train[:2] if build is not None else None, engine)
    return columns


def _measured(
    ended: Sequence[Training], made: Sequence[nn.Module], sample: Tensor | None, engine: Engine[Networks]
) -> list[dict[str, float]]:
    run = ended[0].run
    nets = engine.stack(made, run.products, run.unit, 0, sample)
    own = {row: kick for row, one in enumerate(ended) if (kick := replace(one, step=0).kick())}
    counts = {row: ended[row].step - 1 for row in own}  # the last step of a run has no noise after it
    with torch.no_grad():
        if own and noise.launched(next(made[0].parameters()).device):
            _launched(nets, own, counts, len(made), engine)
        elif own:
            _by_core(nets, own, counts, engine)
        columns = []
        for row, model in enumerate(made):
            model.load_state_dict(engine.weights(nets, row))
            columns.append(_numbers(model, engine.hidden(nets, row), run.unit, sample))
    return columns


def _by_core(nets: Networks, own: Mapping[int, Kick], counts: Mapping[int, int], engine: Engine[Networks]) -> None:
    """All kicks of a block of units at once, each block on a thread."""

    def add(part: tuple[int, int, Tensor, slice]) -> None:
        row, layer, weight, units = part
        for step in range(1, counts[row] + 1):
            noise.kick(weight, replace(own[row], step=step), layer=layer, units=units)

    parts = [
        (row, layer, weight, units)
        for row, given in own.items()
        for layer, weight in enumerate(engine.hidden(nets, row))
        for units in _blocks(weight, given.unit)
    ]
    threads.each(add, parts, torch.device("cpu"))


def _blocks(weight: Tensor, unit: noise.Unit) -> Iterator[slice]:
    units = len(compress.norms(weight, unit))
    size = max(1, BLOCK * units // weight.numel())
    return (slice(first, min(first + size, units)) for first in range(0, units, size))


def _launched(
    nets: Networks, own: Mapping[int, Kick], counts: Mapping[int, int], rows: int, engine: Engine[Networks]
) -> None:
    """A step of all twins is one launch, from a clock that lies on the device."""
    device = engine.hidden(nets, 0)[0].device
    tape = recording.tape([0] * rows, device)
    for step in range(1, max(counts.values()) + 1):
        kicked = tuple(row for row in own if step <= counts[row])

        def make(kicked: tuple[int, ...] = kicked) -> recording.Step:
            ready = noise.launches({row: own[row] for row in kicked}, rows, device, tape.clock)
            return partial(_once, nets, engine, tape.clock, ready)  # without the tape, which would be a cycle

        recording.repeat(tape, kicked, make)


def _once(nets: Networks, engine: Engine[Networks], clock: Tensor, ready: Kicks) -> Tensor:
    clock.add_(1)
    engine.perturb(nets, ready)
    return clock


def _numbers(model: nn.Module, weights: Sequence[Tensor], unit: noise.Unit, sample: Tensor | None) -> dict[str, float]:
    """The columns of one twin. Its model is pruned in place."""
    norms = torch.cat([compress.norms(weight, unit) for weight in weights])
    sizes = {"twin_norm_median": float(norms.median()), "twin_norm_rms": float(norms.square().mean().sqrt())}
    if not (torch.isfinite(norms).all() and all(bool(weight.any()) for weight in weights)):
        return {"twin_pruning_ratio": math.nan, **dict.fromkeys(sizes, math.nan)}
    pruned = compress.prune(model, squared_error=compress.SQUARED_ERROR, sample=sample, unit=unit, inplace=True)
    return {"twin_pruning_ratio": compress.pruning_ratio(pruned, sample), **sizes}
