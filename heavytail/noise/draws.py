"""Draws of the three noises for a weight: from a generator, or added in place at an address."""

from __future__ import annotations

import math
import operator
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from importlib.util import find_spec
from typing import Any, TypeAlias

import torch
from torch import Tensor

from heavytail import _sampler, stable
from heavytail.noise.kinds import (
    Noise,
    Unit,
    as_float,
    check,
    check_alpha,
    check_generator,
    check_noise,
    check_unit,
    shown,
)

_FLOAT32 = torch.finfo(torch.float32)
_LOG_FLOAT64 = 700.0  # e to the power of less, up or down, is a normal float64


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
    _check(alpha, noise, unit)
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
    check_noise(noise)
    if not isinstance(alpha, Tensor):
        check_alpha(alpha)
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
    if not isinstance(kick, Kick):
        raise TypeError(f"a kick is a heavytail.noise.Kick, not {shown(kick)}")
    at = {"key": kick.key, "step": kick.step, "layer": layer}
    add(weight, kick.alpha, kick.noise, kick.scale, **at, unit=kick.unit, units=units, along=kick.along)


@dataclass(frozen=True, eq=False)
class Launch:
    """The kicks of one noise that some of R runs get after a step, as the kernels for a GPU read them."""

    noise: Noise
    unit: Unit
    kicks: Any  # heavytail._sampler.gpu.Kicks
    along: Tensor | None  # (R, d)


Kicks: TypeAlias = "Mapping[int, Kick] | Sequence[Launch]"  # of some runs by number, or ready for a device


def kick_each(weights: Tensor, kicks: Kicks, *, layer: int = 0) -> None:
    """Add kicks to the weights of R runs, (R, ...), of a layer, in place: on a GPU those of a noise in one launch.

    What a run gets does not depend on the others. Raises as `add` does.

    >>> weights = torch.zeros(3, 100, 20)
    >>> kick_each(weights, {1: Kick(1.75, "entrywise", "filter", 0.1, key=1, step=0)})
    >>> weights.flatten(1).count_nonzero(1).tolist()
    [0, 2000, 0]
    """
    if isinstance(kicks, Mapping) and not launched(weights.device):
        for row, given in kicks.items():
            kick(weights[row], given, layer=layer)
        return
    for launch in launches(kicks, len(weights), weights.device) if isinstance(kicks, Mapping) else kicks:
        _launch(weights, launch, layer)


def launches(
    kicks: Mapping[int, Kick], runs: int, device: torch.device, clock: Tensor | None = None
) -> Sequence[Launch]:
    """Kicks of some of so many runs, ready for a device: a launch a noise.

    With `clock`, int64 (R,) on the device, they are those of the steps that it holds when they are launched.
    """
    from heavytail._sampler import gpu

    ready = []
    for kind, unit in sorted({(given.noise, given.unit) for given in kicks.values()}):
        own = {row: given for row, given in kicks.items() if (given.noise, given.unit) == (kind, unit)}
        for given in own.values():
            _check(given.alpha, kind, unit)
            _sampler.check_address(given.key, given.step, 0)
        each = [own.get(row, replace(own[min(own)], scale=0.0)) for row in range(runs)]
        steps = torch.tensor([given.step for given in each]).to(device) if clock is None else clock
        laws, keys = gpu.table(kind, [(given.alpha, given.scale, given.key) for given in each], device)
        along = [given.along for given in each if given.along is not None]
        ready.append(Launch(kind, unit, gpu.Kicks(laws, keys, steps), torch.stack(along) if along else None))
    return ready


def launched(device: torch.device) -> bool:
    """Whether kicks for a device are drawn by the kernels for a GPU. Triton comes with torch for CUDA on Linux.

    >>> launched(torch.device("cpu"))
    False
    """
    return device.type == "cuda" and find_spec("triton") is not None


