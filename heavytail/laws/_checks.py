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


def entries(inputs: int) -> None:
    """Raise ValueError unless `inputs` is a whole number of 1 or more."""
    try:
        operator.index(inputs)
    except TypeError:
        raise ValueError(f"inputs counts the entries of a noise vector: a whole number, got {inputs!r}") from None
    if inputs < 1:
        raise ValueError(f"a noise vector has at least one entry, got inputs={inputs}")


def neurons(width: int) -> None:
    """Raise ValueError unless the width is a whole number of 1 or more."""
    try:
        operator.index(width)
    except TypeError:
        raise ValueError(f"width counts neurons: a whole number, got {width!r}") from None
    if width < 1:
        raise ValueError(f"a layer has at least one neuron, got width={width}")


def number(name: str, value: float) -> None:
    """Raise TypeError unless the value is a real number."""
    if not isinstance(value, Real):
        raise TypeError(f"{name} is one real number, got {type(value).__name__}")


def exp(log: float) -> float:
    """`e^log`, inf where that exceeds a float."""
    return math.exp(log) if log < 709.78 else math.inf
