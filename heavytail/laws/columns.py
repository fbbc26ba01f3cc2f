"""The norm of one column of noise: its tail constant, and the bulk that its small columns hold."""

from __future__ import annotations

import math
import operator
from collections.abc import Sequence
from functools import lru_cache

import numpy as np
import torch
from torch import Tensor

from heavytail import stable
from heavytail.laws._checks import exp, share, stability, whole
from heavytail.laws._columns import log_bulk
from heavytail.laws._transform import RAREST, Column
from heavytail.noise.kinds import Noise, check, shown

_MANY_INPUTS = 10_000  # from here on a series tells Γ((d+α)/2) / Γ(d/2) to 12 digits
_ALIKE = 10**6  # with more inputs the norms of entrywise and isotropic noise have one law to six digits


def tail_constant(alpha: float, noise: Noise = "shared", inputs: int = 1) -> float:
    """The c of `P(‖ξ‖ > x) ~ c x^(-alpha)` for one unit's noise vector ξ of `inputs` = d entries, alpha in (0, 2).

    With c₁ that of one entry (`stable.tail_constant`): "shared" d^(α/2) c₁, as ‖ξ‖ = √d |s|; "entrywise" d c₁, one
    large entry among d; "isotropic" `2^α Γ((d+α)/2) / (Γ(d/2) Γ(1-α/2))`, from ‖ξ‖² = 2A χ²_d and
    `P(A > x) ~ x^(-α/2) / Γ(1-α/2)`. At d = 1 the three agree. [D]

    Raises ValueError for an alpha outside (0, 2), an unknown noise, or inputs that are no whole number above 0.

    >>> round(tail_constant(1.5, "entrywise", inputs=140), 1)
    55.9
    """
    stability(alpha, 0, 2, closed=False)
    check(alpha, 0.0, noise)
    whole("inputs", inputs, "the entries of a noise vector")
    if noise == "shared":
        return float(inputs ** (alpha / 2) * stable.tail_constant(alpha))
    if noise == "entrywise":
        return inputs * stable.tail_constant(alpha)
    return math.exp(alpha * math.log(2) + log_gammas(alpha, inputs) - math.lgamma(1 - alpha / 2))


def log_gammas(alpha: float, inputs: int) -> float:
    """log(Γ((d+α)/2) / Γ(d/2)); of many inputs by its series in 1/d, for there the two differ by their rounding."""
    if inputs < _MANY_INPUTS:
        return math.lgamma((inputs + alpha) / 2) - math.lgamma(inputs / 2)
    z, a = inputs / 2, alpha / 2
    series = a * (a - 1) / (2 * z) - a * (a - 1) * (2 * a - 1) / (12 * z**2)
    return a * math.log(z) + series


def median_norm(alpha: float, noise: Noise = "shared", inputs: int = 1) -> float:
    """The median of ‖ξ‖ for one unit's noise vector ξ of scale 1 and `inputs` = d entries, alpha in (0, 2].

    "shared" is √d times the upper quartile of the symmetric law. The others are known by the Laplace transform of
    ‖ξ‖², which is inverted, to some six digits. [D]

    Raises ValueError for an alpha outside (0, 2] or so small that the median is outside the floats, an unknown noise,
    or inputs that are no whole number above 0.

    >>> [round(median_norm(1.5, noise, inputs=140), 1) for noise in ("shared", "entrywise", "isotropic")]
    [11.5, 32.6, 15.8]
    """
    stability(alpha, 0, 2)
    check(alpha, 0.0, noise)
    whole("inputs", inputs, "the entries of a noise vector")
    form: Noise = "isotropic" if noise == "shared" else noise
    try:
        squared = _median_square(float(alpha), form, 1 if noise == "shared" else operator.index(inputs))
    except OverflowError:
        raise ValueError(f"at alpha = {alpha:g} the median of the norm is outside the floats") from None
    return math.sqrt(squared * (inputs if noise == "shared" else 1))


@lru_cache(maxsize=4096)
def _median_square(alpha: float, noise: Noise, inputs: int) -> float:
    return Column(alpha, noise, inputs, 0.0).squared_norm_at(0.5)


