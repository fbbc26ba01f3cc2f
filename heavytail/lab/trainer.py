"""Heavy-tailed SGD as the paper runs it: step, look at the accuracy, add noise, repeat; many runs at once.

The letters in brackets are the source labels of `heavytail.evidence.claims.SOURCES`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

import torch
from tqdm import tqdm

from heavytail import streams
from heavytail.lab import datasets, measuring, models, parts, queue, results
from heavytail.lab.datasets import Dataset, references
from heavytail.lab.measuring import Outcome
from heavytail.lab.models import Build, final_model, initial_model
from heavytail.lab.queue import Look, Watch
from heavytail.lab.results import Results
from heavytail.lab.runs import Run, distinct_runs, settled
from heavytail.lab.training import Snapshot, batches
from heavytail.networks import NETWORKS, check
from heavytail.noise.kinds import shown

__all__ = ["Outcome", "Snapshot", "batches", "final_model", "initial_model", "outcomes", "train"]


def train(
    runs: Sequence[Run] | Run,
    *,
    device: torch.device | str = "cpu",
    data: Mapping[str, Dataset] | None = None,
    networks: Mapping[str, Build] | None = None,
    progress: bool = True,
    history: bool = False,
    on_look: Look | None = None,
) -> Results:
    """Train every run, measure it before and after pruning, and return one row a run with its weights.

    The step is `θ ← θ − η ∇R` (`η n ∇R` for the mean-field network), with weight decay and a group lasso where a run
    has them, see `Run`; then, after every step but the last,
    `θ ← θ + σ η^{1/α} ξ` on all hidden weights. Source: the paper [P], its code for scaling and order [C].
    A run that diverges, stalls, does not fit in memory or fails with an error is a row with that status and a reason. A
    run has the same bits alone and in any list on the CPU, a deeper one for the same number of threads, and agrees to
    rounding on a GPU.

    `data` holds data sets of your own by name, see `heavytail.lab.datasets.from_arrays`; the rest are loaded. In the
    table a run of yours is of the data set `name@digest`, also where that replaced a published one.

    With `history` the result's `history` is a table of looks: key, step, train_loss (nats) and train_accuracy of every
    run after every `eval_every` steps, before the noise of that step. `on_look(run, step, loss, accuracy)` is called
    with the same as they come; `run` is the one in the table. Neither changes a bit of a run, but looks take time.

    `networks` holds functions that make networks of your own, which runs name as `Run(network=":name")`. A run's key
    knows them by this name alone: give another name to another network. One that can be imported needs no entry.

    Raises, before any training, TypeError for what is no run; ValueError for a run listed twice, a network that cannot
    be trained, a batch larger than its data, a data set that is unknown, unused or not sound, or a device that is not
    there; FileNotFoundError for a file of data that is not there; RuntimeError where a published data set cannot be
    had, or git cannot say which code this is.

    >>> from heavytail import grid
    >>> runs = grid(dataset="digits", width=50, lr=0.1, max_steps=20, noise="entrywise", alpha=[1.5, 1.9], sigma=0.01)
    >>> results = train(runs, progress=False)
    >>> results.table[["alpha", "steps", "status"]].values.tolist()
    [[1.5, 20, 'max_steps'], [1.9, 20, 'max_steps']]
    >>> results.weights(runs[0])["1.weight"].shape
    torch.Size([50, 64])
    """
    runs = distinct_runs(runs)
    if on_look is not None and not callable(on_look):
        raise TypeError(f"on_look= is a function of a run, its step, loss and accuracy, not {shown(on_look)}")
    ids, sets = references.resolve((run.dataset for run in runs), data)
    runs = settled(runs, ids)
    looks: dict[tuple[str, int], tuple[float, float]] = {}  # a run that begins again replaces its own

    def look(run: Run, step: int, loss: float, accuracy: float) -> None:
        if history:
            looks[run.key, step] = loss, accuracy
        if on_look is not None:
            on_look(run, step, loss, accuracy)

    watched = look if history or on_look is not None else None
    finished = outcomes(runs, device=device, data=sets, networks=networks, progress=progress, on_look=watched)
    by_run = {outcome.run: outcome for outcome in finished}
    table = results.tabled(by_run[run].row for run in runs)
    weights = {run.key: by_run[run].weights for run in runs}
    return Results(table, weights, results.history_of(runs, looks) if history else None)


def outcomes(
    runs: Sequence[Run],
    *,
    device: torch.device | str = "cpu",
    data: Mapping[str, Dataset] | None = None,
    networks: Mapping[str, Build] | None = None,
    progress: bool = True,
    snapshots: Iterable[Snapshot] = (),
    keep: Callable[[Snapshot], None] | None = None,
    keep_every: float = 60.0,
    on_look: Look | None = None,
) -> Iterator[Outcome]:
    """Each run's outcome as soon as it is finished, in any order; see `train`.

    `data` holds data sets by what the runs call them, which the rows say too. Runs in `snapshots` go on from there.
    Every `keep_every` seconds `keep` is given a snapshot of each run in training. `on_look` is that of `train`.
    """
    results.code_version()  # which can fail: not after hours of training
    device = streams.present(device)
    sets = {name: datasets.load(name) for name in {run.dataset for run in runs} - set(data or {})}
    sets = {name: dataset.checked().to(device) for name, dataset in {**sets, **(data or {})}.items()}
    for run in runs:
        _fits(run, sets[run.dataset])
    own = models.builders((run.network for run in runs), networks)
    tried = {_tried(run): run for run in runs if run.network in own}
    for run in tried.values():
        models.check(run, sets[run.dataset], own[run.network])
        measuring.check(run, sets[run.dataset], own[run.network])
    starts = {run: Snapshot(run, 0, {}) for run in runs} | {s.run: s for s in snapshots}
    with tqdm(total=sum(run.max_steps for run in runs), unit="step", disable=None if progress else True) as bar:
        bar.update(sum(starts[run].step for run in runs))
        watch = Watch(bar, keep, keep_every, on_look)
        for done, outcome in enumerate(queue.train([starts[run] for run in runs], sets, own, watch), start=1):
            bar.set_postfix_str(f"{done}/{len(runs)} runs")
            yield outcome


def _tried(run: Run) -> tuple[object, ...]:
    """What decides whether a network of one's own can be trained and measured."""
    measured = run.unit, run.tune_steps > 0, run.robustness is None
    return run.network, run.width, run.depth, run.dataset, run.products, run.batch_size is None, *measured


def _fits(run: Run, dataset: Dataset) -> None:
    parts.check(run, dataset)
    if run.network in NETWORKS:
        check(run.network, dataset.x_train.shape[1:])
