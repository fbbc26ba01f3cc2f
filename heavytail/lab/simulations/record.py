"""What a simulation is: a frozen record of everything that decides its numbers, and its random streams."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from typing import ClassVar

import torch
from torch import Tensor

from heavytail import noise as noises
from heavytail import sde, streams
from heavytail.lab import runs
from heavytail.sde import LevyPath, Particles, Problem

ACTIVATIONS = {"tanh": torch.tanh, "sigmoid": torch.sigmoid, "erf": torch.erf, "relu": torch.relu}
CHUNK = 2**21  # particle-steps held in memory at once, one repeat at least


@dataclass(frozen=True, kw_only=True)
class Simulation:
    """What all simulations have in common. Its `key` is its identity and the root of its random numbers.

    alpha    stability index in (0, 2]
    sigma    scale of the noise, >= 0
    noise    "shared" | "entrywise" | "isotropic" (Types I, II, III)
    width    particles n
    inputs   d
    repeats  independent repeats
    seed     root of the random numbers; also of the made-up data, which all simulations of one seed share
    """

    study: ClassVar[str] = ""

    alpha: float
    sigma: float = 1.0
    noise: noises.Noise = "isotropic"
    width: int = 256
    inputs: int = 2
    repeats: int = 16
    seed: int = 0

    def __post_init__(self) -> None:
        for name, least in (("width", 1), ("inputs", 1), ("repeats", 1), ("seed", 0)):
            runs.whole(self, name, least)
        for name in ("alpha", "sigma"):
            runs.number(self, name)
        noises.check(self.alpha, self.sigma, self.noise)

    @property
    def key(self) -> str:
        """Sixteen hexadecimal digits that name this simulation."""
        return runs.key_of({"study": self.study, **asdict(self)})

    @property
    def numbers(self) -> dict[tuple[str, int], int]:
        """How many numbers this simulation gives, by quantity and level: what its study's `measure` returns."""
        raise NotImplementedError

    def generator(self, stream: str, part: int, device: str) -> torch.Generator:
        """The generator of one part of this simulation's numbers."""
        return streams.generator(int(self.key, 16), stream, part, device=device)

    def path(
        self,
        shape: Sequence[int],
        part: int,
        device: str,
        *,
        steps: int,
        horizon: float = 1.0,
        dtype: torch.dtype = torch.float32,
    ) -> LevyPath:
        """One part of this simulation's Lévy paths, for particles of `shape` (..., n, d)."""
        noise = self.generator("noise", part, device)
        return sde.levy_path(self.alpha, self.noise, shape, horizon=horizon, steps=steps, generator=noise, dtype=dtype)

    def chunks(self, steps: int) -> list[int]:
        """How many repeats to hold at once, chunk by chunk. A part of the record: it decides who gets which numbers."""
        each = max(1, CHUNK // (self.width * max(steps, 1)))
        full, rest = divmod(self.repeats, each)
        if full > runs.MOST:
            raise ValueError(f"repeats={self.repeats} are {full} chunks of work, and {runs.MOST} are the most")
        return [each] * full + ([rest] if rest else [])

    def parts(self, steps: int, device: str) -> list[tuple[int, ...]]:
        """The leading axes of what each part of a study draws and holds at once, where a repeat is a part on the CPU.

        There a part has no such axis, and its numbers do not depend on how many repeats there are. Elsewhere, where
        torch's generators give other numbers anyway, parts are the chunks, so that launches are few.
        """
        if torch.device(device).type == "cpu":
            return [()] * self.repeats
        return [(repeats,) for repeats in self.chunks(steps)]


def check_horizon(record: Simulation) -> None:
    """Make `horizon` a float above 0, or raise ValueError."""
    runs.number(record, "horizon")
    horizon: float = record.horizon  # type: ignore[attr-defined]
    if not 0 < horizon < math.inf:
        raise ValueError(f"horizon must be finite and above 0, got {horizon:g}")


def check_network(record: Simulation) -> None:
    """Raise ValueError unless `activation` is known and `trained` and `summed` are true or false."""
    _activation(record.activation)  # type: ignore[attr-defined]
    for name in ("trained", "summed"):
        if not isinstance(getattr(record, name), bool):
            raise ValueError(f"{name} must be true or false, got {getattr(record, name)!r}")


def teacher(inputs: int, seed: int, *, samples: int = 16, activation: str = "tanh") -> Problem:
    """A small regression: inputs from N(0, I_d), targets `tanh(2⟨w, x⟩)` of one hidden neuron w from N(0, I_d)."""
    generator = streams.generator(seed, "data")
    x = torch.randn(samples, inputs, generator=generator, dtype=torch.float64) / math.sqrt(inputs / 2)
    y = torch.tanh(2 * x @ torch.randn(inputs, 1, generator=generator, dtype=torch.float64))
    return Problem(x, y, activation=_activation(activation))


def broken_network(record: Simulation) -> Problem:
    """The teacher's data with the network that the record's `activation`, `trained` and `summed` describe."""
    problem = teacher(record.inputs, record.seed, activation=record.activation)  # type: ignore[attr-defined]
    return replace(problem, trained=record.trained, summed=record.summed)  # type: ignore[attr-defined]


def _activation(name: str) -> Callable[[Tensor], Tensor]:
    if name not in tuple(ACTIVATIONS):  # also what no dictionary can be asked for
        raise ValueError(f"unknown activation {name!r}: choose one of {', '.join(ACTIVATIONS)}")
    return ACTIVATIONS[name]


def start(
    problem: Problem,
    shape: Sequence[int],
    *,
    generator: torch.Generator,
    spread: float = 1.0,
    dtype: torch.dtype = torch.float32,
) -> Particles:
    """Initial particles (..., n, d); where the output is a sum, with output weights ±n^(-1/2) in place of ±1."""
    particles = sde.initial(shape, generator=generator, spread=spread, dtype=dtype)
    size = math.sqrt(shape[-2]) if problem.summed else 1.0
    return Particles(particles.weights, particles.outputs / size)


def norms(vectors: Tensor, inputs: int) -> Tensor:
    """Euclidean norms along the last axis; an axis of size 1 stands for `inputs` equal entries (Type-I)."""
    times = inputs if vectors.shape[-1] == 1 else 1
    return vectors.norm(dim=-1) * math.sqrt(times)
