"""Pruning of a network: the smallest units of every hidden weight are set to zero."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from heavytail import streams
from heavytail.compress.curves import by_kernel, check_criterion, check_whole, count, norms, units
from heavytail.networks import hidden_weights, output_weights, roles
from heavytail.networks.calls import Params
from heavytail.networks.keeping import copied
from heavytail.noise.kinds import Unit, check_unit


def order(weight: Tensor, unit: Unit = "filter", *, generator: torch.Generator | None = None) -> Tensor:
    """In which order the units of a weight are pruned: the smallest first, or as a generator draws it.

    Positions of units, int64, (units,). `weight` and `unit` are those of `norms`.

    >>> order(torch.tensor([[3.0], [1.0], [2.0]]))
    tensor([1, 2, 0])
    """
    if generator is None:
        return norms(weight, unit).argsort(stable=True)
    return torch.randperm(len(units(weight, unit)), generator=generator, device=generator.device)


def chance(seed: int | None) -> torch.Generator | None:
    """The generator that prunes a run of this seed at random: the same order at every share. None for no seed.

    >>> chance(None) is None
    True
    """
    return None if seed is None else streams.generator(seed, "pruning")


def prune(
    model: nn.Module,
    *,
    squared_error: float | None = None,
    keep: float | None = None,
    sample: Any = None,
    unit: Unit = "filter",
    generator: torch.Generator | None = None,
    inplace: bool = False,
) -> nn.Module:
    """Zero the smallest units of every hidden weight, by squared error or by kept share; returns the pruned model.

    squared_error  in each layer zero as many units as leave the SQUARED relative Frobenius error, `‖W' − W‖² / ‖W‖²`,
                   at most this, in [0, 1); the paper's criterion is 0.1
    keep           in each layer keep this share of the units (rounded to a whole number, but one at least), in [0, 1];
                   at 0 itself none is kept
    sample         one batch that the model is called with, to see which weights are hidden: as in
                   `heavytail.hidden_weights`, which needs it for networks that are no chain of layers
    unit           "filter" (neurons, filters: rows of a weight) or "kernel" (single kernels of a convolution)
    generator      take units at random, each layer in an order drawn here, and not the smallest first; for keep= only
    inplace        change the model itself and return it; else it is left alone and a copy returned

    Hidden are all weights but those of output layers and of the first convolution, as `heavytail.hidden_weights` says.
    Biases stay: a zeroed unit still says φ(bias), see `shrink`. Every layer is looked at before one is changed, so that
    a refused model is as it was. Raises TypeError or ValueError unless exactly one of squared_error and keep is given
    and in range, ValueError for an unknown unit, a model without hidden weights or with masked or parametrized ones,
    and by name for a layer that is not finite, has no units, is all zero (where an error is asked for), or has
    its inputs as rows, as a transposed convolution has.

    >>> weights = torch.Generator().manual_seed(0)
    >>> from heavytail import networks
    >>> model = networks.fcn(20, width=100, depth=1, classes=3, generator=weights)
    >>> pruned = prune(model, keep=0.1)
    >>> int(norms(pruned[1].weight).count_nonzero()), int(norms(model[1].weight).count_nonzero())
    (10, 100)
    """
    check_criterion(squared_error, keep)
    check_unit(unit)
    if generator is not None and keep is None:
        raise ValueError("pruning at random wants a share of units: name keep= with generator=")
    if generator is not None and not isinstance(generator, torch.Generator):
        raise TypeError(f"generator= is a torch.Generator, got {type(generator).__name__}")
    if not isinstance(model, nn.Module):
        raise TypeError(f"a network to prune is a torch.nn.Module, got {type(model).__name__}")
    for name, p in model.named_parameters():
        check_whole(repr(name), p)
    known = roles.weights_of(model, sample)
    weights = roles.trained_or_all(known.hidden)
    _check(model, weights, known.turned, squared_error is not None)
    counts = {
        name: count(weight, squared_error=squared_error, keep=keep, unit=unit) for name, weight in weights.items()
    }
    pruned = model if inplace else copied(model)
    with torch.no_grad():
        for name, number in counts.items():
            weight = pruned.get_parameter(name)
            first = order(weight, unit, generator=generator).to(weight.device)
            gone = torch.zeros_like(first, dtype=torch.bool)
            gone[first[:number]] = True
            weight[gone.reshape(weight.shape[: 2 if by_kernel(weight, unit) else 1])] = 0
    return pruned


def pruning_ratio(model: nn.Module, sample: Any = None) -> float:
    """Share of weights in zeroed units, of all weights but the output layers'. Source: the paper's code [C].

    Weights are parameters of two axes or more: biases and norm layers do not count. A unit is a row that is all zero,
    in a convolution a kernel. A first convolution counts as kept (the paper's code counts it as pruned:
    book/deviations.md, row 7). `sample` is that of `prune`. Raises ValueError as `heavytail.hidden_weights` does, and
    for a model without hidden weights.

    >>> from heavytail import networks
    >>> model = networks.fcn(20, width=100, depth=1, classes=3, generator=torch.Generator().manual_seed(0))
    >>> round(pruning_ratio(prune(model, keep=0.1)), 3)
    0.9
    """
    outputs, weights = output_weights(model, sample), hidden_weights(model, sample)
    _some(model, weights)
    total = sum(p.numel() for name, p in model.named_parameters() if p.ndim >= 2 and name not in outputs)
    return sum(_zeroed(weight) for weight in weights.values()) / total


def _check(model: nn.Module, weights: Mapping[str, Tensor], turned: Params, by_error: bool) -> None:
    """Raise one sentence that names the layer, if there is one that cannot be pruned."""
    _some(model, weights)
    for name, weight in weights.items():
        if weight in turned:
            raise ValueError(
                f"the rows of {name!r} are its inputs, as in a transposed convolution, so it has no units to prune: "
                "store it (outputs, inputs)"
            )
        if weight.is_meta:
            raise ValueError(f"{name!r} is on the meta device and has no values: load or draw them first")
        if not len(weight):
            raise ValueError(f"{name!r} has no units to prune")
        if not bool(torch.isfinite(weight.detach()).all()):
            raise ValueError(f"{name!r} is not finite, so its units have no order: nothing was pruned")
        if by_error and not bool(weight.detach().any()):
            raise ValueError(f"{name!r} is all zero, so pruning it has no relative error: nothing was pruned")


def _some(model: nn.Module, weights: Mapping[str, Tensor]) -> None:
    if not weights:
        raise ValueError(
            f"this {type(model).__name__} has no hidden weights: output layers and a first convolution are not pruned"
        )


def _zeroed(weight: Tensor) -> int:
    """Parameters of a weight in units that are all zero; in a convolution kernel by kernel."""
    unit = units(weight, "kernel")
    return int((unit == 0).all(dim=1).sum()) * unit.shape[1]
