"""The ordinary way to make a run, for comparison: a torch loop with autograd, a DataLoader, and SciPy for the noise."""

from __future__ import annotations

import math

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


def train(run: Run, dataset: Dataset, watch_test: bool = False) -> dict[str, float]:
    """Train and measure one run as the paper's algorithm says, the order of things as in its code [C].

    That code also looks at the test split whenever it looks at the train split; so does this loop with `watch_test`.
    """
    rng = np.random.RandomState(run.seed)
    model = trainer.initial_model(run, dataset)
    optimizer = torch.optim.SGD(model.parameters(), lr=run.lr)
    samples = TensorDataset(dataset.x_train, dataset.y_train)
    shuffle = streams.generator(run.seed, "batches")
    loader = DataLoader(samples, batch_size=run.batch_size or len(samples), shuffle=True, generator=shuffle)
    step, reached = 0, False
    while not reached:
        for x, y in loader:
            optimizer.zero_grad()
            cross_entropy(model(x), y).backward()
            optimizer.step()
            step += 1
            if step % run.eval_every == 0 and run.stop_accuracy is not None:
                reached = accuracy(model, dataset.x_train, dataset.y_train, run) >= run.stop_accuracy
                if watch_test:
                    accuracy(model, dataset.x_test, dataset.y_test, run)
            if step == run.max_steps or reached:
                reached = True
                break
            size = noise.scale(run.alpha or 2.0, run.sigma, run.lr)
            for weight in hidden_weights(model).values():
                weight.data.add_(size * draw(run.noise, run.alpha, weight.shape, rng))
    pruned = compress.prune(model, squared_error=compress.SQUARED_ERROR)
    return {
        "pruning_ratio": compress.pruning_ratio(pruned),
        "test_accuracy": accuracy(model, dataset.x_test, dataset.y_test, run),
        "test_accuracy_pruned": accuracy(pruned, dataset.x_test, dataset.y_test, run),
    }


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


@torch.no_grad()
def accuracy(model: nn.Module, x: Tensor, y: Tensor, run: Run) -> float:
    """Share of the samples that are classified rightly, a batch at a time."""
    parts = DataLoader(TensorDataset(x, y), batch_size=run.batch_size or len(y))
    return sum(int((model(part).argmax(1) == labels).sum()) for part, labels in parts) / len(y)
