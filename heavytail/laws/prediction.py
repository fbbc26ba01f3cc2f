"""The error of pruning a trained network, predicted from its settings: that of start plus noise at finite width."""

from __future__ import annotations

import math
import operator
from functools import lru_cache

from heavytail.laws._checks import above, share, stability, whole
from heavytail.laws._transform import RAREST, Column
from heavytail.noise.kinds import Noise, check

_ALONE = 1e100  # so many times the noise the start is alone


def predicted_error(
    alpha: float,
    width: int,
    keep: float,
    *,
    noise: Noise,
    inputs: int,
    spread: float,
    scale: float,
    quantile: float = 0.5,
) -> float:
    """The relative error of pruning that a trained layer stays below with this probability, if it moved little. [D]

    alpha     the stability index, in (0, 2]
    width     n, the neurons of the layer
    keep      κ, the share of neurons kept, in (0, 1), rounded to a whole number, one at least, as `prune` does
    noise     "shared", "entrywise" or "isotropic" kicks
    inputs    d, the weights of a neuron
    spread    s, the standard deviation of an initial weight: 1/√(3d) by torch's default
    scale     `σ T^(1/α)` for a time of training T, steps times step size: all kicks together are one draw of this scale
    quantile  that probability, in (0, 1); 0.5 is for the median error

    Nothing is measured on a network. The column of a neuron is its start plus its noise, no gradient, so that
    `error² = N / D` with N the smallest squared norms and D all of them. N/n is taken for its mean, the bulk
    `m = E[R²; R below its quantile 1 - κ]`, and D has its law at this width. That is good where a few large columns
    make D random, as stable noise does. Where the start outweighs the noise, or alpha is near 2, N and D rise and fall
    together: the median is still good, but the other quantiles are too far from it. Initial weights are taken for
    normal; with tens of inputs little but their variance matters. What gradients add `compressibility_bound` bounds.

    Raises ValueError for an argument out of range, for a quantile or a share kept within 1e-6 of 0 or 1, and for an
    alpha so small that the weights are outside the floats, TypeError for an alpha, keep, spread, scale or quantile that
    is no number.

    >>> layer = {"noise": "shared", "inputs": 140, "spread": 0.05, "scale": 0.1}
    >>> [round(predicted_error(1.5, width, keep=0.1, **layer), 2) for width in (100, 10_000)]
    [0.48, 0.23]
    """
    share("keep", keep)
    share("a quantile", quantile)
    _rare("a quantile", quantile)
    whole("width", width, "neurons")
    kept = max(1, round(keep * width))
    if kept >= width:
        return 0.0
    _rare("the share kept", kept / width)
    return _error(*_layer(alpha, width, noise, inputs, spread, scale, 1 - quantile), operator.index(width), kept)


def predicted_ratio(
    alpha: float,
    width: int,
    squared_error: float = 0.1,
    *,
    noise: Noise,
    inputs: int,
    spread: float,
    scale: float,
    quantile: float = 0.5,
) -> float:
    """The share of neurons that pruning at this squared error takes from a trained layer, or fewer, likewise. [D]

    It is the largest share whose squared norms are at most `squared_error` of all; with probability `quantile` a layer
    lets no more go. All other arguments, and what is raised, are those of `predicted_error`: so the strength of noise
    that a pruning ratio wants is known before a network is trained.

    >>> layer = {"noise": "shared", "inputs": 140, "spread": 0.05}
    >>> [round(predicted_ratio(1.75, 2000, **layer, scale=scale), 2) for scale in (0.001, 0.01, 0.1)]
    [0.12, 0.14, 0.65]
    """
    share("squared_error", squared_error)
    layer = _layer(alpha, width, noise, inputs, spread, scale, quantile)
    return _ratio(*layer, operator.index(width), float(squared_error))


def _layer(
    alpha: float, width: int, noise: Noise, inputs: int, spread: float, scale: float, quantile: float
) -> tuple[Column, float]:
    """A column in units of the noise, for the relative error knows no unit, and this quantile of all squared norms."""
    stability(alpha, 0, 2)
    check(alpha, 0.0, noise)
    whole("width", width, "neurons")
    whole("inputs", inputs, "the entries of a noise vector")
    share("a quantile", quantile)
    _rare("a quantile", quantile)
    above("spread", spread)
    above("scale", scale)
    # Plain numbers: NumPy's overflow to inf without a word.
    column = Column(float(alpha), noise, operator.index(inputs), min(float(spread) / float(scale), _ALONE))
    try:
        return column, _sum_at(column, float(quantile), operator.index(width))
    except OverflowError:
        raise ValueError(f"at alpha = {alpha:g} and width = {width} the weights are outside the floats") from None


def _rare(name: str, probability: float) -> None:
    """Raise ValueError for a probability that is closer to 0 or 1 than the transform can tell."""
    if not RAREST <= probability <= 1 - RAREST:
        raise ValueError(f"{name} must be {RAREST:g} away from 0 and 1 at least, got {float(probability)!r}")


@lru_cache(maxsize=4096)
def _sum_at(column: Column, quantile: float, width: int) -> float:
    return column.sum_at(quantile, width)


def _error(column: Column, total: float, width: int, kept: int) -> float:
    gone = 1 - kept / width
    return min(math.sqrt(width * _bulk(column, gone) / total), math.sqrt(gone))  # the smallest hold at most their share


@lru_cache(maxsize=4096)
def _bulk(column: Column, gone: float) -> float:
    """E[R²; R² below its quantile `gone`], the same for every quantile of the error."""
    bulk = column.bulk_of(gone)
    return gone * column.squared_norm_at(0.5) if bulk is None else bulk  # narrow: all are as large


@lru_cache(maxsize=4096)
def _ratio(column: Column, total: float, width: int, squared_error: float) -> float:
    largest = column.squared_norm_that_holds(squared_error * total / width)
    share_below = 1.0 if math.isinf(largest) else column.share_below(largest)
    return min(math.floor(width * share_below), width - 1) / width
