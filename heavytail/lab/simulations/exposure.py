"""What the inputs of a data set see of a kick on a neuron: the share of its length that moves a pre-activation."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from heavytail import noise as noises
from heavytail.lab import datasets, runs
from heavytail.lab.simulations.record import Simulation
from heavytail.noise.kinds import shown

#: The quantiles that a record has of the share seen are those at `k / STEPS`, k = 0 … STEPS.
STEPS = 200


@dataclass(frozen=True, kw_only=True)
class Exposure(Simulation):
    """Kicks on as many neurons as `width`, and what inputs of a data set see of each.

    dataset   a name of `heavytail.lab.datasets.NAMES`; its number of inputs is that of the weights
    samples   the first inputs of its test split
    sigma     of no effect: a share has no scale
    """

    study: ClassVar[str] = "exposure"

    # Of the data, and one: not fields here.
    inputs: ClassVar[int] = 1  # type: ignore[misc]
    repeats: ClassVar[int] = 1  # type: ignore[misc]

    alpha: float = 1.75
    width: int = 300
    dataset: str = "digits"
    samples: int = 200

    def __post_init__(self) -> None:
        super().__post_init__()
        runs.whole(self, "samples", 1)
        if self.dataset not in datasets.NAMES:
            known = ", ".join(datasets.NAMES)
            raise ValueError(f"unknown data set {shown(self.dataset)}: choose one of {known}")

    @property
    def numbers(self) -> dict[tuple[str, int], int]:
        """The quantiles of the share seen over kicks and inputs, its root mean square, and who is bright."""
        return {("seen", k): 1 for k in range(STEPS + 1)} | {("root_mean_square", 0): 1, ("bright", 0): 1}


def measure(simulation: Exposure, device: str) -> dict[tuple[str, int], Tensor]:
    """Of all pairs of a kick and an input, see `exposure`:

    `seen`              at level k the share of a kick that k / STEPS of the pairs do not see more of
    `root_mean_square`  of the share seen
    `bright`            the share of inputs whose entries have a sum above 0
    """
    x = datasets.load(simulation.dataset).x_test[: simulation.samples].flatten(1).to(device)
    generator = simulation.generator("noise", 0, device)
    seen = exposure(simulation.alpha, simulation.noise, x, simulation.width, generator=generator).flatten()
    levels = torch.linspace(0, 1, STEPS + 1, dtype=seen.dtype, device=seen.device)
    found = {("seen", k): value for k, value in enumerate(seen.quantile(levels))}
    found["root_mean_square", 0] = seen.square().mean().sqrt()
    found["bright", 0] = (x.double().sum(1) > 0).double().mean()
    return {name: value.reshape(1).cpu() for name, value in found.items()}


def exposure(alpha: float, kind: noises.Noise, x: Tensor, kicks: int, *, generator: torch.Generator) -> Tensor:
    """`|⟨ξ, x⟩| / (‖ξ‖ ‖x‖)`: the share of a kick's length that an input sees. Shape (kicks, samples), in [0, 1]. [D]

    x is (samples, ...); each of the `kicks` draws ξ of the noise meets each sample. Raises ValueError for an input
    that is all zero.
    """
    inputs = x.flatten(1).double()
    lengths = inputs.norm(dim=1)
    if not bool((lengths > 0).all()):
        raise ValueError("an input that is all zero sees no kick: leave it out")
    entries = inputs.shape[1]
    drawn = noises.vectors(alpha, kind, (kicks, entries), generator=generator, dtype=torch.float64)
    drawn = drawn.expand(kicks, entries)
    drawn = drawn / drawn.abs().amax(dim=1, keepdim=True)  # no square overflows
    return ((drawn @ inputs.T).abs() / (drawn.norm(dim=1, keepdim=True) * lengths)).clamp(max=1)
