"""Kicks that many clients draw, each for itself, and a server averages: their scale, their tail, what they prune."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from heavytail import laws, tails
from heavytail import noise as noises
from heavytail.lab import runs
from heavytail.lab.simulations.record import Simulation, norms


@dataclass(frozen=True, kw_only=True)
class Averaging(Simulation):
    """A layer whose kicks are the mean of those of `clients` clients, on one start that all of them share.

    clients  K
    keep     share κ of the neurons kept, those of largest norm
    spread   standard deviation of the initial weights, which are normal
    """

    study: ClassVar[str] = "averaging"

    clients: int = 2
    keep: float = 0.1
    spread: float = 1.0

    def __post_init__(self) -> None:
        super().__post_init__()
        runs.whole(self, "clients", 1)
        for name in ("keep", "spread"):
            runs.number(self, name)
        if not 0 <= self.spread < math.inf:
            raise ValueError(f"spread must be finite and >= 0, got {self.spread:g}")
        if not 0 < self.keep < 1 or not 0 < round(self.keep * self.width) < self.width:
            raise ValueError(f"keep={self.keep:g} of width={self.width} keeps no neuron, or all: choose others")

    @property
    def numbers(self) -> dict[tuple[str, int], int]:
        """A number a repeat of each quantity."""
        return {(name, 0): self.repeats for name in ("scale", "index", "error")}


def measure(simulation: Averaging, device: str) -> dict[str, Tensor]:
    """Per repeat, a layer of neurons:

    `scale`  median norm of the averaged kicks over that of kicks of scale 1, which `laws.median_norm` has
    `index`  their stability index by `tails.characteristic`, of the first entry of each neuron
    `error`  the relative error of pruning the start plus the averaged kicks
    """
    typical = laws.median_norm(simulation.alpha, simulation.noise, simulation.inputs)
    found: dict[str, list[Tensor]] = {"scale": [], "index": [], "error": []}
    for part, many in enumerate(simulation.parts(simulation.clients, device)):
        shape = (*many, simulation.clients, simulation.width, simulation.inputs)
        noise, weights = (simulation.generator(stream, part, device) for stream in ("noise", "weights"))
        each = noises.vectors(simulation.alpha, simulation.noise, shape, generator=noise)
        kicks = simulation.sigma * each.mean(-3, dtype=torch.float64)
        sizes = norms(kicks, simulation.inputs)
        start = torch.randn(*many, *shape[-2:], generator=weights, device=weights.device, dtype=torch.float64)
        found["scale"].append(sizes.quantile(0.5, dim=-1).flatten() / typical)
        entries = kicks[..., 0].reshape(-1, simulation.width)
        found["index"].append(torch.tensor([tails.characteristic(row).alpha for row in entries], dtype=torch.float64))
        found["error"].append(_error(simulation.spread * start + kicks, simulation.keep).flatten())
    return {name: torch.cat([value.cpu() for value in values]) for name, values in found.items()}


def _error(weights: Tensor, keep: float) -> Tensor:
    """The relative error of layers (..., n, d) without all but the share `keep` of their largest neurons: (...)."""
    squares = weights.square().sum(-1).sort(-1).values
    gone = squares.shape[-1] - round(keep * squares.shape[-1])
    return (squares[..., :gone].sum(-1) / squares.sum(-1)).sqrt()
