"""Propagation of chaos: the particle system beside its limit, from the same start and along the same noise (T1)."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from functools import lru_cache, partial
from typing import ClassVar

import torch
from torch import Tensor

from heavytail import sde
from heavytail.lab import runs
from heavytail.lab.simulations.record import Simulation, broken_network, check_horizon, check_network, start
from heavytail.sde import LevyPath, Particles, Problem


@dataclass(frozen=True, kw_only=True)
class Chaos(Simulation):
    """Particles against their limit over [0, horizon] in `steps` Euler steps.

    reference   particles N of the system that stands for the limit
    activation  "tanh" | "sigmoid" | "erf" | "relu" (unbounded, against the theory)
    trained     whether the output weights move too (against the theory)
    summed      output as a sum with output weights ±n^(-1/2), as default initialisations have it, in place of a mean
                with ±1 (against the theory). The drift then vanishes as n grows, and the limit is start plus noise.
    """

    study: ClassVar[str] = "chaos"

    reference: int = 2**15
    steps: int = 32
    horizon: float = 1.0
    activation: str = "tanh"
    trained: bool = False
    summed: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        runs.whole(self, "reference", 1)
        runs.whole(self, "steps", 1)
        check_horizon(self)
        check_network(self)

    @property
    def numbers(self) -> dict[tuple[str, int], int]:
        """A number a repeat of each quantity, and one gap."""
        return {("reference_gap", 0): 1} | dict.fromkeys(
            [("distance", 0), ("output", 0), ("output_square", 0)], self.repeats
        )


def measure(simulation: Chaos, device: str) -> dict[str, Tensor]:
    """Per repeat: `distance`, the mean over particles of `sup_t ‖θ^{i,n} − θ^{i,∞}‖` over grid times, as in T1.

    Also per repeat, at the end: `output`, f at the first sample, and `output_square`, the mean over neurons of
    (c^i φ)² there; if the neurons were independent, the variance of the first would be that of one neuron over n. And
    once: `reference_gap`, the distance between two limits whose references are independent: √2 times the bias of one.
    """
    problem = problem_of(simulation, device)
    flow, other = flows(simulation, device)
    found: dict[str, list[Tensor]] = {"distance": [], "output": [], "output_square": []}
    for part, repeats in enumerate(simulation.chunks(simulation.steps), 2):
        first, path = draw(simulation, problem, (repeats, simulation.width), part, device)
        walk = partial(sde.euler, problem, first, path, sigma=simulation.sigma)
        distance, end = _farthest(walk(), walk(flow=flow))
        found["distance"].append(distance.mean(-1))
        each = problem.activation(end.weights @ problem.x[0]) * end.outputs[..., 0]
        found["output"].append(each.sum(-1) if simulation.summed else each.mean(-1))
        found["output_square"].append(each.square().mean(-1))
        if part == 2:
            gap, _ = _farthest(walk(flow=flow), walk(flow=other))
            found["reference_gap"] = [gap.mean().reshape(1)]
    return {name: torch.cat(values) for name, values in found.items()}


def _farthest(ones: Iterable[Particles], others: Iterable[Particles]) -> tuple[Tensor, Particles]:
    """The largest distance in time of each particle from its partner, and where the first ones end."""
    farthest = torch.zeros(())
    for one, other in zip(ones, others, strict=True):
        farthest = torch.maximum(farthest.to(one.weights), (one.weights - other.weights).norm(dim=-1))
    return farthest, one


def problem_of(simulation: Chaos, device: str) -> Problem:
    """The data and the network of a simulation."""
    return broken_network(simulation).to(device, torch.float32)


def draw(
    simulation: Chaos, problem: Problem, size: tuple[int, ...], part: int, device: str
) -> tuple[Particles, LevyPath]:
    """Start and path of particles, (*size, d), from one part of the simulation's streams."""
    shape = (*size, simulation.inputs)
    particles = start(problem, shape, generator=simulation.generator("weights", part, device))
    path = simulation.path(shape, part, device, steps=simulation.steps, horizon=simulation.horizon)
    return particles, path


def flows(simulation: Chaos, device: str) -> tuple[Tensor, Tensor]:
    """The limit's output in time, (steps + 1, m, k), from two independent references, the same for every width."""
    return _flows(replace(simulation, width=1, repeats=1), device)


@lru_cache(maxsize=2)
def _flows(simulation: Chaos, device: str) -> tuple[Tensor, Tensor]:
    problem = problem_of(simulation, device)
    if simulation.summed:  # where the output is the target the loss has no slope: a limit without drift
        still = problem.y.expand(simulation.steps + 1, *problem.y.shape)
        return still, still
    flows = []
    for part in (0, 1):
        first, path = draw(simulation, problem, (simulation.reference,), part, device)
        flows.append(sde.limit_flow(problem, first, path, sigma=simulation.sigma))
    return flows[0], flows[1]
