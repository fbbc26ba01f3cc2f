"""Runs that wait to be trained: those of one shape go together, as many at once as fit."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import torch
from tqdm import tqdm

from heavytail.lab import datasets, measuring, models, training
from heavytail.lab.datasets import Dataset
from heavytail.lab.engines import any_module, two_layer
from heavytail.lab.engines.protocol import Engine, Networks
from heavytail.lab.machine import devices
from heavytail.lab.measuring import Outcome
from heavytail.lab.models import Build
from heavytail.lab.runs import FLAT, Run
from heavytail.lab.training import Snapshot

CHECK_EVERY = 10  # steps at most between two looks whether a loss was finite: a look makes devices and threads wait

Look = Callable[[Run, int, float, float], None]  # a run, its step, its loss and accuracy on the training split


@dataclass(frozen=True)
class Watch:
    """Who is told what while runs train."""

    bar: tqdm
    keep: Callable[[Snapshot], None] | None  # given every run in training, every `keep_every` seconds
    keep_every: float
    on_look: Look | None


def train(
    starts: Sequence[Snapshot], sets: Mapping[str, Dataset], own: Mapping[str, Build], watch: Watch
) -> Iterator[Outcome]:
    """Each run's outcome: runs of one shape are trained together, as many as fit; fewer where that was too many."""
    shapes: dict[tuple[object, ...], list[Snapshot]] = {}
    for start in starts:
        shapes.setdefault(_shape(start), []).append(start)
    for waiting in shapes.values():
        dataset = _cut(sets[waiting[0].run.dataset], waiting[0].run.samples)
        limit = _at_once(waiting[0].run, dataset)
        while waiting:
            left = {start.run: start for start in waiting[:limit]}
            del waiting[:limit]
            try:
                for outcome in _train(list(left.values()), dataset, own, watch):
                    del left[outcome.run]
                    yield outcome
            except (RuntimeError, MemoryError) as error:
                if not devices.ran_out(error):
                    raise
                reason = f"it does not fit in memory: {error}".partition("\n")[0]
                if limit == 1:
                    for start in left.values():
                        yield measuring.too_large(start.run, dataset, reason)
                    left = {}
            if left:
                limit = max(1, limit // 2)
                waiting[:0] = left.values()


def _shape(start: Snapshot) -> tuple[object, ...]:
    """What runs must share to be trained together; with minibatches the step too, since an epoch's last is smaller."""
    run = start.run
    step = None if run.batch_size is None else start.step
    kind = run.dataset, run.samples, run.network, run.width, run.depth
    return *kind, run.batch_size, run.products, run.unit, run.along, step


def _at_once(run: Run, dataset: Dataset) -> int:
    """How many runs of a shape to train together: on the CPU one a core is enough, on a GPU as many as fit."""
    device = dataset.x_train.device
    if not _has_two_layers(run):
        return 1 if device.type == "cpu" else 64  # too many are halved until they fit
    inputs, batch = dataset.x_train[0].numel(), run.batch_size or len(dataset.y_train)
    fitting = devices.available(device) // two_layer.bytes_of(run.width, inputs, dataset.classes, batch)
    return max(1, min(fitting, torch.get_num_threads()) if device.type == "cpu" else int(0.8 * fitting))


def _has_two_layers(run: Run) -> bool:
    return run.depth == 1 and run.network in FLAT


def _cut(dataset: Dataset, samples: int | None) -> Dataset:
    """The data set with its first training samples alone."""
    return replace(dataset, x_train=dataset.x_train[:samples], y_train=dataset.y_train[:samples])


def _train(starts: Sequence[Snapshot], dataset: Dataset, own: Mapping[str, Build], watch: Watch) -> Iterator[Outcome]:
    """Train runs of one shape at once, by the engine that is made for them."""
    if _has_two_layers(starts[0].run):
        return _together(two_layer, starts, dataset, None, watch)
    return _together(any_module, starts, dataset, own.get(starts[0].run.network), watch)


def _together(
    engine: Engine[Networks], starts: Sequence[Snapshot], dataset: Dataset, build: Build | None, watch: Watch
) -> Iterator[Outcome]:
    """Train runs of one shape at once; each leaves when it is done, so that the rest go faster."""
    lap = kept = time.perf_counter()
    x, y = dataset.x_train, dataset.y_train
    built = [models.reached(start.run, start.weights, dataset, build) for start in starts]
    rates = torch.tensor([models.rate(start.run, model) for start, model in zip(starts, built, strict=True)]).to(x)
    first = starts[0].run
    sample = None if build is None else x[:2]
    nets = engine.stack(built, first.products, first.unit, first.batch_size or len(y), sample)
    del built
    along = datasets.unseen(x) if starts[0].run.along == "unseen" else None
    asked = watch.on_look is not None
    going = [training.begin(s, dataset, along, asked or s.run.stop_accuracy is not None) for s in starts]
    limit = 1
    while going:
        start = time.perf_counter()
        stride = training.stride(going, limit)
        looks = any(one.looks_after(stride) for one in going)
        losses = training.steps(engine, nets, going, x, y, rates, stride, hold=looks)
        watch.bar.update(len(going) * stride)
        pace = (time.perf_counter() - start) / stride
        limit = CHECK_EVERY if watch.keep is None else int(min(CHECK_EVERY, max(1.0, watch.keep_every / pace)))
        due = watch.keep is not None and time.perf_counter() - kept >= watch.keep_every
        training.check(going, losses)
        if looks:
            accuracies, means = (values.tolist() for values in engine.evaluate(nets, x, y))
            for one, accuracy, loss in zip(going, accuracies, means, strict=True):
                if one.looks_after() and not one.status:
                    one.look(accuracy)
                    if watch.on_look is not None:
                        watch.on_look(one.run, one.step, loss, accuracy)
            engine.perturb(nets, {row: kick for row, kick in training.kicks(going).items() if not going[row].status})
        for one in going:
            if one.step == one.run.max_steps and not one.status:
                one.status = "max_steps"
        if not (due or any(one.status for one in going)):
            continue
        training.share_time(going, lap)
        for row, one in enumerate(going):
            if one.status:
                yield measuring.finish(one, nets, row, engine, dataset)
                watch.bar.total -= one.run.max_steps - one.step
        stay = [row for row, one in enumerate(going) if not one.status]
        if len(stay) < len(going):
            nets, rates = engine.keep(nets, stay), rates[stay]
            going = [going[row] for row in stay]
        if due and watch.keep is not None:
            for row, one in enumerate(going):
                watch.keep(Snapshot(one.run, one.step, engine.weights(nets, row), one.best, one.waited, one.seconds))
            kept = time.perf_counter()
        lap = time.perf_counter()
