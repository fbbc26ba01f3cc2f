"""What the theory predicts: the rates of T1 and T2, and the law of the pruning error with its constants.

`c` is a tail constant: a column norm R has `P(R > x) ~ c x^(-alpha)`. `m(κ)` is the bulk term: with the share κ of
the largest columns kept, `m(κ) = E[R²; R below its quantile 1 - κ]`, what the pruned columns hold. Labels: [P] the
paper, [D] derived in the book (chapters Compressibility and How wide is wide enough), else a source by name.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cache

import numpy as np
import torch
from scipy import optimize, special
from torch import Tensor

from heavytail import stable

CHAOS_RATE = -0.5  # T1 [P]: the distance to the limit particle falls as n^(-1/2)
EULER_RATES = ("fixed time", "grid", "supremum")


def chaos_rate(alpha: float, bounded: bool = True) -> float:
    """Exponent of n in the distance between a particle and its mean-field limit.

    T1 says -1/2 for a bounded φ [P]. If φ grows linearly, as ReLU does, the output is a mean of heavy-tailed terms and
    the stable limit theorem gives `-(1 - 1/alpha)` for alpha in (1, 2) [D].

    >>> chaos_rate(1.5), round(chaos_rate(1.5, bounded=False), 4)
    (-0.5, -0.3333)
    """
    _check_alpha(alpha, 1, 2)
    return CHAOS_RATE if bounded else -(1 - 1 / alpha)


def euler_rate(alpha: float, at: str) -> float:
    """Exponent of the step size η in the strong error of one particle.

    "fixed time"  1/α: the kick of the unfinished step [D]; among n particles the largest is (ηn)^(1/α)
    "grid"        1: additive noise and a smooth drift [M]
    "supremum"    0: a jump is misplaced by less than a step, and keeps its size [M]
    """
    _check_alpha(alpha, 0, 2)
    if at not in EULER_RATES:
        raise ValueError(f"unknown form {at!r} of the Euler error: choose one of {', '.join(EULER_RATES)}")
    return {"fixed time": 1 / alpha, "grid": 1.0, "supremum": 0.0}[at]


def largest_kick(alpha: float, exposure: float, tail: float) -> float:
    """Mean size of the largest of many rare kicks, `(tail * exposure)^(1/alpha) * Γ(1 - 1/alpha)`, alpha in (1, 2).

    With exposure = horizon: the largest jump of one path, which is what the supremum over time of the Euler error does
    not go below. With exposure = n * (time since the last grid point): the largest error among n particles. Both are
    the mean of a Fréchet law. [D]
    """
    _check_alpha(alpha, 1, 2, closed=False)
    _check_above("exposure", exposure)
    _check_above("tail", tail)
    return (tail * exposure) ** (1 / alpha) * math.gamma(1 - 1 / alpha)


def step_condition(alpha: float, width: float) -> float:
    """The largest step size that T3 allows at width n: `n^(-alpha/2 - 1)`. [P]

    >>> round(1 / step_condition(1.5, 64))  # steps for one unit of time
    1448
    """
    _check_alpha(alpha, 0, 2)
    _check_above("width", width)
    return width ** (-alpha / 2 - 1)


def compression_rate(alpha: float) -> float:
    """Exponent of n in the relative pruning error at a fixed kept share: `1/2 - 1/alpha`, 0 at alpha = 2. [D]

    >>> round(compression_rate(1.5), 4)  # the relative error falls as n^-0.1667
    -0.1667
    """
    _check_alpha(alpha, 0, 2)
    return 0.5 - 1 / alpha


def tail_constant(alpha: float, noise: str = "shared", inputs: int = 1) -> float:
    """The c of `P(‖ξ‖ > x) ~ c x^(-alpha)` for one unit's noise vector ξ of `inputs` = d entries, alpha in (0, 2).

    With c₁ that of one entry (`stable.tail_constant`): "shared" d^(α/2) c₁, as ‖ξ‖ = √d |s|; "entrywise" d c₁, one
    large entry among d; "isotropic" `2^α Γ((d+α)/2) / (Γ(d/2) Γ(1-α/2))`, from ‖ξ‖² = 2A χ²_d and
    `P(A > x) ~ x^(-α/2) / Γ(1-α/2)`. At d = 1 the three agree. [D]

    >>> round(tail_constant(1.5, "entrywise", inputs=140), 1)
    55.9
    """
    _check_alpha(alpha, 0, 2, closed=False)
    if inputs < 1:
        raise ValueError(f"a noise vector has at least one entry, got inputs={inputs}")
    if noise == "shared":
        return float(inputs ** (alpha / 2) * stable.tail_constant(alpha))
    if noise == "entrywise":
        return inputs * stable.tail_constant(alpha)
    if noise == "isotropic":
        gammas = math.lgamma((inputs + alpha) / 2) - math.lgamma(inputs / 2) - math.lgamma(1 - alpha / 2)
        return math.exp(alpha * math.log(2) + gammas)
    raise ValueError(f"unknown noise {noise!r}: choose one of shared, entrywise, isotropic")


def bulk(alpha: float, keep: float, noise: str = "shared", inputs: int = 1) -> float:
    """m(κ) of pure noise of scale 1: "shared" and "isotropic" in any dimension, "entrywise" for one input only.

    The squared norm is `2 A χ²_d` with A positive α/2-stable, so `m = E[2 A d F_{d+2}(q²/2A)]` with F_k the χ²_k
    distribution function and q the quantile of the norm. [D] For "entrywise" use `bulk_of` on a sample.
    """
    _check_alpha(alpha, 0, 2, closed=False)
    _check_share("keep", keep)
    if noise == "entrywise" and inputs > 1:
        raise ValueError("the norm of entrywise noise has no closed law for inputs > 1: take bulk_of a sample of norms")
    if noise not in ("shared", "entrywise", "isotropic"):
        raise ValueError(f"unknown noise {noise!r}: choose one of shared, entrywise, isotropic")
    d = inputs if noise == "isotropic" else 1
    log_a, weight = _positive_nodes(alpha / 2)

    def below(log_square: float) -> float:  # P(R² <= exp(log_square))
        return float(weight @ special.gammainc(d / 2, np.exp(np.minimum(log_square - log_a, 700)) / 4))

    log_square = optimize.brentq(lambda y: below(y) - (1 - keep), -80 - 200 / alpha, 200 + 200 / alpha, xtol=1e-12)
    log_a = np.minimum(log_a, log_square + 200)  # beyond it nothing is held, and exp could overflow
    held = 2 * d * np.exp(log_a) * special.gammainc(d / 2 + 1, np.exp(np.minimum(log_square - log_a, 700)) / 4)
    return float(weight @ held) * (inputs if noise == "shared" else 1)


def bulk_of(norms: Tensor, keep: float) -> float:
    """m(κ) of a sample of column norms, any shape: the mean square with the share `keep` of the largest set to 0."""
    _check_share("keep", keep)
    squares = norms.detach().flatten().double().square().sort().values
    return float(squares[: len(squares) - round(keep * len(squares))].sum() / len(squares))


@dataclass(frozen=True)
class LimitLaw:
    """The law that `n^(2/α-1) * (relative error)²` tends to: `m(κ) c^(-2/α) / Z`. [D]

    `Z = Σ_j Γ_j^(-2/α)` over the points Γ_j of a Poisson process of rate 1, which is Γ(1-α/2)^(2/α) times a positive
    α/2-stable variable. `bulk` is m(κ), `tail` is c; both of the columns as they are, with scale.
    """

    alpha: float
    bulk: float
    tail: float

    def __post_init__(self) -> None:
        _check_alpha(self.alpha, 0, 2, closed=False)
        if not (0 < self.bulk < math.inf and 0 < self.tail < math.inf):
            raise ValueError(f"bulk and tail must be finite and above 0, got {self.bulk:g} and {self.tail:g}")

    def draw(self, size: stable.Size, *, generator: torch.Generator) -> Tensor:
        """Independent draws, float64, on the generator's device."""
        return self._top / stable.positive(self.alpha / 2, size, generator=generator, dtype=torch.float64)

    def cdf(self, x: np.ndarray | float) -> np.ndarray:
        """P(value <= x) for x > 0."""
        return 1 - positive_cdf(self.alpha / 2, self._top / np.asarray(x, dtype=float))

    def quantile(self, probability: float) -> float:
        """The x with P(value <= x) = probability, in (0, 1)."""
        _check_share("a probability", probability)
        return self._top / positive_quantile(self.alpha / 2, 1 - probability)

    @property
    def _top(self) -> float:
        return self.bulk * (self.tail * math.gamma(1 - self.alpha / 2)) ** (-2 / self.alpha)


