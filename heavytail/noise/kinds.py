"""The names of the noises and of a weight's units, and the check of every setting of a noise."""

from __future__ import annotations

import math
from numbers import Real
from typing import Any, Literal, get_args

import torch
from torch import Tensor

Noise = Literal["shared", "entrywise", "isotropic"]
Unit = Literal["filter", "kernel"]
NOISES: tuple[Noise, ...] = get_args(Noise)
UNITS: tuple[Unit, ...] = get_args(Unit)


def check(alpha: Any, sigma: Any, noise: Any, unit: Any = "filter") -> None:
    """Raise one sentence unless alpha, sigma, noise and unit are all in range.

    TypeError for an alpha or sigma that is no number, ValueError for everything else.

    >>> check(2.5, 0.1, "shared")
    Traceback (most recent call last):
    ValueError: the stability index alpha must lie in (0, 2], got 2.5
    """
    check_noise(noise)
    check_unit(unit)
    check_alpha(alpha)
    if not isinstance(sigma, Real):
        raise TypeError(f"the noise scale sigma must be a finite number >= 0, not {shown(sigma)}")
    if not 0 <= (size := as_float(sigma)) < math.inf:
        raise ValueError(f"the noise scale sigma must be a finite number >= 0, got {size:g}")


def check_noise(noise: Any) -> None:
    """Raise ValueError unless it is the name of a noise."""
    if noise not in NOISES:
        raise ValueError(f"unknown noise {shown(noise)}: choose one of {', '.join(NOISES)}")


def check_unit(unit: Any) -> None:
    """Raise ValueError unless it is the name of a unit."""
    if unit not in UNITS:
        raise ValueError(f"unknown unit {shown(unit)}: choose one of {', '.join(UNITS)}")


def check_alpha(alpha: Any) -> None:
    """Raise TypeError unless alpha is a number, ValueError unless it lies in (0, 2]."""
    if not isinstance(alpha, Real):
        raise TypeError(f"the stability index alpha must be a number in (0, 2], not {shown(alpha)}")
    if not 0 < (index := as_float(alpha)) <= 2:
        raise ValueError(f"the stability index alpha must lie in (0, 2], got {index:g}")


def check_generator(generator: Any) -> None:
    """Raise TypeError unless it is a generator: noise is never drawn from the global random state."""
    if not isinstance(generator, torch.Generator):
        raise TypeError(f"generator= must be a torch.Generator with a seed of yours, not {shown(generator)}")


def as_float(number: Any) -> float:
    """A number as a float; infinite where it is larger than any.

    >>> as_float(10**400)
    inf
    """
    try:
        return float(number)
    except OverflowError:
        return math.inf if number > 0 else -math.inf


def shown(value: Any) -> str:
    """A value as a sentence can hold it: its start, where it is long.

    >>> shown("gaussian"), shown("x" * 100)
    ("'gaussian'", "'xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx...")
    """
    if isinstance(value, Tensor):
        return f"a {type(value).__name__}"
    try:
        text = repr(value)
    except (ValueError, RecursionError):  # of more digits than Python writes out, or nested without end
        return f"a {type(value).__name__} too large to be shown"
    return text if len(text) <= 60 else f"{text[:57]}..."
