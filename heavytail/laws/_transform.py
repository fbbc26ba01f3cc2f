"""The squared norm of a column of start plus noise, by its Laplace transform: quantiles, bulk, sums of many.

The transform is one integral. With H a standard normal vector, `exp(-λ|x|²) = E exp(i √(2λ) H·x)`, so `E exp(-λR²)` is
the mean over H of the characteristic function of the column. It is inverted numerically, for one column and, its n-th
power, for the sum of n of them. A probability is off by some 1e-8; of a law that is narrower than about a thousandth of
its mean the middle stands for every quantile.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from scipy import special

from heavytail.noise.kinds import Noise

Transform = Callable[[np.ndarray], np.ndarray]

_NODES, _WEIGHTS = np.polynomial.legendre.leggauss(10)
_HALF = 18.4 / 2  # exp(-18.4), 1e-8, is what the inversion is off by
_AVERAGED = special.comb(11, np.arange(12)) / 2**11  # Euler's summation: the last partial sums, averaged
_FEW, _MANY = 16, 2048  # terms of the sum
_ROWS = 16  # at once: so many stay in the cache
RAREST = 1e-6  # a probability closer to 0 or 1 than the inversion can tell


@dataclass(frozen=True)
class Column:
    """The squared norm R² of a column: initial weights of standard deviation `spread`, or 0, plus unit noise."""

    alpha: float
    noise: Noise
    inputs: int
    spread: float

    def squared_norm_at(self, probability: float) -> float:
        """The r with P(R² <= r) = probability."""
        return self.sum_at(probability, 1)

    def sum_at(self, probability: float, columns: int) -> float:
        """The quantile of the sum of R² over so many independent columns, RAREST away from 0 and 1 at least.

        Raises OverflowError where it is outside the floats.
        """
        found, settled = self._sum_at(probability, columns)
        return found if settled or probability == 0.5 else self.sum_at(0.5, columns)

    def _sum_at(self, probability: float, columns: int) -> tuple[float, bool]:
        about = self.inputs * (columns * self.spread**2 + columns ** (2 / self.alpha))
        return _quantile(lambda s: np.exp(columns * self.log_transform(s)), probability, about)

    def share_below(self, squared_norm: float) -> float:
        """P(R² <= squared_norm)."""
        return _settled(lambda terms, _: _inverse(self._transform, squared_norm, terms), math.nan)[0]

    def squared_norm_that_holds(self, bulk: float) -> float:
        """The r with E[R²; R² <= r] = bulk; inf for a bulk that is no less than E R², which is finite at alpha = 2."""
        if self.alpha == 2 and bulk >= self.inputs * (self.spread**2 + 2):
            return math.inf
        return _quantile(self.mean_transform, bulk, self.inputs * (self.spread**2 + 1))[0]

    def bulk_of(self, share: float) -> float | None:
        """E[R²; R² below its quantile `share`]; None where the law is too narrow to tell its quantiles apart."""
        below, settled = self._sum_at(share, 1)
        return self.bulk(below) if settled else None

    def bulk(self, below: float) -> float:
        """E[R²; R² <= below]."""
        return _settled(lambda terms, _: _inverse(self.mean_transform, below, terms), math.nan)[0]

    def _transform(self, s: np.ndarray) -> np.ndarray:
        return np.exp(self.log_transform(s))

    def log_transform(self, s: np.ndarray) -> np.ndarray:
        """log E exp(-s R²) for complex s with a positive real part."""
        away, _ = self._one(s, slopes=False)
        if self.noise == "entrywise":
            return self.inputs * _log1p(away)
        if self.noise == "shared":
            return _log1p(away) + self._log_across(s)
        return _log1p(away)

    def _log_across(self, s: np.ndarray) -> np.ndarray:
        """log E exp(-s r²) of the start alone, across the direction of a shared scalar."""
        return -(self.inputs - 1) / 2 * _log1p(2 * s * self.spread**2)

    def mean_transform(self, s: np.ndarray) -> np.ndarray:
        """E R² exp(-s R²), the derivative of the transform but for its sign."""
        away, slope = self._one(s, slopes=True)
        if self.noise == "entrywise":
            return self.inputs * slope * np.exp((self.inputs - 1) * _log1p(away))
        if self.noise == "shared":
            across = (self.inputs - 1) * self.spread**2 / (1 + 2 * s * self.spread**2)
            return (slope + (1 + away) * across) * np.exp(self._log_across(s))
        return slope

    def _one(self, s: np.ndarray, slopes: bool) -> tuple[np.ndarray, np.ndarray]:
        """E exp(-x) - 1 and, if asked, E (dx/ds) exp(-x), with x = s spread² h² + (2 s)^(α/2) h^α, h the length of H.

        Of all entries for isotropic noise, of one for the others; a shared scalar counts √d times in it. Where x is
        large the integral over h is taken along a ray on which x is real, for along the axis it turns too fast.
        """
        away, slope = np.empty_like(s), np.zeros_like(s)
        h, _, entries = self._lengths
        of_start, of_noise = (float(np.interp(math.sqrt(entries), h, size)) for size in self._sizes)
        turned = np.abs(s) * of_start + np.abs(s) ** (self.alpha / 2) * of_noise > 2 * entries
        for rows, expected in ((np.flatnonzero(~turned), self._along_axis), (np.flatnonzero(turned), self._along_ray)):
            for first in range(0, len(rows), _ROWS):
                at = rows[first : first + _ROWS]
                away[at], slope[at] = expected(s[at, None], slopes)
        return away, slope

    def _along_axis(self, s: np.ndarray, slopes: bool) -> tuple[np.ndarray, np.ndarray | float]:
        start, stable, mass = self._masses
        power = s ** (self.alpha / 2)
        grown = np.expm1(-(s.real * start + power.real * stable))
        turn = s.imag * start + power.imag * stable
        back = -2 * np.sin(turn / 2) ** 2  # cos - 1
        back += grown * (1 + back)  # the real part of exp(-x) - 1 to a relative rounding
        grown += 1
        grown *= np.sin(turn)
        away = back @ mass - 1j * (grown @ mass)
        if not slopes:
            return away, 0.0
        back += 1
        left = [back @ (mass * size) - 1j * (grown @ (mass * size)) for size in (start, stable)]
        return away, left[0] + self.alpha / 2 * (power / s)[:, 0] * left[1]

    def _along_ray(self, s: np.ndarray, slopes: bool) -> tuple[np.ndarray, np.ndarray | float]:
        h, log_weight, entries = self._lengths
        start, stable = self._sizes
        size = np.abs(s)
        power = size ** (self.alpha / 2)
        turn = np.sqrt(s.conj() / size)
        left = np.exp(log_weight - (turn * h) ** 2 / 2 - size * start - power * stable) * turn**entries
        away = left.sum(1) - 1
        if not slopes:
            return away, 0.0
        return away, (size[:, 0] * (left @ start) + self.alpha / 2 * power[:, 0] * (left @ stable)) / s[:, 0]

    @cached_property
    def _sizes(self) -> tuple[np.ndarray, np.ndarray]:
        """What s and its power α/2 have for factors in x at the nodes."""
        h, _, _ = self._lengths
        stable = (math.sqrt(2 * (self.inputs if self.noise == "shared" else 1)) * h) ** self.alpha
        return (self.spread * h) ** 2, stable

    @cached_property
    def _masses(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Those factors and the mass of the nodes, but of those that are lost in rounding."""
        h, log_weight, _ = self._lengths
        mass = np.exp(log_weight - h**2 / 2)
        there = mass > 1e-22
        return self._sizes[0][there], self._sizes[1][there], mass[there]

    @cached_property
    def _lengths(self) -> tuple[np.ndarray, np.ndarray, int]:
        """Nodes of the length of H, the logarithms of their weights but for exp(-h²/2), and its entries."""
        entries = self.inputs if self.noise == "isotropic" else 1
        edges = np.linspace(max(0.0, math.sqrt(entries) - 9), math.sqrt(entries) + 9, 31)
        if edges[0] == 0:
            edges = np.concatenate([[0], edges[1] * 2.0 ** -np.arange(16, 0, -1), edges[1:]])
        half = np.diff(edges)[:, None] / 2
        h = ((edges[:-1, None] + half) + half * _NODES).ravel()
        constant = (entries / 2 - 1) * math.log(2) + math.lgamma(entries / 2)
        return h, np.log((half * _WEIGHTS).ravel()) + (entries - 1) * np.log(h) - constant, entries


