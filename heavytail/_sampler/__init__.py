"""Stable kicks added to float32 weights on the CPU, at a few nanoseconds an entry.

Each draw has an address: key, step, lane and number. What a weight gets therefore depends on no order, no batch and no
number of threads. Lanes keep layers apart: layer k has lanes 2k (entries) and 2k + 1 (what a whole unit shares).
A lane holds 2^41 draws, a run 2^32 steps. The last bits of a draw may differ between kinds of CPU, the words behind it
do not. The laws are those of `heavytail.stable`; the numbers are not, since those come from a `torch.Generator`.

The kernels are imported by the first draw: the compiler behind them takes longer to import than the rest together.
"""

from __future__ import annotations

import math

import numpy as np
from torch import Tensor

from heavytail._sampler import law as laws
from heavytail._sampler.law import Law

SAMPLER_VERSION = 3  # raised whenever the same address would give other numbers; stored with every row of a training


def add(
    weight: Tensor,
    noise: str,
    alpha: float,
    scale: float,
    *,
    key: int,
    step: int,
    layer: int = 0,
    first: int = 0,
    along: Tensor | None = None,
) -> None:
    """Add `scale` times a unit draw of the named noise to `weight`, in place.

    `weight` is float32, contiguous, on the CPU, shape (units, d): the units from number `first` on of a layer. Parts of
    a layer may be added in any order, by any number of threads. "shared" kicks go along the vector `along`, (d,), in
    place of ones. `noise.add` is the door that checks what it is given.
    """
    check_address(key, step, layer)
    from heavytail._sampler import kernels

    units, entries = weight.shape
    flat, last, word = weight.detach().view(-1).numpy(), first + units, np.uint64(key)
    size = np.float64(scale)
    if not scale * math.sqrt(2) <= float(np.finfo(np.float32).max):
        flat += np.float32(math.inf)  # the run has diverged, and this says so
    elif noise == "entrywise":
        law = laws.symmetric(alpha)
        kernels.stable(flat, first * entries, last * entries, size, True, law, 2 * layer, word, step)
    elif noise == "shared":
        scalars = np.empty(units, np.float32)
        kernels.stable(scalars, first, last, size, False, laws.symmetric(alpha), 2 * layer + 1, word, step)
        matrix = flat.reshape(units, entries)
        if along is None:
            kernels.add_scalars(matrix, scalars)
        else:
            matrix += scalars[:, None] * along.numpy()
    elif noise == "isotropic":
        radii = np.full(units, scale * math.sqrt(2), np.float32)
        if alpha < 2:
            law = laws.root(alpha / 2)
            kernels.stable(radii, first, last, size * math.sqrt(2), False, law, 2 * layer + 1, word, step)
            np.minimum(radii, 1e37, out=radii)  # times a Gaussian it stays finite
        kernels.normal(flat, first * entries, last * entries, radii, entries, 2 * layer, word, step)
    else:
        raise ValueError(f"the compiled sampler has no noise {noise!r}")


def check_address(key: int, step: int, layer: int) -> None:
    """Raise ValueError unless a run has that step, and a network that layer."""
    if not (0 <= key < 2**64 and 0 <= step < 2**32 and 0 <= layer < 2**23):
        raise ValueError(f"no such address: key={key}, step={step}, layer={layer}")


def symmetric(alpha: float, size: int, *, key: int, step: int = 0, lane: int = 0) -> np.ndarray:
    """Draws number 0 to size - 1 of the symmetric α-stable law, `exp(-|u|^alpha)`, alpha in (0, 2]; float32."""
    return _draws(laws.symmetric(alpha), size, key, step, lane)


def positive(alpha: float, size: int, *, key: int, step: int = 0, lane: int = 0) -> np.ndarray:
    """Draws number 0 to size - 1 of the positive α-stable law, `exp(-s^alpha)`, alpha in (0, 1); float32."""
    return _draws(laws.positive(alpha), size, key, step, lane)


def _draws(law: Law, size: int, key: int, step: int, lane: int) -> np.ndarray:
    from heavytail._sampler import kernels

    out = np.empty(size, np.float32)
    kernels.stable(out, 0, size, np.float64(1), False, law, lane, np.uint64(key), step)
    return out
