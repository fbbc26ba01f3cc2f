"""What is measured of a run when it is finished: its row of the results table."""

from __future__ import annotations

import math
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from heavytail import compress, noise, tails
from heavytail.lab import models, results, robustness, tuning
from heavytail.lab.datasets import Dataset
from heavytail.lab.engines import any_module
from heavytail.lab.engines.protocol import Criterion, Engine, Measured, Networks
from heavytail.lab.machine import devices
from heavytail.lab.models import Build
from heavytail.lab.runs import Run
from heavytail.lab.training import Training

BY_ERROR = Criterion(squared_error=compress.SQUARED_ERROR)
BY_SHARE = {share: Criterion(keep=1 - share) for share in results.SHARES}
CRITERIA = (BY_ERROR, *BY_SHARE.values())
RANDOM = tuple(BY_SHARE[share] for share in results.MIDDLE)
_HALF = Criterion(keep=0.5)  # unlike a squared error it can be had of a network that starts at 0


@dataclass(frozen=True, eq=False)
class Outcome:
    """A finished run: its row of the results table, and its final weights by parameter name, on the CPU."""

    run: Run
    row: Mapping[str, object]
    weights: Mapping[str, Tensor]


def finish(
    one: Training,
    nets: Networks,
    row: int,
    engine: Engine[Networks],
    dataset: Dataset,
    build: Build | None,
    twin: Mapping[str, float],
) -> Outcome:
    """Measure a run: loss and accuracies, before pruning, at squared error 0.1 and at every share; `twin` goes with it.

    `build` makes a network that the user has given. A run that cannot be measured has failed, and keeps its weights;
    want of memory and a broken device are raised.
    """
    started = time.perf_counter()
    weights = engine.weights(nets, row)
    numbers: dict[str, float] = {}
    if one.status != "diverged":
        try:
            numbers = _numbers(one, engine.keep(nets, [row]), weights, engine, dataset, build)
            numbers |= twin if numbers else {}
        except (Exception, SystemExit) as error:
            if devices.ran_out(error) or devices.broke(error):
                raise
            one.status, one.reason = "failed", f"it could not be measured: {_line(error)}"
    seconds = one.seconds + time.perf_counter() - started
    measured = _row(one.run, dataset, one.status, one.reason, steps=one.step, seconds=seconds, **numbers)
    return Outcome(one.run, measured, weights)


def check(run: Run, dataset: Dataset, build: Build) -> None:
    """Measure a network of one's own before its first step, on two samples. Raises ValueError that says what fails."""
    train, test = (dataset.x_train[:2], dataset.y_train[:2]), (dataset.x_test[:2], dataset.y_test[:2])
    few = replace(dataset, x_train=train[0], y_train=train[1], x_test=test[0], y_test=test[1])
    once = replace(run, batch_size=None, tune_steps=min(run.tune_steps, 1), robustness=run.robustness and 2)
    try:
        alone = any_module.stack([models.initial_model(run, few, build)], run.products, run.unit, sample=train[0])
        weights = any_module.weights(alone, 0)
        any_module.measure(alone, train, test, [_HALF], [_HALF], run.seed)
        tuning.measure(once, weights, few, build, any_module)
        robustness.measure(once, weights, few, build)
    except (Exception, SystemExit) as error:  # whatever a module of somebody else raises
        raise ValueError(f"network {run.network!r} cannot be measured: {_line(error)}") from error


def unfinished(run: Run, dataset: Dataset, error: BaseException) -> Outcome:
    """A run that could not be trained: there was too little memory for it alone, or it raised an error."""
    if devices.ran_out(error):
        reason = f"it does not fit in memory: {error}".partition("\n")[0]
        return Outcome(run, _row(run, dataset, "out_of_memory", reason), {})
    return Outcome(run, _row(run, dataset, "failed", _line(error)), {})


def _line(error: BaseException) -> str:
    """An error in one line, as Python ends a traceback with it; its name alone where it cannot say more."""
    try:
        return f"{type(error).__name__}: {error}".strip().partition("\n")[0]
    except Exception:
        return type(error).__name__


def _numbers(
    one: Training,
    nets: Networks,
    weights: Mapping[str, Tensor],
    engine: Engine[Networks],
    dataset: Dataset,
    build: Build | None,
) -> dict[str, float]:
    """What is measured of one network; nothing of one that diverged or has no weights left, and its status says so."""
    finite = all(bool(torch.isfinite(w).all()) for w in weights.values())
    if finite and not all(bool(weight.any()) for weight in engine.hidden(nets, 0)):
        one.status = "failed"
        one.reason = f"the weights of a hidden layer were all zero after step {one.step}: nothing was left to prune"
        return {}
    if finite:
        train, test = (dataset.x_train, dataset.y_train), (dataset.x_test, dataset.y_test)
        found = engine.measure(nets, train, test, CRITERIA, RANDOM, one.run.seed)
    # Accuracy alone cannot tell that a run diverged: outputs of NaN have one too.
    if not (finite and math.isfinite(found.loss)):
        one.status, one.reason = "diverged", f"a loss or weight was not finite after step {one.step}"
        return {}
    columns = {"train_loss": found.loss, **_measured(found), **_norms(engine.hidden(nets, 0), one.run.unit)}
    columns |= tuning.measure(one.run, weights, dataset, build, engine)
    return columns | robustness.measure(one.run, weights, dataset, build)


def _measured(found: Measured) -> dict[str, float]:
    """Columns of what pruning by each of CRITERIA and RANDOM gave; at share 0 nothing is pruned."""
    columns = {"": BY_SHARE[0.0], "_pruned": BY_ERROR}
    columns |= {f"_share_{share:.1f}": criterion for share, criterion in BY_SHARE.items()}
    measured = {"pruning_ratio": found.pruned[BY_ERROR].ratio}
    for suffix, criterion in columns.items():
        train, test = found.pruned[criterion].accuracies
        measured |= {f"train_accuracy{suffix}": train, f"test_accuracy{suffix}": test}
    for share in results.MIDDLE:
        [measured[f"test_accuracy_random_{share:.1f}"]] = found.by_chance[BY_SHARE[share]].accuracies
    return measured


def _norms(weights: Iterable[Tensor], unit: noise.Unit) -> dict[str, float]:
    """Columns of the norms of the hidden units."""
    layers = [compress.norms(weight, unit) for weight in weights]
    norms, shapes = torch.cat(layers), torch.cat([layer / layer.median() for layer in layers])
    try:
        tail = tails.hill(shapes)
        index, error = tail.alpha, tail.standard_error
    except ValueError:  # too few units, or all alike
        index = error = math.nan
    rms = float(norms.square().mean().sqrt())
    return {"norm_median": float(norms.median()), "norm_rms": rms, "tail_index": index, "tail_index_error": error}


def _row(
    run: Run, dataset: Dataset, status: str, reason: str, steps: int = 0, seconds: float = 0.0, **numbers: float
) -> dict[str, object]:
    """A row of the table; numbers that were not measured are NaN."""
    missing = {name: math.nan for name in results.COLUMNS if name.startswith(results.MEASURED)}
    device = str(dataset.x_train.device)
    known = {"steps": steps, "seconds": seconds, "status": status, "reason": reason, "verified": dataset.verified}
    return results.row(run, {**missing, **numbers, **known, "device": device})
