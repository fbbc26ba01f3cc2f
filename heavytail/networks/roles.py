"""The part that each weight of a network plays: hidden weights get noise and may be pruned, output weights never.

The part is told by what is called and what comes after it, never by size or by the order of registration: the paper's
code takes any layer as wide as the class count for the last one (book/deviations.md, row 6).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from torch.nn.modules.conv import _ConvTransposeNd
from torch.nn.parameter import UninitializedParameter

from heavytail.networks import calls, reading, watching
from heavytail.networks.calls import Call


def hidden_weights(model: nn.Module, sample: Any = None) -> dict[str, nn.Parameter]:
    """The weights that get noise and may be pruned, by name, in the order in which the model registers them.

    These are the matrices and convolution kernels (two axes or more) that the model calls on the way to its output,
    less those of the output layers (after which no other weight comes: one a head) and less the first convolution that
    is called. A weight tied to an output layer is an output weight. A recurrent layer's matrices, the projections of an
    attention and an embedding's table are hidden weights. Left alone: what is not called or reaches no output, norm
    layers, biases, and frozen weights (`requires_grad` False) of a model that has others.

    sample  one batch that the model is called with: a tensor, a tuple of arguments, or a dict of named ones. The model
            is called once in eval mode; its modes, buffers, flags and attributes and the random states stay what they
            were. Without it the order of calls is read off a chain of layers (nn.Sequential, the networks of this
            package) or traced by torch.fx, with the defaults of `forward`.

    Raises ValueError where the order of calls cannot be had without `sample`, where the call fails, for a lazy layer
    that has no shape yet, for a scripted model, for a weight that meets data in another way than by a layer, product
    or sum of torch's, and for a hidden weight that is parametrized or masked (weight_norm, spectral_norm,
    torch.nn.utils.prune) or multiplied with another parameter; TypeError for what is no module.

    >>> model = nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Linear(16, 4), nn.ReLU(), nn.Linear(4, 2))
    >>> list(hidden_weights(model))
    ['0.weight', '2.weight']
    """
    return trained_or_all(weights_of(model, sample).hidden)


def output_weights(model: nn.Module, sample: Any = None) -> dict[str, nn.Parameter]:
    """The weights of the output layers by name: left out of every count. Empty for the mean-field network.

    `sample` and what is raised are those of `hidden_weights`.

    >>> list(output_weights(nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Linear(16, 2))))
    ['2.weight']
    """
    last = _last(_calls(model, sample))
    return {name: p for name, p in model.named_parameters() if p in last}


@dataclass(frozen=True, eq=False)
class Weights:
    """What is known of the weights of a model; frozen hidden ones are among them, as they may be trained later."""

    hidden: dict[str, nn.Parameter]
    outputs: dict[str, nn.Parameter]  # beside them: those of the output layers
    turned: calls.Params  # those whose rows are not their outputs
    padding: dict[nn.Parameter, int]  # the row of a table that is for padding


def trained_or_all(hidden: dict[str, nn.Parameter]) -> dict[str, nn.Parameter]:
    """The hidden weights that are trained; all of them where none is."""
    trained = [name for name, p in hidden.items() if p.requires_grad]
    return {name: hidden[name] for name in trained} if trained else hidden


def weights_of(model: nn.Module, sample: Any) -> Weights:
    """The hidden weights of a model, and what its calls tell of them."""
    order = _calls(model, sample)
    used = calls.NONE.union(*(call.weights | call.inner for call in order))
    first = next((call.weights for call in order if call.convolution), calls.NONE)
    last = _last(order)
    hidden = used - last - first
    _refuse_parametrized(model, hidden)
    named = {name: p for name, p in model.named_parameters() if p in hidden}
    outputs = {name: p for name, p in model.named_parameters() if p in last}
    remade = calls.NONE.union(*(call.weights for call in order if call.remade))
    for name, p in named.items():
        if p in remade:
            raise ValueError(
                f"the weight {name!r} is multiplied with another parameter at every call, as weight_norm does it, so "
                "neither is what the layer multiplies by: give the layer that product as its one weight first"
            )
    upside_down = [layer.weight for layer in model.modules() if isinstance(layer, _ConvTransposeNd)]
    turned = calls.NONE.union(calls.matrices(upside_down), *(call.turned for call in order))
    rows: dict[Any, int] = {p: call.padding for call in order if call.padding is not None for p in call.weights}
    rows |= {
        layer.weight: layer.padding_idx
        for layer in model.modules()
        if isinstance(layer, nn.Embedding | nn.EmbeddingBag) and layer.padding_idx is not None
    }
    return Weights(named, outputs, turned & hidden, rows)


def _calls(model: nn.Module, sample: Any) -> list[Call]:
    if not isinstance(model, nn.Module):
        raise TypeError(f"a network is a torch.nn.Module, got {type(model).__name__}")
    model = unwrapped(model)
    if any(isinstance(module, torch.jit.ScriptModule) for module in model.modules()):
        raise ValueError("a scripted or traced model does not show what it calls: pass the model that it was made from")
    if any(isinstance(p, UninitializedParameter) for p in model.parameters()):
        raise ValueError("a layer of the model has no shape yet: call the model once with a batch first")
    for name, p in model.named_parameters():
        if p.is_inference():
            raise ValueError(f"{name!r} was made within torch.inference_mode(): make the model outside of it")
    if sample is not None:
        return watching.observe(model, sample)
    try:
        return reading.read(model)
    except reading.Unreadable:
        raise ValueError(
            f"the order in which a {type(model).__name__} calls its layers cannot be read off it: pass sample=, one "
            "batch that it is called with"
        ) from None


def _last(order: list[Call]) -> calls.Params:
    return calls.NONE.union(*(call.weights for call in order if call.last))


def unwrapped(model: nn.Module) -> nn.Module:
    """The network itself, out of torch.compile and DistributedDataParallel."""
    while True:
        if isinstance(model, nn.DataParallel | nn.parallel.DistributedDataParallel):
            model = model.module
        elif type(model).__name__ == "OptimizedModule":
            model = model._orig_mod  # type: ignore[assignment]
        else:
            return model


def _refuse_parametrized(model: nn.Module, weights: calls.Params) -> None:
    for name, module in model.named_modules():
        if calls.made_anew(module) and not weights.isdisjoint(module.parameters()):
            raise ValueError(
                f"the weight of layer {name!r} is parametrized or masked, so it is made anew from other parameters at "
                "every call: remove the parametrization (or the pruning mask) first"
            )
