"""The kernels on a GPU: the words, formulas and addresses of `kernels`, in Triton, for all runs of a grid at once.

A launch kicks one layer of every run. A program of it makes a block of ciphers of one run; each cipher gives four
words, so two stable draws or four normals, which lie half a chunk apart as `philox.words` lays them out. The series are
those of `kernels`, so a draw differs from the CPU's in its last bits only.

With TRITON_INTERPRET=1 in the environment the same functions run on CPU tensors, slowly: that is how they are tested.
"""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
import triton
import triton.language as tl
from torch import Tensor

from heavytail._sampler import law as laws
from heavytail._sampler.philox import CHUNK

INTERPRETED = os.environ.get("TRITON_INTERPRET") == "1"
BLOCK = 256  # ciphers a program makes at a time
INTERPRETED_BLOCK = 2**16  # at most: an interpreter takes as long for few as for many
WIDE, INTERPRETED_WIDE = 2**7, 2**12  # weights of a unit that a program adds a shared draw to at a time, at most
TILE, INTERPRETED_TILE = 2**11, 2**20  # weights of all its units
LARGEST_RADIUS = 1e37  # times a Gaussian it stays finite

COLUMNS = tl.constexpr(11)  # of a row of `Kicks.laws`
HALF_CHUNK = tl.constexpr(CHUNK // 2)
PI, RIGHT = tl.constexpr(float(np.float32(math.pi))), tl.constexpr(float(np.float32(math.pi / 2)))
ROOT2, LOG2E = tl.constexpr(float(np.float32(math.sqrt(2)))), tl.constexpr(float(np.float32(1 / math.log(2))))
LN2 = tl.constexpr(float(np.float32(math.log(2))))
LN2_LOW = tl.constexpr(float(np.float32(math.log(2) - float(np.float32(math.log(2))))))
LN2_HIGH, LN2_REST = tl.constexpr(0.693359375), tl.constexpr(float(np.float32(math.log(2) - 0.693359375)))
SMALLEST, LARGEST = tl.constexpr(-86.0), tl.constexpr(float(np.float32(88.722)))
COARSE = tl.constexpr(1024)
TO_EVEN = tl.constexpr(1.5 * 2.0**23)  # added to a small float32 and taken away again, it rounds to a whole number


@dataclass(frozen=True, eq=False)
class Kicks:
    """The kicks of one noise that R runs get after a step, on one device. A run whose size is 0 gets none."""

    laws: Tensor  # (R, 11) float32: power, exponent, size, then the angles near and far: see `law.Law`
    keys: Tensor  # (R,) int64, as two's complement
    steps: Tensor  # (R,) int64


def table(noise: str, kicks: Sequence[tuple[float, float, int]], device: torch.device) -> tuple[Tensor, Tensor]:
    """Laws and keys of the kicks of R runs, each an alpha, a size and a key."""
    rows = []
    for alpha, size, _ in kicks:
        # At alpha = 2 the radius is √2: the formulas give the root of a positive variable of index 1 as 1.
        law = laws.root(alpha / 2) if noise == "isotropic" else laws.symmetric(alpha)
        factor = size * math.sqrt(2) if noise == "isotropic" else size
        rows.append([law.power, law.exponent, factor, *law.near, *law.far])
    keys = np.array([key for _, _, key in kicks], np.uint64).view(np.int64)
    return torch.tensor(rows, dtype=torch.float32, device=device), torch.from_numpy(keys).to(device)


def add(weights: Tensor, noise: str, kicks: Kicks, *, layer: int, along: Tensor | None = None) -> None:
    """Add the kicks of R runs to their weights of one layer, float32 (R, units, d), each run's in one piece.

    "shared" kicks go along the vectors `along`, (R, d), each in one piece, in place of ones.
    """
    if noise == "entrywise":
        _stable_draws(weights, kicks, 2 * layer, signed=True, add=True)
        return
    units, row = weights.shape[1:]
    at = (kicks.laws, kicks.keys, kicks.steps)
    if noise == "shared":
        way = weights if along is None else along
        about = (weights.stride(0), units, row, way, way.stride(0))
        grid, block, wide = _tiles(weights)
        _shared_kernel[grid](weights, *about, *at, 2 * layer + 1, ALONG=along is not None, B=block, C=wide)
        return
    radii = weights.new_zeros(weights.shape[:2])
    _stable_draws(radii, kicks, 2 * layer + 1, signed=False, largest=LARGEST_RADIUS)
    grid, block = _grid(weights, units * row, 4)
    _normal_kernel[grid](weights, weights.stride(0), units * row, row, radii, units, *at, 2 * layer, B=block)


def symmetric(kicks: Kicks, count: int, lane: int) -> Tensor:
    """Draws number 0 to count - 1 of a lane for each of R runs: (R, count)."""
    out = torch.zeros(len(kicks.laws), count, device=kicks.laws.device)
    _stable_draws(out, kicks, lane, signed=True)
    return out


def _stable_draws(
    out: Tensor, kicks: Kicks, lane: int, *, signed: bool, add: bool = False, largest: float = math.inf
) -> None:
    """Put draws number 0, 1, ... of a lane into `out`, (R, ...), each run's in one piece, or add them to it."""
    count = out[0].numel()
    about = (out.stride(0), count, kicks.laws, kicks.keys, kicks.steps, lane, largest)
    grid, block = _grid(out, count, 2)
    _stable_kernel[grid](out, *about, SIGNED=signed, ADD=add, B=block)


def _grid(weights: Tensor, count: int, draws: int, wide: int = 1) -> tuple[tuple[int, int], int]:
    """Programs for the draws of a run, so many of them a cipher, and for the runs; and the ciphers of a program.

    They make whole chunks, whose halves meet. With `wide`, each draw is added to so many weights at a time.
    """
    chunk = CHUNK * draws // 2
    ciphers = -(-count // chunk) * (CHUNK // 2)
    most, tile = (INTERPRETED_BLOCK, INTERPRETED_TILE) if INTERPRETED else (BLOCK, TILE)
    block = min(most, tile // wide, triton.next_power_of_2(ciphers))
    return (triton.cdiv(ciphers, block), len(weights)), block


def _tiles(weights: Tensor) -> tuple[tuple[int, int], int, int]:
    """Programs that add what a unit shares, of each run, and for the runs; their ciphers; and their part of a unit."""
    units, row = weights.shape[1:]
    wide = min(triton.next_power_of_2(row), INTERPRETED_WIDE if INTERPRETED else WIDE)
    (programs, runs), block = _grid(weights, units, 2, wide)
    return (programs * triton.cdiv(row, wide), runs), block, wide


@triton.jit
def _sin_of_acute(z):  # type: ignore[no-untyped-def]
    """Sine on [0, pi/2]."""
    t = z * z
    p = 1.6059043836821613e-10 * t - 2.505210838544172e-08
    p = p * t + 2.7557319223985893e-06
    p = p * t - 0.0001984126984126984
    p = p * t + 0.008333333333333333
    p = p * t - 0.16666666666666666
    return z + z * t * p


@triton.jit
def _sin(angle):  # type: ignore[no-untyped-def]
    """Sine on [0, pi]."""
    return _sin_of_acute(tl.where(angle > RIGHT, PI - angle, angle))


@triton.jit
def _log(x):  # type: ignore[no-untyped-def]
    """Logarithm of x > 0."""
    bits = x.to(tl.int32, bitcast=True)
    e = ((bits >> 23) - 127).to(tl.float32)
    m = ((bits & 0x007FFFFF) | 0x3F800000).to(tl.float32, bitcast=True)
    above = m > ROOT2
    m = tl.where(above, m * 0.5, m)
    e = tl.where(above, e + 1.0, e)
    s = tl.div_rn(m - 1.0, m + 1.0)  # a plain division is a coarser one on a GPU
    z = s * s
    p = ((0.2222222222222222 * z + 0.2857142857142857) * z + 0.4) * z + 0.6666666666666666
    return e * LN2 + (s * (p * z + 2.0) + e * LN2_LOW)


@triton.jit
def _exp(x):  # type: ignore[no-untyped-def]
    """Exponential of x, held between the smallest and largest size of a draw."""
    v = tl.minimum(tl.maximum(x, SMALLEST), LARGEST)
    k = (v * LOG2E + TO_EVEN) - TO_EVEN
    r = (v - k * LN2_HIGH) - k * LN2_REST
    p = 0.0001984126984126984 * r + 0.001388888888888889
    p = ((p * r + 0.008333333333333333) * r + 0.041666666666666664) * r + 0.16666666666666666
    y = ((p * r + 0.5) * r + 1.0) * r + 1.0
    half = ((k.to(tl.int32) + 126) << 23).to(tl.float32, bitcast=True)  # of 2^k: k = 128 has no float32
    return half * y * 2.0


@triton.jit
def _words(group, key, step, lane, last):  # type: ignore[no-untyped-def]
    """Four words of a cipher: a counter of the place in the lane, its high word and lane, the step, and `last`."""
    high = (group >> 32).to(tl.uint32) ^ (lane.to(tl.uint32) << 8)
    steps, lasts = tl.zeros_like(high) + step.to(tl.uint32), tl.zeros_like(high) + last
    return tl.philox(key, group.to(tl.uint32), high, steps, lasts)


@triton.jit
def _uniforms(a, b, pair, key, step, lane):  # type: ignore[no-untyped-def]
    """An angle's share in (0, 1), a uniform on (0, 1/2), and two signs, of two words and their number in a lane."""
    left, right = a.to(tl.int32, bitcast=True), b.to(tl.int32, bitcast=True)
    one, other = left & 0x7FFFFFFF, right & 0x7FFFFFFF
    x, half = (one.to(tl.float32) + 0.5) * 4.656612873077393e-10, (other.to(tl.float32) + 0.5) * 2.3283064365386963e-10
    if tl.minimum(tl.min(one, 0), tl.min(other, 0)) < COARSE:  # 31 bits are too coarse a grid: some pairs want more
        more, rest, _, _ = _words(pair, key, step, lane, 1)
        finer = (one.to(tl.float64) + (more.to(tl.float64) + 0.5) * 2.3283064365386963e-10) * 4.656612873077393e-10
        x = tl.where(one < COARSE, finer.to(tl.float32), x)
        finer = (other.to(tl.float64) + (rest.to(tl.float64) + 0.5) * 2.3283064365386963e-10) * 2.3283064365386963e-10
        half = tl.where(other < COARSE, finer.to(tl.float32), half)
    return x, half, left, right


@triton.jit
def _exponential(half, sign):  # type: ignore[no-untyped-def]
    """A standard exponential: `-log(half)` on one side, `-log(1 - half)` on the other, precise at both ends."""
    logarithm = _log(tl.where(sign < 0, 1.0 - half, half))
    taken = 1.0 - (1.0 - half)  # what was really taken: half over it puts the logarithm right
    right = tl.where(taken > 0.0, -logarithm * (half / tl.where(taken > 0.0, taken, 1.0)), half)
    return tl.where(sign < 0, right, -logarithm)


@triton.jit
def _stable(a, b, pair, key, step, lane, law, SIGNED: tl.constexpr):  # type: ignore[no-untyped-def]
    """A draw of each pair of words; `law` points at its row."""
    x, half, left, right = _uniforms(a, b, pair, key, step, lane)
    e = _exponential(half, right)
    if SIGNED:
        k = left & 0x7FFFFFFF
        near = k < 0x40000000
        rest = ((0x7FFFFFFF - k).to(tl.float32) + 0.5) * 4.656612873077393e-10  # 1 - x to the last digit
        angle = tl.where(near, x, rest) * RIGHT
    else:
        near = left >= 0
        angle = x * RIGHT
    u = tl.where(near, tl.load(law + 3), tl.load(law + 7)) * angle + tl.where(near, tl.load(law + 4), tl.load(law + 8))
    v = tl.where(near, tl.load(law + 5), tl.load(law + 9)) * angle + tl.where(near, tl.load(law + 6), tl.load(law + 10))
    narrow = _sin_of_acute(x * RIGHT)
    first = _log(tl.div_rn(tl.maximum(_sin(u), 1e-30), narrow))
    second = _log(tl.div_rn(_sin(v), e * narrow))
    size = _exp(tl.load(law + 1) * (first + tl.load(law) * second))
    if SIGNED:
        size = tl.where(left < 0, -size, size)
    return size


@triton.jit(do_not_specialize=["lane"])  # a lane of 1 would be no tensor
def _stable_kernel(  # type: ignore[no-untyped-def]
    out, stride, count, laws, keys, steps, lane, largest, SIGNED: tl.constexpr, ADD: tl.constexpr, B: tl.constexpr
):
    run = tl.program_id(1).to(tl.int64)
    law = laws + run * COLUMNS
    size, key, step = tl.load(law + 2), tl.load(keys + run), tl.load(steps + run)
    if size != 0.0:
        group = tl.program_id(0).to(tl.int64) * B + tl.arange(0, B)
        a, b, c, d = _words(group, key, step, lane, 0)
        into, first = out + run * stride, group // HALF_CHUNK * (2 * HALF_CHUNK) + group % HALF_CHUNK
        _put(into, first, count, size * _stable(a, b, first, key, step, lane, law, SIGNED), largest, ADD)
        other = first + HALF_CHUNK
        _put(into, other, count, size * _stable(c, d, other, key, step, lane, law, SIGNED), largest, ADD)


@triton.jit
def _put(out, number, count, draws, largest, ADD: tl.constexpr):  # type: ignore[no-untyped-def]
    there = number < count
    draws = tl.minimum(draws, largest)
    if ADD:
        draws += tl.load(out + number, there, 0.0)
    tl.store(out + number, draws, there)


@triton.jit(do_not_specialize=["lane"])  # a lane of 1 would be no tensor
def _shared_kernel(  # type: ignore[no-untyped-def]
    out,
    stride,
    units,
    row,
    along,
    apart,
    laws,
    keys,
    steps,
    lane,
    ALONG: tl.constexpr,
    B: tl.constexpr,
    C: tl.constexpr,
):
    """A program draws for some units and adds to some entries of each: other programs draw the same for the others."""
    run, across = tl.program_id(1).to(tl.int64), tl.cdiv(row, C)
    law = laws + run * COLUMNS
    size, key, step = tl.load(law + 2), tl.load(keys + run), tl.load(steps + run)
    if size != 0.0:
        group = (tl.program_id(0) // across).to(tl.int64) * B + tl.arange(0, B)
        entry = tl.program_id(0) % across * C + tl.arange(0, C)
        a, b, c, d = _words(group, key, step, lane, 0)
        into, first = out + run * stride, group // HALF_CHUNK * (2 * HALF_CHUNK) + group % HALF_CHUNK
        way = along + run * apart + entry
        draws = size * _stable(a, b, first, key, step, lane, law, True)
        _add_to_units(into, first, units, entry, row, draws, way, ALONG)
        other = first + HALF_CHUNK
        draws = size * _stable(c, d, other, key, step, lane, law, True)
        _add_to_units(into, other, units, entry, row, draws, way, ALONG)


@triton.jit
def _add_to_units(out, unit, units, entry, row, draws, way, ALONG: tl.constexpr):  # type: ignore[no-untyped-def]
    there = (unit < units)[:, None] & (entry < row)[None, :]
    into, moves = out + (unit * row)[:, None] + entry[None, :], draws[:, None]
    if ALONG:
        moves = moves * tl.load(way, entry < row, 0.0)[None, :]
    tl.store(into, tl.load(into, there, 0.0) + moves, there)


@triton.jit(do_not_specialize=["lane"])  # a lane of 1 would be no tensor
def _normal_kernel(  # type: ignore[no-untyped-def]
    out, stride, count, row, scales, apart, laws, keys, steps, lane, B: tl.constexpr
):
    run = tl.program_id(1).to(tl.int64)
    key, step = tl.load(keys + run), tl.load(steps + run)
    if tl.load(laws + run * COLUMNS + 2) != 0.0:
        group = tl.program_id(0).to(tl.int64) * B + tl.arange(0, B)
        a, b, c, d = _words(group, key, step, lane, 0)
        chunk, place = group // HALF_CHUNK, group % HALF_CHUNK
        into, own = out + run * stride, scales + run * apart
        _two_normals(into, chunk, place, a, b, count, row, own, key, step, lane)
        _two_normals(into, chunk, place + HALF_CHUNK, c, d, count, row, own, key, step, lane)


@triton.jit
def _two_normals(out, chunk, place, a, b, count, row, scales, key, step, lane):  # type: ignore[no-untyped-def]
    """Box and Muller (1958): a pair of words is two normals, a chunk of pairs apart."""
    x, half, left, right = _uniforms(a, b, chunk * (2 * HALF_CHUNK) + place, key, step, lane)
    radius, angle = tl.sqrt(2.0 * _exponential(half, right)), x * RIGHT
    along, across = radius * _sin_of_acute(RIGHT - angle), radius * _sin_of_acute(angle)
    first = chunk * (4 * HALF_CHUNK) + place
    _add_scaled(out, first, count, row, scales, tl.where(left < 0, -along, along))
    _add_scaled(out, first + 2 * HALF_CHUNK, count, row, scales, tl.where((left & 1) == 0, -across, across))


@triton.jit
def _add_scaled(out, number, count, row, scales, draws):  # type: ignore[no-untyped-def]
    there = number < count
    scale = tl.load(scales + number // row, there, 0.0)
    tl.store(out + number, tl.load(out + number, there, 0.0) + scale * draws, there)
