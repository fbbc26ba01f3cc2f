"""Heavy-tailed SGD as the paper runs it: step, look at the accuracy, add noise, repeat.

The letters in brackets are the source labels of `heavytail.claims.SOURCES`.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import fields

import pandas as pd
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from tqdm import tqdm

from heavytail import compress, datasets, networks, noise, results, streams
from heavytail.datasets import Dataset
from heavytail.results import Results
from heavytail.runs import Run, distinct

EVALUATION_ROWS = 4096  # samples a forward pass, so that evaluation of a wide network stays small in memory


def train(
    runs: Sequence[Run] | Run,
    *,
    device: torch.device | str = "cpu",
    data: Mapping[str, Dataset] | None = None,
    progress: bool = True,
) -> Results:
    """Train every run, measure it before and after pruning, and return one row a run with its weights.

    The step is `θ ← θ − η ∇R` (`η n ∇R` for the mean-field network), then, after every step but the last,
    `θ ← θ + σ η^{1/α} ξ` on all hidden weights. Source: the paper [P], its code for scaling and order [C].
    A run that diverges is a row with status "diverged". `data` replaces data sets by name; the rest are loaded.

    Raises ValueError for a run listed twice, a batch larger than its data, or a device that is not there, all before
    any training.
    """
    runs = distinct([runs] if isinstance(runs, Run) else runs)
    device = streams.present(device)
    sets = {name: datasets.load(name) for name in {run.dataset for run in runs} - set(data or {})}
    sets = {name: dataset.to(device) for name, dataset in {**sets, **(data or {})}.items()}
    for run in runs:
        _fits(run, sets[run.dataset])
    rows, weights = [], {}
    for run in tqdm(runs, desc="runs", disable=None if progress else True):
        model, measured = _train_one(run, sets[run.dataset])
        rows.append(results.row(run, {**measured, "device": str(device)}))
        weights[run.key] = {name: tensor.detach().cpu() for name, tensor in model.state_dict().items()}
    columns = [field.name for field in fields(Run)] + list(results.COLUMNS)
    return Results(pd.DataFrame(rows, columns=columns), weights)


def initial_model(run: Run, dataset: Dataset) -> nn.Module:
    """The network of a run before its first step, on the data's device."""
    stream = streams.generator(run.seed, "weights", device=dataset.x_train.device)
    shape = dataset.x_train.shape[1:]
    return networks.build(run.network, shape, dataset.classes, width=run.width, depth=run.depth, generator=stream)


def final_model(run: Run, weights: Mapping[str, Tensor], dataset: Dataset) -> nn.Module:
    """The trained network of a run, from `Results.weights(run)`."""
    model = initial_model(run, dataset)
    model.load_state_dict(dict(weights))
    return model


def batches(run: Run, samples: int, device: torch.device | str) -> Iterator[Tensor | slice]:
    """Indices of each step's batch, without end: all samples in order, or a fresh shuffle an epoch.

    The last batch of an epoch holds what is left, as a DataLoader does by default.
    """
    epoch = 0
    while True:
        if run.batch_size is None:
            yield slice(None)
            continue
        shuffle = streams.generator(run.seed, "batches", epoch, device=device)
        yield from torch.randperm(samples, generator=shuffle, device=device).split(run.batch_size)
        epoch += 1


@torch.no_grad()
def accuracy(model: nn.Module, x: Tensor, y: Tensor) -> float:
    """Share of rows of x, (N, ...), whose largest output is at the label y, (N,)."""
    pairs = zip(x.split(EVALUATION_ROWS), y.split(EVALUATION_ROWS), strict=True)
    return sum(int((model(part).argmax(1) == labels).sum()) for part, labels in pairs) / len(y)


