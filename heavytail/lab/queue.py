"""Runs that wait to be trained: those of one shape go together, as many at once as fit."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from tqdm import tqdm

from heavytail.lab import datasets, measuring, models, parts, training, twins
from heavytail.lab.datasets import Dataset
from heavytail.lab.engines import any_module, two_layer
from heavytail.lab.engines.protocol import ROWS, Engine, Networks
from heavytail.lab.machine import devices
from heavytail.lab.measuring import Outcome
from heavytail.lab.models import Build
from heavytail.lab.runs import FLAT, Run
from heavytail.lab.training import Snapshot, Training

_LAYER = 1000  # bytes at least that a layer takes, however few weights it has

CHECK_EVERY = 10  # steps at most between two looks whether a loss was finite: a look makes devices and threads wait
CHECK_RECORDED = 250  # where a step is one launch, so that waiting costs more

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
    """Each run's outcome: runs of one shape are trained together, as many as fit; fewer where that was too many.

    Where a run raises an error the others of its group begin again without it, and end with the bits they have alone.
    """
    shapes: dict[tuple[object, ...], list[Snapshot]] = {}
    for start in starts:
        shapes.setdefault(_shape(start), []).append(start)
    for waiting in shapes.values():
        dataset = parts.seen(waiting[0].run, sets[waiting[0].run.dataset])
        if excess := _excess(waiting[0].run, dataset):
            yield from (measuring.unfinished(start.run, dataset, MemoryError(excess)) for start in waiting)
            continue
        limit = _at_once(waiting[0].run, dataset)
        groups = [waiting]
        while groups:
            group = groups.pop()
            if len(group) > limit:
                groups.append(group[limit:])
                del group[limit:]
            left = {start.run: start for start in group}
            lost: BaseException | None = None
            try:
                for outcome in _train(group, dataset, own, watch):
                    del left[outcome.run]
                    yield outcome
            except _Lost as failure:
                lost = failure.error
            if lost is None:
                continue
            if len(group) == 1:
                for run in left:
                    yield measuring.unfinished(run, dataset, lost)
            elif devices.ran_out(lost):
                limit = len(group) // 2
                groups.append(list(left.values()))
            else:  # some run fails, and the others are to go on without it
                half = (len(left) + 1) // 2
                groups += [part for part in (list(left.values())[half:], list(left.values())[:half]) if part]


class _Lost(Exception):
    """What runs in training raised themselves: not those who watch."""

    def __init__(self, error: BaseException) -> None:
        super().__init__()
        self.error = error.with_traceback(None)  # whose frames hold the networks


@contextmanager
def _training(run: Run, dataset: Dataset) -> Iterator[None]:
    """Where an error is that of the runs: all but one of the device, after which it does nothing more for any run."""
    try:
        with devices.products(run.products, dataset.x_train.device):
            yield
    except (Exception, SystemExit) as error:  # a network that ends the program ends its own run
        if devices.broke(error):
            raise
        raise _Lost(error) from None


def _shape(start: Snapshot) -> tuple[object, ...]:
    """What runs must share to be trained together; with minibatches the step too, since an epoch's last is smaller."""
    run = start.run
    step = None if run.batch_size is None else start.step
    kind = run.dataset, run.samples, run.validation, run.network, run.width, run.depth
    return *kind, run.batch_size, run.products, run.unit, run.along, step


def _excess(run: Run, dataset: Dataset) -> str:
    """That the weights of a run alone are more than all memory, or "". Asking for them could take hours to fail."""
    inputs, width = dataset.x_train[0].numel(), run.width
    sizes = {"fcn": width * (inputs + (run.depth - 1) * width), "mean_field": width * inputs, "vgg": width * width}
    least = 4 * sizes.get(run.network, 0) + _LAYER * run.depth
    there = devices.total(dataset.x_train.device)
    return f"its weights take {least:.1e} bytes at least, of {there:.1e}" if there and least > there else ""


