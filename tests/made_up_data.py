"""Data sets that can be learnt in a few steps."""

from __future__ import annotations

import torch

from heavytail.lab.datasets import Dataset

CLASSES, INPUTS = 3, 6


def made_up(name="digits", rows=(40, 30), shape=(INPUTS,), classes=CLASSES, seed=0):
    """A data set that can be learnt: classes are shifted against each other."""
    g = torch.Generator().manual_seed(seed)
    splits = []
    for count in rows:
        y = torch.arange(count) % classes
        x = torch.randn(count, *shape, generator=g)
        splits += [x + 1.5 * (y.reshape(-1, *[1] * len(shape)) - 1), y]
    return Dataset(name, *splits, classes=classes, verified=False, source="made up")