def _train_one(run: Run, dataset: Dataset) -> tuple[nn.Module, dict[str, object]]:
    started = time.perf_counter()
    model = initial_model(run, dataset)
    steps, status = _descend(run, model, dataset)
    loss = mean_loss(model, dataset.x_train, dataset.y_train)
    # Accuracy alone cannot tell that a run diverged: outputs of NaN have one too.
    if not (math.isfinite(loss) and all(bool(torch.isfinite(p).all()) for p in model.parameters())):
        status = "diverged"
    if status == "diverged":
        numbers = {name: math.nan for name in results.COLUMNS if name.startswith(results.MEASURED)}
    else:
        numbers = {"train_loss": loss, **_measure(model, dataset)}
    measured = {"steps": steps, "status": status, "verified": dataset.verified, **numbers}
    return model, {**measured, "seconds": time.perf_counter() - started}


def _descend(run: Run, model: nn.Module, dataset: Dataset) -> tuple[int, str]:
    """Run the algorithm on the model in place; returns the steps done and the status."""
    x, y = dataset.x_train, dataset.y_train
    hidden = list(networks.hidden_weights(model).values())
    gradient_scale = getattr(model, "gradient_scale", 1.0)
    optimizer = torch.optim.SGD(model.parameters(), lr=_in_float32(run.lr * gradient_scale))
    for step, batch in enumerate(batches(run, len(y), x.device), start=1):
        optimizer.zero_grad()
        loss = cross_entropy(model(x[batch]), y[batch])
        if not torch.isfinite(loss):
            return step - 1, "diverged"
        loss.backward()
        optimizer.step()
        if run.stop_accuracy is not None and step % run.eval_every == 0 and accuracy(model, x, y) >= run.stop_accuracy:
            return step, "converged"
        if step == run.max_steps:
            break
        _add_noise(run, step, hidden)
    return run.max_steps, "max_steps"


def _in_float32(factor: float) -> float:
    """The factor, or inf beyond float32: torch refuses such a factor, but takes inf, and the run counts as diverged."""
    return factor if factor <= torch.finfo(torch.float32).max else math.inf


@torch.no_grad()
def _add_noise(run: Run, step: int, hidden: Sequence[Tensor]) -> None:
    """`θ ← θ + σ η^{1/α} ξ`, the same ξ for the same seed and step whatever else is trained."""
    if run.noise is None or run.alpha is None or run.sigma == 0:
        return
    size = _in_float32(noise.scale(run.sigma, run.lr, run.alpha))
    stream = streams.generator(run.seed, "noise", step, device=hidden[0].device)
    for weight in hidden:
        weight.add_(noise.draw(run.noise, run.alpha, weight.shape, unit=run.unit, generator=stream), alpha=size)


def _measure(model: nn.Module, dataset: Dataset) -> dict[str, float]:
    """Accuracies before pruning, at squared error 0.1 and at every share, and the pruning ratio."""
    splits = {"train": (dataset.x_train, dataset.y_train), "test": (dataset.x_test, dataset.y_test)}

    def accuracies(network: nn.Module, suffix: str) -> dict[str, float]:
        return {f"{split}_accuracy{suffix}": accuracy(network, *xy) for split, xy in splits.items()}

    pruned = compress.prune(model, error=compress.SQUARED_ERROR)
    measured = {"pruning_ratio": compress.pruning_ratio(pruned)}
    measured |= accuracies(model, "") | accuracies(pruned, "_pruned")
    for share in results.SHARES:
        measured |= accuracies(compress.prune(model, keep=1 - share), f"_share_{share:.1f}")
    return measured


@torch.no_grad()
def mean_loss(model: nn.Module, x: Tensor, y: Tensor) -> float:
    """Mean cross-entropy over all rows, in nats."""
    pairs = zip(x.split(EVALUATION_ROWS), y.split(EVALUATION_ROWS), strict=True)
    return sum(float(cross_entropy(model(part), labels, reduction="sum")) for part, labels in pairs) / len(y)


def _fits(run: Run, dataset: Dataset) -> None:
    if run.batch_size is not None and run.batch_size > len(dataset.y_train):
        raise ValueError(
            f"batch_size={run.batch_size} is more than the {len(dataset.y_train)} training samples of "
            f"{dataset.name}: use batch_size=None for the full batch"
        )
    networks.check(run.network, dataset.x_train.shape[1:])
