"""The error of pruning a trained network, predicted from its settings: that of start plus noise at finite width."""

from __future__ import annotations

import math
from functools import lru_cache

from heavytail.laws._checks import above, entries, neurons, share, stability
from heavytail.laws._transform import Column
from heavytail.noise.kinds import Noise, check


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
    `error² = N / D` with N the smallest squared norms and D all of them. N/n is close to its mean, the bulk
    `m = E[R²; R below its quantile 1 - κ]`, and D has its exact law at this width. Initial weights are taken for
    normal; with more than a few inputs only their variance matters. What gradients add `compressibility_bound` bounds.

    Raises ValueError for an argument out of range, for a quantile or a share kept within 1e-6 of 0 or 1, and for an
    alpha so small that the weights are outside the floats, TypeError for one that is no number.

    >>> layer = {"noise": "shared", "inputs": 140, "spread": 0.05, "scale": 0.1}
    >>> [round(predicted_error(1.5, width, keep=0.1, **layer), 2) for width in (100, 10_000)]
    [0.48, 0.23]
    """
    stability(alpha, 0, 2)
    check(alpha, 0.0, noise)
    neurons(width)
    entries(inputs)
    share("keep", keep)
    share("a quantile", quantile)
    above("spread", spread)
    above("scale", scale)
    kept = max(1, round(keep * width))
    return _predicted(alpha, width, kept, noise, inputs, spread / scale, quantile) if kept < width else 0.0


@lru_cache(maxsize=4096)
def _predicted(alpha: float, width: int, kept: int, noise: Noise, inputs: int, spread: float, quantile: float) -> float:
    """Of noise of scale 1: the relative error does not know the unit of the weights."""
    column = Column(alpha, noise, inputs, spread)
    try:
        below = column.squared_norm_at(1 - kept / width)
        total = column.sum_at(1 - quantile, width)
    except OverflowError:
        raise ValueError(
            f"at alpha = {alpha:g} and width = {width} the weights are outside the floats: use log_required_width there"
        ) from None
    return min(1.0, math.sqrt(width * column.bulk(below) / total))
