"""How much memory there is, and whether an error says that there was too little."""

from __future__ import annotations

import os

import torch


def available(device: torch.device) -> int:
    """Bytes that are free on a device."""
    if device.type == "cuda":
        return int(torch.cuda.mem_get_info(device)[0])
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_AVPHYS_PAGES")
    except (AttributeError, ValueError):  # not every system tells
        return 2**32


def ran_out(error: BaseException) -> bool:
    """Whether an error means that memory was not there; torch's CPU allocator has no class of its own for it."""
    told = isinstance(error, MemoryError | torch.OutOfMemoryError)
    return told or (isinstance(error, RuntimeError) and "can't allocate memory" in str(error))
