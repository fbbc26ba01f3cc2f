"""Draws of the three noises for a weight: from a generator, or added in place at an address."""

from __future__ import annotations

import math
import operator
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from heavytail import _sampler, stable
from heavytail.noise.kinds import Noise, Unit, check, check_generator


def draw(
    alpha: float,
    noise: Noise,
    shape: Sequence[int],
    *,
    unit: Unit = "filter",
    generator: torch.Generator,
    dtype: torch.dtype = torch.float32,
) -> Tensor:
    """One draw of scale 1 for a weight of shape `(neurons, inputs)` or `(filters, channels, *kernel)`.

    For "shared" the result has size 1 along a unit's own axes and broadcasts against the weight.
    Raises ValueError for an unknown noise or unit, an alpha outside (0, 2], or a shape that is no weight's; TypeError
    for an alpha that is no number, or no generator.

    >>> generator = torch.Generator().manual_seed(1)
    >>> draw(1.75, "entrywise", (100, 20), generator=generator).shape
    torch.Size([100, 20])
    >>> draw(1.75, "shared", (100, 20), generator=generator).shape  # one scalar a neuron, which broadcasts
    torch.Size([100, 1])
    """
    check(alpha, 0.0, noise, unit)
    shape = _sizes(shape)
    if len(shape) < 2:
        raise ValueError(f"noise is defined on weights of at least two axes, got shape {shape}")
    own = _unit_axes(unit, shape)
    kicks = vectors(alpha, noise, (*shape[:own], math.prod(shape[own:])), generator=generator, dtype=dtype)
    return kicks.reshape(shape[:own] + ((1,) * (len(shape) - own) if noise == "shared" else shape[own:]))


def vectors(
    alpha: stable.Alpha,
    noise: Noise,
    shape: Sequence[int],
    *,
    generator: torch.Generator,
    dtype: torch.dtype = torch.float32,
) -> Tensor:
    """One draw of scale 1 for many units at once: `shape` is (..., d), the last axis one unit's d entries.

    `alpha` is a number or a tensor that broadcasts against `shape[:-1]`, one index a unit. For "shared" the last axis
    of the result has size 1. Raises ValueError for an unknown noise, an alpha outside (0, 2] or of another shape, or a
    shape without an axis; TypeError for an alpha that is neither, or no generator.

    >>> generator = torch.Generator().manual_seed(1)
    >>> alphas = torch.tensor([1.2, 1.9])  # two networks of a hundred neurons, each with its own index
    >>> vectors(alphas.unsqueeze(1), "isotropic", (2, 100, 20), generator=generator).shape
    torch.Size([2, 100, 20])
    """
    check(2.0 if isinstance(alpha, Tensor) else alpha, 0.0, noise)
    check_generator(generator)
    shape = _sizes(shape)
    if not shape:
        raise ValueError("a draw for many units needs a shape whose last axis is one unit's entries, got shape ()")
    if noise == "isotropic":
        return stable.isotropic(alpha, shape, generator=generator, dtype=dtype)
    if noise == "shared":
        return stable.symmetric(alpha, shape[:-1], generator=generator, dtype=dtype).unsqueeze(-1)
    each = alpha.unsqueeze(-1) if isinstance(alpha, Tensor) else alpha
    return stable.symmetric(each, shape, generator=generator, dtype=dtype)


@dataclass(frozen=True, eq=False)
class Kick:
    """The noise of one step of one run: `scale` times a unit draw, at an address."""

    alpha: float
    noise: Noise
    unit: Unit
    scale: float
    key: int
    step: int
    along: Tensor | None = None


def kick(weight: Tensor, kick: Kick, *, layer: int = 0, units: slice = slice(None)) -> None:
    """Add a kick to the weight of a layer; see `add`."""
    at = {"key": kick.key, "step": kick.step, "layer": layer}
    add(weight, kick.alpha, kick.noise, kick.scale, **at, unit=kick.unit, units=units, along=kick.along)


def add(
    weight: Tensor,
    alpha: float,
    noise: Noise,
    scale: float,
    *,
    key: int,
    step: int,
    layer: int = 0,
    unit: Unit = "filter",
    units: slice = slice(None),
    along: Tensor | None = None,
) -> None:
    """Add `scale` times a unit draw to a float32 weight in place; what it adds is decided by key, step and layer alone.

    `units` names the units of the weight to act on, so that parts can be done in any order and by several threads.
    `along`, (d,), is the direction of "shared" kicks in place of ones.
    On the CPU this is the compiled sampler of `heavytail._sampler`. Elsewhere it is `draw`, of the whole weight, whose
    numbers are others: a run has the same bits again on the same kind of device only.
    Raises ValueError for settings out of range, or a weight that is not contiguous, not float32, or has one axis;
    TypeError for an alpha that is no number.

    >>> weight = torch.zeros(100, 20)
    >>> add(weight, 1.75, "entrywise", 0.1, key=1, step=0)
    >>> bool((weight != 0).all())
    True
    """
    check(alpha, 0.0, noise, unit)
    if weight.ndim < 2 or weight.dtype != torch.float32 or not weight.is_contiguous():
        raise ValueError(
            f"noise is added in place to a contiguous float32 weight of two axes or more, not {weight.dtype} of "
            f"shape {tuple(weight.shape)} and strides {weight.stride()}"
        )
    if along is not None and (noise != "shared" or along.shape != weight[0].flatten().shape):
        raise ValueError(f"along= is for noise 'shared' and one number an input, not of shape {tuple(along.shape)}")
    matrix = weight.detach().flatten(0, _unit_axes(unit, weight.shape) - 1).flatten(1)
    first, last, stride = units.indices(len(matrix))
    if stride != 1:
        raise ValueError(f"units must name neighbours, got {units}")
    key, step, layer = (operator.index(number) for number in (key, step, layer))
    if weight.device.type == "cpu":
        at = {"key": key, "step": step, "layer": layer, "first": first}
        _sampler.add(matrix[first:last], noise, float(alpha), scale, **at, along=along)
        return
    if (first, last) != (0, len(matrix)):
        raise ValueError(f"on {weight.device} noise is added to a whole weight at once: leave units out")
    place = np.random.SeedSequence([key, step, layer]).generate_state(1, np.uint64)[0]
    generator = torch.Generator(weight.device).manual_seed(int(place) % 2**63)
    drawn = vectors(alpha, noise, matrix.shape, generator=generator)
    matrix.add_(drawn if along is None else drawn * along, alpha=scale)


def scale(alpha: float, sigma: float, lr: float) -> float:
    """The factor `sigma * lr^(1/alpha)` before a unit draw: increments of a stable process over lr. [C]

    >>> scale(2.0, 0.3, 0.01)
    0.03
    """
    try:
        return sigma * lr ** (1 / alpha)
    except OverflowError:  # a step size above 1 and a tiny alpha
        return math.inf if sigma > 0 else 0.0


def _unit_axes(unit: Unit, shape: Sequence[int]) -> int:
    """How many leading axes of a weight number its units: a kernel is one output and one input of a convolution."""
    return 2 if unit == "kernel" and len(shape) >= 3 else 1


def _sizes(shape: Sequence[int]) -> tuple[int, ...]:
    try:
        return tuple(operator.index(size) for size in shape)
    except TypeError:
        raise TypeError(f"shape must be whole numbers, one an axis, not {shape!r}") from None
