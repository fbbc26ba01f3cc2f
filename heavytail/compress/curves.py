"""The units of one weight: their norms, the error of pruning them, and how many go by a criterion."""

from __future__ import annotations

from collections.abc import Sequence
from numbers import Real
from typing import Any

import numpy as np
import torch
from torch import Tensor

from heavytail.noise.kinds import Unit, as_float, check_unit

Weight = Tensor | np.ndarray | Sequence[Any]

SQUARED_ERROR = 0.1  # the paper's criterion: smallest columns go while the squared relative error is at most this [C]

_SMALL = 1e-150  # the squares of sizes from here to its inverse are what float64 holds


def norms(weight: Weight, unit: Unit = "filter") -> Tensor:
    """Euclidean norm of each unit of a weight, float64, shape (units,), on the weight's device.

    weight  a tensor, an array or nested lists of real numbers, (units, ...); with one axis each entry is a unit
    unit    "filter": what lies along the first axis (a neuron, a filter); "kernel": one kernel of a convolution, that
            is of a weight of three axes or more; a weight of fewer has no kernels and its units are rows

    Raises TypeError for what holds no real numbers, ValueError for a single number or an unknown unit.

    >>> norms(torch.tensor([[3.0, 4.0], [0.0, 1.0]]))
    tensor([5., 1.], dtype=torch.float64)
    """
    matrix = units(weight, unit).to(torch.float64)
    sizes = matrix.norm(dim=1)
    if len(sizes) and not _SMALL < float(sizes.max()) < 1 / _SMALL and matrix.numel():
        largest = matrix.abs().max()
        if torch.isfinite(largest) and largest > 0:  # whose square is none of float64
            return (matrix / largest).norm(dim=1) * largest
    return sizes


def error_curve(weight: Weight, unit: Unit = "filter") -> Tensor:
    """Relative Frobenius error after zeroing the k units of smallest norm, for k = 0..n; float64, shape (n + 1,).

    Entry k is `‖W^(κn) − W‖_F / ‖W‖_F` of T3 with κn = n − k; it is not squared. `weight` and `unit` are those of
    `norms`. Raises as `norms` does, and ValueError for a weight that is all zero or not finite.

    >>> error_curve(torch.tensor([[3.0, 4.0], [0.0, 0.0]]))
    tensor([0., 0., 1.], dtype=torch.float64)
    """
    return squared_errors(weight, unit).sqrt()


def prunable_share(weight: Weight, squared_error: float = SQUARED_ERROR, unit: Unit = "filter") -> float:
    """The largest share of units, in [0, 1), that can be zeroed with a squared relative error of at most this.

    `weight` and `unit` are those of `norms`, `squared_error` is in [0, 1). Raises as `error_curve` does, and ValueError
    for a squared error out of range.

    >>> prunable_share(torch.tensor([[3.0, 4.0], [0.0, 1.0]]))  # the second row holds 1/26 of the squared norm
    0.5
    """
    return count(weight, squared_error=squared_error, unit=unit) / len(units(weight, unit))


def count(
    weight: Weight, *, squared_error: float | None = None, keep: float | None = None, unit: Unit = "filter"
) -> int:
    """How many units of a weight go by one of the two criteria of `prune`, the smallest first.

    At least one unit stays, unless keep is 0. Raises ValueError as `prune` does for the criteria, and as `error_curve`
    for a weight without an error.

    >>> count(torch.ones(10, 3), keep=0.25), count(torch.ones(10, 3), keep=0.01), count(torch.ones(10, 3), keep=0)
    (8, 9, 10)
    """
    check_criterion(squared_error, keep)
    if squared_error is not None:
        return int((squared_errors(weight, unit) <= squared_error).sum()) - 1
    number = len(units(weight, unit))
    return number - (max(1, round(keep * number)) if keep else 0)


def check_criterion(squared_error: float | None, keep: float | None) -> None:
    """Raise one sentence unless exactly one of the two criteria is given and in range."""
    if (squared_error is None) == (keep is None):
        raise ValueError("name exactly one of squared_error= (squared relative error) and keep= (share of units kept)")
    name, value = ("squared_error", squared_error) if keep is None else ("keep", keep)
    if not isinstance(value, Real):
        raise TypeError(f"{name}= is one number, got {type(value).__name__}")
    if squared_error is not None and not 0 <= squared_error < 1:
        raise ValueError(f"squared_error is a squared relative error in [0, 1), got {as_float(squared_error):g}")
    if keep is not None and not 0 <= keep <= 1:
        raise ValueError(f"keep is a share of units in [0, 1], got {as_float(keep):g}")


def units(weight: Weight, unit: Unit) -> Tensor:
    """The weight as a matrix with one unit a row."""
    check_unit(unit)
    tensor = weight.detach() if isinstance(weight, Tensor) else _tensor(weight)
    if tensor.is_complex() or tensor.dtype == torch.bool:
        raise TypeError(f"a weight holds real numbers, not {tensor.dtype}")
    if tensor.is_meta:
        raise ValueError("a weight on the meta device has no values: load or draw them first")
    if tensor.layout != torch.strided:
        raise TypeError("a weight is a dense tensor: call to_dense() on this one first")
    check_whole("a weight", tensor)
    if tensor.ndim == 0:
        raise ValueError("a weight has one axis or more, the first of which numbers its units: got a single number")
    if tensor.ndim == 1:
        return tensor.unsqueeze(1)
    return tensor.flatten(0, 1).flatten(1) if by_kernel(tensor, unit) else tensor.flatten(1)


def check_whole(name: str, weight: Tensor) -> None:
    """Raise ValueError for a weight of which this process holds a part."""
    if hasattr(weight, "device_mesh"):  # a DTensor
        raise ValueError(f"{name} is sharded over several processes: load its full state dict into one that is not")


def by_kernel(weight: Tensor, unit: Unit) -> bool:
    """Whether the units of this weight are single kernels."""
    return unit == "kernel" and weight.ndim >= 3


def squared_errors(weight: Weight, unit: Unit) -> Tensor:
    """Square of `error_curve`, kept apart: squaring a root again could lift an error of exactly 0.1 above 0.1."""
    sizes = norms(weight, unit)
    largest = sizes.max() if len(sizes) else torch.tensor(0.0)
    if not (torch.isfinite(largest) and largest > 0):
        raise ValueError("the error of pruning needs a finite weight that is not all zero")
    energy = (sizes / largest).sort().values.square().cumsum(0)  # scaled first, so that no square overflows
    return torch.cat([energy.new_zeros(1), energy / energy[-1]])


def _tensor(weight: Any) -> Tensor:
    try:
        array = np.asarray(weight)
    except ValueError as error:
        raise TypeError("a weight is a tensor, an array or lists of numbers, as long as each other") from error
    if array.dtype.kind not in "fiu":
        raise TypeError(f"a weight holds real numbers, not {array.dtype}")
    return torch.from_numpy(array.astype(np.float64))