def bulk(alpha: float, keep: float, noise: Noise = "shared", inputs: int = 1) -> float:
    """m(κ) of pure noise of scale 1, in any dimension.

    `keep` = κ is the share of the columns kept, in (0, 1), `inputs` = d the entries of a column. The squared norm of
    "shared" and "isotropic" noise is `2 A χ²_d` with A positive α/2-stable, so `m = E[2 A d F_{d+2}(q²/2A)]` with F_k
    the χ²_k distribution function and q the quantile 1 - κ of the norm. That of "entrywise" noise is known by its
    Laplace transform, `(E exp(-(2λ)^(α/2) |G|^α))^d` with G standard normal, which is inverted, to some six digits; of
    more than a million inputs it is that of "isotropic" noise with the same tail, as then to six digits too. inf
    where the number exceeds a float, as it does for small alpha. [D]

    Raises ValueError for an alpha outside (0, 2), a keep outside (0, 1), an unknown noise, inputs that are no whole
    number above 0, and for "entrywise" noise of several inputs where keep is within 1e-6 of 0 or 1, or the number below
    the floats.

    >>> round(bulk(1.5, keep=0.1), 3)
    1.406
    """
    stability(alpha, 0, 2, closed=False)
    share("keep", keep)
    check(alpha, 0.0, noise)
    whole("inputs", inputs, "the entries of a noise vector")
    if noise == "entrywise" and inputs > 1:
        return _entrywise_bulk(float(alpha), float(keep), operator.index(inputs))
    found = log_bulk(alpha, keep, independent(noise, inputs))
    return exp(found * (2 - alpha) / alpha) * (inputs if noise == "shared" else 1)


def independent(noise: Noise, inputs: int) -> int:
    """The d of χ²_d in the squared norm of a column of this noise, but for a constant factor.

    Of "entrywise" noise with one input only: with more, the norm has no such form.
    """
    return operator.index(inputs) if noise == "isotropic" else 1


@lru_cache(maxsize=4096)
def _entrywise_bulk(alpha: float, keep: float, inputs: int) -> float:
    if not RAREST <= keep <= 1 - RAREST:
        raise ValueError(f"of entrywise noise keep must be {RAREST:g} away from 0 and 1 at least, got {keep!r}")
    found = None
    if inputs <= _ALIKE:
        try:
            found = Column(alpha, "entrywise", inputs, 0.0).bulk_of(1 - keep)
        except OverflowError:
            if keep < 0.5:
                return math.inf
            raise ValueError(f"at alpha = {alpha:g} and keep = {keep:g} the bulk is below the floats") from None
    if found is None:  # both laws tend to one, but for their scale, and differ as 1/d
        scale = math.log(tail_constant(alpha, "entrywise", inputs) / tail_constant(alpha, "isotropic", inputs))
        found = exp((log_bulk(alpha, keep, inputs) * (2 - alpha) + 2 * scale) / alpha)
    return found


def bulk_of(norms: Tensor | np.ndarray | Sequence[float], keep: float) -> float:
    """m(κ) of a sample of column norms, any shape: the mean square with the share `keep` of the largest set to 0.

    Raises ValueError for a keep outside (0, 1), an empty sample, or one that is not finite.

    >>> bulk_of([1.0, 2.0, 3.0, 100.0], keep=0.25)  # (1 + 4 + 9 + 0) / 4
    3.5
    """
    share("keep", keep)
    try:
        squares = torch.as_tensor(norms).detach().flatten().double().square().sort().values
    except (TypeError, ValueError, RuntimeError):  # each kind of thing that is no tensor has its own
        raise TypeError(f"norms= is a tensor, an array or a list of numbers, not {shown(norms)}") from None
    if not (len(squares) and bool(torch.isfinite(squares).all())):
        raise ValueError("the bulk is one of a sample of finite norms, one at least, whose squares are finite")
    return float(squares[: len(squares) - round(keep * len(squares))].sum() / len(squares))
