"""α-stable laws: draw them, and what is known of them in closed form.

Convention throughout: scale 1 means the characteristic function `exp(-|u|^alpha)`, so `alpha = 2` is N(0, 2).

The draws use the representations of Chambers, Mallows and Stuck (1976) and of Kanter (1975), written so that every
distance that decides the tail (the angle to its singular end, both ends of the exponential) is drawn with full
relative precision. A uniform on the grid 2^-24 would cut the tail of float32 draws near the quantile 1e-7.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Sequence
from numbers import Real
from typing import Any, SupportsIndex

import numpy as np
import torch
from torch import Tensor

Alpha = float | np.ndarray | Tensor
Size = SupportsIndex | Sequence[SupportsIndex]

SAMPLER_VERSION = 1  # raised whenever the same generator would give other numbers; stored with every result row
_SMALLEST_ALPHA = 1e-30  # below it every draw is 0 or the largest finite number, so any smaller index acts as this one


def symmetric(alpha: Alpha, size: Size, *, generator: torch.Generator, dtype: torch.dtype = torch.float32) -> Tensor:
    """Draw i.i.d. symmetric α-stable variables of scale 1, characteristic function `exp(-|u|^alpha)`.

    alpha      the stability index in (0, 2]: a number, or a tensor or array that broadcasts against `size`
    size       the shape of the result: a whole number or a sequence of them, none below 0
    generator  decides the draws, and on which device they lie; the global random state is never used
    dtype      torch.float32 or torch.float64

    No draw is inf or NaN: what exceeds the dtype (possible for small alpha) is its largest finite number.
    Source: Chambers, Mallows, Stuck (1976), at skewness 0.

    Raises ValueError for an alpha outside (0, 2] or of another shape, a size below 0 or another dtype, and TypeError
    for what is no number, no size or no generator.

    >>> generator = torch.Generator().manual_seed(1)
    >>> draws = symmetric(1.5, 1_000_000, generator=generator)
    >>> draws.shape, draws.dtype
    (torch.Size([1000000]), torch.float32)
    >>> round(float(torch.cos(draws).mean()), 2)  # exp(-1) = 0.37
    0.37
    """
    shape = _shape(size)
    alpha = _checked(alpha, 2.0, "(0, 2]", shape, generator, dtype)
    distance, sign = _two_sided_uniform(shape, generator, dtype)
    delta = distance.mul_(math.pi / 2)  # angle V = sign * (pi/2 - delta); the tail sits at delta -> 0
    lean = (1 - alpha).abs()
    # cos((1 - alpha) V) and |sin(alpha V)|, both as sines of sums, so that nothing cancels near the tail.
    log_ratio = _sin(lean, (1 - lean) * (math.pi / 2), delta).log_() - _exponential(shape, generator, dtype).log_()
    turn = torch.where(alpha >= 1, 2 - alpha, alpha) * (math.pi / 2)
    slope = torch.where(alpha >= 1, alpha, -alpha)
    log_size = _sin(slope, turn, delta).abs_().log_() - log_ratio
    log_size += (log_ratio - delta.sin_().log_()) / alpha.to(dtype)
    return _finite_exp(log_size).mul_(sign)


def positive(alpha: Alpha, size: Size, *, generator: torch.Generator, dtype: torch.dtype = torch.float32) -> Tensor:
    """Draw i.i.d. positive α-stable variables, Laplace transform `E exp(-s S) = exp(-s^alpha)`.

    Every draw is finite and above zero. Here `alpha` lies in (0, 1); the other arguments, and what is raised, are those
    of `symmetric`. Source: Kanter (1975), Corollary 4.1.

    >>> generator = torch.Generator().manual_seed(1)
    >>> draws = positive(0.75, 100_000, generator=generator)
    >>> bool((draws > 0).all()), round(float(torch.exp(-draws).mean()), 2)  # exp(-1) = 0.37
    (True, 0.37)
    """
    shape = _shape(size)
    alpha = _checked(alpha, 1.0, "(0, 1)", shape, generator, dtype, closed=False)
    return _finite_exp(_log_positive(alpha, shape, generator, dtype)).clamp_(min=torch.finfo(dtype).tiny)


def isotropic(alpha: Alpha, size: Size, *, generator: torch.Generator, dtype: torch.dtype = torch.float32) -> Tensor:
    """Draw rotation-invariant α-stable vectors along the last axis, characteristic function `exp(-‖u‖^alpha)`.

    `alpha` in (0, 2] is a number, or a tensor or array that broadcasts against `size[:-1]`, one index a vector. A
    vector is `sqrt(2 A) G` with G standard normal and A positive α/2-stable (A = 1 at alpha = 2). Projected on any unit
    vector it has the law of `symmetric`. In float32 G comes from torch's own grid: at alpha = 2 the tail beyond the
    quantile 1e-7 is about a tenth too light; float64 has no such limit. The other arguments are those of `symmetric`.
    Source: Samorodnitsky and Taqqu (1994), Prop. 2.5.2.

    Raises as `symmetric` does, and ValueError for an empty size.

    >>> generator = torch.Generator().manual_seed(1)
    >>> isotropic(1.5, (100, 3), generator=generator).shape  # a hundred vectors of three entries
    torch.Size([100, 3])
    """
    shape = _shape(size)
    if not shape:
        raise ValueError("an isotropic draw needs a size with at least one axis, the last of which is the vector")
    alpha = _checked(alpha, 2.0, "(0, 2]", shape[:-1], generator, dtype)
    # At alpha = 2 Kanter's formula has no limit to evaluate: draw at any other index, then put the constant.
    below = torch.where(alpha < 2, alpha, 1.0)
    log_mixing = torch.where(alpha < 2, _log_positive(below / 2, shape[:-1], generator, dtype), 0.0)
    radius = _finite_exp((log_mixing + math.log(2)) / 2)  # the root in logs: A alone may exceed the dtype
    gauss = torch.randn(shape, generator=generator, dtype=dtype, device=generator.device)
    largest = torch.finfo(dtype).max
    return gauss.mul_(radius.unsqueeze(-1)).clamp_(-largest, largest)


def characteristic_function(alpha: float, u: Tensor | np.ndarray | float) -> Tensor:
    """`E exp(i u X) = exp(-|u|^alpha)` for X from `symmetric`; for `isotropic` pass the norm of the vector u.

    `alpha` is a number in (0, 2], `u` real and of any shape, which is that of the result. Raises ValueError for an
    alpha outside (0, 2], TypeError for one that is no number.

    >>> characteristic_function(1.5, torch.tensor([0.0, 1.0]))
    tensor([1.0000, 0.3679])
    """
    index = _number(alpha)
    if not 0 < index <= 2:
        raise ValueError(f"the stability index alpha must lie in (0, 2], got {index:g}")
    try:
        real = torch.as_tensor(u)
    except (TypeError, ValueError, RuntimeError):  # each kind of thing that is no tensor has its own
        raise TypeError(f"u is a real number, or a tensor or array of them, not a {type(u).__name__}") from None
    return torch.exp(-(real.abs() ** alpha))


def tail_constant(alpha: float) -> float:
    """The c of `P(|X| > x) ~ c x^(-alpha)` for X from `symmetric`, alpha in (0, 2).

    `c = 2 Γ(alpha) sin(pi alpha / 2) / pi`. Source: Samorodnitsky and Taqqu (1994), Property 1.2.15. Raises ValueError
    for an alpha outside (0, 2), TypeError for one that is no number.

    >>> round(tail_constant(1.5), 3)  # a draw exceeds x in size with a chance of about 0.399 x^-1.5
    0.399
    """
    if not 0 < (index := _number(alpha)) < 2:
        raise ValueError(f"a power-law tail needs alpha in (0, 2), got {index:g}: at alpha = 2 the law is Gaussian")
    if alpha < 1e-8:  # Γ(alpha) may exceed a float: 2 sin(pi alpha / 2) / (pi alpha) is 1 to every digit
        return math.gamma(1 + alpha)
    return 2 * math.gamma(alpha) * math.sin(math.pi * min(alpha, 2 - alpha) / 2) / math.pi


def _log_positive(alpha: Tensor, shape: Sequence[int], generator: torch.Generator, dtype: torch.dtype) -> Tensor:
    distance, side = _two_sided_uniform(shape, generator, dtype)
    t = distance.mul_(math.pi / 2)  # angle U = t or pi - t, so sin U = sin t at both ends without cancellation
    low = side > 0
    beta = 1 - alpha
    numerator = torch.where(low, _sin(alpha, 0.0, t), _sin_from_pi(alpha, beta, t)).log_()
    log_ratio = torch.where(low, _sin(beta, 0.0, t), _sin_from_pi(beta, alpha, t)).log_()
    log_ratio -= _exponential(shape, generator, dtype).log_()
    log_size = numerator - log_ratio
    log_size += (log_ratio - t.sin_().log_()) / alpha.to(dtype)
    return log_size


def _sin(slope: Tensor, offset: Tensor | float, angle: Tensor) -> Tensor:
    """`sin(offset + slope * angle)`, with the coefficients rounded only after they were formed in float64."""
    offset = torch.as_tensor(offset, dtype=torch.float64, device=angle.device)
    return torch.addcmul(offset.to(angle.dtype), slope.to(angle.dtype), angle).sin_()


def _sin_from_pi(slope: Tensor, complement: Tensor, angle: Tensor) -> Tensor:
    """`sin(slope * (pi - angle))` for `complement = 1 - slope`, kept off pi, where rounding could turn the sign."""
    steep = slope > 0.5
    offset = torch.where(steep, complement, slope) * math.pi
    return _sin(torch.where(steep, slope, -slope), offset, angle)


def _finite_exp(log_size: Tensor) -> Tensor:
    """`exp`, but never inf: the argument is held at the logarithm of the largest finite number, rounded down."""
    largest = torch.finfo(log_size.dtype)
    return log_size.clamp_(max=math.log(largest.max) * (1 - 4 * largest.eps)).exp_()


def _two_sided_uniform(shape: Sequence[int], generator: torch.Generator, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    """A uniform on (0, 1] with full relative precision near 0 (down to 2^-64), and an independent sign."""
    bits = torch.empty(tuple(shape), dtype=torch.int64, device=generator.device)
    wide = bits.random_(-(2**63), None, generator=generator).to(dtype)
    sign = torch.where(bits < 0, -1.0, 1.0).to(dtype)
    return wide.abs_().add_(0.5).mul_(2.0**-63), sign


def _exponential(shape: Sequence[int], generator: torch.Generator, dtype: torch.dtype) -> Tensor:
    """A standard exponential, precise at both ends: below its median log 2 by log1p, above it by log."""
    half, side = _two_sided_uniform(shape, generator, dtype)
    half.mul_(0.5)
    return torch.where(side > 0, torch.log1p(-half), half.log()).neg_()


def _shape(size: Size) -> tuple[int, ...]:
    """The size as a shape, or one sentence."""
    try:
        shape = tuple(map(operator.index, size if isinstance(size, Sequence) else [size]))
    except TypeError:
        raise TypeError(f"size is a whole number or a sequence of them, got {size!r}") from None
    if min(shape, default=0) < 0:
        raise ValueError(f"size holds no number below 0, got {size!r}")
    return shape


def _checked(
    alpha: Alpha,
    upper: float,
    interval: str,
    shape: tuple[int, ...],
    generator: torch.Generator,
    dtype: torch.dtype,
    closed: bool = True,
) -> Tensor:
    """Alpha as a float64 tensor, or one sentence that says what is wrong with it, its shape, the generator or dtype."""
    if not isinstance(generator, torch.Generator):
        raise TypeError(f"generator= is a torch.Generator with a seed of yours, got {type(generator).__name__}")
    if dtype not in (torch.float32, torch.float64):
        raise ValueError(f"stable draws are float32 or float64, not {dtype}: draw float32 and convert the result")
    if isinstance(alpha, Tensor | np.ndarray):
        try:
            tensor = torch.as_tensor(alpha, device=generator.device).detach()
        except (TypeError, ValueError):  # of an array that holds no numbers
            raise TypeError(f"the stability index alpha is real, got an array of {alpha.dtype}") from None
        if tensor.is_complex():
            raise TypeError(f"the stability index alpha is real, got {tensor.dtype}")
        tensor = tensor.double()
    else:
        tensor = torch.tensor(_number(alpha), dtype=torch.float64, device=generator.device)
    inside = (tensor > 0) & ((tensor <= upper) if closed else (tensor < upper))
    if not bool(inside.all()):
        worst = tensor[~inside].flatten()[0].item()
        raise ValueError(f"the stability index alpha must lie in {interval}, got {worst:g}")
    wider = tensor.ndim > len(shape)
    if wider or any(a not in (1, n) for a, n in zip(reversed(tensor.shape), reversed(shape), strict=False)):
        raise ValueError(f"alpha of shape {tuple(tensor.shape)} does not broadcast against draws of shape {shape}")
    return tensor.clamp(min=_SMALLEST_ALPHA)


def _number(alpha: Any) -> float:
    """Alpha as a float, infinite where it is larger than any, or one sentence."""
    if not isinstance(alpha, Real):
        raise TypeError(f"the stability index alpha is a number, a tensor or an array, got {type(alpha).__name__}")
    try:
        return float(alpha)
    except OverflowError:
        return math.inf  # an integer or fraction of hundreds of digits, out of range whatever its sign
