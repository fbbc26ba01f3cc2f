"""`sweep`: every run of a grid into a store, by one process or by any executor, and on from where it was cut off."""

from __future__ import annotations

import os
import time
import warnings
from collections.abc import Generator, Iterable, Mapping, Sequence
from contextlib import closing, suppress
from functools import partial
from numbers import Integral, Real
from pathlib import Path
from typing import Any, Protocol

from tqdm import tqdm

from heavytail import streams
from heavytail.lab import results, tasks
from heavytail.lab import store as stores
from heavytail.lab.datasets import NAMES, Dataset, references
from heavytail.lab.machine import files
from heavytail.lab.results import Results
from heavytail.lab.runs import Run, distinct_runs, settled
from heavytail.lab.tasks import Task
from heavytail.noise.kinds import shown

RUNS_AT_ONCE = 256  # in one call of the trainer at most; each holds a lock, which is an open file
PATIENCE = 0.5  # seconds between two looks at what other processes are at


class Executor(Protocol):
    """What `sweep` asks of an executor: that of `concurrent.futures`, Dask, mpi4py and submitit alike.

    `submit` returns something with `done()` and `result()`; `cancel()` is used where there is one.
    """

    def submit(self, fn: Any, /, *args: Any) -> Any:
        """Begin `fn(*args)` somewhere."""


def sweep(
    runs: Sequence[Run] | Run,
    executor: Executor | None = None,
    *,
    store: Path | str,
    data: Mapping[str, Dataset] | None = None,
    device: str = "cpu",
    progress: bool = True,
    runs_per_task: int | None = None,
    threads: int = 1,
    checkpoint_every: float = 60.0,
) -> Results:
    """Train the runs that the folder `store` does not hold yet, and return the results of all, in the order given.

    Each run is put into the store as soon as it is finished, so a sweep that was cut off goes on by the same call, and
    ends with the same table (but for `seconds`) and weights, bit for bit on the same kind of machine. A finished run is
    never done again, whatever code made it: the column `code` says which. Damaged files are set aside with a warning,
    and their runs done again. Sweeps that share a store share the work.

    `data` holds data sets of your own by name; see `train`. The store keeps a copy for those who do the work, and for
    later runs that name it by its id.

    A network of your own must be one that every worker can import, `Run(network="package.module:function")`. A sweep
    keeps no history of looks: train with `history=True` for that.

    `executor` runs the tasks, on any machine that sees the folder; without one they run here. A task holds runs of one
    data set, network, width and depth: `runs_per_task` of them (default: 1 for an executor on the CPU, else up to 256),
    on `threads` CPU threads. Every `checkpoint_every` seconds a run in the middle is kept too.

    Raises TypeError for what is no run, folder or executor, ValueError for a run listed twice, one that does not fit
    its data, or data that `train` would refuse, OSError if the store cannot be written, RuntimeError if a task did not
    come back. What was finished before is safe in the store.

    >>> import tempfile
    >>> from heavytail import grid
    >>> runs = grid(dataset="digits", width=20, lr=0.1, max_steps=5, seed=[1, 2])
    >>> with tempfile.TemporaryDirectory() as store:
    ...     first = sweep(runs, store=store, progress=False)
    ...     again = sweep(runs, store=store, progress=False)  # nothing is trained: the store has both
    >>> first.table.equals(again.table)
    True
    """
    runs = distinct_runs(runs)
    if not isinstance(store, str | os.PathLike):
        raise TypeError(f"store= is the path of a folder, not {shown(store)}")
    if executor is not None and not callable(getattr(executor, "submit", None)):
        raise TypeError(f"an executor has a method submit, as those of concurrent.futures: got {shown(executor)}")
    for run in runs:
        if run.network.startswith(":"):
            raise ValueError(f"network {run.network!r} is known here alone: name it in a sweep as 'module:function'")
    for name, value in (("runs_per_task", 1 if runs_per_task is None else runs_per_task), ("threads", threads)):
        if isinstance(value, bool) or not isinstance(value, Integral) or value < 1:
            raise ValueError(f"{name} must be at least 1, got {shown(value)}: give a whole number")
    if not isinstance(checkpoint_every, Real) or not checkpoint_every >= 0:
        raise ValueError(f"checkpoint_every is a number of seconds, 0 or more, got {shown(checkpoint_every)}")
    if os.fspath(store) == "":
        raise ValueError("store= is the path of a folder, and empty: name one, or '.' for this folder")
    if executor is None:
        streams.present(device)
    most = runs_per_task or (1 if executor is not None and str(device) == "cpu" else files.at_once(RUNS_AT_ONCE))
    kept_data = partial(stores.find_data, files.named(store))
    ids, sets = references.resolve((run.dataset for run in runs), data, kept_data)
    runs = settled(runs, ids)
    task = Task(stores.prepare(store), (), str(device), checkpoint_every, None if executor is None else threads)
    kept = _look(task, runs)
    todo = [run for run in runs if run.key not in kept]
    with tqdm(total=len(runs), initial=len(kept), desc="runs", disable=None if progress else True) as bar:
        try:
            if todo:
                stores.check_writable(task.folder)
            for used in {run.dataset for run in todo} & sets.keys() - set(NAMES):  # those every worker loads
                stores.keep_data(task.folder, used, sets[used])
            with closing(_finish(task, todo, most, executor)) as finished:
                for key, found in finished:
                    kept[key] = found
                    bar.update()
        except stores.Unwritable as error:
            raise stores.Unwritable(f"{error}: {_safe(task, runs)}") from error
        except _Lost as error:
            raise RuntimeError(f"{error}: {_safe(task, runs)}") from error.__cause__
    table = results.tabled(kept[run.key].row for run in runs)
    return Results(table, stores.Weights(task.folder, {run.key: kept[run.key].digest for run in runs}))


