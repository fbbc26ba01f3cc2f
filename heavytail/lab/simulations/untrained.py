"""What start plus noise prunes: the law of a pruning ratio before any training, for as many seeds as one likes.

By stability the K - 1 kicks of a run of K steps are together one draw of scale `σ (η (K - 1))^(1/α)` [D], so a network
takes milliseconds. A trained network's own start and kicks are its twin: `heavytail.lab.twins`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from heavytail import compress, streams
from heavytail import noise as noises
from heavytail.lab import runs
from heavytail.lab.simulations.record import Simulation


@dataclass(frozen=True, kw_only=True)
class Untrained(Simulation):
    """The hidden layer of an "fcn" network with one hidden layer, at torch's default start, plus the noise of a run.

    lr       step size η > 0
    steps    optimizer steps K of the run; there is no noise after the last one

    Repeats of one seed are paired across alpha, sigma, lr and steps, as runs of one seed are: they have the same start
    and the same random words.
    """

    study: ClassVar[str] = "untrained"

    lr: float = 0.001
    steps: int = 600

    def __post_init__(self) -> None:
        super().__post_init__()
        runs.whole(self, "steps", 1)
        runs.number(self, "lr")
        if not 0 < self.lr < math.inf:
            raise ValueError(f"the step size lr must be a finite number above 0, got {self.lr:g}")

    @property
    def numbers(self) -> dict[tuple[str, int], int]:
        """A number a repeat of each quantity."""
        return {("pruning_ratio", 0): self.repeats, ("start_ratio", 0): self.repeats}


def measure(simulation: Untrained, device: str) -> dict[str, Tensor]:
    """Per repeat: `pruning_ratio` at squared error 0.1 of start plus noise, and `start_ratio` of the start alone."""
    about = simulation.study, simulation.width, simulation.inputs, simulation.noise
    root = streams.key(simulation.seed, "noise", *about)
    size = noises.scale(simulation.alpha, simulation.sigma, (simulation.steps - 1) * simulation.lr)
    pruned, still = [], []
    for part, many in enumerate(simulation.parts(simulation.inputs, device)):
        generator = streams.generator(root, "noise", part, device=device)
        weight = start(*many, simulation.width, simulation.inputs, generator=generator)
        moved = kicked(weight, simulation.alpha, simulation.noise, size, generator=generator)
        pruned.append(_prunable(moved).flatten())
        still.append(_prunable(weight).flatten())
    return {"pruning_ratio": torch.cat(pruned), "start_ratio": torch.cat(still)}


def start(*shape: int, generator: torch.Generator) -> Tensor:
    """Hidden weights before the first step, (..., width, inputs): U(-1, 1) / √inputs, torch's default for a layer.

    >>> start(3, 4, generator=streams.generator(0, "weights")).abs().max() < 0.5
    tensor(True)
    """
    return (2 * torch.rand(shape, generator=generator, device=generator.device) - 1) / math.sqrt(shape[-1])


def kicked(weight: Tensor, alpha: float, noise: noises.Noise, size: float, *, generator: torch.Generator) -> Tensor:
    """Weights, (..., width, inputs), plus one kick of this size each: that of all steps of a run at once.

    >>> still = start(3, 4, generator=streams.generator(0, "weights"))
    >>> torch.equal(kicked(still, 1.5, "shared", 0.0, generator=streams.generator(0, "noise")), still)
    True
    """
    return weight + size * noises.vectors(alpha, noise, tuple(weight.shape), generator=generator)


def _prunable(weights: Tensor) -> Tensor:
    """`compress.prunable_share` of each weight, (..., width, inputs): (...), float64, on the CPU."""
    shares = [compress.prunable_share(weight) for weight in weights.reshape(-1, *weights.shape[-2:])]
    return torch.tensor(shares, dtype=torch.float64).reshape(weights.shape[:-2])
