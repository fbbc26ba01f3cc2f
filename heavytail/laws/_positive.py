"""The law of a positive stable variable S, `E exp(-s S) = exp(-s^β)`, at every β in (0, 1) and every probability.

All is said of `Y = β/(1-β) log S`, whose law has a limit at both ends of β. By Kanter (1975) `Y = log a(U) - log W`
with U uniform on (0, π), W standard exponential and log a rising in U. Two ways to a mean over both:

    panels    over U, of exp(-exp(log a(U) - y)): a window of log a that moves with y, in panels with a Gauss rule
    weights   over W, of the law of log a(U) at y + log W, which is smooth far out in the tail: a trapezoidal rule

The second is for the tail at β near 1, where U lies so close to π that the window is below the rounding of U.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Literal

import numpy as np
from scipy import optimize

Side = Literal["below", "above"]
Measure = Literal["below", "above", "density"]

SMALLEST = 1e-30  # the law of Y has its limit at β = 0 to every digit long before
_POWER_LAW = 460.0  # log odds of U, far beyond -log of the least 1 - β
_FAR = 45.0  # exp(-_FAR) is lost beside 1
_NODES, _WEIGHTS = np.polynomial.legendre.leggauss(16)
_AT_ONCE = 2**19  # nodes in memory at a time
_TAIL = 100.0  # so far above the lowest log a the weights take over
_LOG_W = np.arange(-95.0, 4.3, 0.25)
_W_WEIGHTS = 0.25 * np.exp(_LOG_W - np.exp(_LOG_W))


@dataclass(frozen=True, eq=False)
class PositiveLaw:
    """The law of Y for the index β, from `positive_law`.

    `lowest` is the least value of log a, at u = 0; a table of log a against log(u / (π - u)) serves to invert it.
    """

    index: float
    lowest: float
    log_odds: np.ndarray
    log_a: np.ndarray

    @property
    def power(self) -> float:
        """Y over log S: `β / (1 - β)`."""
        return self.index / (1 - self.index)

    @property
    def far(self) -> float:
        """From here on the tail is a power of S to every digit: P(Y > y) falls as `exp(-(1-β) y)`."""
        return float(np.interp(_POWER_LAW, self.log_odds, self.log_a))

    @property
    def highest(self) -> float:
        """What Y exceeds with a chance that no float can hold."""
        return self.far + 400 / (1 - self.index)

    @cached_property
    def _even(self) -> np.ndarray:
        """What panels are even in, `log a + log(1 + odds)`: the integrand and the measure change little on one."""
        return self.log_a + np.log1p(np.exp(self.log_odds))

    @cached_property
    def _log_height(self) -> np.ndarray:
        return np.log(self.log_a - self.lowest)

    def of(self, measure: Measure, y: np.ndarray | float) -> np.ndarray:
        """P(Y <= y), P(Y > y) or the density of Y at each y, to about 12 digits however small."""
        flat = np.asarray(y, dtype=float).ravel()
        values = np.empty(flat.size)
        tail = (flat > self.lowest + _TAIL) & (self.index >= 0.5)
        for rule, part in ((self._by_weights, tail), (self._by_panels, ~tail)):
            if part.any():
                values[part] = rule(measure, flat[part])
        return values.reshape(np.shape(y))

    def quantile(self, side: Side, probability: float) -> float:
        """The y with P(Y <= y) = probability, or P(Y > y) = probability; a probability in (0, 1)."""
        if probability > 0.5:
            side, probability = "above" if side == "below" else "below", 1 - probability
        log, far = math.log(probability), self.far

        def off(v: float) -> float:
            beyond = max(0.0, float(self.at(v)) - far) if side == "above" else 0.0
            value = float(self.of(side, self.at(v) - beyond))
            return (math.log(value) if value > 0 else -1e4) - (1 - self.index) * beyond - log

        low, high = self.place(self.lowest - 7), self.place(self.highest)
        return float(self.at(optimize.brentq(off, low, high, xtol=1e-15, rtol=1e-15)))

    def at(self, v: np.ndarray | float) -> np.ndarray:
        """Y on a scale that is fine where the law piles up and coarse along its tail, however long."""
        return self.lowest + 3 + 8 * np.sinh(v)

    def place(self, y: np.ndarray | float) -> np.ndarray:
        """The v with `at(v)` = y."""
        return np.arcsinh((np.asarray(y) - self.lowest - 3) / 8)

    def _by_panels(self, measure: Measure, y: np.ndarray) -> np.ndarray:
        reach = _FAR / (1 if measure == "below" else self.index)
        first = np.maximum(y - min(reach, 1e6), self.lowest)
        last = y + np.log(np.exp(np.clip(self.lowest - y, -_FAR, 8)) + _FAR)
        last = np.minimum(np.maximum(last, first + 1e-3), self.log_a[-1])
        start = np.where(first <= self.lowest, self.lowest, np.interp(first, self.log_a, self._even))
        length = np.interp(last, self.log_a, self._even) - start
        values, done = np.empty(y.size), 0
        while done < y.size:
            rows = slice(done, done + max(1, int(_AT_ONCE / (16 * (8 + length[done:].max())))))
            panels = 8 + math.ceil(length[rows].max())
            edges = start[rows, None] + length[rows, None] * np.linspace(0, 1, panels + 1)
            odds = np.where(edges <= self.lowest, 0.0, np.exp(np.interp(edges, self._even, self.log_odds)))
            values[rows] = self._panels(measure, y[rows], odds)
            done = rows.stop
        return values

    def _panels(self, measure: Measure, y: np.ndarray, edges: np.ndarray) -> np.ndarray:
        """The mean over U between these odds u / (π - u), and over the rest of U, where the integrand is 0 or 1."""
        half = np.diff(edges) / 2
        odds = (edges[:, :-1] + half)[..., None] + half[..., None] * _NODES
        beyond = np.exp(np.minimum(_log_a(self.index, odds) - y[:, None, None], 700.0))
        if measure == "below":
            value, rest = np.exp(-beyond), edges[:, 0] / (1 + edges[:, 0])
        elif measure == "above":
            value, rest = -np.expm1(-beyond), 1 / (1 + edges[:, -1])
        else:
            value, rest = beyond * np.exp(-beyond), np.zeros(len(y))
        measure_of_u = half[..., None] / (1 + odds) / (1 + odds)  # of U / π, for odds up to the largest float
        return (value * measure_of_u @ _WEIGHTS).sum(1) + rest

    def _by_weights(self, measure: Measure, y: np.ndarray) -> np.ndarray:
        t = np.minimum(y[:, None] + _LOG_W, self.log_a[-1])
        log_odds = np.interp(np.log(t - self.lowest), self._log_height, self.log_odds)
        for _ in range(4):
            log_odds += (t - _log_a(self.index, np.exp(log_odds))) / _slope(self.index, np.exp(log_odds))
        odds = np.exp(log_odds)
        if measure == "below":
            return odds / (1 + odds) @ _W_WEIGHTS
        density = odds / (1 + odds) / (1 + odds) / _slope(self.index, odds) if measure == "density" else 1 / (1 + odds)
        return density @ _W_WEIGHTS


@lru_cache(maxsize=64)
def positive_law(index: float) -> PositiveLaw:
    """The law of Y for the index β in (0, 1)."""
    rest = 1 - index
    lowest = (math.log1p(-rest) if index >= 0.5 else math.log(index)) * index / rest + math.log(rest)
    log_odds = np.arange(-14.0, 700.0, 0.1)
    log_a = _log_a(index, np.exp(log_odds))
    rising = np.concatenate([[True], np.diff(np.maximum.accumulate(log_a)) > 0]) & (log_a > lowest)
    return PositiveLaw(index, lowest, log_odds[rising], log_a[rising])


def _angles(odds: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """u and π - u, the sine and the cotangent of u, all without cancellation."""
    u, left = math.pi * (odds / (1 + odds)), math.pi / (1 + odds)
    near = np.minimum(u, left)
    return u, left, np.sin(near), np.where(u <= left, 1.0, -1.0) / np.tan(near)


def _log_a(index: float, odds: np.ndarray) -> np.ndarray:
    """Kanter's log a(u) at u / (π - u) = odds: `(β log(sin βu / sin u) + (1-β) log(sin (1-β)u / sin u)) / (1-β)`.

    At β near 1 the first logarithm is one of nearly 1: `sin βu / sin u = cos (1-β)u - cot u sin (1-β)u`.
    """
    rest = 1 - index
    u, left, sine, cotangent = _angles(odds)
    sine_rest = np.sin(rest * u) if index >= 0.5 else np.sin(np.where(u <= left, rest * u, left + index * u))
    if index >= 0.5:
        first = np.log1p(-2 * np.sin(rest * u / 2) ** 2 - cotangent * sine_rest)
    else:
        first = np.log(np.sin(index * u) / sine)
    return index / rest * first + np.log(sine_rest / sine)


def _slope(index: float, odds: np.ndarray) -> np.ndarray:
    """The derivative of log a by log odds, for β of 1/2 or more."""
    rest = 1 - index
    u, left, sine, cotangent = _angles(odds)
    ratio = np.cos(rest * u) - cotangent * np.sin(rest * u)  # sin βu / sin u
    by_u = index**2 * np.sin(rest * u) / rest * (left / sine) / (sine * ratio)  # with a factor π - u, like what follows
    return (by_u - (1 + index) * (cotangent * left) + rest / np.tan(rest * u) * left) * u / math.pi
