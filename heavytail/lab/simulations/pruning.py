"""Pruning columns of pure noise, and of a mean-field network trained with it (T3, rate, limit law)."""

from __future__ import annotations

import math
from collections import deque
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from heavytail import noise as noises
from heavytail import sde
from heavytail.lab import runs
from heavytail.lab.simulations.record import (
    Simulation,
    broken_network,
    check_horizon,
    check_network,
    norms,
    start,
    teacher,
)
from heavytail.sde import Problem


@dataclass(frozen=True, kw_only=True)
class Pruning(Simulation):
    """Columns after `steps` Euler steps over [0, horizon]; with steps = 0 pure noise of scale sigma, no training.

    keep     share κ of the columns kept, those of largest norm
    spread   standard deviation of the initial weights
    """

    study: ClassVar[str] = "pruning"

    keep: float = 0.1
    steps: int = 0
    horizon: float = 1.0
    spread: float = 1.0

    def __post_init__(self) -> None:
        super().__post_init__()
        runs.whole(self, "steps", 0)
        for name in ("keep", "spread"):
            runs.number(self, name)
        check_horizon(self)
        if not 0 <= self.spread < math.inf:
            raise ValueError(f"spread must be finite and >= 0, got {self.spread:g}")
        if not 0 < self.keep < 1 or not 0 < round(self.keep * self.width) < self.width:
            raise ValueError(f"keep={self.keep:g} of width={self.width} keeps no column, or all: choose others")

    @property
    def numbers(self) -> dict[tuple[str, int], int]:
        """A number a repeat of each quantity, more of them after training."""
        trained = ["noise_error", "bulk", "rest"] if self.steps else []
        return {(name, 0): self.repeats for name in ["error", *trained]}

    def problem(self) -> Problem:
        """What the network is trained on: the theory's network on the made-up data of this seed."""
        return teacher(self.inputs, self.seed)


@dataclass(frozen=True, kw_only=True)
class Ablation(Pruning):
    """The same with assumptions of the theory broken; `activation`, `trained` and `summed` as in `Chaos`."""

    study: ClassVar[str] = "ablation"

    activation: str = "tanh"
    trained: bool = False
    summed: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        check_network(self)

    def problem(self) -> Problem:
        """As in `Pruning`, with another network."""
        return broken_network(self)


def measure(simulation: Pruning, device: str) -> dict[str, Tensor]:
    """Per repeat: `error`, the relative Frobenius error `‖Θ^(κn) − Θ‖ / ‖Θ‖` of T3.

    After training also `noise_error`, the same of the noise alone along the same path; `bulk`, the mean square of the
    columns with those kept set to 0; and `rest`, the mean over columns of `‖θ‖² − ‖σL‖²`.
    """
    problem = simulation.problem().to(device, torch.float32)
    found: dict[str, list[Tensor]] = {}
    for part, repeats in enumerate(simulation.chunks(simulation.steps)):
        shape = (repeats, simulation.width, simulation.inputs)
        if not simulation.steps:
            noise = simulation.generator("noise", part, device)
            columns = simulation.sigma * noises.vectors(simulation.alpha, simulation.noise, shape, generator=noise)
            new = {"error": relative_error(columns, simulation)}
        else:
            path = simulation.path(shape, part, device, steps=simulation.steps, horizon=simulation.horizon)
            generator = simulation.generator("weights", part, device)
            first = start(problem, shape, generator=generator, spread=simulation.spread)
            end = deque(sde.euler(problem, first, path, sigma=simulation.sigma), maxlen=1).pop()
            trained = _squares(end.weights, simulation)
            moved = _squares(simulation.sigma * path.increments.sum(0), simulation)
            new = {
                "error": _error(trained, simulation),
                "noise_error": _error(moved, simulation),
                "bulk": _bulk(trained, simulation) / simulation.width,
                "rest": (trained - moved).mean(-1),
            }
        for name, value in new.items():
            found.setdefault(name, []).append(value)
    return {name: torch.cat(values) for name, values in found.items()}


def relative_error(columns: Tensor, simulation: Pruning) -> Tensor:
    """The relative error of columns (..., n, d) with those that go set to 0, (...)."""
    return _error(_squares(columns, simulation), simulation)


def _squares(columns: Tensor, simulation: Pruning) -> Tensor:
    return norms(columns, simulation.inputs).double().square()


def _bulk(squares: Tensor, simulation: Pruning) -> Tensor:
    """Sum of the squares of the columns that go, (repeats,); of equal ones as many as must."""
    gone = simulation.width - round(simulation.keep * simulation.width)
    last = squares.kthvalue(gone, dim=-1, keepdim=True).values
    below = squares < last
    return torch.where(below, squares, 0).sum(-1) + last[..., 0] * (gone - below.sum(-1))


def _error(squares: Tensor, simulation: Pruning) -> Tensor:
    return (_bulk(squares, simulation) / squares.sum(-1)).sqrt()
