"""A direction of the input space that no training input has a component in, or the least."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from heavytail import streams

FLAT = 1e-10  # of the mean energy: a direction with less is taken for one that no input has


def unseen(x: Tensor) -> Tensor:
    """A direction u, (d,), with `⟨x_i, u⟩` near 0 for all inputs x, (N, ...), and of the length √d of a vector of ones.

    Where inputs leave a space empty, u is the part of a fixed random vector in it, so that it does not depend on how
    a basis was computed. Else it is the direction of least energy.
    """
    rows = x.flatten(1)
    gram = sum(part.double().T @ part.double() for part in rows.split(8192))
    assert isinstance(gram, Tensor)
    energy, directions = torch.linalg.eigh(gram.cpu())
    empty = directions[:, energy <= FLAT * energy.mean()]
    if empty.shape[1] == 0:
        empty = directions[:, :1]
    g = streams.generator(0, "data")
    u = empty @ (empty.T @ torch.randn(len(energy), generator=g, dtype=torch.float64))
    return (u * math.sqrt(len(u)) / u.norm()).float().to(x.device)