def limit_law(alpha: float, keep: float, noise: str = "shared", inputs: int = 1) -> LimitLaw:
    """The limit law of pure noise. For "shared" it does not depend on the dimension, nor, ever, on the scale.

    >>> law = limit_law(1.5, keep=0.1)
    >>> round(pruning_error(law, 895869), 3)  # the median relative error at that width
    0.1
    """
    return LimitLaw(alpha, bulk(alpha, keep, noise, inputs), tail_constant(alpha, noise, inputs))


def pruning_error(law: LimitLaw, width: float, probability: float = 0.5, rest: float = 0.0) -> float:
    """The relative error that n = `width` columns stay below with this probability.

    `error² = m / (c^(2/α) n^(2/α-1) Z + rest)`. `rest` is the mean square of what a column holds besides stable noise,
    such as its initial weights; it does not matter as n grows, and decides at the widths of practice. [D]
    """
    _check_rest(rest)
    _check_above("width", width)
    grown = law.bulk / law.quantile(probability) * width ** (2 / law.alpha - 1)
    return math.sqrt(law.bulk / (grown + rest))


def required_width(
    alpha: float,
    keep: float,
    error: float,
    probability: float = 0.5,
    *,
    law: LimitLaw | None = None,
    rest: float = 0.0,
) -> float:
    """The width n from which the relative error, with the share `keep` of columns kept, is at most `error`.

    It is so with the given probability. Default: columns of pure Type-I noise, in any dimension and at any scale. For
    others give their `law` at this alpha and keep, and the `rest` of `pruning_error`. An asymptotic statement; the
    chapter How wide is wide enough checks it by simulation. inf where the number exceeds a float. [D]

    >>> round(required_width(1.5, keep=0.1, error=0.1))
    895869
    """
    law = limit_law(alpha, keep) if law is None else law
    _check_share("error", error)
    _check_rest(rest)
    if law.alpha != alpha:
        raise ValueError(f"the law is one of alpha = {law.alpha:g}, not of {alpha:g}")
    wanted = law.bulk / error**2 - rest
    if wanted <= 0:
        return 1.0
    log_width = math.log(wanted * law.quantile(probability) / law.bulk) / (2 / alpha - 1)
    return max(1.0, math.exp(log_width)) if log_width < 700 else math.inf


