"""Random streams of a run, each addressed by a seed and a step: one for all that is random in one way, see STREAMS.

Separate streams let alpha change under the same initial weights and batches. Addressing by step lets a run resume in
the middle, and makes it the same alone or in a grid.
"""

from __future__ import annotations

import hashlib
import json
import warnings

import numpy as np
import torch

# A stream is known by its place: add at the end.
STREAMS = ("weights", "batches", "noise", "data", "pruning", "tuning", "validation")


def generator(seed: int, stream: str, step: int = 0, *, device: torch.device | str = "cpu") -> torch.Generator:
    """The generator of one step of one stream.

    torch's CPU generator keeps 32 bits of its seed, so hashing every step would repeat noise after some 10^5 steps
    (birthdays). Here a stream has a hashed start and a hashed odd stride, and step k gets start + k * stride: no two of
    the first 2^32 steps of a stream share a seed. Raises ValueError for an unknown stream or a negative address.
    """
    if step < 0:
        raise ValueError(f"a stream is addressed by a seed and a step >= 0, got step={step}")
    start, stride = (int(word) for word in _address(seed, stream).generate_state(2, np.uint64))
    return torch.Generator(device=device).manual_seed((start + step * (stride | 1)) % 2**63)


def key(seed: int, stream: str, *about: str | int) -> int:
    """The 64-bit key of a whole stream, for generators that take the step as part of an address.

    Streams that are `about` other things are independent.
    """
    address = _address(seed, stream)
    if about:
        digest = hashlib.sha256(json.dumps(about).encode()).digest()[:16]
        words = np.frombuffer(digest, "<u4").tolist()
        address = np.random.SeedSequence(seed, spawn_key=(*address.spawn_key, *words))
    return int(address.generate_state(1, np.uint64)[0])


def word(generator: torch.Generator) -> int:
    """The next 63 bits of a generator, to serve as a key. Raises TypeError for what is no torch.Generator."""
    if not isinstance(generator, torch.Generator):
        raise TypeError(f"a word is drawn from a torch.Generator, not from a {type(generator).__name__}")
    return int(torch.randint(2**63 - 1, (), generator=generator, device=generator.device))


def present(device: torch.device | str) -> torch.device:
    """The device, or ValueError if it is not there, or cannot give a number back; TypeError for no name of one."""
    if not isinstance(device, torch.device | str | int):
        raise TypeError(f"a device is a torch.device or a name such as 'cpu', not a {type(device).__name__}")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of device names that torch gives up: the sentence below is enough
            torch.zeros(1, device=device).item()
    except Exception as error:  # of whatever kind the part of torch raises that is asked
        raise ValueError(f"device {str(device)!r} is not available here: use device='cpu'") from error
    return torch.device(device)


def _address(seed: int, stream: str) -> np.random.SeedSequence:
    if stream not in STREAMS:
        raise ValueError(f"unknown stream {stream!r}: choose one of {', '.join(STREAMS)}")
    if seed < 0:
        raise ValueError(f"a stream is addressed by a seed and a step >= 0, got seed={seed}")
    return np.random.SeedSequence(seed, spawn_key=(STREAMS.index(stream),))
