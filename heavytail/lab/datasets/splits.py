"""The rows of a data set pooled and split anew, by a shuffle that is a part of the data set."""

from __future__ import annotations

import numpy as np
import torch

from heavytail import streams
from heavytail.lab.datasets.arrays import Arrays, by_digest


def anew(arrays: Arrays, name: str) -> Arrays:
    """The same rows, as many in each split, in the order of the one shuffle that belongs to `name`.

    The seed of a run has no part in it, nor has the order of the file: rows are put in that of their digests before.

    >>> x, y = np.arange(12.0).reshape(6, 2), np.arange(6)
    >>> split = anew(Arrays(x[:2], y[:2], x[2:], y[2:]), "mine-random")
    >>> split.y_train.tolist(), split.y_test.tolist()
    ([5, 2], [0, 3, 1, 4])
    """
    x, y = by_digest(np.concatenate([arrays.x_train, arrays.x_test]), np.concatenate([arrays.y_train, arrays.y_test]))
    shuffle = streams.generator(streams.key(0, "data", name), "data")
    train, test = np.split(torch.randperm(len(y), generator=shuffle).numpy(), [len(arrays.y_train)])
    return Arrays(x[train], y[train], x[test], y[test])
