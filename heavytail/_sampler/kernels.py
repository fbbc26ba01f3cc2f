"""Stable draws in float32, a chunk at a time, compiled: what `heavytail._sampler` adds to the weights.

The formulas are those of `heavytail.stable`, in one form for both laws. With x the angle's distance to its singular
end and E a standard exponential,

    log |X| = log(sin(u) / sin(x)) + (1 - a)/a * log(sin(v) / (E sin(x))),    u, v linear in x.

Loops are split so that each runs on vector instructions; logarithm, exponential and sine are short series with a
relative error below 3e-7, because a compiled loop cannot call a library's vector functions from here.
"""

from __future__ import annotations

import math

import numpy as np
from numba import float32, int32, njit, uint64

from heavytail._sampler.jit import compiled
from heavytail._sampler.philox import CHUNK, finer, words

# float32 constants: a bare Python float would lift the whole loop to float64.
_ZERO, _HALF, _ONE, _TWO, _PI, _RIGHT = (np.float32(v) for v in (0, 0.5, 1, 2, math.pi, math.pi / 2))
_LN2 = np.float32(math.log(2))
_LN2_LOW = np.float32(math.log(2) - float(_LN2))
_LN2_HIGH = np.float32(0.693359375)  # few digits, so that a whole multiple of it is exact
_LN2_REST = np.float32(math.log(2) - 0.693359375)
_LOG2E = np.float32(1 / math.log(2))
_ROOT2 = np.float32(math.sqrt(2))
_SMALLEST, _LARGEST = np.float32(-86.0), np.float32(88.722)  # of log|X|, so that every draw is positive and finite
_ATANH = tuple(np.float32(2 / k) for k in (9, 7, 5, 3))
_SIN = tuple(np.float32((-1) ** (k // 2) / math.factorial(k)) for k in (13, 11, 9, 7, 5, 3))
_EXP = tuple(np.float32(1 / math.factorial(k)) for k in (7, 6, 5, 4, 3))
_MASK, _MIDDLE = int32(0x7FFFFFFF), int32(0x40000000)
_COARSE = int32(1024)  # below it, 31 bits of a uniform are too coarse a grid, and more are drawn: once in 10^3 chunks

# No "reassoc": the two parts of ln 2 must stay apart. Nothing here is NaN or infinite.
_loop = compiled(fastmath={"contract", "nsz", "nnan", "ninf"}, error_model="numpy")
_inline = njit(inline="always")
_plain = compiled()  # where weights are touched: those may be NaN


@_inline
def _room():  # type: ignore[no-untyped-def]
    """Room for a chunk: two of words, four of float32."""
    a, b = np.empty(CHUNK, np.int32), np.empty(CHUNK, np.int32)
    x, half = np.empty(CHUNK, np.float32), np.empty(CHUNK, np.float32)
    return a, b, x, half, np.empty(CHUNK, np.float32), np.empty(CHUNK, np.float32)


@_inline
def _sin(angle):  # type: ignore[no-untyped-def]
    """Sine on [0, pi]."""
    return _sin_of_acute(_PI - angle if angle > _RIGHT else angle)


@_inline
def _sin_of_acute(z):  # type: ignore[no-untyped-def]
    """Sine on [0, pi/2]."""
    t = z * z
    p = _SIN[0] * t + _SIN[1]
    p = p * t + _SIN[2]
    p = p * t + _SIN[3]
    p = p * t + _SIN[4]
    p = p * t + _SIN[5]
    return z + z * t * p


@_loop
def _log(x, bits, out):  # type: ignore[no-untyped-def]
    """Logarithm of x > 0 into `out`; `bits` is x seen as int32. Overwrites x."""
    for j in range(CHUNK):
        i = bits[j]
        out[j] = float32((i >> int32(23)) - int32(127))
        bits[j] = (i & int32(0x007FFFFF)) | int32(0x3F800000)
    for j in range(CHUNK):
        m, e = x[j], out[j]
        above = m > _ROOT2
        m = m * _HALF if above else m
        e = e + _ONE if above else e
        s = (m - _ONE) / (m + _ONE)
        z = s * s
        p = ((_ATANH[0] * z + _ATANH[1]) * z + _ATANH[2]) * z + _ATANH[3]
        out[j] = e * _LN2 + (s * (p * z + _TWO) + e * _LN2_LOW)


@_loop
def _exp(x, bits, out):  # type: ignore[no-untyped-def]
    """Exponential of x, held between the smallest and largest size of a draw, into `out`, seen as int32 in `bits`."""
    for j in range(CHUNK):
        v = min(max(x[j], _SMALLEST), _LARGEST)
        k = np.rint(v * _LOG2E)
        r = (v - k * _LN2_HIGH) - k * _LN2_REST
        p = (((_EXP[0] * r + _EXP[1]) * r + _EXP[2]) * r + _EXP[3]) * r + _EXP[4]
        x[j] = ((p * r + _HALF) * r + _ONE) * r + _ONE
        bits[j] = (int32(k) + int32(126)) << int32(23)  # half of 2^k: k = 128 has no float32
    for j in range(CHUNK):
        out[j] = out[j] * x[j] * _TWO


@_loop
def _distances(raw, finest, out):  # type: ignore[no-untyped-def]
    """Uniforms on (0, 1) from 31 bits of each of `raw`; True if some need finer digits."""
    least = _MASK
    for j in range(CHUNK):
        k = raw[j] & _MASK
        least = min(least, k)
        out[j] = (float32(k) + _HALF) * finest
    return least < _COARSE


@_loop
def _exponentials(raw, half, work, work_bits, out):  # type: ignore[no-untyped-def]
    """Standard exponentials into `out` from uniforms `half` on (0, 1/2) and the sign of `raw`. Overwrites `work`.

    `-log(half)` on one side, `-log(1 - half)` on the other: precise at both ends.
    """
    for j in range(CHUNK):
        work[j] = _ONE - half[j] if raw[j] < int32(0) else half[j]
    _log(work, work_bits, out)
    for j in range(CHUNK):
        # 1 - half was rounded: half over what was really taken from 1 puts its logarithm right.
        taken = _ONE - (_ONE - half[j])
        right = -out[j] * (half[j] / taken) if taken > _ZERO else half[j]
        out[j] = right if raw[j] < int32(0) else -out[j]


@_loop
def _pairs(chunk, lane, key, step, a, b, x, half):  # type: ignore[no-untyped-def]
    """Words of a chunk into a and b, seen as int32; an angle's share x in (0, 1), and `half` in (0, 1/2), of them."""
    words(chunk, lane, key, step, a.view(np.uint32), b.view(np.uint32))
    coarse_x = _distances(a, float32(2.0**-31), x)
    coarse_half = _distances(b, float32(2.0**-32), half)
    if coarse_x or coarse_half:
        for j in range(CHUNK):
            one, other = a[j] & _MASK, b[j] & _MASK
            if one < _COARSE or other < _COARSE:
                more, other_more = finer(chunk, lane, key, step, j)
                if one < _COARSE:
                    x[j] = float32((one + more) * 2.0**-31)
                if other < _COARSE:
                    half[j] = float32((other + other_more) * 2.0**-32)


@_plain
def _put(out, draws, size, add):  # type: ignore[no-untyped-def]
    """`out = size * draws`, or `out += size * draws`."""
    for j in range(len(draws)):
        out[j] = size * draws[j] + (out[j] if add else _ZERO)


@_plain
def add_scalars(matrix, scalars):  # type: ignore[no-untyped-def]
    """Add its own scalar to every row of `matrix`."""
    for i in range(len(matrix)):
        row, scalar = matrix[i], scalars[i]
        for j in range(len(row)):
            row[j] += scalar


@_plain
def _add_rows(out, start, stop, draws, first, scales, row):  # type: ignore[no-untyped-def]
    """Add `draws`, numbers from `first` on, to `out`, numbers from `start` on, each times its row's scale."""
    low, high = max(start, first), min(stop, first + len(draws))
    out, draws, above = out[low - start : high - start], draws[low - first : high - first], low // row
    # Unsigned: else each index would be asked whether it is below zero, which costs a short row more than its numbers.
    i, until, r, end = uint64(0), uint64((above + 1) * row - low), uint64(above - start // row), uint64(len(out))
    while i < end:
        size, until = scales[r], min(until, end)
        for j in range(i, until):
            out[j] += size * draws[j]
        i, until, r = until, until + uint64(row), r + uint64(1)


@_inline
def _rounded(angles):  # type: ignore[no-untyped-def]
    return float32(angles.u_slope), float32(angles.u_offset), float32(angles.v_slope), float32(angles.v_offset)


@_loop
def stable(out, start, stop, scale, add, law, lane, key, step):  # type: ignore[no-untyped-def]
    """Put draws number `start` to `stop` of a lane, times `scale`, into `out` (stop - start,), or add them to it.

    `law` is a `heavytail._sampler.law.Law`.
    """
    a, b, x, half, e, work = _room()
    half_bits, e_bits, work_bits = half.view(np.int32), e.view(np.int32), work.view(np.int32)
    power, exponent, size = float32(law.power), float32(law.exponent), float32(scale)
    u_slope, u_offset, v_slope, v_offset = _rounded(law.near)
    u_slope2, u_offset2, v_slope2, v_offset2 = _rounded(law.far)
    for chunk in range(start // CHUNK, (stop + CHUNK - 1) // CHUNK):
        _pairs(chunk, lane, key, step, a, b, x, half)
        _exponentials(b, half, work, work_bits, e)
        if law.signed:
            for j in range(CHUNK):
                k = a[j] & _MASK
                near = k < _MIDDLE
                rest = (float32(_MASK - k) + _HALF) * float32(2.0**-31)  # 1 - x to the last digit
                angle = (x[j] if near else rest) * _RIGHT
                u = (u_slope if near else u_slope2) * angle + (u_offset if near else u_offset2)
                v = (v_slope if near else v_slope2) * angle + (v_offset if near else v_offset2)
                narrow = _sin_of_acute(x[j] * _RIGHT)
                half[j] = max(_sin(u), float32(1e-30)) / narrow
                e[j] = _sin_of_acute(v) / (e[j] * narrow)
        else:
            for j in range(CHUNK):
                angle, near = x[j] * _RIGHT, a[j] >= int32(0)
                u = (u_slope if near else u_slope2) * angle + (u_offset if near else u_offset2)
                v = (v_slope if near else v_slope2) * angle + (v_offset if near else v_offset2)
                narrow = _sin_of_acute(angle)
                half[j] = max(_sin(u), float32(1e-30)) / narrow
                e[j] = _sin(v) / (e[j] * narrow)
        _log(half, half_bits, work)
        _log(e, e_bits, half)
        for j in range(CHUNK):
            work[j] = exponent * (work[j] + power * half[j])
        _exp(work, e_bits, e)
        if law.signed:
            for j in range(CHUNK):
                e[j] = -e[j] if a[j] < int32(0) else e[j]
        first = chunk * CHUNK
        low, high = max(start, first), min(stop, first + CHUNK)
        _put(out[low - start : high - start], e[low - first : high - first], size, add)


@_loop
def normal(out, start, stop, scales, row, lane, key, step):  # type: ignore[no-untyped-def]
    """Add standard normals number `start` to `stop` of a lane to `out`, each times its row's scale.

    Number i lies in row i // row of a matrix, and `scales` begins with the row of number `start`. Source: Box and
    Muller (1958), with an exponential and an angle that have digits enough for the tail.
    """
    a, b, x, half, e, work = _room()
    both = np.empty(2 * CHUNK, np.float32)
    work_bits = work.view(np.int32)
    for chunk in range(start // (2 * CHUNK), (stop + 2 * CHUNK - 1) // (2 * CHUNK)):
        _pairs(chunk, lane, key, step, a, b, x, half)
        _exponentials(b, half, work, work_bits, e)
        for j in range(CHUNK):
            radius = math.sqrt(_TWO * e[j])
            angle = x[j] * _RIGHT
            along, across = radius * _sin_of_acute(_RIGHT - angle), radius * _sin_of_acute(angle)
            both[j] = -along if a[j] < int32(0) else along
            # The second sign is the angle's last bit, which float32 rounds off the angle itself.
            both[j + CHUNK] = -across if (a[j] & int32(1)) == int32(0) else across
        _add_rows(out, start, stop, both, chunk * 2 * CHUNK, scales, row)
