"""Whether two networks say the same of a batch, up to rounding."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from heavytail.compress.batches import Batch
from heavytail.compress.calling import first_line, run
from heavytail.networks.keeping import as_it_was

_TIMES = 16  # that a network which draws is called, of which a coin or two may fall alike
NOTHING_SAID = (
    "the model says nothing but nan or infinity of the sample, so nothing can be compared: correct its weights, or "
    "pass another sample="
)


def check_same(model: nn.Module, other: nn.Module, batch: Batch, what: str) -> None:
    """Raise ValueError, in one sentence, unless another network says of a batch what the model says, in eval mode."""
    expected = said(model, batch)
    try:
        found = said(other, batch)
    except Exception as error:
        raise ValueError(f"{what} fails on a batch of {batch.rows}: {first_line(error)}") from error
    check_equal(expected, found, batch, what)


def check_steady(model: nn.Module, batch: Batch) -> None:
    """Raise ValueError if a network in eval mode says something else with other random numbers."""
    if not _draws(model, batch):
        return
    first = list(leaves(said(model, batch)))
    for drawn in range(1, _TIMES):
        if not all(map(close, first, leaves(said(model, batch, drawn)))):
            raise ValueError(
                f"this {type(model).__name__} draws random numbers in eval mode too, so that it never says the same "
                "twice: leave them out"
            )


def _draws(model: nn.Module, batch: Batch) -> bool:
    """Whether a call in eval mode takes random numbers of torch's."""
    device = batch.tensors[0].device

    def state() -> bytes:
        states = [torch.get_rng_state()] + ([torch.cuda.get_rng_state(device)] if device.type == "cuda" else [])
        return b"".join(one.numpy().tobytes() for one in states)

    with as_it_was(model), torch.no_grad():
        before = state()
        run(model.eval(), batch.sample)
        return state() != before


def said(model: nn.Module, batch: Batch, drawn: int = 0) -> Any:
    """What a network in eval mode says of copies of a batch's tensors; it is left as it was.

    Its random numbers come after those `drawn`.
    """
    with as_it_was(model), torch.no_grad():
        torch.rand(drawn, device=batch.tensors[0].device)
        return run(model.eval(), batch.sample)


def check_equal(expected: Any, found: Any, batch: Batch, what: str, room: float = 1) -> None:
    """Raise ValueError unless two outputs are the same up to `room` times what rounding makes of the dtype."""
    ours, theirs = list(leaves(expected)), list(leaves(found))
    if silent(ours):
        raise ValueError(NOTHING_SAID)
    if len(ours) != len(theirs) or not all(close(a, b, room) for a, b in zip(ours, theirs, strict=True)):
        raise ValueError(f"{what} does not say what the model says of a batch of {batch.rows}: nothing was written")


def leaves(value: Any) -> Iterator[Any]:
    """The tensors and other things that a network returns, in order."""
    if isinstance(value, Mapping):
        for part in value.values():
            yield from leaves(part)
    elif isinstance(value, list | tuple):
        for part in value:
            yield from leaves(part)
    else:
        yield value


def silent(outputs: list[Any]) -> bool:
    """Whether an output has no number to compare: nan everywhere, or nothing but infinity in all of them."""
    real = [t for t in outputs if isinstance(t, Tensor) and t.numel() and (t.is_floating_point() or t.is_complex())]
    finite = [bool(torch.isfinite(t).any()) for t in real]
    unclear = any(not some and bool(torch.isnan(t).any()) for t, some in zip(real, finite, strict=True))
    return unclear or (bool(real) and len(real) == len(outputs) and not any(finite))


def close(a: Any, b: Any, room: float = 1) -> bool:
    """Whether two outputs are the same, tensors up to `room` times what rounding makes of their dtype."""
    if not isinstance(a, Tensor) or not isinstance(b, Tensor):
        return bool(a == b) and type(a) is type(b)
    if a.shape != b.shape or a.dtype != b.dtype:
        return False
    if not a.is_floating_point():
        return torch.equal(a, b)
    finite = a[torch.isfinite(a)].double().abs()
    size = float(finite.max()) if len(finite) else 0.0
    off = room * min(0.02, max(1e-9, 80 * torch.finfo(a.dtype).eps)) * size  # 1e-5 in float32
    return torch.allclose(a.double(), b.double(), rtol=0, atol=off, equal_nan=True)
