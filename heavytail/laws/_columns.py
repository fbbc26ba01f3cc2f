"""The norm R of one column of pure noise, `R² = 2 A χ²_d` with A positive stable of index β = α/2: quantile and bulk.

Everything is in logarithms, and a power of A is told on the scale of `_positive`: `y = β/(1-β) log A`, on which both
ends of β are tame. Means over A are sums over nodes: panels even on the scale of the law, and fine about the quantile.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from scipy import interpolate, optimize, special

from heavytail.laws._positive import SMALLEST, PositiveLaw, positive_law

_NODES, _WEIGHTS = np.polynomial.legendre.leggauss(10)

_GRADES = np.sinh(np.linspace(-1, 1, 61) * 6)  # steps that grow from 0.2 to 20


@lru_cache(maxsize=4096)
def log_bulk(alpha: float, keep: float, inputs: int) -> float:
    """`β/(1-β) log E[R²; R below its quantile 1 - keep]` for d = inputs entries, finite where the number is not."""
    index = max(alpha / 2, SMALLEST)
    power = index / (1 - index)
    side, chance = (special.gammaincc, keep) if keep <= 0.5 else (special.gammainc, 1 - keep)
    law = positive_law(index)

    def off(v: float) -> float:
        x, log_mass = _nodes(index, float(law.at(v)), inputs)
        with np.errstate(divide="ignore"):
            log = np.log(side(inputs / 2, _half_square(x)))
        return _log_sum(log_mass + log) - math.log(chance)

    low, high = law.place(law.lowest - 10 - 100 * power), law.place(_end(law))
    top = float(law.at(optimize.brentq(off, low, high, xtol=1e-15, rtol=1e-15)))
    x, log_mass = _nodes(index, top, inputs)
    with np.errstate(divide="ignore"):
        held = math.log(2 * inputs) + x + np.log(special.gammainc(inputs / 2 + 1, _half_square(x)))
    return top + power * _log_sum(log_mass + held)


def _log_sum(logs: np.ndarray) -> float:
    """SciPy's `logsumexp`, which takes longer to look at its arguments than to add them."""
    most = float(logs.max())
    return most if math.isinf(most) else most + math.log(float(np.exp(logs - most).sum()))


def _end(law: PositiveLaw) -> float:
    """Beyond it is no quantile of R at a chance that a float can hold."""
    return law.highest + 200 * law.power


def _half_square(x: np.ndarray) -> np.ndarray:
    """Half of χ² at the quantile, where A is exp(x) times the square of the quantile."""
    return np.exp(np.clip(-x, -700, 700)) / 4


def _nodes(index: float, top: float, inputs: int) -> tuple[np.ndarray, np.ndarray]:
    """Nodes x of `log A - log q²`, with q² at `top` on the scale of the law, and the logarithms of their masses."""
    power = index / (1 - index)
    log_density = _log_density(index)
    about = -math.log(2 * inputs) + min(1.0, math.sqrt(2 / inputs)) * _GRADES
    if index >= 0.5:
        edges = _merged(log_density.edges, top + power * about)
        y, half = _rule(edges)
        x = (y - top) / power
    else:  # the window about the quantile may be below the rounding of y
        x, half = _rule(_merged(_merged((log_density.edges - top) / power, about), _GRADES / power))
        y, half = top + power * x, power * half
    return x, log_density(y) + np.log(half)


def _merged(edges: np.ndarray, others: np.ndarray) -> np.ndarray:
    inside = others[(others > edges[0]) & (others < edges[-1])]
    return np.unique(np.concatenate([edges, inside]))


def _rule(edges: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    half = np.diff(edges)[:, None] / 2
    return ((edges[:-1, None] + half) + half * _NODES).ravel(), (half * _WEIGHTS).ravel()


@dataclass(frozen=True, eq=False)
class _LogDensity:
    """The logarithm of the density of Y: a spline of what its double exponential start and its power tail leave of it.

    `edges` are of panels that suit it.
    """

    law: PositiveLaw
    spline: interpolate.BSpline
    edges: np.ndarray

    def __call__(self, y: np.ndarray) -> np.ndarray:
        return self.spline(np.minimum(self.law.place(y), self.spline.t[-1])) + self.ends(self.law, y)

    @staticmethod
    def ends(law: PositiveLaw, y: np.ndarray) -> np.ndarray:
        """What the logarithm of the density is, up to a constant, far to the left and far to the right."""
        return -np.exp(law.lowest - y) - (1 - law.index) * y


@lru_cache(maxsize=64)
def _log_density(index: float) -> _LogDensity:
    law = positive_law(index)
    first, last = law.place(law.lowest - 5), law.place(law.far)
    v = np.linspace(first, last, math.ceil(30 * (last - first)))
    y = law.at(v)
    spline = interpolate.make_interp_spline(v, np.log(law.of("density", y)) - _LogDensity.ends(law, y), k=7)
    end = law.place(_end(law))
    return _LogDensity(law, spline, law.at(np.linspace(first, end, math.ceil(5 * (end - first)))))
