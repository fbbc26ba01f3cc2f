"""The law of the relative error of pruning, and the width from which it is small."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch
from torch import Tensor

from heavytail import stable
from heavytail.laws._checks import above, digits, exp, mean_square, number, share, stability, whole
from heavytail.laws._columns import log_bulk
from heavytail.laws._positive import SMALLEST, PositiveLaw, positive_law
from heavytail.laws.columns import bulk, independent, log_gammas, tail_constant
from heavytail.noise.kinds import Noise, as_float, check, shown


@dataclass(frozen=True)
class LimitLaw:
    """The law that `n^(2/α-1) * (relative error)²` tends to: `m(κ) c^(-2/α) / Z`. [D]

    `Z = Σ_j Γ_j^(-2/α)` over the points Γ_j of a Poisson process of rate 1, which is Γ(1-α/2)^(2/α) times a positive
    α/2-stable variable. `alpha` in (0, 2) is the stability index, `bulk` is m(κ), `tail` is c; both of the columns as
    they are, with scale. Raises ValueError for an alpha out of range, or a bulk or tail that is not finite and above 0.

    >>> law = LimitLaw(1.5, bulk=1.4, tail=0.4)
    >>> round(float(law.cdf(law.quantile(0.25))), 6)
    0.25
    """

    alpha: float
    bulk: float
    tail: float

    def __post_init__(self) -> None:
        stability(self.alpha, 0, 2, closed=False)
        number("bulk", self.bulk)
        number("tail", self.tail)
        if not (0 < as_float(self.bulk) < math.inf and 0 < as_float(self.tail) < math.inf):
            raise ValueError(
                f"bulk and tail must be finite and above 0, got {digits(self.bulk)} and {digits(self.tail)}"
            )

    def draw(self, size: stable.Size, *, generator: torch.Generator) -> Tensor:
        """Independent draws, float64, of this size, on the generator's device."""
        top = exp(self._log_top)
        return top / stable.positive(self.alpha / 2, size, generator=generator, dtype=torch.float64)

    def cdf(self, x: np.ndarray | float) -> np.ndarray:
        """P(value <= x) for x > 0, to about 12 digits however small. Raises ValueError for any other x."""
        try:
            at = np.asarray(x, dtype=float)
        except (TypeError, ValueError, OverflowError):
            raise ValueError(f"the law is asked at numbers above 0, not at {shown(x)}") from None
        if not (at > 0).all():
            raise ValueError(f"the law is asked at numbers above 0, not at {at[~(at > 0)].flat[0]:g}")
        law = _positive(self.alpha)
        y = law.power * (self._log_top - np.log(at))
        value = law.of("above", y)
        return np.where(value < 0.5, value, 1 - law.of("below", y))

    def quantile(self, probability: float) -> float:
        """The x with P(value <= x) = probability, in (0, 1); inf or 0 where that is outside the floats."""
        share("a probability", probability)
        return exp(self._log_top - _top(self.alpha, probability) / _power(self.alpha))

    @property
    def _log_top(self) -> float:
        return math.log(self.bulk) - 2 / self.alpha * _log_points(self.alpha, self.tail)


def limit_law(alpha: float, keep: float, noise: Noise = "shared", inputs: int = 1) -> LimitLaw:
    """The limit law of pure noise of scale 1, with the share `keep` of columns of `inputs` entries kept.

    For "shared" the law of the error does not depend on the dimension, nor, ever, on the scale. Raises ValueError as
    `bulk` and `tail_constant` do, and where the bulk exceeds a float, as it does for small alpha.

    >>> law = limit_law(1.5, keep=0.1)
    >>> round(pruning_error(law, 895869), 3)  # the median relative error at that width
    0.1
    """
    held = bulk(alpha, keep, noise, inputs)
    if not 0 < held < math.inf:
        raise ValueError(
            f"at alpha = {digits(alpha)} and keep = {digits(keep)} the bulk, {held:g}, is outside the floats: "
            f"{'take a larger alpha' if noise == 'entrywise' else 'log_required_width works there without a law'}"
        )
    return LimitLaw(alpha, held, tail_constant(alpha, noise, inputs))


def pruning_error(law: LimitLaw, width: float, probability: float = 0.5, rest: float = 0.0) -> float:
    """The relative error that n = `width` columns stay below with this probability.

    `error² = m / (c^(2/α) n^(2/α-1) Z + rest)`. `rest` is the mean square of what a column holds besides stable noise,
    such as its initial weights; it does not matter as n grows, and decides at the widths of practice. [D]
    Raises ValueError for a width not finite and above 0, a probability outside (0, 1), or a rest below 0.

    >>> law = limit_law(1.5, keep=0.1)
    >>> pruning_error(law, 1000) > pruning_error(law, 1_000_000)
    True
    """
    _check_law(law)
    mean_square(rest)
    above("width", width)
    share("a probability", probability)
    power = _power(law.alpha)
    grown = (_top(law.alpha, probability) + math.log(width)) / power + 2 / law.alpha * _log_points(law.alpha, law.tail)
    if rest:
        grown = float(np.logaddexp(grown, math.log(rest)))
    return exp((math.log(law.bulk) - grown) / 2)


