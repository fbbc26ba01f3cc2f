"""The central limit theorem behind propagation of chaos: what √n times the distance tends to.

Write f for the output of the limit, g/√n for what the output of n particles is off by, and D/√n for how far a particle
is from its limit. To first order g is the Gaussian fluctuation G of n independent limit particles, plus what the D of
all particles add to the output; and D grows by the derivative of the drift along (D, g). [D]
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from heavytail import sde
from heavytail.lab import runs
from heavytail.lab.simulations import chaos
from heavytail.lab.simulations.chaos import Chaos
from heavytail.sde import LevyPath, Particles, Problem

HELD = 2**22  # numbers of a linear system held in memory at once


@dataclass(frozen=True, kw_only=True)
class Fluctuations(Chaos):
    """Systems of n particles of the theory's network, as in `Chaos`, beside the Gaussian limit of their fluctuations.

    limit   particles of the limit, drawn anew for every repeat, that stand for the law of one of them: their covariance
            is that of the Gaussian fluctuations, up to terms of order 1 / limit in the means
    """

    study: ClassVar[str] = "fluctuations"

    limit: int = 1024

    def __post_init__(self) -> None:
        super().__post_init__()
        runs.whole(self, "limit", 2)
        if self.trained or self.summed:
            raise ValueError("fluctuations are those of the theory's network: trained and summed must be false")

    @property
    def numbers(self) -> dict[tuple[str, int], int]:
        """Those of `Chaos`, and a number a repeat of each limit."""
        gaussian = [(name, 0) for name in ("limit_distance", "limit_output", "free_output")]
        return super().numbers | dict.fromkeys(gaussian, self.repeats)


def measure(simulation: Fluctuations, device: str) -> dict[str, Tensor]:
    """What `chaos.measure` gives, and as often what √n times it tends to:

    `limit_distance`  mean over particles of the largest |D| in time, what √n times `distance` tends to
    `limit_output`    g at the end at the first sample, what √n times the deviation of `output` tends to
    `free_output`     G there, the same of particles that do not see each other
    """
    problem = chaos.problem_of(simulation, device)
    flow, _ = chaos.flows(simulation, device)
    found: dict[str, list[Tensor]] = {"limit_distance": [], "limit_output": [], "free_output": []}
    at_once = max(1, HELD // (simulation.limit * max(len(problem.x), simulation.steps)))
    for number, begin in enumerate(range(0, simulation.repeats, at_once)):
        part = 2 + len(simulation.chunks(simulation.steps)) + number  # after those of the systems
        many = min(at_once, simulation.repeats - begin)
        first, path = chaos.draw(simulation, problem, (many, simulation.limit), part, device)
        walk = list(sde.euler(problem, first, path, sigma=simulation.sigma, flow=flow))
        free = _free(problem, walk, simulation.generator("data", part, device))
        farthest, end = linearised(problem, walk, flow, free, path)
        found["limit_distance"].append(farthest.mean(-1))
        found["limit_output"].append(end[:, 0])
        found["free_output"].append(free[-1][:, 0])
    return chaos.measure(simulation, device) | {name: torch.cat(values) for name, values in found.items()}


def _free(problem: Problem, walk: list[Particles], generator: torch.Generator) -> Tensor:
    """Gaussian draws, (steps + 1, many, m), with the covariance over particles of their outputs at all times."""
    many, particles, _ = walk[0].weights.shape
    weights = torch.randn(many, 1, particles, generator=generator, device=generator.device) / (particles - 1) ** 0.5
    free = []
    for at in walk:
        outputs = problem.activation(at.weights @ problem.x.T) * at.outputs  # (many, N, m)
        free.append((weights @ (outputs - outputs.mean(1, keepdim=True)))[:, 0])
    return torch.stack(free)


def linearised(
    problem: Problem, walk: list[Particles], flow: Tensor, free: Tensor, path: LevyPath
) -> tuple[Tensor, Tensor]:
    """The largest |D| in time of every particle, (many, N), and g at the end, (many, m), of each free fluctuation.

    `walk` are the limit particles in time, weights (many, N, d), and `free` is G, (steps + 1, many, m).
    """
    outputs = walk[0].outputs
    moved = torch.zeros_like(walk[0].weights)
    farthest = moved.new_zeros(moved.shape[:-1])

    def drift(weights: Tensor, f: Tensor) -> Tensor:
        return sde.drift(problem, Particles(weights, outputs), f).weights

    def output(weights: Tensor) -> Tensor:
        return sde.output(problem, Particles(weights, outputs))

    def seen(k: int) -> tuple[Tensor, Tensor]:
        at = walk[k].weights
        return at, free[k].unsqueeze(-1) + torch.func.jvp(output, (at,), (moved,))[1]

    for k in range(len(walk) - 1):
        at, g = seen(k)
        f = flow[k].expand_as(g).contiguous()  # a tangent needs a place of its own
        moved = moved + path.step * torch.func.jvp(drift, (at, f), (moved, g))[1]
        farthest = torch.maximum(farthest, moved.norm(dim=-1))
    return farthest, seen(len(walk) - 1)[1][..., 0]
