"""What the laws ask of their arguments, each said in one place and in one sentence."""

from __future__ import annotations

import math
import operator
from numbers import Real


def stability(alpha: float, low: float, high: float, closed: bool = True) -> None:
    """Raise ValueError unless alpha lies between low and high."""
    number("the stability index alpha", alpha)
    if not (low < alpha < high or (closed and alpha == high)):
        end = "]" if closed else ")"
        raise ValueError(f"this law needs the stability index alpha in ({low:g}, {high:g}{end}, got {alpha:g}")


def share(name: str, value: float) -> None:
    """Raise ValueError unless the value lies in (0, 1)."""
    number(name, value)
    if not 0 < value < 1:
        raise ValueError(f"{name} must lie in (0, 1), got {value:g}")


def above(name: str, value: float) -> None:
    """Raise ValueError unless the value is finite and above 0."""
    number(name, value)
    if not 0 < value < math.inf:
        raise ValueError(f"{name} must be finite and above 0, got {value:g}")


def mean_square(rest: float) -> None:
    """Raise ValueError unless the rest is finite and 0 or more."""
    number("rest", rest)
    if not 0 <= rest < math.inf:
        raise ValueError(f"rest is a mean square: it must be finite and >= 0, got {rest:g}")


def whole(name: str, value: int, of: str) -> None:
    """Raise ValueError unless the value, a number `of` these, is a whole number of 1 or more."""
    try:
        operator.index(value)
    except TypeError:
        raise ValueError(f"{name} counts {of}: a whole number, got {value!r}") from None
    if value < 1:
        raise ValueError(f"{name} counts {of}: 1 or more, got {value}")


def number(name: str, value: float) -> None:
    """Raise TypeError unless the value is a real number."""
    if not isinstance(value, Real):
        raise TypeError(f"{name} is one real number, got {type(value).__name__}")


def exp(log: float) -> float:
    """`e^log`, inf where that exceeds a float."""
    return math.exp(log) if log < 709.78 else math.inf
