"""Pruned networks that are tuned: steps of plain SGD by what pruning leaves, and how right the network is then.

    W ← (1 - ηλ) W - η ∇R,  after which every pruned unit is zero again,

with the step size η and the weight decay λ of the run, and without noise or group lasso.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Mapping
from itertools import islice

import torch
from torch import Tensor, nn

from heavytail import compress
from heavytail.compress import shrinking
from heavytail.lab import models, results, training
from heavytail.lab.datasets import Dataset
from heavytail.lab.engines.protocol import Engine, Networks
from heavytail.lab.machine import threads
from heavytail.lab.models import Build
from heavytail.lab.runs import Run
from heavytail.noise import Unit

_watching = threading.Lock()  # a network is looked at by one thread at a time: to see its calls changes torch for all


def measure(
    run: Run, weights: Mapping[str, Tensor], dataset: Dataset, build: Build | None, engine: Engine[Networks]
) -> dict[str, float]:
    """Columns of a run's final network, pruned at each share of TUNED and then tuned for `tune_steps` steps.

    `weights` are its final ones, `build` makes a network that the user has given. All shares see the same batches, from
    a stream of their own, or all samples at every step. NaN where a copy diverges, nothing at 0 steps. The same bits on
    any number of threads.

    >>> from heavytail import train
    >>> run = Run(dataset="digits", width=50, lr=0.1, max_steps=20, tune_steps=20)
    >>> row = train(run, progress=False).table.iloc[0]
    >>> bool(row["test_accuracy_tuned_0.9"] > row["test_accuracy_share_0.9"])
    True
    """
    if not run.tune_steps:
        return {}
    sample = None if build is None else dataset.x_train[:2]
    model = models.final_model(run, weights, dataset, build)
    copies = [compress.prune(model, keep=1 - share, sample=sample, unit=run.unit) for share in results.TUNED]
    if build is None:  # a network of one's own may have biases: its zeroed units go on to say something
        copies = [shrinking.smaller(pruned) for pruned in copies]
    rate = models.rate(run, model)

    def tuned(pruned: nn.Module) -> float:
        with _watching:
            nets = engine.stack([pruned], run.products, run.unit, run.batch_size or len(dataset.y_train), sample)
        return _accuracy(run, rate, nets, dataset, engine)

    accuracies = threads.each(tuned, copies, dataset.x_train.device)
    return {f"test_accuracy_tuned_{s:.1f}": a for s, a in zip(results.TUNED, accuracies, strict=True)}


def _accuracy(run: Run, rate: float, nets: Networks, dataset: Dataset, engine: Engine[Networks]) -> float:
    """Tune a single network, and its test accuracy then. Units that are zero stay so."""
    x, y = dataset.x_train, dataset.y_train
    held = [(weight, _zero(weight, run.unit)) for weight in engine.hidden(nets, 0)]
    rates, left = x.new_tensor([rate]), 1 - run.lr * run.weight_decay
    decay = None if left == 1 else x.new_tensor([left])
    losses = []
    for rows in islice(training.batches(run, len(y), x.device, stream="tuning"), run.tune_steps):
        losses.append(engine.descend(nets, x[rows], y[rows], rates, {}, decay))
        for weight, zero in held:
            weight.masked_fill_(zero, 0)
    accuracy, loss = engine.evaluate(nets, dataset.x_test, dataset.y_test)
    finite = torch.isfinite(torch.cat([*losses, loss.to(losses[0])])).all()
    sound = finite and all(bool(torch.isfinite(weight).all()) for weight, _ in held)
    return float(accuracy[0]) if sound else math.nan


def _zero(weight: Tensor, unit: Unit) -> Tensor:
    """Where the units of a weight are zero, in a shape that is broadcast over it."""
    zero = compress.norms(weight, unit) == 0
    axes = 1 if len(zero) == len(weight) else 2
    return zero.view(*weight.shape[:axes], *[1] * (weight.ndim - axes))
