"""The SDE behind heavy-tailed SGD: drift, Lévy paths that refine, the Euler scheme, particles and their limit.

Shapes: `...` are batch axes (repeats, values of alpha), n particles, d inputs, m samples, k outputs. A particle is a
neuron: its weights θ^i, a row of torch's matrix and a column of the paper's Θ, and its output weights c^i.
Everything lives on the device of the generator that drew it; a `Problem` is moved by `to`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from numbers import Integral, Real
from typing import Literal, get_args

import torch
from torch import Tensor
from torch.nn import functional

from heavytail import noise as noises
from heavytail import stable
from heavytail.noise.kinds import as_float, shown

Loss = Literal["squared", "logistic", "cross_entropy"]
LOSSES: tuple[Loss, ...] = get_args(Loss)


@dataclass(frozen=True, eq=False)
class Problem:
    """A data set, a loss, and the two-layer network `f(x) = (1/n) Σ_i c^i φ(⟨θ^i, x⟩)` that is to fit it. [P, form D]

    x           inputs (m, d), or (..., m, d) where each network of the batch axes sees samples of its own
    y           targets (m, k) or (..., m, k): numbers for "squared", ±1 for "logistic", one-hot for "cross_entropy"
    loss        "squared" (half the squared distance) | "logistic" | "cross_entropy"; R is its mean over the samples
    activation  φ, elementwise on tensors; the theory wants it bounded with bounded derivatives, nothing here does
    trained     whether the output weights c^i move too; the theory fixes them
    summed      whether the output is the sum over neurons; the theory takes the mean
    """

    x: Tensor
    y: Tensor
    loss: Loss = "squared"
    activation: Callable[[Tensor], Tensor] = torch.tanh
    trained: bool = False
    summed: bool = False

    def __post_init__(self) -> None:
        if self.loss not in LOSSES:
            raise ValueError(f"unknown loss {self.loss!r}: choose one of {', '.join(LOSSES)}")
        if self.x.ndim < 2 or self.x.shape[:-1] != self.y.shape[:-1]:
            raise ValueError(
                f"inputs are (samples, inputs) and targets (samples, outputs), "
                f"got shapes {tuple(self.x.shape)} and {tuple(self.y.shape)}"
            )
        if self.loss == "logistic" and not bool((self.y.abs() == 1).all()):
            raise ValueError("the logistic loss wants targets -1 and +1")
        if self.loss == "cross_entropy" and not bool(
            ((self.y == 0) | (self.y == 1)).all() and (self.y.sum(-1) == 1).all()
        ):
            raise ValueError("the cross-entropy loss wants one-hot targets: one 1 in each row, else 0")

    def to(self, device: torch.device | str, dtype: torch.dtype | None = None) -> Problem:
        """The same problem on another device, or in another dtype."""
        return replace(self, x=self.x.to(device, dtype), y=self.y.to(device, dtype))


@dataclass(frozen=True, eq=False)
class Particles:
    """The state of a network: `weights` θ of shape (..., n, d) and `outputs` c of shape (..., n, k)."""

    weights: Tensor
    outputs: Tensor

    def first(self, n: int) -> Particles:
        """The first n particles, as a view. Raises ValueError if there are fewer."""
        if not 1 <= n <= self.weights.shape[-2]:
            raise ValueError(f"there are {self.weights.shape[-2]} particles, so not a first {n}")
        return Particles(self.weights[..., :n, :], self.outputs[..., :n, :])


@dataclass(frozen=True, eq=False)
class LevyPath:
    """A path of the driving Lévy process by its increments (steps, ..., n, d) over time steps of length `step`.

    For Type-I noise the last axis has size 1: all entries of a particle move alike.
    """

    increments: Tensor
    step: float

    def coarsen(self, factor: int) -> LevyPath:
        """The same path seen at every `factor`-th time only: coarse increments are sums of fine ones."""
        steps = len(self.increments)
        if factor < 1 or steps % factor:
            raise ValueError(
                f"a path of {steps} steps cannot be seen at every {factor}th time: name a divisor of {steps}"
            )
        return LevyPath(self.increments.unflatten(0, (-1, factor)).sum(1), self.step * factor)


def levy_path(
    alpha: stable.Alpha,
    noise: noises.Noise,
    shape: Sequence[int],
    *,
    horizon: float,
    steps: int,
    generator: torch.Generator,
    dtype: torch.dtype = torch.float32,
) -> LevyPath:
    """Draw a path over [0, horizon] for particles of `shape` (..., n, d).

    Its increments have scale `(horizon/steps)^(1/alpha)`, so those over a unit of time have scale 1.

    alpha      stability index in (0, 2]: a number, or a tensor that broadcasts against `shape[:-1]`
    noise      "shared", "entrywise" or "isotropic" (Types I, II, III)
    horizon    the time that the path lasts, in the SDE's unit of time; finite and above 0
    steps      how many increments it has, 1 or more
    generator  decides the path, and on which device it lies
    dtype      torch.float32 or torch.float64

    Raises ValueError for an unknown noise, an alpha, horizon or number of steps out of range or whose scale the dtype
    does not hold, TypeError for no number or no generator.

    >>> generator = torch.Generator().manual_seed(1)
    >>> path = levy_path(1.5, "isotropic", (50, 2), horizon=1.0, steps=16, generator=generator)
    >>> path.increments.shape, path.coarsen(4).increments.shape
    (torch.Size([16, 50, 2]), torch.Size([4, 50, 2]))
    """
    if not isinstance(horizon, Real) or isinstance(steps, bool) or not isinstance(steps, Integral):
        raise TypeError(f"a path needs a horizon and a whole number of steps, got {shown(horizon)} and {shown(steps)}")
    if not isinstance(shape, Sequence):
        raise TypeError(f"the shape of the particles is a sequence (..., n, d) of whole numbers, not {shown(shape)}")
    if not (0 < as_float(horizon) < math.inf and 1 <= as_float(steps) < math.inf):
        told = f"{as_float(horizon):g} and {shown(steps)}"
        raise ValueError(f"a path needs a finite horizon above 0 and at least one step, got {told}")
    eta = horizon / steps
    unit = noises.vectors(alpha, noise, (steps, *shape), generator=generator, dtype=dtype)
    index = torch.as_tensor(alpha, dtype=torch.float64, device=generator.device).unsqueeze(-1)
    size, held = eta ** (1 / index), torch.finfo(dtype)
    if not bool(((size >= held.tiny) & (size <= held.max)).all()):
        raise ValueError(
            f"increments of scale (horizon/steps)^(1/alpha) are not what {dtype} holds, {held.tiny:.2g} to "
            f"{held.max:.2g}, for alpha={float(index.min()):g}, horizon={horizon:g}, steps={steps}: take a larger alpha"
        )
    return LevyPath(unit.mul_(size.to(dtype)), eta)


def initial(
    shape: Sequence[int],
    outputs: int = 1,
    *,
    generator: torch.Generator,
    spread: float = 1.0,
    dtype: torch.dtype = torch.float32,
) -> Particles:
    """Independent particles: weights (..., n, d) of `shape` from N(0, spread²), output weights ±1 with equal odds.

    `outputs` is k, the number of output weights of a particle.

    >>> particles = initial((50, 2), outputs=3, generator=torch.Generator().manual_seed(1))
    >>> particles.weights.shape, particles.outputs.shape
    (torch.Size([50, 2]), torch.Size([50, 3]))
    """
    device = generator.device
    weights = spread * torch.randn(tuple(shape), generator=generator, dtype=dtype, device=device)
    coins = torch.randint(0, 2, (*shape[:-1], outputs), generator=generator, device=device)
    return Particles(weights, (2 * coins - 1).to(dtype))


def output(problem: Problem, particles: Particles) -> Tensor:
    """f at every sample, shape (..., m, k)."""
    return _output(problem, particles, problem.activation(particles.weights @ problem.x.mT))


def risk(problem: Problem, particles: Particles) -> Tensor:
    """R, the mean loss over the samples, shape (...)."""
    f, y = output(problem, particles), problem.y
    if problem.loss == "squared":
        each = (f - y).square().sum(-1) / 2
    elif problem.loss == "logistic":
        each = functional.softplus(-y * f).sum(-1)
    else:
        each = f.logsumexp(-1) - (f * y).sum(-1)
    return each.mean(-1)


def drift(problem: Problem, particles: Particles, f: Tensor | None = None) -> Particles:
    """b(θ^i, μ) = −n ∇_{θ^i} R for every particle, and the same for c^i where it is trained (else 0). [D]

    `b = −E[⟨∂ℓ(f(x), y), c^i⟩ φ'(⟨θ^i, x⟩) x]`, the mean over samples. `f` (..., m, k) is the network's output; by
    default that of these particles (the particle system). With the output of the limit given instead, the particles
    do not see each other: they are particles of the McKean-Vlasov limit. If `summed`, it is −∇R without the n.
    """
    pre = particles.weights @ problem.x.mT
    value, slope = _with_slope(problem.activation, pre)
    f = _output(problem, particles, value) if f is None else f
    pull = -_loss_slope(problem, f) / problem.x.shape[-2]  # (..., m, k)
    weights = ((particles.outputs @ pull.mT) * slope) @ problem.x
    outputs = value @ pull if problem.trained else torch.zeros_like(particles.outputs)
    return Particles(weights, outputs)


def step(
    problem: Problem, particles: Particles, eta: float, kick: Tensor, sigma: float | Tensor, f: Tensor | None = None
) -> Particles:
    """One Euler step: `θ ← θ + η b(θ, μ) + σ ΔL` with the increment ΔL = `kick`; no noise on the output weights."""
    b = drift(problem, particles, f)
    weights = particles.weights + eta * b.weights + sigma * kick
    return Particles(weights, particles.outputs + eta * b.outputs if problem.trained else particles.outputs)


def euler(
    problem: Problem, start: Particles, path: LevyPath, *, sigma: float | Tensor, flow: Tensor | None = None
) -> Iterator[Particles]:
    """The Euler scheme along a path: yields the particles at times 0, η, 2η, … (steps + 1 of them).

    `sigma` is a number, or a tensor that broadcasts against (..., n, d). `flow` (steps or more, ..., m, k) is the
    output of the limit at each time, from `limit_flow`: with it the particles are those of the limit, without it they
    are the particle system. Both on one path and one start are what T1 compares.

    >>> from heavytail.lab import simulations
    >>> generator = torch.Generator().manual_seed(1)
    >>> problem = simulations.teacher(inputs=2, seed=0)
    >>> start = initial((50, 2), generator=generator, dtype=torch.float64)
    >>> path = levy_path(
    ...     1.5, "isotropic", (50, 2), horizon=1.0, steps=16, generator=generator, dtype=torch.float64
    ... )
    >>> *_, end = euler(problem, start, path, sigma=1.0)
    >>> end.weights.shape
    torch.Size([50, 2])
    """
    if flow is not None and len(flow) < len(path.increments):
        raise ValueError(f"a path of {len(path.increments)} steps needs a flow at as many times, got {len(flow)}")
    if start.outputs.shape[-1] != problem.y.shape[-1]:
        given, wanted = start.outputs.shape[-1], problem.y.shape[-1]
        raise ValueError(f"particles with {given} output weights do not fit {wanted} outputs of the targets")
    particles = start
    yield particles
    for k, kick in enumerate(path.increments):
        particles = step(problem, particles, path.step, kick, sigma, None if flow is None else flow[k])
        yield particles


def limit_flow(problem: Problem, start: Particles, path: LevyPath, *, sigma: float | Tensor) -> Tensor:
    """The output of the mean-field limit at times 0, η, …, shape (steps + 1, ..., m, k).

    Approximated by a reference system of the N particles in `start`; its error falls as N^(-1/2), and two independent
    references show it.
    """
    return torch.stack([output(problem, particles) for particles in euler(problem, start, path, sigma=sigma)])


#: Of what a step takes half as long with than by `torch.func`: the slope from a tensor of ones and the value.
_SLOPES: dict[object, Callable[[Tensor, Tensor], Tensor]] = {
    torch.tanh: torch.ops.aten.tanh_backward,
    torch.sigmoid: torch.ops.aten.sigmoid_backward,
}


def _with_slope(activation: Callable[[Tensor], Tensor], pre: Tensor) -> tuple[Tensor, Tensor]:
    """φ and φ' at every entry."""
    ones = torch.ones_like(pre)
    if known := _SLOPES.get(activation):
        value = activation(pre)
        return value, known(ones, value)
    value, slope = torch.func.jvp(activation, (pre,), (ones,))[:2]
    return value, slope


def _output(problem: Problem, particles: Particles, value: Tensor) -> Tensor:
    total = value.mT @ particles.outputs
    return total if problem.summed else total / particles.weights.shape[-2]


def _loss_slope(problem: Problem, f: Tensor) -> Tensor:
    """∂ℓ/∂f at every sample."""
    y = problem.y
    if problem.loss == "squared":
        return f - y
    if problem.loss == "logistic":
        return -y * torch.sigmoid(-y * f)
    return f.softmax(-1) - y
