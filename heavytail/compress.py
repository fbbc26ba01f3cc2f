"""How far a network compresses: column norms, error curves, pruning, and the smaller network that is left.

The paper's column i is row i of a torch weight (one neuron's incoming weights). In a convolution the row is a filter,
or one kernel of a filter with `unit="kernel"`. Source of the rules: the paper's theorem T3 [P] and its code [C].
"""

from __future__ import annotations

import copy
import itertools

import torch
from torch import Tensor, nn

from heavytail import streams
from heavytail.networks import Mean, MeanField, hidden_weights, output_weights

SQUARED_ERROR = 0.1  # the paper's criterion: smallest columns go while the squared relative error is at most this [C]


def norms(weight: Tensor, unit: str = "filter") -> Tensor:
    """Euclidean norm of each unit of a weight, float64, shape (units,).

    >>> norms(torch.tensor([[3.0, 4.0], [0.0, 1.0]]))
    tensor([5., 1.], dtype=torch.float64)
    """
    return _units(weight, unit).to(torch.float64).norm(dim=1)


def error_curve(weight: Tensor, unit: str = "filter") -> Tensor:
    """Relative Frobenius error after zeroing the k units of smallest norm, for k = 0..n; float64, shape (n + 1,).

    Entry k is `‖W^(κn) − W‖_F / ‖W‖_F` of T3 with κn = n − k. Raises ValueError for a weight that is all zero or not
    finite.

    >>> error_curve(torch.tensor([[3.0, 4.0], [0.0, 0.0]]))
    tensor([0., 0., 1.], dtype=torch.float64)
    """
    return _squared_errors(weight, unit).sqrt()


def prunable_share(weight: Tensor, error: float = SQUARED_ERROR, unit: str = "filter") -> float:
    """The largest share of units that can be zeroed with SQUARED relative error at most `error`."""
    return count(weight, error=error, unit=unit) / len(norms(weight, unit))


def order(weight: Tensor, unit: str = "filter", *, generator: torch.Generator | None = None) -> Tensor:
    """In which order the units of a weight are pruned: the smallest first, or as a generator draws it."""
    if generator is None:
        return norms(weight, unit).argsort(stable=True)
    return torch.randperm(len(_units(weight, unit)), generator=generator, device=generator.device)


def chance(seed: int | None) -> torch.Generator | None:
    """The generator that prunes a run of this seed at random: the same order at every share. None for no seed."""
    return None if seed is None else streams.generator(seed, "pruning")


def count(weight: Tensor, *, error: float | None = None, keep: float | None = None, unit: str = "filter") -> int:
    """How many units of a weight go by one of the two criteria of `prune`, the smallest first."""
    if keep is not None:
        units = len(_units(weight, unit))
        return units - round(keep * units)
    assert error is not None
    return int((_squared_errors(weight, unit) <= error).sum()) - 1


def prune(
    model: nn.Module,
    *,
    error: float | None = None,
    keep: float | None = None,
    unit: str = "filter",
    generator: torch.Generator | None = None,
    inplace: bool = False,
) -> nn.Module:
    """Zero the smallest units of every hidden weight, by squared error or by kept share; returns the pruned model.

    error    in each layer zero as many units as leave the SQUARED relative Frobenius error at most this, in [0, 1)
    keep     in each layer keep this share of the units (rounded to a whole number), in [0, 1]
    unit     "filter" (neurons, filters) or "kernel" (single kernels of a convolution)
    generator  take units at random, each layer in an order drawn here, and not the smallest first; for keep= only

    The output layer and the first convolution are never pruned. The model is copied unless `inplace`.
    Raises ValueError unless exactly one of error and keep is given and in range.

    >>> weights = torch.Generator().manual_seed(0)
    >>> from heavytail import networks
    >>> model = networks.fcn(20, width=100, depth=1, classes=3, generator=weights)
    >>> pruned = prune(model, keep=0.1)
    >>> int(norms(pruned[1].weight).count_nonzero()), int(norms(model[1].weight).count_nonzero())
    (10, 100)
    """
    if (error is None) == (keep is None):
        raise ValueError("name exactly one of error= (squared relative error) and keep= (share of units kept)")
    if error is not None and not 0 <= error < 1:
        raise ValueError(f"error is a squared relative error in [0, 1), got {error:g}")
    if keep is not None and not 0 <= keep <= 1:
        raise ValueError(f"keep is a share of units in [0, 1], got {keep:g}")
    if unit not in ("filter", "kernel"):
        raise ValueError(f"unknown unit {unit!r}: choose one of filter, kernel")
    if generator is not None and keep is None:
        raise ValueError("pruning at random wants a share of units: name keep= with generator=")
    pruned = model if inplace else copy.deepcopy(model)
    with torch.no_grad():
        for weight in hidden_weights(pruned).values():
            first = order(weight, unit, generator=generator).to(weight.device)
            gone = torch.zeros_like(first, dtype=torch.bool)
            gone[first[: count(weight, error=error, keep=keep, unit=unit)]] = True
            by_kernel = unit == "kernel" and weight.ndim == 4
            weight[gone.reshape(weight.shape[: 2 if by_kernel else 1])] = 0
    return pruned


