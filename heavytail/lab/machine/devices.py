"""How much memory there is, and whether an error says that there was too little."""

from __future__ import annotations

import os

import torch

_NO_ROOM = ("can't allocate memory", "Storage size calculation overflowed")  # of torch, on a CPU and anywhere


def available(device: torch.device) -> int:
    """Bytes that are free on a device."""
    if device.type == "cuda":
        return int(torch.cuda.mem_get_info(device)[0])
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


def ran_out(error: BaseException) -> bool:
    """Whether an error means that memory was not there; torch's CPU allocator has no class of its own for it."""
    told = isinstance(error, MemoryError | torch.OutOfMemoryError)
    return told or (isinstance(error, RuntimeError) and any(words in str(error) for words in _NO_ROOM))


def broke(error: BaseException) -> bool:
    """Whether an error means that a device fails whatever it is asked from now on."""
    return isinstance(error, torch.AcceleratorError)
