"""The rates of the theorems, and single numbers that go with them."""

from __future__ import annotations

import math
from typing import Literal, get_args

from heavytail.laws._checks import above, exp, stability

ErrorAt = Literal["fixed time", "grid", "supremum"]

_CHAOS_RATE = -0.5  # T1 [P]: the distance to the limit particle falls as n^(-1/2)


def chaos_rate(alpha: float, bounded: bool = True) -> float:
    """Exponent of n in the distance between a particle and its mean-field limit.

    T1 says -1/2 for a bounded φ [P]. If φ grows linearly, as ReLU does, the output is a mean of heavy-tailed terms and
    the stable limit theorem gives `-(1 - 1/alpha)` for alpha in (1, 2) [D].

    Raises ValueError for an alpha outside (1, 2].

    >>> chaos_rate(1.5), round(chaos_rate(1.5, bounded=False), 4)
    (-0.5, -0.3333)
    """
    stability(alpha, 1, 2)
    return _CHAOS_RATE if bounded else -(1 - 1 / alpha)


def euler_rate(alpha: float, at: ErrorAt) -> float:
    """Exponent of the step size η in the strong error of one particle.

    "fixed time"  1/α: the kick of the unfinished step [D]; among n particles the largest is (ηn)^(1/α)
    "grid"        1: additive noise and a smooth drift [M]
    "supremum"    0: a jump is misplaced by less than a step, and keeps its size [M]

    Raises ValueError for an alpha outside (0, 2] or another word for `at`.

    >>> round(euler_rate(1.5, "fixed time"), 4)
    0.6667
    """
    stability(alpha, 0, 2)
    if at not in get_args(ErrorAt):
        raise ValueError(f"unknown form {at!r} of the Euler error: choose one of {', '.join(get_args(ErrorAt))}")
    return {"fixed time": 1 / alpha, "grid": 1.0, "supremum": 0.0}[at]


def largest_kick(alpha: float, exposure: float, tail: float) -> float:
    """Mean size of the largest of many rare kicks, `(tail * exposure)^(1/alpha) * Γ(1 - 1/alpha)`, alpha in (1, 2).

    With exposure = horizon: the largest jump of one path, which is what the supremum over time of the Euler error does
    not go below. With exposure = n * (time since the last grid point): the largest error among n particles. Both are
    the mean of a Fréchet law. `tail` is the tail constant c of one kick over a unit of time. [D]

    Raises ValueError for an alpha outside (1, 2), or an exposure or tail that is not finite and above 0.

    >>> round(largest_kick(1.5, exposure=1.0, tail=0.4), 2)
    1.45
    """
    stability(alpha, 1, 2, closed=False)
    above("exposure", exposure)
    above("tail", tail)
    return exp((math.log(tail) + math.log(exposure)) / alpha) * math.gamma((alpha - 1) / alpha)


def step_condition(alpha: float, width: float) -> float:
    """The largest step size that T3 allows at width n: `n^(-alpha/2 - 1)`. [P]

    Raises ValueError for an alpha outside (0, 2] or a width that is not finite and above 0.

    >>> round(1 / step_condition(1.5, 64))  # steps for one unit of time
    1448
    """
    stability(alpha, 0, 2)
    above("width", width)
    return exp((-alpha / 2 - 1) * math.log(width))


def compression_rate(alpha: float) -> float:
    """Exponent of n in the relative pruning error at a fixed kept share: `1/2 - 1/alpha`, 0 at alpha = 2. [D]

    Raises ValueError for an alpha outside (0, 2].

    >>> round(compression_rate(1.5), 4)  # the relative error falls as n^-0.1667
    -0.1667
    """
    stability(alpha, 0, 2)
    return 0.5 - 1 / alpha
