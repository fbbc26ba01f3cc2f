"""Heavy-tailed SGD as the paper runs it: step, look at the accuracy, add noise, repeat; many runs at once.

The letters in brackets are the source labels of `heavytail.evidence.claims.SOURCES`.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from types import ModuleType
from typing import Any

import torch
from torch import Tensor, nn
from tqdm import tqdm

from heavytail import compress, networks, noise, streams, tails
from heavytail.lab import datasets, results
from heavytail.lab.datasets import Dataset, references
from heavytail.lab.engines import any_module, two_layer
from heavytail.lab.machine import devices, threads
from heavytail.lab.results import Results
from heavytail.lab.runs import Run, distinct, settled
from heavytail.noise import Kick

CHECK_EVERY = 10  # steps at most between two looks whether a loss was finite: a look makes devices and threads wait
RANDOM = tuple({"keep": 1 - share} for share in results.MIDDLE)
CRITERIA = ({"squared_error": compress.SQUARED_ERROR}, *({"keep": 1 - share} for share in results.SHARES))


@dataclass(frozen=True, eq=False)
class Outcome:
    """A finished run: its row of the results table, and its final weights by parameter name, on the CPU."""

    run: Run
    row: Mapping[str, object]
    weights: Mapping[str, Tensor]


@dataclass(frozen=True, eq=False)
class Snapshot:
    """A run in the middle: what it takes to go on after `step` steps. Random numbers need no state: see `streams`."""

    run: Run
    step: int
    weights: Mapping[str, Tensor]  # on the CPU
    best: float = -1.0  # highest train accuracy at a look so far
    waited: int = 0  # looks since then
    seconds: float = 0.0


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
    A run that diverges, stalls or does not fit in memory is a row with that status and a reason. A run has the same
    bits alone and in any list on the CPU, and agrees to rounding on a GPU.

    `data` holds data sets of your own by name, see `heavytail.lab.datasets.from_arrays`; the rest are loaded. In the
    table a run of yours is of the data set `name@digest`, also where that replaced a published one.

    Raises ValueError for a run listed twice, a batch larger than its data, a data set that is unknown, unused or not
    sound, or a device that is not there, all before any training.

    >>> from heavytail import grid
    >>> runs = grid(dataset="digits", width=50, lr=0.1, max_steps=20, noise="entrywise", alpha=[1.5, 1.9], sigma=0.01)
    >>> results = train(runs, progress=False)
    >>> results.table[["alpha", "steps", "status"]].values.tolist()
    [[1.5, 20, 'max_steps'], [1.9, 20, 'max_steps']]
    >>> results.weights(runs[0])["1.weight"].shape
    torch.Size([50, 64])
    """
    runs = distinct([runs] if isinstance(runs, Run) else runs)
    ids, sets = references.resolve((run.dataset for run in runs), data)
    runs = settled(runs, ids)
    found = {o.run: o for o in outcomes(runs, device=device, data=sets, progress=progress)}
    table = results.tabled(found[run].row for run in runs)
    return Results(table, {run.key: found[run].weights for run in runs})


def outcomes(
    runs: Sequence[Run],
    *,
    device: torch.device | str = "cpu",
    data: Mapping[str, Dataset] | None = None,
    progress: bool = True,
    snapshots: Iterable[Snapshot] = (),
    keep: Callable[[Snapshot], None] | None = None,
    keep_every: float = 60.0,
) -> Iterator[Outcome]:
    """Each run's outcome as soon as it is finished, in any order; see `train`.

    `data` holds data sets by what the runs call them, which the rows say too. Runs in `snapshots` go on from there.
    Every `keep_every` seconds `keep` is given a snapshot of each run in training.
    """
    device = streams.present(device)
    sets = {name: datasets.load(name) for name in {run.dataset for run in runs} - set(data or {})}
    sets = {name: dataset.checked().to(device) for name, dataset in {**sets, **(data or {})}.items()}
    for run in runs:
        _fits(run, sets[run.dataset])
    starts = {run: Snapshot(run, 0, {}) for run in runs} | {s.run: s for s in snapshots}
    with tqdm(total=sum(run.max_steps for run in runs), unit="step", disable=None if progress else True) as bar:
        bar.update(sum(starts[run].step for run in runs))
        for done, outcome in enumerate(_queue([starts[run] for run in runs], sets, keep, keep_every, bar), start=1):
            bar.set_postfix_str(f"{done}/{len(runs)} runs")
            yield outcome


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


