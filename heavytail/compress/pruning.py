"""Pruning of a network: the smallest units of every hidden weight are set to zero."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from heavytail import streams
from heavytail.compress.calling import exact, moved, refuse_layers, refuse_quantised, refuse_sparse
from heavytail.compress.curves import by_kernel, check_criterion, check_whole, count, norms, units
from heavytail.compress.following import follow
from heavytail.compress.shrinking import heads_can_go
from heavytail.networks import hidden_weights, roles
from heavytail.networks.calls import Params
from heavytail.networks.keeping import copied
from heavytail.noise.kinds import Unit, check_unit

_WANTS_A_SHARE = "pruning at random wants a share of units: name keep= with generator="


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


@torch.inference_mode(False)
def prune(
    model: nn.Module,
    *,
    squared_error: float | None = None,
    keep: float | None = None,
    sample: Any = None,
    include: Iterable[str] | None = None,
    exclude: Iterable[str] | None = None,
    multiple_of: int = 1,
    across_layers: bool = False,
    coupled: bool = False,
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
    include        only these: names of hidden weights or of layers, or the beginning of dotted names, as "layer1" of
                   "layer1.0.conv1.weight"
    exclude        all but these, named in the same way
    multiple_of    the number of units kept in each layer is rounded up to a multiple of this, or is all of them
    across_layers  one order for all layers: squared_error is then `‖W' − W‖² / ‖W‖²` of all pruned weights together,
                   keep the share of all their units, and the smallest norms go first wherever they are. The largest
                   unit of each layer stays, unless keep is 0
    coupled        units that the model ties go together, by the sum of their squared norms: those that a skip
                   connection adds, a gate multiplies, a depthwise convolution passes on. Only so does `shrink` find
                   channels to take out of a residual network: one of them goes when all that write to it are zero.
                   So do the query, key and value weights of a head of attention, where `shrink` can take heads out;
                   elsewhere their rows go one by one. Layers that share units count as one layer. Needs sample=
    unit           "filter" (neurons, filters: rows of a weight) or "kernel" (single kernels of a convolution)
    generator      take units at random, each layer in an order drawn here, and not the smallest first; for keep= only
    inplace        change the model itself and return it; else it is left alone and a copy returned

    Hidden are all weights but those of output layers and of the first convolution, as `heavytail.hidden_weights` says.
    What was taken of each, `taken` tells. Biases stay: a zeroed unit still says φ(bias), see `shrink`. Every layer is
    looked at before one is changed, so that a refused model is as it was. Raises TypeError or ValueError unless exactly
    one of squared_error and keep is given and in range, ValueError for an unknown unit, a name that no hidden weight
    has, a model without hidden weights or with masked or parametrized ones, and by name for a layer that is not finite,
    has no units, is all zero (where an error is asked for), or has its inputs as rows, as a transposed convolution has.

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
        raise ValueError(_WANTS_A_SHARE)
    if generator is not None and not isinstance(generator, torch.Generator):
        raise TypeError(f"generator= is a torch.Generator, got {type(generator).__name__}")
    if not isinstance(multiple_of, int) or isinstance(multiple_of, bool) or multiple_of < 1:
        raise ValueError(f"multiple_of= is a whole number of 1 or more, got {multiple_of!r}")
    if coupled and (sample is None or unit != "filter"):
        raise ValueError("coupled units are filters, seen while the model is called: pass sample=, and no other unit=")
    if not isinstance(model, nn.Module):
        raise TypeError(f"a network to prune is a torch.nn.Module, got {type(model).__name__}")
    known = _known(model, sample)
    weights = _chosen(roles.trained_or_all(known.hidden), include, exclude)
    _check(weights, known.turned, squared_error is not None)
    layers = _coupled(model, sample, weights) if coupled else _alone(weights, unit)
    orders = [_order(layer, generator) for layer in layers] if not across_layers else []
    if across_layers:
        orders, counts = _across(layers, squared_error, keep, generator)
    else:
        counts = [count(layer.sizes, squared_error=squared_error, keep=keep) for layer in layers]
    return _without(model if inplace else copied(model), layers, orders, counts, unit, multiple_of)


@torch.inference_mode(False)
def prune_each(
    model: nn.Module,
    criteria: Iterable[tuple[float | None, float | None]],
    *,
    sample: Any = None,
    unit: Unit = "filter",
    seed: int | None = None,
) -> Iterator[tuple[nn.Module, float]]:
    """Copies of a model, each pruned by one squared error or kept share as `prune` does it, and its `pruning_ratio`.

    criteria  (squared_error, keep), one of the two None
    seed      that of `chance`: units go in random order, for kept shares only

    The model is called once for all of them. What is raised is what `prune` raises.

    >>> from heavytail import networks
    >>> model = networks.fcn(20, width=100, depth=1, classes=3, generator=torch.Generator().manual_seed(0))
    >>> [round(ratio, 2) for _, ratio in prune_each(model, [(0.1, None), (None, 0.5)])]
    [0.14, 0.5]
    """
    known = _known(model, sample)
    weights = roles.trained_or_all(known.hidden)
    layers, generator = _alone(weights, unit), chance(seed)
    orders = [_order(layer, generator) for layer in layers]  # the same at every share
    for squared_error, keep in criteria:
        if seed is not None and keep is None:
            raise ValueError(_WANTS_A_SHARE)
        _check(weights, known.turned, squared_error is not None)
        counts = [count(layer.sizes, squared_error=squared_error, keep=keep) for layer in layers]
        pruned = _without(copied(model), layers, orders, counts, unit)
        yield pruned, _ratio(pruned, known)


def _known(model: nn.Module, sample: Any) -> roles.Weights:
    """What is known of the weights of a model that can be pruned."""
    for name, p in model.named_parameters():
        check_whole(repr(name), p)
    refuse_quantised(model)
    refuse_sparse(model)
    known = roles.weights_of(model, sample)
    _some(model, known.hidden)
    return known


def _without(
    pruned: nn.Module,
    layers: Sequence[_Layer],
    orders: Sequence[Tensor],
    counts: Sequence[int],
    unit: Unit,
    multiple_of: int = 1,
) -> nn.Module:
    """The model itself with so many units of each layer set to zero, the first in its order."""
    with torch.no_grad():
        for layer, first, number in zip(layers, orders, counts, strict=True):
            left = len(first) - number
            gone = torch.zeros(len(first), dtype=torch.bool, device=first.device)
            gone[first[: max(0, len(first) - math.ceil(left / multiple_of) * multiple_of)]] = True
            for name, rows in layer.rows.items():
                weight = pruned.get_parameter(name)
                own = (gone if rows is None else gone.to(rows.device)[rows]).to(weight.device)
                weight[own.reshape(weight.shape[: 2 if by_kernel(weight, unit) else 1])] = 0
    return pruned


@dataclass(frozen=True, eq=False)
class _Layer:
    """Weights whose units go together: one weight, or all that the model ties."""

    rows: dict[str, Tensor | None]  # by name of a weight, which unit each of its rows belongs to; None: each is its own
    sizes: Tensor  # (units,) norms


def _alone(weights: Mapping[str, Tensor], unit: Unit) -> list[_Layer]:
    return [_Layer({name: None}, norms(weight, unit)) for name, weight in weights.items()]


def _coupled(model: nn.Module, sample: Any, weights: Mapping[str, Tensor]) -> list[_Layer]:
    """The weights, those in one layer that share units."""
    inner = roles.unwrapped(model)
    refuse_layers(inner)
    whole = exact(inner)
    sample = moved(sample, next(whole.parameters()).device)
    watch = follow(whole, sample)
    if watch.units.attended and not heads_can_go(whole, sample, watch):
        watch = follow(whole, sample, caution=1)
    copies = dict(zip(inner.parameters(), whole.parameters(), strict=True))
    roots = {
        name: [watch.units.of(int(u)) for u in watch.place(copies[weight], 0)]  # type: ignore[index]
        for name, weight in weights.items()
    }
    layers: list[tuple[set[int], list[str]]] = []
    for name, own in roots.items():
        shared, names = set(own), [name]
        for layer in [layer for layer in layers if not shared.isdisjoint(layer[0])]:
            layers.remove(layer)
            shared, names = shared | layer[0], layer[1] + names
        layers.append((shared, names))
    return [_together({name: roots[name] for name in names}, weights) for _, names in layers]


def _together(roots: Mapping[str, list[int]], weights: Mapping[str, Tensor]) -> _Layer:
    number = {root: k for k, root in enumerate(dict.fromkeys(root for own in roots.values() for root in own))}
    rows: dict[str, Tensor | None] = {}
    squares: Tensor | None = None
    for name, own in roots.items():
        each = norms(weights[name]).square()
        which = torch.tensor([number[root] for root in own], device=each.device)
        if squares is None:
            squares = each.new_zeros(len(number))
        squares.index_add_(0, which.to(squares.device), each.to(squares.device))
        rows[name] = which
    assert squares is not None
    return _Layer(rows, squares.sqrt())


def _order(layer: _Layer, generator: torch.Generator | None) -> Tensor:
    return order(layer.sizes, generator=generator).to(layer.sizes.device)


def _across(
    layers: list[_Layer], squared_error: float | None, keep: float | None, generator: torch.Generator | None
) -> tuple[list[Tensor], list[int]]:
    """The order of the units of each layer, and how many of each go, by one order for all of them."""
    sizes = torch.cat([layer.sizes.cpu() for layer in layers])
    owner = torch.cat([torch.full((len(layer.sizes),), k) for k, layer in enumerate(layers)])
    first = order(sizes, generator=generator).cpu()
    owners = owner[first]
    own = [first[owners == k] - int((owner < k).sum()) for k in range(len(layers))]
    orders = [one.to(layer.sizes.device) for one, layer in zip(own, layers, strict=True)]
    if keep == 0:
        return orders, [len(one) for one in orders]
    may = torch.ones(len(first), dtype=torch.bool)
    for k in range(len(layers)):
        may[torch.nonzero(owners == k)[-1]] = False
    if keep is not None:
        number = len(first) - max(len(layers), round(keep * len(first)))
    else:
        energy = (sizes[first] / sizes.max()).square()
        number = int((energy[may].cumsum(0) <= (squared_error or 0.0) * energy.sum()).sum())
    going = owners[may][:number]
    return orders, [int((going == k).sum()) for k in range(len(layers))]


def _chosen(
    weights: Mapping[str, Tensor], include: Iterable[str] | None, exclude: Iterable[str] | None
) -> dict[str, Tensor]:
    """Those of the weights that are named, or not named."""

    def named(option: str, given: Iterable[str]) -> set[str]:
        found: set[str] = set()
        for wanted in [given] if isinstance(given, str) else given:
            some = {name for name in weights if name == wanted or name.startswith(f"{wanted}.")}
            if not some:
                raise ValueError(
                    f"{option}= names {wanted!r}, but no hidden weight has that name or begins with it: there are "
                    f"{', '.join(weights)}"
                )
            found |= some
        return found

    left = set(weights) if include is None else named("include", include)
    left -= set() if exclude is None else named("exclude", exclude)
    if not left:
        raise ValueError("include= and exclude= leave no hidden weight to prune")
    return {name: weight for name, weight in weights.items() if name in left}


class Part(NamedTuple):
    """What pruning took of one weight."""

    name: str
    units: int
    kept: int
    squared_error: float  # ‖W' − W‖² / ‖W‖²


class Taken(tuple[Part, ...]):
    """What pruning took of each weight; printed, it is a table."""

    def __str__(self) -> str:
        wide = max([len(part.name) for part in self] + [6])
        lines = [f"{'weight':{wide}}  {'units':>7}  {'kept':>7}  squared error"]
        lines += [f"{p.name:{wide}}  {p.units:7}  {p.kept:7}  {p.squared_error:13.4f}" for p in self]
        return "\n".join(lines)


@torch.inference_mode(False)
def taken(model: nn.Module, pruned: nn.Module, sample: Any = None, unit: Unit = "filter") -> Taken:
    """What `prune` took of each hidden weight: its name, its units, how many are kept, and the squared error.

    model, pruned  a network, and what `prune` made of it
    sample, unit   those of `prune`

    Raises ValueError as `heavytail.hidden_weights` does, and where the two have other weights.

    >>> from heavytail import networks
    >>> model = networks.fcn(20, width=100, depth=1, classes=3, generator=torch.Generator().manual_seed(0))
    >>> print(taken(model, prune(model, squared_error=0.1)))
    weight      units     kept  squared error
    1.weight      100       86         0.0934
    """
    check_unit(unit)
    parts, others = [], dict(pruned.named_parameters())
    for name, weight in hidden_weights(model, sample).items():
        other = others.get(name)
        if other is None or other.shape != weight.shape:
            raise ValueError(f"the second network has no {name!r} of the same shape: it is not the first one, pruned")
        whole, left = norms(weight, unit), norms(other, unit)
        lost = (weight.detach().double() - other.detach().to(weight.device).double()).norm()
        share = float((lost / whole.norm()).square()) if float(lost) else 0.0
        parts.append(Part(name, len(whole), int(left.count_nonzero()), share))
    return Taken(parts)


@torch.inference_mode(False)
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
    known = roles.weights_of(model, sample)
    _some(model, known.hidden)
    return _ratio(model, known)


def _ratio(model: nn.Module, known: roles.Weights) -> float:
    """The pruning ratio of a model, or of a copy of it, of whose weights this is known."""
    total = sum(p.numel() for name, p in model.named_parameters() if p.ndim >= 2 and name not in known.outputs)
    return sum(_zeroed(model.get_parameter(name)) for name in roles.trained_or_all(known.hidden)) / total


def _check(weights: Mapping[str, Tensor], turned: Params, by_error: bool) -> None:
    """Raise one sentence that names the layer, if there is one that cannot be pruned."""
    for name, weight in weights.items():
        if weight in turned:
            raise ValueError(
                f"the rows of {name!r} are its inputs, as in a transposed convolution, so it has no units to prune: "
                "store it (outputs, inputs), or leave it out by exclude="
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
