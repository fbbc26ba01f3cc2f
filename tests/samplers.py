"""Who draws: the compiled loops of a CPU here, the kernels of a GPU in `gpu_kicks`. Every law is asked of both."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from heavytail import _sampler, noise

KEY = 0x0123456789ABCDEF


@dataclass(frozen=True)
class Sampler:
    """At most `most` numbers of a lane, or units, are drawn for a law; what it rejects is `off` times as far off."""

    symmetric: Callable[..., Tensor]  # of alpha and a size, at key, step and lane
    positive: Callable[..., Tensor]
    kick: Callable[[Tensor, noise.Kick, int], Tensor]  # zeros of a layer with a kick added
    most: int = 10**9
    off: int = 1

    def draws(self, wanted: int) -> int:
        """How many are made where so many are wanted."""
        return min(wanted, self.most)

    def kicked(
        self,
        kind: noise.Noise,
        shape: tuple[int, ...],
        alpha: float,
        *,
        unit: noise.Unit = "filter",
        key: int = KEY,
        step: int = 3,
        layer: int = 0,
    ) -> Tensor:
        """Zeros with a kick of scale 1."""
        return self.kick(torch.zeros(shape), noise.Kick(alpha, kind, unit, 1.0, key, step), layer)


def _symmetric(alpha: float, size: int, *, key: int = KEY, step: int = 0, lane: int = 0) -> Tensor:
    return torch.from_numpy(_sampler.symmetric(alpha, size, key=key, step=step, lane=lane))


def _positive(alpha: float, size: int, *, key: int = KEY) -> Tensor:
    return torch.from_numpy(_sampler.positive(alpha, size, key=key))


def _kick(zeros: Tensor, kick: noise.Kick, layer: int) -> Tensor:
    noise.kick(zeros, kick, layer=layer)
    return zeros


CPU = Sampler(_symmetric, _positive, _kick)
