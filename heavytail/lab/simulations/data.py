"""What studies that train share: the data that a run sees, and the share of them that a network gets right."""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache

import torch
from torch import Tensor, nn

from heavytail.lab import datasets, parts
from heavytail.lab.datasets import Dataset
from heavytail.lab.runs import Run

_ROWS = 1000  # samples at once where no gradient is needed


def seen(run: Run, device: str) -> Dataset:
    """The data that a run trains and is tested on, on the device. Raises ValueError where it asks for too many."""
    return _seen(run.dataset, run.samples, run.validation, run.batch_size, device)


@lru_cache(maxsize=1)  # runs of a list mostly differ in all else
def _seen(name: str, samples: int | None, validation: int | None, batch_size: int | None, device: str) -> Dataset:
    run = Run(dataset=name, samples=samples, validation=validation, batch_size=batch_size)
    whole = datasets.load(name)
    parts.check(run, whole)
    return parts.seen(run, whole).to(device)


@torch.inference_mode()
def accuracy(model: nn.Module, x: Tensor, y: Tensor) -> float:
    """The share of rows of x, (N, ...), whose largest output is at the label y, (N,)."""
    return sum(int((model(some).argmax(1) == labels).sum()) for some, labels in split(x, y)) / len(y)


def split(x: Tensor, y: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
    """Rows of x, (N, ...), with their labels y, (N,), a thousand at once."""
    return zip(x.split(_ROWS), y.split(_ROWS), strict=True)