def _log1p(z: np.ndarray) -> np.ndarray:
    """log(1 + z) to a relative rounding, finite at -1 too."""
    size = np.maximum(np.abs(1 + z), 1e-300)
    near = np.where(size > 0.5, 2 * z.real + z.real**2 + z.imag**2, 0.0)
    return np.where(size > 0.5, np.log1p(near) / 2, np.log(size)) + 1j * np.arctan2(z.imag, 1 + z.real)


def _at(k: np.ndarray | int) -> np.ndarray:
    return _HALF + 1j * np.pi * np.asarray(k)


def _inverse(transform: Transform, t: float, terms: int) -> float:
    """The integral up to t of what has this Laplace transform (Abate and Whitt 1995, their method EULER)."""
    return _with_slope(transform, t, terms)[0]


def _with_slope(transform: Transform, t: float, terms: int) -> tuple[float, float]:
    """That integral and its derivative by log t, both of the same values of the transform."""
    s = _at(np.arange(terms + len(_AVERAGED)))
    values = transform(s / t)
    both = np.stack([(values / s).real, values.real])
    both[:, 0] /= 2
    both[:, 1::2] *= -1
    integral, slope = math.exp(_HALF) * (np.cumsum(both, axis=1)[:, -len(_AVERAGED) :] @ _AVERAGED)
    return float(integral), float(slope)


