"""What a worker does for a sweep: train some runs of one shape, and put each into the store when it is finished."""

from __future__ import annotations

import warnings
from collections.abc import Generator, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

import torch

from heavytail.lab import datasets, models, trainer
from heavytail.lab import store as stores
from heavytail.lab.datasets import Dataset
from heavytail.lab.machine import threads
from heavytail.lab.runs import Run
from heavytail.lab.trainer import Snapshot

TOLD = (ValueError, stores.Unwritable, datasets.DataUnavailable)  # bad news with a sentence of its own


@dataclass(frozen=True)
class Task:
    """Some runs for one call of the trainer, anywhere that sees the folder."""

    folder: Path
    runs: tuple[Run, ...]
    device: str
    checkpoint_every: float
    threads: int | None


def tasks_of(task: Task, runs: Sequence[Run], most: int) -> Iterator[Task]:
    """Tasks like `task` for these runs, in pieces that the trainer can do at once.

    A piece is of one data set, network, width and depth.
    """
    shapes: dict[tuple[object, ...], list[Run]] = {}
    for run in runs:
        shapes.setdefault((run.dataset, run.network, run.width, run.depth), []).append(run)
    for alike in shapes.values():
        yield from (replace(task, runs=tuple(alike[k : k + most])) for k in range(0, len(alike), most))


def work(task: Task) -> list[str] | Exception:
    """Do a task on as many CPU threads as it asks for; the keys of the runs that it leaves finished.

    Bad news that is TOLD is returned: some executors pass on no more than the trace of an exception.
    """
    with threads.using(task.threads or torch.get_num_threads()):
        try:
            return list(train(task))
        except TOLD as error:
            return error


def train(task: Task) -> Generator[str]:
    """Train the runs of a task that nobody else is at; the key of each that is finished, now or before."""
    with stores.claim(task.folder, task.runs) as mine:
        todo = []
        for run in mine:
            if _finished(task.folder, run):
                yield run.key
            else:
                todo.append(run)
        data = {name: _dataset(name, task.folder, _home(name)) for name in {run.dataset for run in todo}}
        begun = [snapshot for run in todo if (snapshot := _begun(task, run, data[run.dataset]))]
        left = {run.key for run in todo}
        keep, every = partial(stores.keep_snapshot, task.folder, task.device), task.checkpoint_every
        options: dict[str, Any] = {"snapshots": begun, "keep": keep, "keep_every": every, "progress": False}
        for outcome in trainer.outcomes(todo, device=task.device, data=data, **options) if todo else ():
            stores.keep(task.folder, outcome)
            left.discard(outcome.run.key)
            yield outcome.run.key
        if left:
            raise RuntimeError(f"the trainer left out the runs {', '.join(sorted(left))}")


def _finished(folder: Path, run: Run) -> bool:
    """Whether a run that is ours is finished; what is damaged is set aside."""
    try:
        return stores.find(folder, run) is not None
    except stores.Damaged:
        stores.set_aside(folder, run)
        return False


def _begun(task: Task, run: Run, dataset: Dataset) -> Snapshot | None:
    """Where a run that is ours was cut off; what is damaged, of which the sweep has told, is set aside."""
    try:
        snapshot = stores.find_snapshot(task.folder, task.device, run)
    except stores.Damaged:
        snapshot = None
        stores.set_aside(task.folder, run)
    wrong = "" if snapshot is None else _wrong(snapshot, dataset)
    if wrong:
        message = f"{stores.snapshot_path(task.folder, run)} holds {wrong}: set aside in {task.folder / 'damaged'}"
        warnings.warn(f"{message}, and the run is done again", stacklevel=2)
        snapshot = None
        stores.set_aside(task.folder, run)
    return snapshot


def _wrong(snapshot: Snapshot, dataset: Dataset) -> str:
    """What a snapshot holds in place of weights that the run can go on with; empty where it can."""
    if not models.fits(snapshot.run, snapshot.weights, dataset):
        return "the weights of another network"
    return "" if models.has_numbers(snapshot.weights) else "weights that are no numbers"


def _home(name: str) -> Path | None:
    """The data folder of today for a data set that lies in it."""
    return datasets.folder() if name in datasets.NAMES and name != "digits" else None


@lru_cache(maxsize=2)
def _dataset(name: str, store: Path, folder: Path | None) -> Dataset:
    if name in datasets.NAMES:
        return datasets.load(name, folder)
    if (dataset := stores.find_data(store, name)) is None:
        raise ValueError(f"the store {store} does not hold the data set {name}: give it in data= again")
    return dataset
