"""Stable kicks added to float32 weights on the CPU, at a few nanoseconds an entry.

Each draw has an address: key, step, lane and number. What a weight gets therefore depends on no order, no batch and no
number of threads. Lanes keep layers apart: layer k has lanes 2k (entries) and 2k + 1 (what a whole unit shares).
A lane holds 2^41 draws, a run 2^32 steps. The last bits of a draw may differ between kinds of CPU, the words behind it
do not. The laws are those of `heavytail.stable`; the numbers are not, since those come from a `torch.Generator`.
"""

from __future__ import annotations

import math
from functools import lru_cache

import numpy as np
from torch import Tensor

from heavytail._sampler import kernels

SAMPLER_VERSION = 2  # raised whenever the same address would give other numbers; stored with every row of a training


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
    if not (0 <= key < 2**64 and 0 <= step < 2**32 and 0 <= layer < 2**23):
        raise ValueError(f"no such address: key={key}, step={step}, layer={layer}")
    units, entries = weight.shape
    flat, last, word = weight.detach().view(-1).numpy(), first + units, np.uint64(key)
    size = np.float64(scale)
    if not scale * math.sqrt(2) <= float(np.finfo(np.float32).max):
        flat += np.float32(math.inf)  # the run has diverged, and this says so
    elif noise == "entrywise":
        law = _symmetric(alpha)
        kernels.stable(flat, first * entries, last * entries, size, True, law, 2 * layer, word, step)
    elif noise == "shared":
        scalars = np.empty(units, np.float32)
        kernels.stable(scalars, first, last, size, False, _symmetric(alpha), 2 * layer + 1, word, step)
        matrix = flat.reshape(units, entries)
        if along is None:
            kernels.add_scalars(matrix, scalars)
        else:
            matrix += scalars[:, None] * along.numpy()
    else:
        radii = np.full(units, scale * math.sqrt(2), np.float32)
        if alpha < 2:
            law = _root(alpha / 2)
            kernels.stable(radii, first, last, size * math.sqrt(2), False, law, 2 * layer + 1, word, step)
            np.minimum(radii, 1e37, out=radii)  # times a Gaussian it stays finite
        kernels.normal(flat, first * entries, last * entries, radii, entries, 2 * layer, word, step)


def symmetric(alpha: float, size: int, *, key: int, step: int = 0, lane: int = 0) -> np.ndarray:
    """Draws number 0 to size - 1 of the symmetric α-stable law, `exp(-|u|^alpha)`, alpha in (0, 2]; float32."""
    return _draws(_symmetric(alpha), size, key, step, lane)


def positive(alpha: float, size: int, *, key: int, step: int = 0, lane: int = 0) -> np.ndarray:
    """Draws number 0 to size - 1 of the positive α-stable law, `exp(-s^alpha)`, alpha in (0, 1); float32."""
    return _draws(_positive(alpha), size, key, step, lane)


def _draws(law: np.ndarray, size: int, key: int, step: int, lane: int) -> np.ndarray:
    out = np.empty(size, np.float32)
    kernels.stable(out, 0, size, np.float64(1), False, law, lane, np.uint64(key), step)
    return out


@lru_cache(maxsize=4096)
def _symmetric(alpha: float) -> np.ndarray:
    """Chambers, Mallows, Stuck (1976): |sin(αV)| and cos((1 - α)V) at |V| = π/2 - x, as sines that do not cancel."""
    alpha = max(alpha, 1e-30)  # any smaller index gives the same numbers
    slope, offset = (alpha, 2 - alpha) if alpha >= 1 else (-alpha, alpha)
    lean = abs(1 - alpha)
    side = [slope, offset * math.pi / 2, lean, (1 - lean) * math.pi / 2]
    return np.array([(1 - alpha) / alpha, 1.0, *side, *side, 1.0])


@lru_cache(maxsize=4096)
def _root(alpha: float) -> np.ndarray:
    """The root of a positive stable variable, taken in logarithms: the variable itself may exceed float32."""
    law = _positive(alpha).copy()
    law[10] = 0.5
    return law


@lru_cache(maxsize=4096)
def _positive(alpha: float) -> np.ndarray:
    """Kanter (1975): sin(αU) and sin((1 - α)U) at U = x and at U = π - x."""
    alpha = max(alpha, 1e-30)

    def beyond(slope: float, rest: float) -> list[float]:
        # sin(slope (π - x)), turned over where slope π lies beyond the top, so that the offset is small and exact
        return [slope, rest * math.pi] if slope > 0.5 else [-slope, slope * math.pi]

    rest = 1 - alpha
    near = [alpha, 0.0, rest, 0.0]
    return np.array([rest / alpha, -1.0, *near, *beyond(alpha, rest), *beyond(rest, alpha), 1.0])
