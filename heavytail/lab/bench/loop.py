"""The ordinary way to make a run, for comparison: a torch loop with autograd, a DataLoader, and the noise by SciPy.

Its twin draws the noise by torch, an operation after the other, on whatever device the network is.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Iterator
from typing import Literal

import numpy as np
import torch
from scipy.stats import levy_stable
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from torch.utils.data import DataLoader, TensorDataset

from heavytail import compress, noise, streams
from heavytail.lab import trainer
from heavytail.lab.datasets import Dataset
from heavytail.lab.runs import Run
from heavytail.networks import hidden_weights

By = Literal["scipy", "torch"]  # what draws the noise

_SMALLEST = 1e-8  # of a cosine or sine at the end of its range, where rounding takes it to 0 or below


def train(
    run: Run, dataset: Dataset, watch_test: bool = False, *, device: torch.device | str = "cpu", by: By = "scipy"
) -> dict[str, float]:
    """Train and measure one run as the paper's algorithm says, the order of things as in its code [C].

    That code also looks at the test split whenever it looks at the train split; so does this loop with `watch_test`.
    The samples stay where they are, and every batch goes to the device.
    """
    return measured(deque(steps(run, dataset, watch_test, device=device, by=by), maxlen=1).pop(), run, dataset)


def steps(
    run: Run, dataset: Dataset, watch_test: bool = False, *, device: torch.device | str = "cpu", by: By = "scipy"
) -> Iterator[nn.Module]:
    """The same training step by step: the network after each, its noise included."""
    model = trainer.initial_model(run, dataset).to(device)
    descend, kick = _parts_of_a_step(model, run, device, by)
    samples = TensorDataset(dataset.x_train, dataset.y_train)
    shuffle = streams.generator(run.seed, "batches")
    loader = DataLoader(samples, batch_size=run.batch_size or len(samples), shuffle=True, generator=shuffle)
    step, reached = 0, False
    while not reached:
        for x, y in loader:
            descend(x.to(device), y.to(device))
            step += 1
            if step % run.eval_every == 0 and run.stop_accuracy is not None:
                reached = accuracy(model, dataset.x_train, dataset.y_train, run) >= run.stop_accuracy
                if watch_test:
                    accuracy(model, dataset.x_test, dataset.y_test, run)
            if step == run.max_steps or reached:
                reached = True
                yield model
                break
            kick()
            yield model


def stepped(run: Run, dataset: Dataset, *, device: torch.device | str = "cpu", by: By = "scipy") -> Callable[[], None]:
    """One step and its noise on the first batch of the samples, to be called often: what no DataLoader has part in."""
    descend, kick = _parts_of_a_step(trainer.initial_model(run, dataset).to(device), run, device, by)
    x, y = (samples[: run.batch_size].to(device) for samples in (dataset.x_train, dataset.y_train))

    def step() -> None:
        descend(x, y)
        if run.noise is not None:
            kick()

    return step


def _parts_of_a_step(
    model: nn.Module, run: Run, device: torch.device | str, by: By
) -> tuple[Callable[[Tensor, Tensor], None], Callable[[], None]]:
    """A step of SGD on a batch by autograd, and the noise after it; both change the model, which is on the device."""
    optimizer = torch.optim.SGD(model.parameters(), lr=run.lr)
    draws, weights = _draws(run, device, by), list(hidden_weights(model).values())
    size = noise.scale(run.alpha or 2.0, run.sigma, run.lr)

    def descend(x: Tensor, y: Tensor) -> None:
        optimizer.zero_grad()
        cross_entropy(model(x), y).backward()
        optimizer.step()

    def kick() -> None:
        for weight in weights:
            weight.data.add_(size * draws(weight.shape))

    return descend, kick


def measured(model: nn.Module, run: Run, dataset: Dataset) -> dict[str, float]:
    """What is measured of a trained network, before and after pruning."""
    pruned = compress.prune(model, squared_error=compress.SQUARED_ERROR)
    return {
        "pruning_ratio": compress.pruning_ratio(pruned),
        "test_accuracy": accuracy(model, dataset.x_test, dataset.y_test, run),
        "test_accuracy_pruned": accuracy(pruned, dataset.x_test, dataset.y_test, run),
    }


def _draws(run: Run, device: torch.device | str, by: By) -> Callable[[torch.Size], Tensor]:
    """Unit draws of a run's noise, one call after the other, on its device."""
    if by == "torch":
        generator = torch.Generator(device).manual_seed(run.seed)
        return lambda shape: eager(run.noise, run.alpha, shape, generator)
    rng = np.random.RandomState(run.seed)
    return lambda shape: draw(run.noise, run.alpha, shape, rng).to(device)