def _at_once(run: Run, dataset: Dataset) -> int:
    """How many runs of a shape to train together: on the CPU one a core is enough, on a GPU as many as fit."""
    device = dataset.x_train.device
    if not _has_two_layers(run):
        return 1 if device.type == "cpu" else 64  # too many are halved until they fit
    inputs, batch = dataset.x_train[0].numel(), run.batch_size or len(dataset.y_train)
    needs = two_layer.bytes_of(run.width, inputs, dataset.classes, batch)
    if device.type != "cpu":  # there are no tiles: the slopes of a step and the activations of a look are whole
        needs += 4 * run.width * (batch + ROWS)
    fitting = devices.available(device) // needs
    return max(1, min(fitting, torch.get_num_threads()) if device.type == "cpu" else int(0.8 * fitting))


def _has_two_layers(run: Run) -> bool:
    return run.depth == 1 and run.network in FLAT


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
    first, x, y = starts[0].run, dataset.x_train, dataset.y_train
    asked = watch.on_look is not None
    with _training(first, dataset):
        built = [models.reached(start.run, start.weights, dataset, build) for start in starts]
        rates = torch.tensor([models.rate(start.run, model) for start, model in zip(starts, built, strict=True)]).to(x)
        sample = None if build is None else x[:2]
        nets = engine.stack(built, first.products, first.unit, first.batch_size or len(y), sample)
        del built
        along = datasets.unseen(x) if starts[0].run.along == "unseen" else None
        going = [training.begin(s, dataset, along, asked or s.run.stop_accuracy is not None) for s in starts]
    limit = 1
    runs = None
    while going:
        start = time.perf_counter()
        stride = training.stride(going, limit)
        looks = any(one.looks_after(stride) for one in going)
        with _training(first, dataset):
            runs = runs or training.group(engine, nets, going, x, y, rates)
            losses = training.steps(runs, stride, hold=looks)
        watch.bar.update(len(going) * stride)
        with _training(first, dataset):
            training.check(going, losses)  # waits for a GPU
        pace = (time.perf_counter() - start) / stride
        limit = CHECK_EVERY if runs.tape is None else CHECK_RECORDED
        if watch.keep is not None:
            limit = int(min(limit, max(1.0, watch.keep_every / pace)))
        due = watch.keep is not None and time.perf_counter() - kept >= watch.keep_every
        if looks:
            with _training(first, dataset):
                accuracies, means = (values.tolist() for values in engine.evaluate(nets, x, y))
            for one, accuracy, loss in zip(going, accuracies, means, strict=True):
                if one.looks_after() and not one.status:
                    one.look(accuracy)
                    if watch.on_look is not None:
                        watch.on_look(one.run, one.step, loss, accuracy)
            with _training(first, dataset):
                engine.perturb(
                    nets, {row: kick for row, kick in training.kicks(going).items() if not going[row].status}
                )
        for one in going:
            if one.step == one.run.max_steps and not one.status:
                one.status = "max_steps"
        if not (due or any(one.status for one in going)):
            continue
        training.share_time(going, lap)
        with _training(first, dataset):
            own = _twins(going, dataset, build, engine)
        for row, one in enumerate(going):
            if one.status:
                with _training(first, dataset):
                    outcome = measuring.finish(one, nets, row, engine, dataset, build, own.get(row, {}))
                yield outcome
                watch.bar.total -= one.run.max_steps - one.step
        stay = [row for row, one in enumerate(going) if not one.status]
        if len(stay) < len(going):
            runs = None  # and the memory of its recorded steps
            with _training(first, dataset):
                nets, rates = engine.keep(nets, stay), rates[stay]
            going = [going[row] for row in stay]
        if due and watch.keep is not None:
            for row, one in enumerate(going):
                with _training(first, dataset):
                    weights = engine.weights(nets, row)
                if not models.has_numbers(weights):
                    continue  # its next loss says that it diverged, and an older snapshot is no worse
                watch.keep(Snapshot(one.run, one.step, weights, one.best, one.waited, one.seconds))
            kept = time.perf_counter()
        lap = time.perf_counter()


def _twins(
    going: Sequence[Training], dataset: Dataset, build: Build | None, engine: Engine[Networks]
) -> dict[int, dict[str, float]]:
    """The columns of the twin of each run that has ended with weights, by row; their time is shared by these runs."""
    start = time.perf_counter()
    ended = {row: one for row, one in enumerate(going) if one.status and one.status != "diverged"}
    if not ended:
        return {}
    columns = twins.measure(list(ended.values()), dataset, build, engine)
    training.share_time(list(ended.values()), start)
    return dict(zip(ended, columns, strict=True))
