"""The same function from a smaller network: units that are all zero physically gone, in plain chains of layers."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from itertools import pairwise
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.parameter import UninitializedParameter
from torch.nn.utils import parametrize

from heavytail.compress import removing
from heavytail.compress.following import AsksValues, Following
from heavytail.networks import Mean, MeanField, roles, watching
from heavytail.networks.keeping import copied

_CONVOLUTIONS: dict[type, int] = {nn.Conv1d: 1, nn.Conv2d: 2, nn.Conv3d: 3}  # with the number of axes they slide along
_WEIGHTED = (nn.Linear, *_CONVOLUTIONS)
_ELEMENTWISE = (
    *(nn.Identity, nn.ReLU, nn.ReLU6, nn.LeakyReLU, nn.ELU, nn.SELU, nn.CELU, nn.GELU, nn.SiLU, nn.Mish),
    *(nn.Tanh, nn.Sigmoid, nn.Hardtanh, nn.Hardswish, nn.Hardsigmoid, nn.Softplus, nn.Softsign),
)
_POOLS: dict[type, int] = {Mean: 2}
for _axes in (1, 2, 3):
    for _kind in ("MaxPool", "AvgPool", "AdaptiveMaxPool", "AdaptiveAvgPool"):
        _POOLS[getattr(nn, f"{_kind}{_axes}d")] = _axes
_DIFFERENT = (
    "the shrunk network does not say what the model says of the sample: a layer does not do what its type says"
)
_FLAT = (32, 28, 64, 224, 16, 8, 4, 1)  # sizes of made-up images, until one fits
_SIZES: dict[int, Sequence[int]] = {1: _FLAT, 2: _FLAT, 3: (32, 28, 16, 8, 4, 1)}  # by number of axes


def shrink(model: nn.Module, sample: Any = None) -> nn.Module:
    """The same function with the zero units physically gone: a smaller network in new memory.

    model   a MeanField network with φ(0) = 0, or a chain: nn.Sequential, nested or not, of Linear and Conv1d-3d layers
            with elementwise activations, and pooling and Flatten after convolutions; whatever comes before the first
            or after the last of those layers is left as it is. It is not changed
    sample  one batch that the model is called with: a tensor, a tuple of arguments or a dict of named ones. Without it
            one is made up

    A unit goes if its weights are all zero. What it still says, φ(bias), is added to the bias of the next layer, which
    is made if there is none. It stays where that would be wrong: before a convolution or an average that pads with
    zeros, unless φ(bias) is 0. A layer keeps at least one unit.

    Both networks are then run on the sample, copies of them in float64 and eval mode; the random state stays what it
    was. So outputs agree up to the rounding of the model's dtype. Raises ValueError, in one sentence, for everything
    else: other layers in between, subclasses with a forward of their own, hooks, parametrized or shared layers,
    grouped convolutions, pooling over units, a sample that does not fit, and outputs that differ.

    >>> from heavytail import compress, networks
    >>> model = networks.fcn(20, width=100, depth=1, classes=3, generator=torch.Generator().manual_seed(0))
    >>> pruned = compress.prune(model, keep=0.1)
    >>> small, x = shrink(pruned), torch.ones(1, 20)
    >>> small[1].weight.shape, torch.allclose(small(x), pruned(x), atol=1e-6)
    (torch.Size([10, 20]), True)
    """
    try:
        return _shrink_chain(model, sample)
    except ValueError:
        if sample is None or isinstance(model, MeanField):
            raise
    return _shrink_any(model, sample)


def _shrink_chain(model: nn.Module, sample: Any) -> nn.Module:
    _refuse_hidden_ways(model)
    _refuse_without_values(model)
    small = smaller(copied(model))
    whole = _exact(model)
    _compare(whole, smaller(copied(whole)), sample)
    return small


def _shrink_any(model: nn.Module, sample: Any) -> nn.Module:
    """What `shrink` makes of a network of any form: units are followed through a call with the sample."""
    model = roles.unwrapped(model)
    _refuse_layers(model)
    _refuse_without_values(model)
    whole = _exact(model)
    sample = _moved(sample, next(iter([*whole.parameters(), *whole.buffers()]), torch.empty(0)).device)
    for cautious in (False, True):
        plan, expected = _followed(whole, sample, cautious)
        small = removing.without(copied(whole), plan)
        try:
            _agree(whole, small, sample, expected)
        except ValueError:
            if cautious:
                raise
        else:
            break
    return removing.without(copied(model), plan)


def _followed(whole: nn.Module, sample: Any, cautious: bool) -> tuple[removing.Plan, list[Tensor]]:
    """What may go, and what the network says of the sample."""
    following = Following(whole, cautious)
    following.given(sample)
    hooks: list[Any] = []
    for module in whole.modules():
        hooks.append(module.register_forward_pre_hook(lambda module, args: following.calling.append(module)))
        hooks.append(module.register_forward_hook(lambda module, args, result: following.calling.pop() and None))
    try:
        with torch.no_grad(), _unseen(whole), watching.uncompiled(), following:
            result = _run(whole, sample)
    except Exception as error:
        if isinstance(error, AsksValues) or following.asking is not None:
            name = next((n for n, module in whole.named_modules() if module is following.asking), "")
            raise ValueError(
                f"{_place(name)} asks what its values are, so that another input may go another way through it, which "
                "shrink cannot see"
            ) from None
        raise ValueError(f"the model cannot be called with sample=: {_first_line(error)}") from error
    finally:
        for hook in hooks:
            hook.remove()
    expected = list(watching.tensors(result))
    if not expected:
        raise ValueError(f"shrink compares what networks return, and this one returns no tensor but a {_kind(result)}")
    following.returned(expected)
    return removing.removable(whole, following), expected


def _agree(whole: nn.Module, small: nn.Module, sample: Any, expected: list[Tensor]) -> None:
    """Raise ValueError unless both say the same of the sample, and of one with all signs turned if it can be called."""
    with torch.no_grad(), watching.uncompiled():
        for given in (sample, _turned(sample)):
            if given is not sample:
                try:
                    with _unseen(whole):
                        expected = list(watching.tensors(_run(whole, given)))
                except Exception:
                    return
            with _unseen(whole):
                try:
                    found = list(watching.tensors(_run(small, given)))
                except Exception as error:
                    raise ValueError(f"the shrunk network cannot be called with the sample: {_first_line(error)}") from error
            if len(found) != len(expected) or not all(map(_same, found, expected)):
                raise ValueError(_DIFFERENT)


def _turned(value: Any) -> Any:
    if isinstance(value, Tensor):
        return -value if value.is_floating_point() else value
    if isinstance(value, Mapping):
        return {name: _turned(part) for name, part in value.items()}
    return type(value)(_turned(part) for part in value) if type(value) in (list, tuple) else value


def _place(name: str) -> str:
    return f"layer {name!r}" if name else "the model"


def _refuse_layers(model: nn.Module) -> None:
    """Raise ValueError, with the name of the layer, for what cannot be followed and for what has no units."""
    for name, module in model.named_modules():
        kind, place = type(module).__name__, _place(name)
        if isinstance(module, torch.jit.ScriptModule):
            raise ValueError(f"{place} is scripted and does not show what it calls: pass the model that it was made from")
        if isinstance(module, nn.RNNBase | nn.RNNCellBase):
            raise ValueError(f"{place} is recurrent ({kind}): its units hear themselves, and shrink cannot take one out")
        if "quantized" in type(module).__module__:
            raise ValueError(f"{place} is quantised ({kind}): shrink the model first and quantise it then")
    _refuse_made_anew(model)
    for name, p in model.named_parameters():
        if isinstance(p, UninitializedParameter):
            raise ValueError(f"{name!r} has no shape yet: call the model once with a batch first")
        if p.ndim and 0 in p.shape:
            raise ValueError(f"{name!r} has no units: an axis of it is empty")


def _exact(model: nn.Module) -> nn.Module:
    """A copy in float64 and eval mode, on a device that has float64."""
    other = copied(model).eval()
    if any(p.device.type == "mps" for p in other.parameters()):
        other = other.cpu()
    return other.double()


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
            f"shrink knows a chain of layers (torch.nn.Sequential itself) or a MeanField, not a {type(model).__name__}: "
            "for another model pass sample=, one batch that it is called with"
        )
    _refuse_made_anew(model)
    seen: dict[int, str] = {}
    for name, p in model.named_parameters(remove_duplicate=False):
        if seen.setdefault(id(p), name) != name:
            raise ValueError(f"{name!r} and {seen[id(p)]!r} are one and the same: shrink wants a weight used once")


def _refuse_without_values(model: nn.Module) -> None:
    for name, p in model.named_parameters():
        if p.is_meta:
            raise ValueError(f"{name!r} is on the meta device and has no values: load or draw them first")


def _refuse_made_anew(model: nn.Module) -> None:
    for name, module in model.named_modules():
        place = _place(name)
        if parametrize.is_parametrized(module):
            raise ValueError(f"{place} is parametrized: remove the parametrization before shrink")
        if module._forward_hooks or module._forward_pre_hooks or "forward" in vars(module):
            raise ValueError(f"{place} has a hook, mask or forward of its own, which shrink cannot see through")


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
    steady = way.steady and not (type(following) in _CONVOLUTIONS and _pads_zeros(following))
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
    axes, steady, flat = _CONVOLUTIONS.get(type(layer), 0), True, False
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
    before, after = _CONVOLUTIONS.get(type(layer), 0), _CONVOLUTIONS.get(type(following), 0)
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
        with _unseen(whole):
            try:
                found = _run(small, sample)
            except Exception as error:
                raise ValueError(
                    f"the shrunk network cannot be called with the sample: {_first_line(error)}"
                ) from error
    if not isinstance(expected, Tensor):
        raise ValueError(f"shrink compares networks that return one tensor, not a {type(expected).__name__}")
    if not _same(found, expected):
        raise ValueError(_DIFFERENT)


def _same(found: Tensor, expected: Tensor) -> bool:
    """Whether outputs agree, up to rounding in float64."""
    if found.shape != expected.shape or not expected.is_floating_point():
        return torch.equal(found, expected)
    finite = expected[torch.isfinite(expected)].abs()
    room = 1e-9 * float(finite.max()) if len(finite) else 0.0
    return torch.allclose(found, expected, rtol=0, atol=room, equal_nan=True)


def _unseen(model: nn.Module) -> AbstractContextManager[None]:
    """Random states are what they were afterwards, so that a layer that draws draws the same for both networks."""
    return torch.random.fork_rng(devices=list({p.device.index for p in model.parameters() if p.device.type == "cuda"}))


def _expected(whole: nn.Module, sample: Any) -> tuple[Any, Any]:
    """What the model says of the sample, or of the first one made up that it can be called with; and that sample."""
    if sample is not None:
        sample = _moved(sample, next(whole.parameters()).device)
        try:
            with _unseen(whole):
                return _run(whole, sample), sample
        except Exception as error:
            raise ValueError(f"the model cannot be called with sample=: {_first_line(error)}") from error
    for made_up in _made_up(whole):
        try:
            with _unseen(whole):
                return _run(whole, made_up), made_up
        except Exception:  # images of the wrong size: the next ones
            continue
    raise ValueError("shrink runs both networks to compare them: pass sample=, one batch that the model is called with")


def _made_up(whole: nn.Module) -> Iterator[Tensor]:
    """Batches for a network that begins with a Linear layer or a convolution."""
    first: Any = (
        whole.hidden if isinstance(whole, MeanField) else next(m for m in _chain(whole) if type(m) in _WEIGHTED)
    )
    axes, generator = _CONVOLUTIONS.get(type(first), 0), torch.Generator().manual_seed(0)
    for places in [[size] * axes for size in _SIZES[axes]] if axes else [[]]:
        yield torch.randn((2, first.weight.shape[1], *places), generator=generator, dtype=torch.float64).to(
            first.weight.device
        )


def _kind(value: Any) -> str:
    return type(value).__name__


def _own(value: Any) -> Any:
    """In new memory, for a network that changes its input."""
    return value.clone() if isinstance(value, Tensor) else value


def _moved(sample: Any, device: torch.device) -> Any:
    if isinstance(sample, Tensor):
        return sample.detach().to(device, torch.float64 if sample.is_floating_point() else None)
    if isinstance(sample, Mapping):
        return {name: _moved(value, device) for name, value in sample.items()}
    return type(sample)(_moved(value, device) for value in sample) if type(sample) in (list, tuple) else sample


def _run(model: nn.Module, sample: Any) -> Any:
    if isinstance(sample, Mapping):
        return model(**{name: _own(value) for name, value in sample.items()})
    return model(*map(_own, sample if isinstance(sample, list | tuple) else (sample,)))


def _first_line(error: Exception) -> str:
    return (str(error) or type(error).__name__).splitlines()[0]
