"""Kicks on a GPU, where there is one, else by Triton's interpreter. Import it where there is triton."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache

import torch
from torch import Tensor

from heavytail import noise
from heavytail._sampler import gpu
from heavytail.noise import Kick, draws

DEVICE = torch.device("cuda" if torch.cuda.is_available() else "cpu")  # conftest.py chooses the interpreter
KEYS = [0, 1, 0x0123456789ABCDEF, 2**63, 2**64 - 1]


def kicks_of(
    kind: noise.Noise, alphas: list[float], sizes: list[float], keys: list[int], steps: list[int]
) -> gpu.Kicks:
    laws, words = gpu.table(kind, list(zip(alphas, sizes, keys, strict=True)), DEVICE)
    return gpu.Kicks(laws, words, torch.tensor(steps, device=DEVICE))


def launch(weights: Tensor, kicks: Mapping[int, Kick], layer: int) -> None:
    noise.kick_each(weights, draws.launches(kicks, len(weights), DEVICE), layer=layer)


@cache
def symmetric(alpha: float, count: int) -> Tensor:
    """Draws of two runs, on the CPU."""
    kicks = kicks_of("entrywise", [alpha] * 2, [1.0] * 2, KEYS[-2:], [3, 2**32 - 1])
    return gpu.symmetric(kicks, count, 5).cpu()