def batches(run: Run, samples: int, device: torch.device | str, start: int = 0) -> Iterator[Tensor | slice]:
    """Indices of each step's batch after step `start`, without end: all samples in order, or a shuffle an epoch.

    The last batch of an epoch holds what is left, as a DataLoader does by default.
    """
    if run.batch_size is None:
        while True:
            yield slice(None)
    epoch, skip = divmod(start, -(-samples // run.batch_size))
    while True:
        shuffle = streams.generator(run.seed, "batches", epoch, device=device)
        yield from torch.randperm(samples, generator=shuffle, device=device).split(run.batch_size)[skip:]
        epoch, skip = epoch + 1, 0


@dataclass(eq=False)
class _Training:
    """A run in training, after `step` steps."""

    run: Run
    step: int
    best: float
    waited: int
    seconds: float
    order: Iterator[Tensor | slice]
    key: int
    along: Tensor | None
    status: str = ""
    reason: str = ""

    def kick(self) -> Kick | None:
        """The noise `σ η^{1/α} ξ` after this step, the same ξ for the same seed and step whatever else is trained."""
        run = self.run
        if run.noise is None or run.alpha is None or run.sigma == 0 or self.step == run.max_steps:
            return None
        size = noise.scale(run.alpha, run.sigma, run.lr)
        return Kick(run.alpha, run.noise, run.unit, size, self.key, self.step, self.along)

    def looks_after(self, steps: int = 0) -> bool:
        """Whether the train accuracy is looked at after so many more steps."""
        return self.run.stop_accuracy is not None and (self.step + steps) % self.run.eval_every == 0

    def look(self, accuracy: float) -> None:
        """Stop if the accuracy is high enough, or has not grown for long."""
        self.waited = 0 if accuracy > self.best else self.waited + 1
        self.best = max(self.best, accuracy)
        if self.run.stop_accuracy is not None and accuracy >= self.run.stop_accuracy:
            self.status = "converged"
        elif self.run.patience is not None and self.waited >= self.run.patience:
            self.status = "stalled"
            self.reason = f"the train accuracy has not grown in {self.waited} looks; the best was {self.best:.4f}"


def _queue(
    starts: Sequence[Snapshot],
    sets: Mapping[str, Dataset],
    keep: Callable[[Snapshot], None] | None,
    keep_every: float,
    bar: tqdm,
) -> Iterator[Outcome]:
    """Train runs of one shape together, as many as fit; fewer where that was too many."""
    shapes: dict[tuple[Any, ...], list[Snapshot]] = {}
    for start in starts:
        shapes.setdefault(_shape(start), []).append(start)
    for waiting in shapes.values():
        dataset = _cut(sets[waiting[0].run.dataset], waiting[0].run.samples)
        limit = _at_once(waiting[0].run, dataset)
        while waiting:
            left = {start.run: start for start in waiting[:limit]}
            del waiting[:limit]
            try:
                for outcome in _together(list(left.values()), dataset, keep, keep_every, bar):
                    del left[outcome.run]
                    yield outcome
            except (RuntimeError, MemoryError) as error:
                if not devices.ran_out(error):
                    raise
                reason = f"it does not fit in memory: {error}".partition("\n")[0]
                if limit == 1:
                    for start in left.values():
                        yield Outcome(start.run, _row(start.run, dataset, "out_of_memory", reason), {})
                    left = {}
            if left:
                limit = max(1, limit // 2)
                waiting[:0] = left.values()


def _shape(start: Snapshot) -> tuple[Any, ...]:
    """What runs must share to be trained together; with minibatches the step too, since an epoch's last is smaller."""
    run = start.run
    step = None if run.batch_size is None else start.step
    kind = run.dataset, run.samples, run.network, run.width, run.depth
    return *kind, run.batch_size, run.products, run.unit, run.along, step


def _at_once(run: Run, dataset: Dataset) -> int:
    """How many runs of a shape to train together: on the CPU one a core is enough, on a GPU as many as fit."""
    device, engine = dataset.x_train.device, _engine(run)
    if engine is any_module:
        return 1 if device.type == "cpu" else 64  # too many are halved until they fit
    inputs, batch = dataset.x_train[0].numel(), run.batch_size or len(dataset.y_train)
    fitting = devices.available(device) // two_layer.bytes_of(run.width, inputs, dataset.classes, batch)
    return max(1, min(fitting, torch.get_num_threads()) if device.type == "cpu" else int(0.8 * fitting))


def _engine(run: Run) -> ModuleType:
    return two_layer if run.depth == 1 and run.network != "vgg" else any_module


def _together(
    starts: Sequence[Snapshot],
    dataset: Dataset,
    keep: Callable[[Snapshot], None] | None,
    keep_every: float,
    bar: tqdm,
) -> Iterator[Outcome]:
    """Train runs of one shape at once; each leaves when it is done, so that the rest go faster."""
    lap = kept = time.perf_counter()
    engine, x, y = _engine(starts[0].run), dataset.x_train, dataset.y_train
    models = [_model(start, dataset) for start in starts]
    rates = torch.tensor([_rate(start.run, model) for start, model in zip(starts, models, strict=True)]).to(x)
    nets = engine.stack(models, starts[0].run.products, starts[0].run.unit, starts[0].run.batch_size or len(y))
    del models
    along = datasets.unseen(x) if starts[0].run.along == "unseen" else None
    going = [_begin(start, dataset, along) for start in starts]
    decay = _decay(going, x)
    limit = 1
    while going:
        start = time.perf_counter()
        stride = _stride(going, limit)
        looks = any(one.looks_after(stride) for one in going)
        losses = _steps(engine, nets, going, x, y, rates, decay, stride, hold=looks)
        bar.update(len(going) * stride)
        pace = (time.perf_counter() - start) / stride
        limit = CHECK_EVERY if keep is None else int(min(CHECK_EVERY, max(1.0, keep_every / pace)))
        due = keep is not None and time.perf_counter() - kept >= keep_every
        _check(going, losses)
        if looks:
            accuracies = engine.evaluate(nets, x, y)[0].tolist()
            for one, accuracy in zip(going, accuracies, strict=True):
                if one.looks_after() and not one.status:
                    one.look(accuracy)
            engine.perturb(nets, {row: kick for row, kick in _kicks(going).items() if not going[row].status})
        for one in going:
            if one.step == one.run.max_steps and not one.status:
                one.status = "max_steps"
        if not (due or any(one.status for one in going)):
            continue
        _share_time(going, lap)
        for row, one in enumerate(going):
            if one.status:
                yield _finish(one, nets, row, engine, dataset)
                bar.total -= one.run.max_steps - one.step
        stay = [row for row, one in enumerate(going) if not one.status]
        if len(stay) < len(going):
            nets, rates = engine.keep(nets, stay), rates[stay]
            going = [going[row] for row in stay]
            decay = _decay(going, x)
        if due and keep is not None:
            for row, one in enumerate(going):
                keep(Snapshot(one.run, one.step, engine.weights(nets, row), one.best, one.waited, one.seconds))
            kept = time.perf_counter()
        lap = time.perf_counter()


def _stride(going: Sequence[_Training], limit: int) -> int:
    """How many steps to make until some run is looked at or done, `limit` at most."""
    left = [one.run.max_steps - one.step for one in going]
    looks = [one.run.eval_every - one.step % one.run.eval_every for one in going if one.run.stop_accuracy is not None]
    return min(*left, *looks, limit)


def _steps(
    engine: ModuleType,
    nets: Any,
    going: Sequence[_Training],
    x: Tensor,
    y: Tensor,
    rates: Tensor,
    decay: Tensor | None,
    count: int,
    hold: bool,
) -> Tensor:
    """So many steps of every run; `hold` leaves out the noise after the last one. Returns the losses, (count, R).

    Runs that need not wait for each other go each on a thread.
    """
    apart = engine.apart(nets)
    if len(apart) > 1:

        def alone(row: int) -> Tensor:
            one = slice(row, row + 1)
            slower = None if decay is None else decay[one]
            return _steps(engine, apart[row], going[one], x, y, rates[one], slower, count, hold)

        return torch.cat(threads.each(alone, range(len(going)), x.device), 1)
    losses = []
    for number in range(1, count + 1):
        rows = [next(one.order) for one in going]
        for one in going:
            one.step += 1
        kicks = {} if hold and number == count else _kicks(going)
        losses.append(engine.descend(nets, *_batch(x, y, rows), rates, kicks, decay))
    return torch.stack(losses)


def _kicks(going: Sequence[_Training]) -> dict[int, Kick]:
    """The noise after the step just made, of each row that gets some."""
    return {row: kick for row, one in enumerate(going) if (kick := one.kick())}


def _cut(dataset: Dataset, samples: int | None) -> Dataset:
    """The data set with its first training samples alone."""
    return replace(dataset, x_train=dataset.x_train[:samples], y_train=dataset.y_train[:samples])


def _begin(start: Snapshot, dataset: Dataset, along: Tensor | None) -> _Training:
    order = batches(start.run, len(dataset.y_train), dataset.x_train.device, start.step)
    key = streams.key(start.run.seed, "noise")
    return _Training(start.run, start.step, start.best, start.waited, start.seconds, order, key, along)


def _model(start: Snapshot, dataset: Dataset) -> nn.Module:
    return final_model(start.run, start.weights, dataset) if start.weights else initial_model(start.run, dataset)


def _rate(run: Run, model: nn.Module) -> float:
    """η, times n for the mean-field network; inf beyond float32, and then the run diverges."""
    rate = run.lr * float(getattr(model, "gradient_scale", 1.0))
    return rate if rate <= torch.finfo(torch.float32).max else math.inf


def _batch(x: Tensor, y: Tensor, rows: Sequence[Tensor | slice]) -> tuple[Tensor, Tensor]:
    """The samples of a step: shared by all runs, or each run's own, with a leading run axis."""
    if isinstance(rows[0], slice):
        return x, y
    chosen = torch.stack([row for row in rows if isinstance(row, Tensor)])
    return x[chosen], y[chosen]


def _decay(going: Sequence[_Training], like: Tensor) -> Tensor | None:
    """What a step leaves of each run's weights, 1 - ηλ, (R,); None if no weight decays."""
    left = [1 - one.run.lr * one.run.weight_decay for one in going]
    return like.new_tensor(left) if any(share != 1 for share in left) else None


def _check(going: Sequence[_Training], losses: Tensor) -> None:
    """Mark the runs one of whose last losses, (steps, R), was not finite."""
    for one, good in zip(going, torch.isfinite(losses).T.cpu(), strict=True):
        if not good.all():
            one.step += int(good.long().argmin()) - len(losses)
            one.status, one.reason = "diverged", f"the loss was not finite at step {one.step + 1}"


def _share_time(going: Sequence[_Training], lap: float) -> None:
    """Give each run its share of the time since the last lap."""
    share = (time.perf_counter() - lap) / len(going)
    for one in going:
        one.seconds += share


def _finish(one: _Training, nets: Any, row: int, engine: ModuleType, dataset: Dataset) -> Outcome:
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
    row_of = _row(one.run, dataset, one.status, one.reason, steps=one.step, seconds=seconds, **numbers)
    return Outcome(one.run, row_of, weights)


def _measured(found: Sequence[two_layer.Pruned], by_chance: Sequence[two_layer.Pruned]) -> dict[str, float]:
    """Columns of what pruning by each of CRITERIA and RANDOM gave; at share 0 nothing is pruned."""
    names = ["_pruned", *(f"_share_{share:.1f}" for share in results.SHARES)]
    measured = {"pruning_ratio": found[0][0]}
    for suffix, (_, (train, test)) in zip([*names, ""], [*found, found[1]], strict=True):
        measured |= {f"train_accuracy{suffix}": train, f"test_accuracy{suffix}": test}
    random = {
        f"test_accuracy_random_{share:.1f}": test for share, (_, [test]) in zip(results.MIDDLE, by_chance, strict=True)
    }
    return measured | random


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
    told = {"steps": steps, "seconds": seconds, "status": status, "reason": reason, "verified": dataset.verified}
    return results.row(run, {**missing, **numbers, **told, "device": device})


def _fits(run: Run, dataset: Dataset) -> None:
    if run.samples is not None and run.samples > len(dataset.y_train):
        raise ValueError(
            f"samples={run.samples} is more than the {len(dataset.y_train)} training samples of {dataset.name}: use "
            f"samples=None for all"
        )
    samples = run.samples or len(dataset.y_train)
    if run.batch_size is not None and run.batch_size > samples:
        raise ValueError(
            f"batch_size={run.batch_size} is more than the {samples} training samples of "
            f"{dataset.name}: use batch_size=None for the full batch"
        )
    networks.check(run.network, dataset.x_train.shape[1:])
