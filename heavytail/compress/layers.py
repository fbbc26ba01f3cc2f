"""The layers of torch that operations on weights come from, so that a network read from a file has layers again."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn

_Options = Mapping[str, Any]
_CONVOLUTIONS = {
    f"aten.conv{axes}d.{kind}": getattr(nn, f"Conv{axes}d") for axes in (1, 2, 3) for kind in ("default", "padding")
}
_TRANSPOSED = {
    "aten.conv_transpose1d.default": nn.ConvTranspose1d,
    "aten.conv_transpose2d.input": nn.ConvTranspose2d,
    "aten.conv_transpose3d.input": nn.ConvTranspose3d,
}
_BATCH_NORMS = {2: nn.BatchNorm1d, 3: nn.BatchNorm1d, 4: nn.BatchNorm2d, 5: nn.BatchNorm3d}


def layer_of(
    name: str,
    options: _Options,
    states: Mapping[str, Tensor],
    uses: Mapping[str, int],
    axes: int | None,
    batches: int | None = None,
) -> tuple[str, nn.Module, Any] | None:
    """The layer that an operation with these options is the call of, its place and input; None if it is of no layer.

    name     of the operation, such as "aten.linear.default"
    options  by name, as a program has them
    states   all weights and buffers of the network
    uses     how often each is read: what is read twice belongs to no layer
    axes     of the input, of a batch normalisation
    batches  of which a batch normalisation without a momentum has the average
    """
    own = {key: value["state"] for key, value in options.items() if isinstance(value, dict) and "state" in value}
    path, _, last = own.get("weight", "").rpartition(".")
    if not path or last != "weight" or any(f"{path}.{key}" != state for key, state in own.items()):
        return None
    beside = {key for key in states if key.startswith(f"{path}.")}
    if beside != set(own.values()) or any(uses.get(state) != 1 for state in beside):
        return None
    weight = states[own["weight"]]
    if not isinstance(weight, nn.Parameter) or any(
        isinstance(states[state], nn.Parameter) != (key in ("weight", "bias")) for key, state in own.items()
    ):
        return None
    made = _made(name, options, weight, "bias" in own, axes)
    if made is None:
        return None
    for key, state in own.items():
        place: dict[str, Any] = made._parameters if key in ("weight", "bias") else made._buffers
        if place.get(key) is None or place[key].shape != states[state].shape:
            return None
        place[key] = states[state]
    if isinstance(made, nn.modules.batchnorm._BatchNorm) and made.num_batches_tracked is not None:
        made.num_batches_tracked = made.num_batches_tracked.to(weight.device)
        if batches is not None:
            made.momentum = None
            made.num_batches_tracked += batches
    return path, made, options["indices" if isinstance(made, nn.Embedding) else "input"]


def _made(name: str, options: _Options, weight: Tensor, bias: bool, axes: int | None) -> nn.Module | None:
    """A layer with these options, on the meta device but for what will not be filled."""
    where: dict[str, Any] = {"device": "meta", "dtype": weight.dtype}
    if name == "aten.linear.default" and weight.ndim == 2:
        return nn.Linear(weight.shape[1], weight.shape[0], bias=bias, **where)
    if name in _CONVOLUTIONS or name in _TRANSPOSED:
        turned = name in _TRANSPOSED
        kind: Any = _TRANSPOSED[name] if turned else _CONVOLUTIONS[name]
        groups = options.get("groups", 1)
        given = {key: _pair(options[key]) for key in ("stride", "padding", "dilation") if key in options}
        if turned:
            inputs, outputs = weight.shape[0], weight.shape[1] * groups
            given |= {key: _pair(options[key]) for key in ("output_padding",) if key in options}
        else:
            inputs, outputs = weight.shape[1] * groups, weight.shape[0]
        sizes = tuple(weight.shape[2:])
        layer: nn.Module = kind(inputs, outputs, sizes, groups=groups, bias=bias, **given, **where)
        return layer
    if name == "aten.batch_norm.default" and axes in _BATCH_NORMS and bias:
        if options.get("training") is not False or "running_mean" not in options:
            return None
        if not all(isinstance(options.get(key), dict) for key in ("running_mean", "running_var")):
            return None
        made = _BATCH_NORMS[axes](len(weight), options["eps"], options["momentum"], **where)
        made.num_batches_tracked = weight.new_zeros((), dtype=None).long()
        return made
    if name == "aten.layer_norm.default":
        return nn.LayerNorm(options["normalized_shape"], options.get("eps", 1e-5), bias=bias, **where)
    if name == "aten.group_norm.default" and bias:
        return nn.GroupNorm(options["num_groups"], len(weight), options.get("eps", 1e-5), **where)
    if name == "aten.embedding.default" and weight.ndim == 2:
        padding = options.get("padding_idx", -1)
        empty = weight.new_empty(weight.shape, device="meta")  # else torch draws one, and imports its compiler
        return nn.Embedding(weight.shape[0], weight.shape[1], padding if padding >= 0 else None, _weight=empty)
    return None


def _pair(value: Any) -> Any:
    if isinstance(value, list):
        return tuple(value) if len(value) > 1 else value[0]
    return value
