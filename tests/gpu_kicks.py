"""Kicks on a GPU, where there is one, else by Triton's interpreter. Import it where there is triton."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache

import torch
from samplers import KEY, Sampler
from torch import Tensor

from heavytail import noise
from heavytail._sampler import gpu
from heavytail.noise import Kick, draws

DEVICE = torch.device("cuda" if torch.cuda.is_available() else "cpu")  # conftest.py chooses the interpreter
KEYS = [0, 1, KEY, 2**63, 2**64 - 1]


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


@cache
def _symmetric(alpha: float, size: int, *, key: int = KEY, step: int = 0, lane: int = 0) -> Tensor:
    return gpu.symmetric(kicks_of("entrywise", [alpha], [1.0], [key], [step]), size, lane)[0].cpu()


@cache
def _positive(alpha: float, size: int, *, key: int = KEY) -> Tensor:
    """The square of what a unit of isotropic noise of twice the index shares, but for a factor of √2."""
    radii = torch.zeros(1, size, device=DEVICE)
    gpu._stable_draws(radii, kicks_of("isotropic", [2 * alpha], [0.5**0.5], [key], [0]), 0, signed=False)
    return radii[0].cpu().double().square()


def _kick(zeros: Tensor, kick: Kick, layer: int) -> Tensor:
    weights = zeros.to(DEVICE).unsqueeze(0)
    launch(weights, {0: kick}, layer)
    return weights[0].cpu()


KERNELS = Sampler(_symmetric, _positive, _kick, most=150_000, off=2)
