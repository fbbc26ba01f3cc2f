"""What is measured of a run when it is finished: its row of the results table."""

from __future__ import annotations

import math
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from heavytail import compress, noise, tails
from heavytail.lab import results
from heavytail.lab.datasets import Dataset
from heavytail.lab.engines.protocol import Criterion, Engine, Networks, Pruned
from heavytail.lab.runs import Run
from heavytail.lab.training import Training

BY_ERROR = Criterion(squared_error=compress.SQUARED_ERROR)
BY_SHARE = {share: Criterion(keep=1 - share) for share in results.SHARES}
CRITERIA = (BY_ERROR, *BY_SHARE.values())
RANDOM = tuple(BY_SHARE[share] for share in results.MIDDLE)


@dataclass(frozen=True, eq=False)
class Outcome:
    """A finished run: its row of the results table, and its final weights by parameter name, on the CPU."""

    run: Run
    row: Mapping[str, object]
    weights: Mapping[str, Tensor]


def finish(one: Training, nets: Networks, row: int, engine: Engine[Networks], dataset: Dataset) -> Outcome:
    """Measure a run: loss and accuracies, before pruning, at squared error 0.1 and at every share."""
    started = time.perf_counter()
    weights = engine.weights(nets, row)
    numbers: dict[str, float] = {}
    if one.status != "diverged":
        nets = engine.keep(nets, [row])
        loss = float(engine.evaluate(nets, dataset.x_train, dataset.y_train)[1])
        # Accuracy alone cannot tell that a run diverged: outputs of NaN have one too.
        if not (math.isfinite(loss) and all(bool(torch.isfinite(w).all()) for w in weights.values())):
            one.status, one.reason = "diverged", f"a loss or weight was not finite after step {one.step}"
        else:
            splits = [(dataset.x_train, dataset.y_train), (dataset.x_test, dataset.y_test)]
            found = engine.pruned(nets, 0, CRITERIA, splits)
            by_chance = engine.pruned(nets, 0, RANDOM, splits[1:], chance=one.run.seed)
            numbers = {
                "train_loss": loss,
                **_measured(found, by_chance),
                **_norms(engine.hidden(nets, 0), one.run.unit),
            }
    seconds = one.seconds + time.perf_counter() - started
    measured = _row(one.run, dataset, one.status, one.reason, steps=one.step, seconds=seconds, **numbers)
    return Outcome(one.run, measured, weights)


def too_large(run: Run, dataset: Dataset, reason: str) -> Outcome:
    """A run that could not be trained for want of memory."""
    return Outcome(run, _row(run, dataset, "out_of_memory", reason), {})


def _measured(pruned: Mapping[Criterion, Pruned], by_chance: Mapping[Criterion, Pruned]) -> dict[str, float]:
    """Columns of what pruning by each of CRITERIA and RANDOM gave; at share 0 nothing is pruned."""
    columns = {"": BY_SHARE[0.0], "_pruned": BY_ERROR}
    columns |= {f"_share_{share:.1f}": criterion for share, criterion in BY_SHARE.items()}
    measured = {"pruning_ratio": pruned[BY_ERROR].ratio}
    for suffix, criterion in columns.items():
        train, test = pruned[criterion].accuracies
        measured |= {f"train_accuracy{suffix}": train, f"test_accuracy{suffix}": test}
    for share in results.MIDDLE:
        [measured[f"test_accuracy_random_{share:.1f}"]] = by_chance[BY_SHARE[share]].accuracies
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
