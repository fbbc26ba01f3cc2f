"""The same function from a smaller network: units that are all zero physically gone."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from heavytail.compress import following, removing
from heavytail.compress.agreement import NOTHING_SAID, close, silent
from heavytail.compress.batches import CONVOLUTIONS, made_up
from heavytail.compress.calling import (
    exact,
    first_line,
    grown,
    moved,
    refuse_empty,
    refuse_layers,
    refuse_made_anew,
    refuse_scripted,
    refuse_sparse,
    refuse_without_values,
    run_exact,
    turned,
    unseen,
)
from heavytail.compress.curves import check_whole
from heavytail.networks import Mean, MeanField, roles, watching
from heavytail.networks.keeping import copied

_WEIGHTED = (nn.Linear, *CONVOLUTIONS)
_ELEMENTWISE = (
    *(nn.Identity, nn.ReLU, nn.ReLU6, nn.LeakyReLU, nn.ELU, nn.SELU, nn.CELU, nn.GELU, nn.SiLU, nn.Mish),
    *(nn.Tanh, nn.Sigmoid, nn.Hardtanh, nn.Hardswish, nn.Hardsigmoid, nn.Softplus, nn.Softsign),
)
_POOLS: dict[type, int] = {Mean: 2}
for _axes in (1, 2, 3):
    for _kind in ("MaxPool", "AvgPool", "AdaptiveMaxPool", "AdaptiveAvgPool"):
        _POOLS[getattr(nn, f"{_kind}{_axes}d")] = _axes
_DIFFERENT = (
    "the shrunk network does not say what the model says of the sample: a layer does not do what its type says, or the "
    "code asks a layer for the number of its units"
)


@torch.inference_mode(False)
def shrink(model: nn.Module, sample: Any = None) -> nn.Module:
    """The same function with the zero units physically gone: a smaller network in new memory.

    model   any network that can be called with `sample`. Without a sample a MeanField network with φ(0) = 0, or a
            chain: nn.Sequential, nested or not, of Linear and Conv1d-3d layers with elementwise activations, and
            pooling and Flatten after convolutions. It is not changed
    sample  one batch that the model is called with: a tensor, a tuple of arguments or a dict of named ones. For a
            chain one is made up if there is none

    A unit goes if its weights are all zero, and what it still says, φ(bias), through normalisations in eval mode too,
    is the same whatever the input is for every layer that reads it. That is added to the biases of those layers, which
    are made if there are none. A layer keeps at least one unit.

    What belongs to a unit is seen while the model is called, function by function: its entries in normalisations, its
    columns in the layers that read it, through activations, pooling, flattening, concatenations and depthwise
    convolutions. Units that a skip connection or a gate ties go together, when all of them are silent or say a
    constant: see `coupled` in `prune`. Of a grouped convolution whole groups go, and of an attention whole heads, when
    all of the value weights of a head are zero: it says its value bias then, and what reads it gets that. A head stays
    where weights of attention are returned or added to, where a mask may leave it nothing to attend to and it has a
    value bias, and in an attention written by hand also where the code has the width of all heads, or a number of heads
    that no attribute such as `num_heads` tells. A unit stays where it cannot be told by a bias or followed further:
    before a convolution or an average that pads with zeros, unless what it says is 0; before attention, layer and group
    norms, softmax, products of two results; where it is cut by its number in the code; at the output.

    Both networks are then run on the sample, copies of them in float64 and eval mode; where units were followed through
    a call, also with its signs turned and on more samples. Sizes that the code computes with, such as the length of a
    sequence, are those of the sample. The random state stays what it was. So outputs agree up to the rounding of the
    model's dtype, in which the result is, on the model's device, with its mode and flags, and out of torch.compile and
    DistributedDataParallel.
    What is not called in eval mode is left as it is. Raises ValueError, in one sentence that names the layer
    where one is to blame, for recurrent, quantised, scripted and parametrized layers, hooks and masks, weights without
    values or units, a network that asks for the values of what it was given, a sample that does not fit, outputs that
    differ, and, without a sample, for what is no such chain.

    >>> from heavytail import compress, networks
    >>> model = networks.fcn(20, width=100, depth=1, classes=3, generator=torch.Generator().manual_seed(0))
    >>> pruned = compress.prune(model, keep=0.1)
    >>> small, x = shrink(pruned), torch.ones(1, 20)
    >>> small[1].weight.shape, torch.allclose(small(x), pruned(x), atol=1e-6)
    (torch.Size([10, 20]), True)
    """
    if not isinstance(model, nn.Module):
        raise TypeError(f"a network to shrink is a torch.nn.Module, got {type(model).__name__}")
    for name, p in model.named_parameters():
        check_whole(repr(name), p)
    refuse_sparse(model)
    refuse_scripted(model)
    try:
        return shrink_chain(model, sample)
    except ValueError:
        if sample is None or isinstance(model, MeanField):
            raise
    return _shrink_any(model, sample)


def shrink_chain(model: nn.Module, sample: Any = None) -> nn.Module:
    """What `shrink` makes of a chain or a MeanField, as it takes them without a sample; ValueError for all others."""
    refuse_empty(model)
    _refuse_hidden_ways(model)
    refuse_without_values(model)
    small = smaller(copied(model))
    whole = exact(model)
    _compare(whole, smaller(copied(whole)), sample)
    return small


def _shrink_any(model: nn.Module, sample: Any) -> nn.Module:
    """What `shrink` makes of a network of any form: units are followed through a call with the sample."""
    model = roles.unwrapped(model)
    refuse_layers(model)
    refuse_without_values(model)
    whole = exact(model)
    sample = moved(sample, next(iter([*whole.parameters(), *whole.buffers()]), torch.empty(0)).device)
    return removing.without(copied(model), plan_of(whole, sample))


def plan_of(whole: nn.Module, sample: Any) -> removing.Plan:
    """What can be taken out of a network in float64: seen with as little caution as leaves it the same."""
    for caution in (0, 1, 2):
        plan = removing.removable(whole, following.follow(whole, sample, caution))
        try:
            _agree(whole, removing.without(copied(whole), plan), sample)
        except ValueError:
            if caution == 2:
                raise
        else:
            break
    return plan


def heads_can_go(whole: nn.Module, sample: Any, followed: following.Following) -> bool:
    """Whether a head of each attention could be taken out of a network that was followed, were it zero."""
    other = copied(whole)
    copies = {id(p): (name, q) for p, (name, q) in zip(whole.parameters(), other.named_parameters(), strict=True)}
    heads, zeroed = {followed.units.of(head) for head in followed.units.attended}, set()
    with torch.no_grad():
        for (tensor, axis), place in followed.places.items():
            rows = [k for k, unit in enumerate(place) if followed.units.of(int(unit)) in heads]
            if rows and axis == 0 and tensor in copies:
                name, weight = copies[tensor]
                weight[rows] = 0
                zeroed.add(name)
    try:
        plan = removing.removable(other, following.follow(other, sample))
        _agree(other, removing.without(copied(other), plan), sample)
    except ValueError:
        return False
    return zeroed <= {name for names, entries in plan.kept.items() if 0 in entries for name in names}


def _agree(whole: nn.Module, small: nn.Module, sample: Any) -> None:
    """Raise ValueError unless both say the same of the sample, with all signs turned, and with more samples too.

    Where the network cannot be called in one of those ways, that one is left out.
    """
    with torch.no_grad(), watching.uncompiled():
        for given in (sample, turned(sample), grown(sample)):
            try:
                with unseen(whole):
                    expected = list(watching.tensors(run_exact(whole, given)))
            except Exception as error:
                if given is sample:
                    raise ValueError(f"the model cannot be called with sample=: {first_line(error)}") from error
                continue  # it cannot be called so
            if silent(expected):
                if given is sample:
                    raise ValueError(NOTHING_SAID)
                continue
            with unseen(whole):
                try:
                    found = list(watching.tensors(run_exact(small, given)))
                except Exception as error:
                    raise ValueError(
                        f"the shrunk network cannot be called with the sample: {first_line(error)}"
                    ) from error
            if len(found) != len(expected) or not all(map(close, found, expected)):
                raise ValueError(_DIFFERENT)


def smaller(model: nn.Module) -> nn.Module:
    """The model itself, made smaller, and not checked: for models of a form that `shrink` has taken before."""
    if isinstance(model, MeanField):
        if float(model.activation(torch.zeros(()))) != 0:
            raise ValueError("a zeroed neuron still acts when φ(0) ≠ 0: shrink needs an activation with φ(0) = 0")
        kept = _some(_alive(model.hidden.weight))
        _replace(model.hidden, model.hidden.weight[kept])
        model.signs = model.signs[:, kept].clone()
        return model
    layers = list(_chain(model))
    weighted = [k for k, layer in enumerate(layers) if type(layer) in _WEIGHTED]
    if not weighted:
        raise ValueError("shrink finds no Linear or Conv layer in this chain")
    for here, there in pairwise(weighted):
        _thin(layers[here], layers[here + 1 : there], layers[there])
    return model


def _chain(model: nn.Module) -> Iterator[nn.Module]:
    """The layers of nested Sequentials, in order."""
    if type(model) is nn.Sequential:
        for layer in model._modules.values():
            if layer is not None:
                yield from _chain(layer)
    else:
        yield model


def _refuse_hidden_ways(model: nn.Module) -> None:
    """Raise ValueError for what a chain of layers does not show: hooks, replaced forwards, layers used twice."""
    if type(model) not in (MeanField, nn.Sequential):
        raise ValueError(
            "without sample= shrink knows a chain of layers (torch.nn.Sequential itself) or a MeanField, not a "
            f"{type(model).__name__}: pass sample=, one batch that the model is called with"
        )
    refuse_made_anew(model)
    seen: dict[int, str] = {}
    for name, p in model.named_parameters(remove_duplicate=False):
        if seen.setdefault(id(p), name) != name:
            raise ValueError(f"{name!r} and {seen[id(p)]!r} are one and the same: shrink wants a weight used once")


class _Way(NamedTuple):
    """What lies between two weighted layers, for the units of the first."""

    said: Tensor  # what a zeroed unit says at the end, float64, (units,)
    steady: bool  # whether that number arrives the same everywhere
    flat: bool  # whether the places of a channel were laid side by side


def _thin(layer: Any, between: Sequence[nn.Module], following: Any) -> None:
    """Take out the zero units of a layer, and what the next one reads of them."""
    for each in (layer, following):
        if getattr(each, "groups", 1) != 1:
            raise ValueError("shrink needs convolutions with groups=1: a filter of a group reads its own channels only")
    way = _follow(layer, between)
    places = _places(layer, way, following)
    steady = way.steady and not (type(following) in CONVOLUTIONS and _pads_zeros(following))
    alive = _alive(layer.weight)
    kept = _some(alive if steady else alive | (way.said != 0))
    columns = kept.repeat_interleave(places)
    said = way.said[~kept].repeat_interleave(places)
    if bool(said.any()):
        lost = following.weight.detach().double()[:, ~columns]
        shift = (lost.flatten(2).sum(2) if lost.ndim > 2 else lost) @ said
        own = 0 if following.bias is None else following.bias.detach().double()
        trained = following.weight.requires_grad
        following.bias = nn.Parameter((own + shift).to(following.weight.dtype), requires_grad=trained)
    bias = layer.bias
    _replace(layer, layer.weight[kept])
    if bias is not None:
        layer.bias = nn.Parameter(bias.detach()[kept].clone(), requires_grad=bias.requires_grad)
    _replace(following, following.weight[:, columns])


def _follow(layer: Any, between: Sequence[Any]) -> _Way:
    """What a zeroed unit says, followed to the next weighted layer."""
    weight = layer.weight
    said = torch.zeros(len(weight), device=weight.device, dtype=torch.float64)
    if layer.bias is not None:
        said = layer.bias.detach().double()
    axes, steady, flat = CONVOLUTIONS.get(type(layer), 0), True, False
    for step in between:
        kind, name = type(step), type(step).__name__
        if kind in _ELEMENTWISE:
            said = step(said.clone())
        elif kind is nn.Dropout:
            pass  # as in eval mode
        elif kind in _POOLS:
            if _POOLS[kind] != axes or flat:
                raise ValueError(f"shrink cannot see through a {name} layer here: it pools over units, not over places")
            if getattr(step, "return_indices", False):
                raise ValueError(f"shrink cannot see through a {name} layer that returns indices")
            steady = steady and not (name.startswith("AvgPool") and _uneven(step))
        elif kind is nn.Flatten:
            if (step.start_dim, step.end_dim) != (1, -1):
                raise ValueError("shrink knows a Flatten of all axes but the first")
            flat = flat or axes > 0
        else:
            raise ValueError(f"shrink cannot see through a {name} layer")
    return _Way(said, steady, flat)


def _places(layer: Any, way: _Way, following: Any) -> int:
    """How many inputs of the next layer one unit feeds."""
    before, after = CONVOLUTIONS.get(type(layer), 0), CONVOLUTIONS.get(type(following), 0)
    if (before if not way.flat else 0) != after:
        raise ValueError(
            "shrink needs a Flatten between a convolution and a Linear layer, and convolutions of one kind"
        )
    places, rest = divmod(following.weight.shape[1], len(layer.weight))
    if rest or (places != 1 and not way.flat):
        raise ValueError("shrink needs each unit to feed inputs of its own in the next layer")
    return places


def _pads_zeros(conv: Any) -> bool:
    if conv.padding == "valid" or conv.padding_mode != "zeros":
        return False
    return any(conv.padding)  # numbers, or the word "same"


def _uneven(pool: Any) -> bool:
    """Whether an average of equal numbers may be another number somewhere."""
    padding = pool.padding if isinstance(pool.padding, tuple) else (pool.padding,)
    return any(padding) or pool.ceil_mode or getattr(pool, "divisor_override", None) is not None


def _alive(weight: Tensor) -> Tensor:
    return (weight.detach().flatten(1) != 0).any(dim=1)


def _some(kept: Tensor) -> Tensor:
    if not kept.any():
        kept[0] = True  # a layer without units is no layer
    return kept


def _replace(layer: Any, weight: Tensor) -> None:
    layer.weight = nn.Parameter(weight.detach().clone(), requires_grad=layer.weight.requires_grad)
    if isinstance(layer, nn.Linear):
        layer.out_features, layer.in_features = weight.shape
    else:
        layer.out_channels, layer.in_channels = weight.shape[:2]


def _compare(whole: nn.Module, small: nn.Module, sample: Any) -> None:
    """Raise ValueError unless both networks, in float64, say the same of a sample."""
    with torch.no_grad():
        expected, sample = _expected(whole, sample)
        with unseen(whole):
            try:
                found = run_exact(small, sample)
            except Exception as error:
                raise ValueError(f"the shrunk network cannot be called with the sample: {first_line(error)}") from error
    if silent([expected]):
        raise ValueError(NOTHING_SAID)
    if not isinstance(expected, Tensor):
        raise ValueError(f"shrink compares networks that return one tensor, not a {type(expected).__name__}")
    if not close(found, expected):
        raise ValueError(_DIFFERENT)


def _expected(whole: nn.Module, sample: Any) -> tuple[Any, Any]:
    """What the model says of the sample, or of the first one made up that it can be called with; and that sample."""
    if sample is not None:
        sample = moved(sample, next(whole.parameters()).device)
        try:
            with unseen(whole):
                return run_exact(whole, sample), sample
        except Exception as error:
            raise ValueError(f"the model cannot be called with sample=: {first_line(error)}") from error
    for batch in _made_up(whole):
        try:
            with unseen(whole):
                return run_exact(whole, batch), batch
        except Exception:  # images of the wrong size: the next ones
            continue
    raise ValueError("shrink runs both networks to compare them: pass sample=, one batch that the model is called with")


def _made_up(whole: nn.Module) -> Iterator[Tensor]:
    """Batches for a network that begins with a Linear layer or a convolution."""
    first: Any = (
        whole.hidden if isinstance(whole, MeanField) else next(m for m in _chain(whole) if type(m) in _WEIGHTED)
    )
    yield from made_up(first)
