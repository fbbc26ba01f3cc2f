"""The Euler error: coarse schemes beside a fine one along the same Lévy path (T2)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from typing import ClassVar

import torch
from torch import Tensor

from heavytail import sde
from heavytail.lab import runs
from heavytail.lab.simulations.record import Simulation, norms, teacher


@dataclass(frozen=True, kw_only=True)
class Discretisation(Simulation):
    """Coarse schemes of 4, 16, 64, … steps over [0, 1] against one of `finest` = 4^k steps."""

    study: ClassVar[str] = "discretisation"

    finest: int = 1024

    def __post_init__(self) -> None:
        super().__post_init__()
        runs.whole(self, "finest", 1)
        if self.finest not in (4**k for k in range(2, 16)):
            raise ValueError(f"finest must be a power of 4 from 16 on, got {self.finest!r}")

    @property
    def levels(self) -> list[int]:
        """Steps of the coarse schemes."""
        return [4**k for k in range(1, 16) if 4**k < self.finest]

    @property
    def numbers(self) -> dict[tuple[str, int], int]:
        """A number a repeat of each distance at each level, and of the largest jump."""
        distances = [(name, level) for level in self.levels for name in ("grid", "fixed", "particles", "supremum")]
        return dict.fromkeys([("jump", self.finest), *distances], self.repeats)


def measure(simulation: Discretisation, device: str) -> dict[tuple[str, int], Tensor]:
    """Per repeat and coarse number of steps 1/η, distances between a coarse and the fine scheme:

    `grid`       mean over particles of the largest distance on coarse grid points
    `fixed`      mean over particles just before t = 1, where every coarse scheme stands a whole step behind
    `particles`  the largest over particles at the same time
    `supremum`   mean over particles of the largest in time, the coarse scheme constant between its grid points

    and `jump`, the mean over particles of the largest increment of σL on the fine grid, under the level `finest`.
    """
    problem = teacher(simulation.inputs, simulation.seed).to(device)
    found: dict[tuple[str, int], list[Tensor]] = {}
    for part, repeats in enumerate(simulation.chunks(simulation.finest)):
        shape = (repeats, simulation.width, simulation.inputs)
        weights = simulation.generator("weights", part, device)
        start = sde.initial(shape, generator=weights, dtype=torch.float64)
        path = simulation.path(shape, part, device, steps=simulation.finest, dtype=torch.float64)
        walk = partial(sde.euler, problem, start, sigma=simulation.sigma)
        fine = torch.stack([particles.weights for particles in walk(path)])
        jumps = simulation.sigma * norms(path.increments, simulation.inputs).amax(0)
        found.setdefault(("jump", simulation.finest), []).append(jumps.mean(-1))
        for level in simulation.levels:
            coarse = torch.stack([particles.weights for particles in walk(path.coarsen(simulation.finest // level))])
            for name, value in _errors(coarse, fine, simulation.finest // level):
                found.setdefault((name, level), []).append(value)
    return {name: torch.cat(values) for name, values in found.items()}


def _errors(coarse: Tensor, fine: Tensor, factor: int) -> Iterator[tuple[str, Tensor]]:
    """Errors per repeat; trajectories are (steps + 1, repeats, n, d), the fine one with `factor` times the steps."""
    yield "grid", (coarse - fine[::factor]).norm(dim=-1).amax(0).mean(-1)
    fixed = (coarse[-2] - fine[-1]).norm(dim=-1)  # no path jumps at t = 1 itself
    yield "fixed", fixed.mean(-1)
    yield "particles", fixed.amax(-1)
    largest = fine.new_zeros(fine.shape[1:-1])
    for k in range(len(coarse) - 1):  # up to the next grid point, where the path does not jump
        behind = (fine[k * factor : (k + 1) * factor + 1] - coarse[k]).norm(dim=-1).amax(0)
        largest = torch.maximum(largest, behind)
    yield "supremum", largest.mean(-1)