def pruning_ratio(model: nn.Module) -> float:
    """Share of parameters in zeroed units, of all parameters but the output layer's. Source: the paper's code [C].

    A first convolution counts as kept (the paper's code counts it as pruned: book/deviations.md, row 7).

    >>> from heavytail import networks
    >>> model = networks.fcn(20, width=100, depth=1, classes=3, generator=torch.Generator().manual_seed(0))
    >>> round(pruning_ratio(prune(model, keep=0.1)), 3)
    0.9
    """
    outputs = output_weights(model)
    total = sum(p.numel() for name, p in model.named_parameters() if name not in outputs)
    zeroed = sum(_zeroed(weight) for weight in hidden_weights(model).values())
    return zeroed / total


def shrink(model: nn.Module) -> nn.Module:
    """The same function with the zero units physically gone: a smaller network in new memory.

    Takes what `networks.build` makes (a MeanField, or a Sequential of Linear, Conv2d, ReLU, pooling and Flatten without
    biases) after `prune`. A layer keeps at least one unit. Outputs agree up to float rounding.
    Raises ValueError for a module that it does not know, or an activation that does not send 0 to 0.

    >>> from heavytail import networks
    >>> model = networks.fcn(20, width=100, depth=1, classes=3, generator=torch.Generator().manual_seed(0))
    >>> pruned = prune(model, keep=0.1)
    >>> small, x = shrink(pruned), torch.ones(1, 20)
    >>> small[1].weight.shape, torch.allclose(small(x), pruned(x), atol=1e-6)
    (torch.Size([10, 20]), True)
    """
    small = copy.deepcopy(model)
    if isinstance(small, MeanField):
        if float(small.activation(torch.zeros(()))) != 0:
            raise ValueError("a zeroed neuron still acts when φ(0) ≠ 0: shrink needs an activation with φ(0) = 0")
        kept = _kept(small.hidden.weight)
        _replace(small.hidden, small.hidden.weight[kept])
        small.signs = small.signs[:, kept].clone()
        return small
    if not isinstance(small, nn.Sequential):
        raise ValueError(f"shrink knows the networks of heavytail.networks, not a {type(model).__name__}")
    for layer in small:
        if not isinstance(layer, _KNOWN):
            raise ValueError(f"shrink cannot see through a {type(layer).__name__} layer")
        if isinstance(layer, nn.Linear | nn.Conv2d) and layer.bias is not None:
            raise ValueError("shrink needs layers without bias: a zeroed unit with a bias still acts")
        if isinstance(layer, nn.Conv2d) and layer.groups != 1:
            raise ValueError("shrink needs convolutions with groups=1: a filter of a group reads its own channels only")
    weighted = [layer for layer in small if isinstance(layer, nn.Linear | nn.Conv2d)]
    for layer, following in itertools.pairwise(weighted):
        kept = _kept(layer.weight)
        if following.weight.shape[1] != len(kept):
            raise ValueError("shrink needs each unit to feed one input of the next layer: pool to 1x1 first")
        _replace(layer, layer.weight[kept])
        _replace(following, following.weight[:, kept])
    return small


_KNOWN = (nn.Linear, nn.Conv2d, nn.ReLU, nn.Tanh, nn.MaxPool2d, nn.AdaptiveAvgPool2d, Mean, nn.Flatten)


def _units(weight: Tensor, unit: str) -> Tensor:
    """The weight as a matrix with one unit a row."""
    detached = weight.detach()
    return detached.flatten(0, 1).flatten(1) if unit == "kernel" and weight.ndim == 4 else detached.flatten(1)


def _squared_errors(weight: Tensor, unit: str) -> Tensor:
    """Square of `error_curve`, kept apart: squaring a root again could lift an error of exactly 0.1 above 0.1."""
    sizes = norms(weight, unit)
    largest = sizes.max() if len(sizes) else torch.tensor(0.0)
    if not (torch.isfinite(largest) and largest > 0):
        raise ValueError("the error of pruning needs a finite weight that is not all zero")
    energy = (sizes / largest).sort().values.square().cumsum(0)  # scaled first, so that no square overflows
    return torch.cat([energy.new_zeros(1), energy / energy[-1]])


def _zeroed(weight: Tensor) -> int:
    """Parameters of a weight in units that are all zero; in a convolution kernel by kernel."""
    unit = _units(weight, "kernel")
    return int((unit == 0).all(dim=1).sum()) * unit.shape[1]


def _kept(weight: Tensor) -> Tensor:
    alive = (_units(weight, "filter") != 0).any(dim=1)
    if not alive.any():
        alive[0] = True  # a layer without units is no layer
    return alive


def _replace(layer: nn.Linear | nn.Conv2d, weight: Tensor) -> None:
    layer.weight = nn.Parameter(weight.detach().clone(), requires_grad=layer.weight.requires_grad)
    if isinstance(layer, nn.Linear):
        layer.out_features, layer.in_features = weight.shape
    else:
        layer.out_channels, layer.in_channels = weight.shape[:2]
