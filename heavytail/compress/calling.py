"""A network, called: a copy of it in float64 and eval mode, on a sample; and what is refused."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.parameter import UninitializedParameter
from torch.nn.utils import parametrize
from torch.overrides import TorchFunctionMode

from heavytail.networks.calls import flat
from heavytail.networks.keeping import copied
from heavytail.networks.watching import message_of


def exact(model: nn.Module) -> nn.Module:
    """A copy in float64 and eval mode, on a device that has float64."""
    try:
        other = copied(model).eval()
    except ValueError:  # which says it
        raise
    except Exception as error:  # of something in it that is not torch's
        raise ValueError(f"a {type(model).__name__} cannot be copied: {first_line(error)}") from error
    if any(p.device.type == "mps" for p in other.parameters()):
        other = other.cpu()
    for module in other.modules():
        for name, value in list(vars(module).items()):  # what is neither parameter nor buffer
            if isinstance(value, Tensor) and value.is_floating_point():
                setattr(module, name, value.double())
    return other.double()


class _Wide(TorchFunctionMode):
    """Real numbers stay float64, whatever type the code of a network asks for."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if getattr(func, "__name__", "") in ("float", "half", "bfloat16") and isinstance(args[0], Tensor):
            return args[0].double()
        named = {name: _wide(value) for name, value in (kwargs or {}).items()}
        return func(*map(_wide, args), **named)


def _wide(value: Any) -> Any:
    return torch.float64 if isinstance(value, torch.dtype) and value.is_floating_point else value


def run_exact(model: nn.Module, sample: Any) -> Any:
    """What a network of `exact` says of a sample, in float64 throughout."""
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    try:
        with _Wide():
            return run(model, sample)
    finally:
        torch.set_default_dtype(before)


def called(model: nn.Module, sample: Any) -> Any:
    """What a network says of a sample: a tensor, a tuple of arguments or a dict of named ones."""
    if isinstance(sample, Mapping):
        return model(**sample)
    return model(*(sample if isinstance(sample, list | tuple) else (sample,)))


def run(model: nn.Module, sample: Any) -> Any:
    """The same, of a copy of the sample, for a network that changes its input."""
    return called(model, changed(sample, torch.clone))


def moved(sample: Any, device: torch.device) -> Any:
    """The sample on a device, its real numbers in float64."""

    def placed(tensor: Tensor) -> Tensor:
        real = torch.float64 if tensor.is_floating_point() else None
        return freed(tensor.detach()).to(device, real)

    return changed(sample, placed)


def changed(sample: Any, change: Callable[[Tensor], Tensor]) -> Any:
    """The sample with its tensors changed, in tuples, lists and dicts."""
    if isinstance(sample, Tensor):
        return change(sample)
    if isinstance(sample, Mapping):
        return {name: changed(value, change) for name, value in sample.items()}
    return type(sample)(changed(value, change) for value in sample) if type(sample) in (list, tuple) else sample


def repeated(tensor: Tensor, rows: int, wanted: int) -> Tensor:
    """A tensor with so many samples, the first of its own, again from the front; itself if it has not these rows."""
    has = tensor.ndim > 0 and len(tensor) == rows > 0
    return tensor[torch.arange(wanted, device=tensor.device) % rows] if has else tensor


def freed(tensor: Tensor) -> Tensor:
    """The tensor itself, or a copy of one that was made within torch.inference_mode()."""
    return tensor.clone() if tensor.is_inference() else tensor


def turned(value: Any) -> Any:
    """The sample with the sign of its real numbers turned: another one, of the same form."""
    return changed(value, lambda tensor: -tensor if tensor.is_floating_point() else tensor)


def grown(sample: Any) -> Any:
    """The sample with twice as many samples and one more, these again: along the first axis of its tensors."""
    rows = next((len(t) for t in flat([sample]) if isinstance(t, Tensor) and t.ndim), 0)
    return changed(sample, lambda tensor: repeated(tensor, rows, 2 * rows + 1))


def unseen(model: nn.Module) -> AbstractContextManager[None]:
    """Random states are what they were afterwards, so that a layer that draws draws the same for both networks."""
    return torch.random.fork_rng(devices=list({p.device.index for p in model.parameters() if p.device.type == "cuda"}))


def refuse_layers(model: nn.Module) -> None:
    """Raise ValueError, with the name of the layer, for what cannot be followed and for what has no units."""
    refuse_scripted(model)
    for name, module in model.named_modules():
        if isinstance(module, nn.RNNBase | nn.RNNCellBase):
            kind = type(module).__name__
            raise ValueError(
                f"{place(name)} is recurrent ({kind}): its units hear themselves, so none can be taken out"
            )
    refuse_quantised(model)
    for name, p in model.named_parameters():
        if isinstance(p, UninitializedParameter):
            raise ValueError(f"{name!r} has no shape yet: call the model once with a batch first")
    refuse_made_anew(model)
    refuse_empty(model)


def refuse_scripted(model: nn.Module) -> None:
    """Raise ValueError, with the name of the layer, for what torch.jit has made."""
    for name, module in model.named_modules():
        if isinstance(module, torch.jit.ScriptModule):
            raise ValueError(
                f"{place(name)} is scripted or traced, so it does not show what it calls: pass what it was made from"
            )


def refuse_sparse(model: nn.Module) -> None:
    """Raise ValueError for a weight that is not stored in full."""
    for name, p in [*model.named_parameters(), *model.named_buffers()]:
        if p.layout != torch.strided:
            raise ValueError(f"{name!r} is sparse: call to_dense() on it first")


def refuse_empty(model: nn.Module) -> None:
    """Raise ValueError for a weight without entries."""
    for name, p in model.named_parameters():
        if not isinstance(p, UninitializedParameter) and 0 in p.shape:
            raise ValueError(f"{name!r} has no units: an axis of it is empty")


def refuse_quantised(model: nn.Module) -> None:
    """Raise ValueError, with the name of the layer, where weights are whole numbers."""
    for name, module in model.named_modules():
        if "quantized" in type(module).__module__:
            kind = type(module).__name__
            raise ValueError(f"{place(name)} is quantised ({kind}): prune and shrink the model first, quantise it then")


def refuse_without_values(model: nn.Module) -> None:
    """Raise ValueError for a weight on the meta device."""
    for name, p in model.named_parameters():
        if p.is_meta:
            raise ValueError(f"{name!r} is on the meta device and has no values: load or draw them first")


def refuse_made_anew(model: nn.Module) -> None:
    """Raise ValueError, with the name of the layer, for hooks, masks and parametrizations."""
    for name, module in model.named_modules():
        where = place(name)
        if parametrize.is_parametrized(module):
            raise ValueError(f"{where} is parametrized: remove the parametrization before shrink")
        if module._forward_hooks or module._forward_pre_hooks or "forward" in vars(module):
            raise ValueError(f"{where} has a hook, mask or forward of its own, which shrink cannot see through")


def place(name: str) -> str:
    """How a sentence names a layer."""
    return f"layer {name!r}" if name else "the model"


def first_line(error: BaseException) -> str:
    """What an error says in its first line that says something."""
    return next((line.strip() for line in message_of(error).splitlines() if line.strip()), type(error).__name__)
