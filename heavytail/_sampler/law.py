"""The stable laws as `kernels.stable` draws them: by the two angles u and v, which are linear in x."""

from __future__ import annotations

import math
from functools import lru_cache
from typing import NamedTuple

_SMALLEST = 1e-30  # any smaller index gives the same numbers


class Angles(NamedTuple):
    """`u = u_slope * x + u_offset` and v likewise, in radians."""

    u_slope: float
    u_offset: float
    v_slope: float
    v_offset: float


class Law(NamedTuple):
    """A law with index a: `log |X| = log(sin u / sin x) + (1 - a)/a * log(sin v / (E sin x))`, then |X|^exponent.

    u and v are linear in an acute angle, x or what is left of it, so that no sine is taken next to π.
    """

    power: float  # (1 - a)/a
    signed: bool  # whether X has a sign, a fair one; then near and far are the halves of x, else they are that bit's
    near: Angles  # of x
    far: Angles  # of π/2 - x where X is signed, else of x, for the angle π - x
    exponent: float


@lru_cache(maxsize=4096)
def symmetric(alpha: float) -> Law:
    """Chambers, Mallows, Stuck (1976): |sin(αV)| and cos((1 - α)V) at |V| = π/2 - x, as sines that do not cancel."""
    alpha = max(alpha, _SMALLEST)
    slope, offset = (alpha, 2 - alpha) if alpha >= 1 else (-alpha, alpha)
    lean = abs(1 - alpha)
    near = Angles(slope, offset * math.pi / 2, lean, (1 - lean) * math.pi / 2)
    return Law((1 - alpha) / alpha, True, near, Angles(alpha, 0.0, -lean, math.pi / 2), 1.0)


@lru_cache(maxsize=4096)
def positive(alpha: float) -> Law:
    """Kanter (1975): sin(αU) and sin((1 - α)U) at U = x and at U = π - x."""
    alpha = max(alpha, _SMALLEST)

    def beyond(slope: float, rest: float) -> tuple[float, float]:
        # sin(slope (π - x)), turned over where slope π lies beyond the top, so that the offset is small and exact
        return (slope, rest * math.pi) if slope > 0.5 else (-slope, slope * math.pi)

    rest = 1 - alpha
    far = Angles(*beyond(alpha, rest), *beyond(rest, alpha))
    return Law(rest / alpha, False, Angles(alpha, 0.0, rest, 0.0), far, 1.0)


def root(alpha: float) -> Law:
    """The root of a positive stable variable, taken in logarithms: the variable itself may exceed float32."""
    return positive(alpha)._replace(exponent=0.5)