def draw(kind: str | None, alpha: float | None, shape: torch.Size, rng: np.random.RandomState) -> Tensor:
    """Unit draws of a noise by SciPy, as float32."""
    units, entries = shape[0], math.prod(shape[1:])
    if kind is None or alpha is None:
        return torch.zeros(())
    if kind == "isotropic":
        if alpha == 2:
            drawn = math.sqrt(2) * rng.randn(units, entries)
        else:
            cut = math.cos(math.pi * alpha / 4) ** (2 / alpha)  # makes SciPy's positive law exp(-s^(alpha/2))
            radii = np.sqrt(2 * levy_stable.rvs(alpha / 2, 1, scale=cut, size=(units, 1), random_state=rng))
            drawn = radii * rng.randn(units, entries)
    else:
        size = (units, 1) if kind == "shared" else (units, entries)
        drawn = levy_stable.rvs(alpha, 0, size=size, random_state=rng)
    return torch.from_numpy(np.asarray(drawn, np.float32)).reshape(units, *[1 if kind == "shared" else -1])


def eager(kind: str | None, alpha: float | None, shape: torch.Size, generator: torch.Generator) -> Tensor:
    """Unit draws of a noise by operations of torch, float32 (units, 1) or (units, d), on the generator's device.

    The formulas are those of Chambers, Mallows and Stuck (1976) and of Kanter (1975), as one writes them down: their
    uniforms have 24 bits, so the tails end near the quantile 1e-7.
    """
    units, entries = shape[0], math.prod(shape[1:])
    if kind is None or alpha is None:
        return torch.zeros((), device=generator.device)
    if kind != "isotropic":
        return _symmetric(alpha, (units, 1 if kind == "shared" else entries), generator)
    gauss = torch.randn(units, entries, generator=generator, device=generator.device)
    if alpha == 2:
        return math.sqrt(2) * gauss
    return torch.sqrt(2 * _positive(alpha / 2, (units, 1), generator)) * gauss


def _symmetric(alpha: float, size: tuple[int, int], generator: torch.Generator) -> Tensor:
    angle = math.pi * (torch.rand(size, generator=generator, device=generator.device) - 0.5)
    rest = torch.cos((1 - alpha) * angle).clamp(min=_SMALLEST) / _exponential(size, generator)
    narrow = torch.cos(angle).clamp(min=_SMALLEST)
    return torch.sin(alpha * angle) / narrow ** (1 / alpha) * rest ** ((1 - alpha) / alpha)


def _positive(alpha: float, size: tuple[int, int], generator: torch.Generator) -> Tensor:
    angle = math.pi * torch.rand(size, generator=generator, device=generator.device)
    rest = torch.sin((1 - alpha) * angle) / _exponential(size, generator)
    narrow = torch.sin(angle).clamp(min=_SMALLEST)
    return torch.sin(alpha * angle) / narrow ** (1 / alpha) * rest ** ((1 - alpha) / alpha)


def _exponential(size: tuple[int, int], generator: torch.Generator) -> Tensor:
    return torch.empty(size, device=generator.device).exponential_(generator=generator)


@torch.no_grad()
def accuracy(model: nn.Module, x: Tensor, y: Tensor, run: Run) -> float:
    """Share of the samples that are classified rightly, a batch at a time."""
    device = next(model.parameters()).device
    parts = DataLoader(TensorDataset(x, y), batch_size=run.batch_size or len(y))
    right = ((model(part.to(device)).argmax(1) == labels.to(device)).sum() for part, labels in parts)
    return sum(int(count) for count in right) / len(y)
