"""The paper's three noises on weight matrices, and their use with any torch optimizer.

Weights follow torch: a linear weight is (neurons, inputs), so the paper's column i is row i. A convolution's weight is
(filters, channels, height, width); its unit is a filter (one output channel) or a kernel (one output, one input).

    ours         paper      one unit's noise vector (d entries)          source: the paper's code [C]
    "shared"     Type-I     one symmetric stable scalar, d times
    "entrywise"  Type-II    d independent symmetric stable scalars
    "isotropic"  Type-III   a Gaussian vector times the root of one positive stable scalar

All three have symmetric stable entries of scale 1 and index alpha; they differ in how the entries of a unit hang
together.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.hooks import RemovableHandle

from heavytail import _sampler, stable, streams

NOISES = ("shared", "entrywise", "isotropic")
UNITS = ("filter", "kernel")


def draw(
    noise: str,
    alpha: float,
    shape: Sequence[int],
    *,
    unit: str = "filter",
    generator: torch.Generator,
    dtype: torch.dtype = torch.float32,
) -> Tensor:
    """One draw of scale 1 for a weight of `shape` (neurons, inputs) or (filters, channels, height, width).

    For "shared" the result has size 1 along a unit's own axes and broadcasts against the weight.
    Raises ValueError for an unknown noise or unit, an alpha outside (0, 2], or a shape that is no weight's.

    >>> generator = torch.Generator().manual_seed(1)
    >>> draw("entrywise", 1.75, (100, 20), generator=generator).shape
    torch.Size([100, 20])
    >>> draw("shared", 1.75, (100, 20), generator=generator).shape  # one scalar a neuron, which broadcasts
    torch.Size([100, 1])
    """
    check(noise, alpha, 0.0, unit)
    if len(shape) < 2:
        raise ValueError(f"noise is defined on weights of at least two axes, got shape {tuple(shape)}")
    units = tuple(shape[:2]) if unit == "kernel" and len(shape) == 4 else tuple(shape[:1])
    kicks = vectors(noise, alpha, (*units, math.prod(shape[len(units) :])), generator=generator, dtype=dtype)
    own_axes = (1,) * (len(shape) - len(units)) if noise == "shared" else tuple(shape[len(units) :])
    return kicks.reshape(units + own_axes)


def vectors(
    noise: str,
    alpha: stable.Alpha,
    shape: Sequence[int],
    *,
    generator: torch.Generator,
    dtype: torch.dtype = torch.float32,
) -> Tensor:
    """One draw of scale 1 for many units at once: `shape` is (..., d), the last axis one unit's d entries.

    `alpha` is a number or a tensor that broadcasts against `shape[:-1]`, one index a unit. For "shared" the last axis
    of the result has size 1. Raises ValueError for an unknown noise, an alpha outside (0, 2] or of another shape.

    >>> generator = torch.Generator().manual_seed(1)
    >>> alphas = torch.tensor([1.2, 1.9])  # two networks of a hundred neurons, each with its own index
    >>> vectors("isotropic", alphas.unsqueeze(1), (2, 100, 20), generator=generator).shape
    torch.Size([2, 100, 20])
    """
    if noise not in NOISES:
        raise ValueError(f"unknown noise {noise!r}: choose one of {', '.join(NOISES)}")
    *units, _ = shape
    if noise == "isotropic":
        return stable.isotropic(alpha, shape, generator=generator, dtype=dtype)
    if noise == "shared":
        return stable.symmetric(alpha, units, generator=generator, dtype=dtype).unsqueeze(-1)
    each = alpha.unsqueeze(-1) if isinstance(alpha, Tensor) else alpha
    return stable.symmetric(each, shape, generator=generator, dtype=dtype)


@dataclass(frozen=True, eq=False)
class Kick:
    """The noise of one step of one run: `scale` times a unit draw, at an address."""

    noise: str
    alpha: float
    unit: str
    scale: float
    key: int
    step: int
    along: Tensor | None = None


def kick(weight: Tensor, kick: Kick, *, layer: int = 0, units: slice = slice(None)) -> None:
    """Add a kick to the weight of a layer; see `add`."""
    at = {"key": kick.key, "step": kick.step, "layer": layer}
    add(weight, kick.noise, kick.alpha, kick.scale, **at, unit=kick.unit, units=units, along=kick.along)


def add(
    weight: Tensor,
    noise: str,
    alpha: float,
    scale: float,
    *,
    key: int,
    step: int,
    layer: int = 0,
    unit: str = "filter",
    units: slice = slice(None),
    along: Tensor | None = None,
) -> None:
    """Add `scale` times a unit draw to a float32 weight in place; what it adds is decided by key, step and layer alone.

    `units` names the units of the weight to act on, so that parts can be done in any order and by several threads.
    `along`, (d,), is the direction of "shared" kicks in place of ones.
    On the CPU this is the compiled sampler of `heavytail._sampler`. Elsewhere it is `draw`, of the whole weight, whose
    numbers are others: a run has the same bits again on the same kind of device only.
    Raises ValueError for settings out of range, or a weight that is not contiguous, not float32, or has one axis.
    """
    check(noise, alpha, 0.0, unit)
    if weight.ndim < 2 or weight.dtype != torch.float32 or not weight.is_contiguous():
        raise ValueError(
            f"noise is added in place to a contiguous float32 weight of two axes or more, not {weight.dtype} of "
            f"shape {tuple(weight.shape)} and strides {weight.stride()}"
        )
    if along is not None and (noise != "shared" or along.shape != weight[0].flatten().shape):
        raise ValueError(f"along= is for noise 'shared' and one number an input, not of shape {tuple(along.shape)}")
    by_kernel = unit == "kernel" and weight.ndim == 4
    matrix = weight.detach().flatten(0, 1 if by_kernel else 0).flatten(1)
    first, last, stride = units.indices(len(matrix))
    if stride != 1:
        raise ValueError(f"units must name neighbours, got {units}")
    if weight.device.type == "cpu":
        at = {"key": key, "step": step, "layer": layer, "first": first}
        _sampler.add(matrix[first:last], noise, alpha, scale, **at, along=along)
        return
    if (first, last) != (0, len(matrix)):
        raise ValueError(f"on {weight.device} noise is added to a whole weight at once: leave units out")
    place = np.random.SeedSequence([key, step, layer]).generate_state(1, np.uint64)[0]
    generator = torch.Generator(weight.device).manual_seed(int(place) % 2**63)
    drawn = vectors(noise, alpha, matrix.shape, generator=generator)
    matrix.add_(drawn if along is None else drawn * along, alpha=scale)


def scale(sigma: float, lr: float, alpha: float) -> float:
    """The factor `sigma * lr^(1/alpha)` before a unit draw: increments of a stable process over lr. [C]"""
    try:
        return sigma * lr ** (1 / alpha)
    except OverflowError:  # a step size above 1 and a tiny alpha
        return math.inf if sigma > 0 else 0.0


def perturb(
    optimizer: torch.optim.Optimizer,
    *,
    alpha: float,
    sigma: float,
    noise: str,
    generator: torch.Generator,
    params: Iterable[Tensor] | None = None,
    unit: str = "filter",
) -> RemovableHandle:
    """Add heavy-tailed noise to the weights after every `optimizer.step()`.

    Each step adds `sigma * lr^(1/alpha)` times a fresh unit draw, with the lr of the parameter's own group. `params`
    names the weights; by default all weights that `optimizer` holds, less the last one (the output layer) and less the
    first convolution, in the order the optimizer holds them; biases get none. Source: the paper's code [C]. Float32
    weights on the CPU get theirs from the compiled sampler, keyed by the generator's next word; others from `draw`.

    Returns a handle. The paper's code adds no noise after the last step: call `handle.remove()` before it.
    Raises ValueError for unknown names, sigma < 0, alpha outside (0, 2], or a generator on another device.

    >>> model = torch.nn.Sequential(torch.nn.Linear(8, 16), torch.nn.ReLU(), torch.nn.Linear(16, 2))
    >>> optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    >>> generator = torch.Generator().manual_seed(1)
    >>> handle = perturb(optimizer, alpha=1.75, sigma=0.01, noise="isotropic", generator=generator)
    >>> first, last = model[0].weight.detach().clone(), model[2].weight.detach().clone()
    >>> (0 * model(torch.ones(1, 8)).sum()).backward()  # all gradients are 0: what moves now is moved by noise
    >>> optimizer.step()
    >>> bool((model[0].weight != first).all()), bool((model[2].weight == last).all())  # hidden layers alone
    (True, True)
    >>> handle.remove()
    """
    check(noise, alpha, sigma, unit)
    held = [p for group in optimizer.param_groups for p in group["params"]]
    chosen = hidden(held) if params is None else [p for p in params if p.ndim >= 2]
    if not chosen:
        raise ValueError("no weight to perturb: the optimizer holds no hidden weight matrix; name them in params=")
    for p in chosen:
        if not any(p is q for q in held):
            raise ValueError(f"a weight of shape {tuple(p.shape)} in params= is not held by the optimizer")
        if p.device.type != generator.device.type:
            raise ValueError(f"the generator is on {generator.device}, a weight on {p.device}: make them the same")

    def add_noise(*_: Any) -> None:
        # Looked up at every step: loading a state dict gives the optimizer new group dictionaries.
        lr = {id(p): float(group["lr"]) for group in optimizer.param_groups for p in group["params"]}
        with torch.no_grad():
            for p in chosen:
                size = scale(sigma, lr[id(p)], alpha)
                if p.device.type == "cpu" and p.dtype == torch.float32 and p.is_contiguous():
                    add(p, noise, alpha, size, key=streams.word(generator), step=0, unit=unit)
                else:
                    dtype = torch.promote_types(p.dtype, torch.float32)  # half-precision weights get float32 draws
                    p.add_(draw(noise, alpha, p.shape, unit=unit, generator=generator, dtype=dtype), alpha=size)

    return optimizer.register_step_post_hook(add_noise)


def hidden(weights: Iterable[Tensor]) -> list[Tensor]:
    """Of a network's parameters in order: its weights less the output layer's and the first convolution's.

    These are the weights that get noise and that pruning may touch. Told by position, never by size: the paper's
    code takes any layer as wide as the class count for the last one (book/deviations.md, row 6).

    >>> model = torch.nn.Sequential(torch.nn.Linear(8, 16), torch.nn.ReLU(), torch.nn.Linear(16, 2))
    >>> [tuple(weight.shape) for weight in hidden(model.parameters())]
    [(16, 8)]
    """
    matrices = [p for p in weights if p.ndim >= 2]
    convolutions = [p for p in matrices if p.ndim == 4]
    return [p for p in matrices[:-1] if not (convolutions and p is convolutions[0])]


def check(noise: str, alpha: float, sigma: float, unit: str = "filter") -> None:
    """Raise ValueError with one sentence unless noise, alpha, sigma and unit are all in range."""
    if noise not in NOISES:
        raise ValueError(f"unknown noise {noise!r}: choose one of {', '.join(NOISES)}")
    if unit not in UNITS:
        raise ValueError(f"unknown unit {unit!r}: choose one of {', '.join(UNITS)}")
    if not 0 < alpha <= 2:
        raise ValueError(f"the stability index alpha must lie in (0, 2], got {alpha:g}")
    if not (sigma >= 0 and math.isfinite(sigma)):
        raise ValueError(f"the noise scale sigma must be a finite number >= 0, got {sigma:g}")