def positive_cdf(alpha: float, x: np.ndarray | float) -> np.ndarray:
    """P(S <= x), x > 0, for the law of `stable.positive`, alpha in (0, 1); to about 1e-12.

    Source: Kanter (1975): `S = (a(U)/W)^((1-α)/α)` with U uniform on (0, π) and W standard exponential.
    """
    log_a, weight = _kanter(alpha)
    log_x = np.log(np.asarray(x, dtype=float))
    found = np.exp(-np.exp(np.minimum(log_a - alpha / (1 - alpha) * log_x[..., None], 700))) @ weight
    return np.clip(found, 0, 1)


def positive_quantile(alpha: float, probability: float) -> float:
    """The x with P(S <= x) = probability, in (0, 1)."""
    _check_share("a probability", probability)
    root = optimize.brentq(lambda t: float(positive_cdf(alpha, math.exp(t))) - probability, -300, 300, xtol=1e-12)
    return math.exp(root)


@cache
def _kanter(alpha: float) -> tuple[np.ndarray, np.ndarray]:
    """Kanter's log a(u) at nodes of (0, π), and weights of a mean over u.

    The trapezoidal rule after `u = π / (1 + exp(-s))`, which resolves both ends and converges exponentially.
    """
    s, step = np.linspace(-60, 60, math.ceil(300 / (1 - alpha)) | 1, retstep=True)  # steeper towards alpha = 1
    u, rest = math.pi * special.expit(s), math.pi * special.expit(-s)
    log_sine = np.log(np.sin(np.minimum(u, rest)))
    log_a = alpha * np.log(np.sin(alpha * u)) + (1 - alpha) * np.log(np.sin((1 - alpha) * u)) - log_sine
    return log_a / (1 - alpha), u * rest * step / math.pi**2


@cache
def _positive_nodes(alpha: float) -> tuple[np.ndarray, np.ndarray]:
    """Logarithms of nodes, and weights, such that `Σ w g(exp(node))` is `E g(S)` for S positive stable.

    The trapezoidal rule in `log s = start + width (1 + sinh v)`: as alpha tends to 1 the law piles up at 1 within
    (1 - alpha), while its tail stays long, so steps are fine at the pile and coarse beyond.
    """
    power = alpha / (1 - alpha)
    log_a, weight = _kanter(alpha)
    start = float(log_a.min() - 4) / power  # below it the density is less than exp(-exp(4))
    width = 8 / power
    top = math.asinh((40 / alpha + 5 - start) / width)
    v, step = np.linspace(-math.asinh(1), top, math.ceil(120 * (top + 1)), retstep=True)
    log_s = start + width * (1 + np.sinh(v))
    density = np.empty_like(log_s)
    for i, row in enumerate(log_s):  # log_a rises, so all that counts lies in a window
        first, last = np.searchsorted(log_a, [power * row - 50, power * row + 5])
        log_z = log_a[first:last] - power * row
        density[i] = np.exp(log_z - np.exp(log_z)) @ weight[first:last] * power
    return log_s, density * width * np.cosh(v) * step


def _check_alpha(alpha: float, low: float, high: float, closed: bool = True) -> None:
    if not (low < alpha < high or (closed and alpha == high)):
        end = "]" if closed else ")"
        raise ValueError(f"this law needs the stability index alpha in ({low:g}, {high:g}{end}, got {alpha:g}")


def _check_share(name: str, value: float) -> None:
    if not 0 < value < 1:
        raise ValueError(f"{name} must lie in (0, 1), got {value:g}")


def _check_above(name: str, value: float) -> None:
    if not 0 < value < math.inf:
        raise ValueError(f"{name} must be finite and above 0, got {value:g}")


def _check_rest(rest: float) -> None:
    if not 0 <= rest < math.inf:
        raise ValueError(f"rest is a mean square: it must be finite and >= 0, got {rest:g}")
