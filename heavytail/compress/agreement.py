"""Whether two networks say the same of a batch, up to rounding."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from heavytail.compress.batches import Batch
from heavytail.compress.calling import first_line
from heavytail.networks.keeping import as_it_was


def check_same(model: nn.Module, other: nn.Module, batch: Batch, what: str) -> None:
    """Raise ValueError, in one sentence, unless another network says of a batch what the model says, in eval mode."""
    expected = said(model, batch)
    try:
        found = said(other, batch)
    except Exception as error:
        raise ValueError(f"{what} fails on a batch of {batch.rows}: {first_line(error)}") from error
    check_equal(expected, found, batch, what)


def said(model: nn.Module, batch: Batch) -> Any:
    """What a network in eval mode says of copies of a batch's tensors; it is left as it was."""
    copies = Batch(batch.names, tuple(tensor.clone() for tensor in batch.tensors), batch.named, batch.rows)
    with as_it_was(model), torch.no_grad():
        return copies.call(model.eval())


def check_equal(expected: Any, found: Any, batch: Batch, what: str, room: float = 1) -> None:
    """Raise ValueError unless two outputs are the same up to `room` times what rounding makes of the dtype."""
    ours, theirs = list(leaves(expected)), list(leaves(found))
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