def required_width(
    alpha: float,
    keep: float,
    error: float,
    probability: float = 0.5,
    *,
    noise: Noise = "shared",
    inputs: int = 1,
    law: LimitLaw | None = None,
    rest: float = 0.0,
) -> float:
    """The width n from which the relative error, with the share `keep` of columns kept, is at most `error`.

    alpha        the stability index, in (0, 2)
    keep         the share of columns kept, in (0, 1); with `law` it says nothing more
    error        the relative error ‖W^(κn) − W‖ / ‖W‖, in (0, 1); not squared, as it is in `compress`
    probability  with which the error is to be as small, in (0, 1)
    noise        of which the columns are, at any scale; for "shared" inputs do not matter
    inputs       d, the entries of a column
    law          of columns of your own, at this alpha and keep, in place of noise and inputs
    rest         as in `pruning_error`, beside noise of scale 1 or of the scale of `law`

    A number of columns, 1 or more; inf where it exceeds a float, as it does near alpha = 2: there `log_required_width`
    is finite. An asymptotic statement; the chapter How wide is wide enough checks it by simulation. [D]
    Raises ValueError for a number out of range, an unknown noise, a law of another alpha, a law beside noise and
    inputs, or "entrywise" noise of several inputs at an alpha so small that its bulk exceeds a float.

    >>> round(required_width(1.5, keep=0.1, error=0.1))
    895869
    >>> more = required_width(1.5, keep=0.1, error=0.1, noise="isotropic", inputs=784)
    >>> round(more / required_width(1.5, keep=0.1, error=0.1), 2)
    1.67
    """
    log = log_required_width(alpha, keep, error, probability, noise=noise, inputs=inputs, law=law, rest=rest)
    return exp(log)


def log_required_width(
    alpha: float,
    keep: float,
    error: float,
    probability: float = 0.5,
    *,
    noise: Noise = "shared",
    inputs: int = 1,
    law: LimitLaw | None = None,
    rest: float = 0.0,
) -> float:
    """The natural logarithm of `required_width`, of the same arguments: finite also where the width exceeds a float.

    Near alpha = 2 it grows as 1 / (2 - alpha). Raises ValueError as `required_width` does. [D]

    >>> round(log_required_width(1.9999, keep=0.1, error=0.1) / math.log(10))  # a number of 35 thousand digits
    34977
    """
    stability(alpha, 0, 2, closed=False)
    share("keep", keep)
    share("error", error)
    share("a probability", probability)
    mean_square(rest)
    check(alpha, 0.0, noise)
    whole("inputs", inputs, "the entries of a noise vector")
    power = _power(alpha)
    if law is not None:
        _check_law(law)
    if law is None:
        if noise == "entrywise" and inputs > 1:
            own = limit_law(alpha, keep, noise, inputs)
            held, points = power * math.log(own.bulk), _log_points(alpha, own.tail)
        else:
            d = independent(noise, inputs)
            held, points = log_bulk(alpha, keep, d), _log_points(alpha, inputs=d)
    elif (noise, inputs) != ("shared", 1):
        raise ValueError("a law has its columns already: name either law= or noise= and inputs=")
    elif law.alpha == alpha:
        held, points = power * math.log(law.bulk), _log_points(alpha, law.tail)
    else:
        raise ValueError(f"the law is one of alpha = {digits(law.alpha)}, not of {digits(alpha)}")
    given = rest and exp(math.log(rest) + 2 * math.log(error) - held / power)  # what the rest alone keeps off the error
    if given >= 1:
        return 0.0
    needed = power * (math.log1p(-given) - 2 * math.log(error)) + held
    return max(0.0, needed - points * 2 / (2 - alpha) - _top(alpha, probability))


def _check_law(law: object) -> None:
    if not isinstance(law, LimitLaw):
        raise TypeError(f"a law is what laws.limit_law or laws.LimitLaw gives, not {shown(law)}")


def _power(alpha: float) -> float:
    """A logarithm of the positive α/2-stable variable, times this, is one on the scale of `_positive`."""
    return alpha / (2 - alpha)


def _positive(alpha: float) -> PositiveLaw:
    return positive_law(max(alpha / 2, SMALLEST))


@lru_cache(maxsize=4096)
def _top(alpha: float, probability: float) -> float:
    """What the positive variable exceeds with this probability: the fewer, the smaller the error."""
    return _positive(alpha).quantile("above", probability)


def _log_points(alpha: float, tail: float | None = None, inputs: int = 1) -> float:
    """log(c Γ(1-α/2)); without c, that of isotropic noise with d inputs, which is 2^α Γ((d+α)/2) / Γ(d/2)."""
    if tail is None and inputs == 1:  # the same, by Legendre's duplication
        return math.lgamma(1 + alpha) - math.lgamma(1 + alpha / 2)
    if tail is None:
        return alpha * math.log(2) + log_gammas(alpha, inputs)
    return math.log(tail) + math.lgamma((2 - alpha) / 2)