def _launch(weights: Tensor, launch: Launch, layer: int) -> None:
    from heavytail._sampler import gpu

    _fits(weights[0], launch.noise, None if launch.along is None else launch.along[0])
    _sampler.check_address(0, 0, layer)
    matrices = weights.detach().flatten(1, _unit_axes(launch.unit, weights.shape[1:])).flatten(2)
    gpu.add(matrices, launch.noise, launch.kicks, layer=layer, along=launch.along)


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
    The same address gives the same kick on every device, but for the last bits: on the CPU it is drawn by compiled
    loops, on a CUDA GPU by kernels in Triton, of a whole weight at once, and for other devices on the CPU.
    Raises ValueError for settings out of range, or a weight that is not contiguous, not float32, or has one axis;
    TypeError for an alpha that is no number.

    >>> weight = torch.zeros(100, 20)
    >>> add(weight, 1.75, "entrywise", 0.1, key=1, step=0)
    >>> bool((weight != 0).all())
    True
    """
    _check(alpha, noise, unit)
    _fits(weight, noise, along)
    matrix = weight.detach().flatten(0, _unit_axes(unit, weight.shape) - 1).flatten(1)
    first, last, stride = units.indices(len(matrix))
    if stride != 1:
        raise ValueError(f"units must name neighbours, got {units}")
    key, step, layer = (operator.index(number) for number in (key, step, layer))
    at = {"key": key, "step": step, "layer": layer, "first": first}
    if weight.device.type == "cpu":
        _sampler.add(matrix[first:last], noise, float(alpha), scale, **at, along=along)
    elif not launched(weight.device):
        kick = torch.zeros(last - first, matrix.shape[1])
        _sampler.add(kick, noise, float(alpha), scale, **at, along=None if along is None else along.cpu())
        matrix[first:last] += kick.to(weight.device)
    elif (first, last) == (0, len(matrix)):
        given = Kick(float(alpha), noise, unit, float(scale), key, step, along)
        kick_each(weight.detach().unsqueeze(0), {0: given}, layer=layer)
    else:
        raise ValueError(f"on {weight.device} noise is added to a whole weight at once: leave units out")


def _check(alpha: Any, noise: Any, unit: Any) -> None:
    check_noise(noise)
    check_unit(unit)
    check_alpha(alpha)


def _fits(weight: Tensor, noise: Noise, along: Tensor | None) -> None:
    if weight.ndim < 2 or weight.dtype != torch.float32 or not weight.is_contiguous():
        raise ValueError(
            f"noise is added in place to a contiguous float32 weight of two axes or more, not {weight.dtype} of "
            f"shape {tuple(weight.shape)} and strides {weight.stride()}"
        )
    if along is not None and (noise != "shared" or along.shape != weight[0].flatten().shape):
        raise ValueError(f"along= is for noise 'shared' and one number an input, not of shape {tuple(along.shape)}")


def scale(alpha: float, sigma: float, lr: float) -> float:
    """The factor `sigma * lr^(1/alpha)` before a unit draw: increments of a stable process over lr. [C]

    It is 0 where sigma or lr is. Else it must be a normal number of float32: below, kicks would be lost, though the
    tail of their law reaches far above 1; beyond, each of them would be infinite. Raises ValueError where it is not,
    or for settings out of range; TypeError for an alpha or sigma that is no number.

    >>> scale(2.0, 0.3, 0.01)
    0.03
    >>> scale(0.02, 0.3, 0.1)
    Traceback (most recent call last):
    ValueError: kicks of size sigma * lr^(1/alpha) = 10^-50.5 are below what float32 holds, 1.2e-38 to 3.4e+38, for \
alpha=0.02, lr=0.1, sigma=0.3: take a larger alpha, lr or sigma, or sigma=0 for no noise
    """
    check(alpha, sigma, "shared")
    alpha, sigma, lr = float(alpha), float(sigma), as_float(lr)
    if not 0 <= lr < math.inf:
        raise ValueError(f"the step size lr must be a finite number >= 0, got {lr:g}")
    if sigma == 0 or lr == 0:
        return 0.0
    power = math.log(lr) / alpha
    size = math.log(sigma) + power
    # The power alone may be no float.
    factor = sigma * lr ** (1 / alpha) if abs(power) < _LOG_FLOAT64 else math.exp(min(size, _LOG_FLOAT64))
    small, large = factor < _FLOAT32.tiny, factor > _FLOAT32.max
    if small or large:
        raise ValueError(
            f"kicks of size sigma * lr^(1/alpha) = 10^{size / math.log(10):.1f} are {'below' if small else 'above'} "
            f"what float32 holds, {_FLOAT32.tiny:.2g} to {_FLOAT32.max:.2g}, for alpha={alpha:g}, lr={lr:g}, "
            f"sigma={sigma:g}: take {'a larger alpha, lr or sigma' if small else 'a smaller lr or sigma'}, "
            "or sigma=0 for no noise"
        )
    return factor


def _unit_axes(unit: Unit, shape: Sequence[int]) -> int:
    """How many leading axes of a weight number its units: a kernel is one output and one input of a convolution."""
    return 2 if unit == "kernel" and len(shape) >= 3 else 1


def _sizes(shape: Sequence[int]) -> tuple[int, ...]:
    try:
        return tuple(operator.index(size) for size in shape)
    except TypeError:
        raise TypeError(f"shape must be whole numbers, one an axis, not {shape!r}") from None