class _Lost(Exception):
    """A task did not come back: its process died, or the executor gave it up."""


def _look(task: Task, runs: Sequence[Run]) -> dict[str, stores.Kept]:
    """What the store holds of the runs, by key. Warns of what is damaged."""
    kept = {}
    for run in runs:
        try:
            if found := stores.find(task.folder, run):
                kept[run.key] = found
                stores.drop_snapshot(task.folder, run)
            else:
                stores.find_snapshot(task.folder, task.device, run)
        except stores.Damaged as error:
            warnings.warn(f"{error}: set aside in {task.folder / 'damaged'}, and the run is done again", stacklevel=3)
    return kept


def _finish(task: Task, runs: list[Run], most: int, executor: Executor | None) -> Generator[tuple[str, stores.Kept]]:
    """Each run as soon as it is finished, by this sweep or another one."""
    left = {run.key: run for run in runs}
    warned = False
    while left:
        before = len(left)
        free = [run for run in left.values() if stores.is_free(task.folder, run)]
        todo = list(tasks.tasks_of(task, free, most))
        with closing(_here(todo) if executor is None else _gather(executor, todo)) as keys:
            for key in keys:
                if found := stores.find(task.folder, left[key], weights=False):  # its task has just seen to them
                    del left[key]
                    yield key, found
        for key, run in list(left.items()):  # what another sweep has finished meanwhile
            with suppress(stores.Damaged):
                if found := stores.find(task.folder, run):
                    del left[key]
                    yield key, found
        if not free and not warned:
            warnings.warn(f"another sweep is at {before} runs in {task.folder}: waiting for it", stacklevel=4)
            warned = True
        if len(left) == before:
            time.sleep(PATIENCE)


def _gather(executor: Executor, todo: Sequence[Task]) -> Generator[str]:
    """The keys that the tasks finish, in any order. Raises _Lost when one did not come back; the rest is cancelled."""
    waiting = []
    try:
        for task in todo:
            waiting.append(executor.submit(tasks.work, task))
        while waiting:
            ready: list[Any] = []
            rest: list[Any] = []
            for future in waiting:
                (ready if future.done() else rest).append(future)
            waiting = rest
            for future in ready:
                if isinstance(done := future.result(), Exception):
                    raise done
                yield from done
            if not ready:
                time.sleep(0.05)
    except tasks.TOLD:
        raise
    except Exception as error:
        message = (str(error).splitlines() or [""])[0]
        raise _Lost(f"a task did not come back ({type(error).__name__}: {message})") from error
    finally:
        for future in waiting:
            getattr(future, "cancel", bool)()


def _here(todo: Iterable[Task]) -> Generator[str]:
    for task in todo:
        yield from tasks.train(task)


def _safe(task: Task, runs: Sequence[Run]) -> str:
    """The end of a sentence of bad news."""
    done = 0
    for run in runs:
        with suppress(ValueError, stores.Unwritable):
            done += stores.find(task.folder, run, weights=False) is not None
    return f"{done} of {len(runs)} runs are finished and safe in {task.folder}; run the same again to go on"
