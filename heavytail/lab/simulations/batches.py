"""SGD proper, a step of which sees some samples only: the sure bound on pruning (T3), and the order of the scheme (T2).

A batch is drawn anew for every step, with replacement, and every repeat has batches of its own.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import ClassVar

import torch
from torch import Tensor

from heavytail import laws, sde
from heavytail.lab import runs
from heavytail.lab.simulations.discretisation import Discretisation
from heavytail.lab.simulations.pruning import Ablation, relative_error
from heavytail.lab.simulations.record import start, teacher
from heavytail.sde import Problem

#: The steepest slope of each activation.
SLOPES = {"tanh": 1.0, "sigmoid": 0.25, "erf": 2 / math.sqrt(math.pi), "relu": 1.0}


@dataclass(frozen=True, kw_only=True)
class Surely(Ablation):
    """A network trained by `steps` >= 1 steps on batches, and what its error cannot exceed.

    batch   samples that a step sees; 0 is all of them
    """

    study: ClassVar[str] = "surely"

    steps: int = 16
    batch: int = 1

    def __post_init__(self) -> None:
        super().__post_init__()
        runs.whole(self, "steps", 1)
        runs.whole(self, "batch", 0)

    @property
    def numbers(self) -> dict[tuple[str, int], int]:
        """A number a repeat of each quantity."""
        return dict.fromkeys([(name, 0) for name in ("error", "noise_error", "bound", "drift", "moved")], self.repeats)


@dataclass(frozen=True, kw_only=True)
class Batches(Discretisation):
    """Coarse schemes that see `batch` samples a step, 0 for all of them, against a fine one that sees them all."""

    study: ClassVar[str] = "batches"

    batch: int = 1

    def __post_init__(self) -> None:
        super().__post_init__()
        runs.whole(self, "batch", 0)

    @property
    def numbers(self) -> dict[tuple[str, int], int]:
        """A number a repeat of each distance at each level."""
        return {(name, level): self.repeats for level in self.levels for name in ("grid", "end")}


def surely(simulation: Surely, device: str) -> dict[str, Tensor]:
    """Per repeat: `error`, the relative error of pruning, and `bound`, what it cannot exceed (statement A).

    The bound is `laws.compressibility_bound` of start plus noise, whose own error is `noise_error`, at `drift`: the sum
    over steps of η times the largest |∂ℓ| and the longest input of the batch, the largest output weight and the
    steepest slope. `moved` is how far gradients did move a neuron at most.
    """
    problem = simulation.problem().to(device, torch.float64)
    size = (simulation.width, simulation.inputs)
    slope = SLOPES[simulation.activation]
    found: dict[str, list[Tensor]] = {}
    for part, many in enumerate(simulation.parts(simulation.steps, device)):
        shape = (*many, *size)
        weights = simulation.generator("weights", part, device)
        first = start(problem, shape, generator=weights, spread=simulation.spread, dtype=torch.float64)
        path = simulation.path(
            shape, part, device, steps=simulation.steps, horizon=simulation.horizon, dtype=torch.float64
        )
        particles, drift = first, first.weights.new_zeros(many)
        seen = batches(problem, (*many, simulation.batch), simulation.generator("batches", part, device))
        for kick, some in zip(path.increments, seen, strict=False):
            pull = (sde.output(some, particles) - some.y).abs().amax((-2, -1)) * some.x.norm(dim=-1).amax(-1)
            drift = drift + path.step * slope * pull * particles.outputs.abs().amax((-2, -1))
            particles = sde.step(some, particles, path.step, kick, simulation.sigma)
        alone = (first.weights + simulation.sigma * path.increments.sum(0)).expand(shape)
        each = zip(alone.reshape(-1, *size), drift.flatten().tolist(), strict=True)
        bounds = [laws.compressibility_bound(one, moved, simulation.keep) for one, moved in each]
        new = {
            "error": relative_error(particles.weights, simulation),
            "noise_error": relative_error(alone, simulation),
            "bound": drift.new_tensor(bounds),
            "drift": drift,
            "moved": (particles.weights - alone).norm(dim=-1).amax(-1),
        }
        for name, value in new.items():
            found.setdefault(name, []).append(value.flatten())
    return {name: torch.cat(values) for name, values in found.items()}


def order(simulation: Batches, device: str) -> dict[tuple[str, int], Tensor]:
    """Per repeat and coarse number of steps 1/η, the distance of a coarse scheme from the fine one of the same path.

    `grid` is the mean over particles of the largest distance on coarse grid points, `end` that at t = 1.
    """
    problem = teacher(simulation.inputs, simulation.seed).to(device)
    size = (simulation.width, simulation.inputs)
    found: dict[tuple[str, int], list[Tensor]] = {}
    for part, many in enumerate(simulation.parts(simulation.finest, device)):
        shape = (*many, *size)
        first = sde.initial(shape, generator=simulation.generator("weights", part, device), dtype=torch.float64)
        path = simulation.path(shape, part, device, steps=simulation.finest, dtype=torch.float64)
        fine = list(sde.euler(problem, first, path, sigma=simulation.sigma))
        seen = batches(problem, (*many, simulation.batch), simulation.generator("batches", part, device))
        for level in simulation.levels:
            factor, particles, distances = simulation.finest // level, first, []
            coarse = path.coarsen(factor)
            for k, (kick, some) in enumerate(zip(coarse.increments, seen, strict=False), 1):
                particles = sde.step(some, particles, coarse.step, kick, simulation.sigma)
                distances.append((particles.weights - fine[k * factor].weights).norm(dim=-1))
            found.setdefault(("grid", level), []).append(torch.stack(distances).amax(0).mean(-1).flatten())
            found.setdefault(("end", level), []).append(distances[-1].mean(-1).flatten())
    return {name: torch.cat(values) for name, values in found.items()}


def batches(problem: Problem, size: tuple[int, ...], generator: torch.Generator) -> Iterator[Problem]:
    """The problem as one step after the other sees it: (..., batch) of its samples, drawn anew; a batch of 0 is all."""
    while True:
        if size[-1]:
            some = torch.randint(len(problem.x), size, generator=generator, device=generator.device)
            yield replace(problem, x=problem.x[some], y=problem.y[some])
        else:
            yield problem