def _quantile(transform: Transform, probability: float, about: float) -> tuple[float, bool]:
    """The t up to which the integral is the probability, and whether it has settled.

    Raises OverflowError where it is outside the floats.
    """
    return _settled(lambda terms, about: _root(transform, probability, about, terms), about)


def _root(transform: Transform, probability: float, about: float, terms: int) -> float:
    """That t by so many terms: Newton's steps in log t, halving where one is too long."""
    log, step, ends = math.log(about), 1.0, [-math.inf, math.inf]
    moved = math.inf
    while abs(moved) > 1e-8:
        integral, slope = _with_slope(transform, math.exp(log), terms)
        rising = integral < probability
        ends[0 if rising else 1] = log
        newton = (probability - integral) / slope if slope > 0 else math.inf
        if math.isinf(ends[1] - ends[0]):  # nothing is known on one side: not too far there
            longest = step if rising else -step
            moved, step = (newton, step) if abs(newton) < step else (longest, 4 * step)
        elif abs(newton) < abs(moved) / 2 and ends[0] < log + newton < ends[1]:
            moved = newton
        else:
            moved = (ends[0] + ends[1]) / 2 - log
        log += moved
        if abs(log) > 690:
            raise OverflowError("the quantile is outside the floats")
    return math.exp(log)


def _settled(number: Callable[[int, float], float], about: float) -> tuple[float, bool]:
    """The number by so many terms of the sum that twice as many change nothing, or by all that there are to be.

    `number` is given the terms and the number by half of them. The narrower a law the more it wants.
    """
    terms, found = _FEW, number(_FEW, about)
    while terms < _MANY:
        terms, before = 2 * terms, found
        found = number(terms, before)
        if abs(found - before) <= 1e-6 * abs(found):
            return found, True
    return found, False
