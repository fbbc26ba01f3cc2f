"""What the laws ask of their arguments, each said in one place and in one sentence."""

from __future__ import annotations

import math
import operator
from numbers import Real

from heavytail.noise.kinds import as_float


def stability(alpha: float, low: float, high: float, closed: bool = True) -> None:
    """Raise ValueError unless alpha lies between low and high."""
    number("the stability index alpha", alpha)
    if not (low < alpha < high or (closed and alpha == high)):
        end = "]" if closed else ")"
        raise ValueError(f"this law needs the stability index alpha in ({low:g}, {high:g}{end}, got {digits(alpha)}")


def share(name: str, value: float) -> None:
    """Raise ValueError unless the value lies in (0, 1)."""
    number(name, value)
    if not 0 < value < 1:
        raise ValueError(f"{name} must lie in (0, 1), got {digits(value)}")


def above(name: str, value: float) -> None:
    """Raise ValueError unless the value is finite and above 0."""
    number(name, value)
    if not 0 < as_float(value) < math.inf:
        raise ValueError(f"{name} must be finite and above 0, got {digits(value)}")


def mean_square(rest: float) -> None:
    """Raise ValueError unless the rest is finite and 0 or more."""
    number("rest", rest)
    if not 0 <= as_float(rest) < math.inf:
        raise ValueError(f"rest is a mean square: it must be finite and >= 0, got {digits(rest)}")


def whole(name: str, value: int, of: str) -> None:
    """Raise ValueError unless the value, a number `of` these, is a whole number of 1 or more."""
    try:
        operator.index(value)
    except TypeError:
        raise ValueError(f"{name} counts {of}: a whole number, got {value!r}") from None
    if value < 1:
        raise ValueError(f"{name} counts {of}: 1 or more, got {value}")
    if math.isinf(as_float(value)):
        raise ValueError(f"{name} counts {of}: more than any float holds is too many")


def number(name: str, value: float) -> None:
    """Raise TypeError unless the value is a real number."""
    if not isinstance(value, Real):
        raise TypeError(f"{name} is one real number, got {type(value).__name__}")


def digits(value: float) -> str:
    """A number in a sentence: short where that is no other number.

    >>> digits(0.5), digits(2 - 1e-9), digits(10**400)
    ('0.5', '1.999999999', 'inf')
    """
    number = as_float(value)
    short = f"{number:g}"
    return short if float(short) == number or number != number else repr(number)


def exp(log: float) -> float:
    """`e^log`, inf where that exceeds a float."""
    return math.exp(log) if log < 709.78 else math.inf
