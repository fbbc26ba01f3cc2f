"""Counter-based random words: the word of a place is a function of the key and the place alone.

Philox4x32 with ten rounds. Source: Salmon, Moraes, Dror, Shaw (2011), *Parallel random numbers: as easy as 1, 2, 3*.
"""

from __future__ import annotations

import numpy as np
from numba import njit, uint32, uint64

from heavytail._sampler.jit import compiled

CHUNK = 1024  # pairs of words made at once; small enough that all scratch stays in the first-level cache
_GROUPS = CHUNK // 2  # one call of the cipher gives four words, two pairs

_MULTIPLIERS = uint32(0xD2511F53), uint32(0xCD9E8D57)
_WEYL = uint32(0x9E3779B9), uint32(0xBB67AE85)


@njit(inline="always")
def cipher(c0, c1, c2, c3, k0, k1):  # type: ignore[no-untyped-def]
    """Four 32-bit words of a counter of four words under a key of two."""
    for _ in range(10):
        left = uint64(_MULTIPLIERS[0]) * uint64(c0)
        right = uint64(_MULTIPLIERS[1]) * uint64(c2)
        c0 = uint32(right >> uint64(32)) ^ c1 ^ k0
        c1 = uint32(right)
        c2 = uint32(left >> uint64(32)) ^ c3 ^ k1
        c3 = uint32(left)
        k0 = uint32(k0 + _WEYL[0])
        k1 = uint32(k1 + _WEYL[1])
    return c0, c1, c2, c3


@compiled()
def words(chunk, lane, key, step, first, second):  # type: ignore[no-untyped-def]
    """Fill `first` and `second`, uint32 (CHUNK,), with the pairs of words of one chunk of a lane at a step.

    The counter is (place in the lane, low; place, high, and lane; step; 0). Its last word is 1 in `finer`.
    """
    k0, k1 = uint32(key), uint32(key >> uint64(32))
    place = uint64(chunk) * uint64(_GROUPS)
    low, high = uint32(place), uint32(place >> uint64(32)) ^ (uint32(lane) << uint32(8))
    for j in range(_GROUPS):
        a, b, c, d = cipher(low + uint32(j), high, uint32(step), uint32(0), k0, k1)
        first[j], second[j] = a, b
        first[j + _GROUPS], second[j + _GROUPS] = c, d


@compiled()
def finer(chunk, lane, key, step, j):  # type: ignore[no-untyped-def]
    """Two more words for pair `j` of a chunk, as fractions in (0, 1): the digits behind those that `words` gave."""
    place = uint64(chunk) * uint64(CHUNK) + uint64(j)
    high = uint32(place >> uint64(32)) ^ (uint32(lane) << uint32(8))
    a, b, _, _ = cipher(uint32(place), high, uint32(step), uint32(1), uint32(key), uint32(key >> uint64(32)))
    return (np.float64(a) + 0.5) * 2.0**-32, (np.float64(b) + 0.5) * 2.0**-32
