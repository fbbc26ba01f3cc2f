"""How much memory there is, and whether an error says that there was too little."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch

from heavytail.networks.watching import message_of

#: How torch says it on a CPU, anywhere, of the driver of a GPU, and of its libraries.
_NO_ROOM = ("can't allocate memory", "Storage size calculation overflowed", "out of memory", "STATUS_ALLOC_FAILED")
_RECORDING = "captur"  # in all that a driver says of what cannot be recorded, and of nothing else


def available(device: torch.device) -> int:
    """Bytes that can be had on a device: what is free, and what torch keeps of tensors that are gone."""
    if device.type == "cuda":
        cached = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
        return int(torch.cuda.mem_get_info(device)[0]) + cached
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_AVPHYS_PAGES")
    except (AttributeError, ValueError):  # not every system tells
        return 2**32


def total(device: torch.device) -> int | None:
    """Bytes that a device has in all, taken or free; None where the system does not tell."""
    if device.type == "cuda":
        return int(torch.cuda.mem_get_info(device)[1])
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError):
        return None


@contextmanager
def products(kind: str, device: torch.device) -> Iterator[None]:
    """In the block a GPU rounds the factors of float32 products to TF32 if `kind` is "tf32", and else not.

    Left alone, torch does so in convolutions. On other devices nothing is changed.
    """
    convolutions: Any = torch.backends.cudnn
    rooms = (torch.backends.cuda.matmul, convolutions.conv) if device.type == "cuda" else ()
    before = [room.fp32_precision for room in rooms]
    for room in rooms:
        room.fp32_precision = "tf32" if kind == "tf32" else "ieee"
    try:
        yield
    finally:
        for room, precision in zip(rooms, before, strict=True):
            room.fp32_precision = precision


def ran_out(error: BaseException) -> bool:
    """Whether an error means that memory was not there; only torch's own allocator for a GPU has a class for it."""
    if isinstance(error, MemoryError | torch.OutOfMemoryError):
        return True
    return isinstance(error, RuntimeError) and any(words in message_of(error) for words in _NO_ROOM)


def broke(error: BaseException) -> bool:
    """Whether an error means that a device fails whatever it is asked from now on.

    Torch has the same class for two things after which it goes on: there was no room, or a step could not be recorded.
    """
    said = message_of(error).partition("\n")[0]
    return isinstance(error, torch.AcceleratorError) and not ran_out(error) and _RECORDING not in said
