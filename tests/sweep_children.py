"""Small sweeps for processes that are going to be killed, and what a store must hold in the end."""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
import tempfile
import threading
import time
import warnings
from multiprocessing import forkserver
from pathlib import Path

import pandas as pd
import pytest
import torch
from tqdm import tqdm

from heavytail import Results, grid, sweep
from heavytail.lab import simulations, store
from heavytail.lab.machine import threads
from heavytail.lab.simulations import Pruning

RUNS = [
    *grid(dataset="digits", width=[20, 30], max_steps=12, lr=0.1, noise="shared", alpha=1.75, sigma=0.01, seed=[1, 2]),
    *grid(dataset="digits", width=20, max_steps=5, lr=1e30, batch_size=500),  # diverges: NaN in row and weights
]
SHORT = grid(dataset="digits", width=20, max_steps=2, lr=0.1)  # few file operations, so that each can be the last
SIMULATIONS = [Pruning(alpha=alpha, width=20, repeats=3) for alpha in (1.5, 2)]
LONG = grid(dataset="digits", width=20, max_steps=10**7, seed=[1, 2])  # without an end

# The parent of all children has one thread: a lock that another thread holds at the fork is held for ever in the child.
ONE_THREAD = {
    "OMP_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "ARROW_DEFAULT_MEMORY_POOL": "system",
    "JE_ARROW_MALLOC_CONF": "background_thread:false",  # Arrow's own allocator starts one even where it is not used
}
PATIENCE = 240.0  # seconds until a test gives up, below pytest's own limit; a busy machine takes long
tqdm.monitor_interval = 0  # a progress bar starts a thread, shown or not
tqdm.set_lock(threading.RLock())  # its own is a semaphore for all children, and one killed with it would stop the rest

with threads.using(1), tempfile.TemporaryDirectory() as warm:  # once here, not in every child: imports, the data, git
    sweep(SHORT, store=warm, progress=False)


def children() -> multiprocessing.context.ForkServerContext:
    """Processes that start in a moment, because torch is imported once for all of them."""
    here = Path(__file__).parent
    path = os.pathsep.join(filter(None, [str(here.parent), str(here), os.environ.get("PYTHONPATH")]))
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["heavytail", "sweep_children", "pytest"])
    with pytest.MonkeyPatch.context() as environment:
        for name, value in {**ONE_THREAD, "PYTHONPATH": path}.items():
            environment.setenv(name, value)
        forkserver.ensure_running()
    return context


def a_death_in_a_progress_bar() -> None:
    """SIGKILL itself while it holds the lock of all progress bars."""
    with tqdm.get_lock():
        os.kill(os.getpid(), signal.SIGKILL)


def ended(child: multiprocessing.process.BaseProcess) -> int:
    """The exit code of a child; fails the test if it does not end."""
    child.join(PATIENCE)
    stuck = child.is_alive()
    child.kill()
    child.join()
    assert not stuck, f"a child had not ended after {PATIENCE} s"
    return child.exitcode


def threads_of(process: int) -> list[str]:
    """The names of the threads of a process. Linux only."""
    return [task.read_text().strip() for task in Path(f"/proc/{process}/task").glob("*/comm")]


def a_sweep(folder: Path, runs: list = RUNS, *, die_at: int = 0, log: Path | None = None, gate: object = None) -> None:
    """Sweep with a snapshot a step; SIGKILL itself before the file operation number `die_at`.

    A file that a kill left damaged is an error here. `log` gets a line for each run that is trained to its end.
    """
    torch.set_num_threads(1)
    warnings.filterwarnings("error", message=".*set aside")
    if die_at:
        _die_before_operation(die_at, str(folder))
    if log is not None:
        _log_runs(log)
    if gate is not None:
        gate.wait()
    sweep(runs, store=folder, checkpoint_every=0, runs_per_task=1, progress=False)


def a_simulation(path: Path, die_at: int) -> None:
    """Fill a table; SIGKILL itself before the file operation number `die_at`."""
    _die_before_operation(die_at, str(path.parent))
    simulations.fill(path, SIMULATIONS)


def a_sweep_by_two(folder: Path, pids: Path) -> None:
    """Two worker processes at runs without an end; their numbers go to the file `pids`."""
    from heavytail.lab.machine import workers

    workers._context = lambda *_: multiprocessing.get_context("fork")  # this one has imported torch
    with workers.processes(2) as executor:
        together = pids.with_suffix(".folder")
        together.mkdir()
        for future in [executor.submit(_meet, together) for _ in range(2)]:
            future.result()
        pids.write_text(" ".join(path.name for path in together.iterdir()))
        sweep(LONG, executor, store=folder, progress=False, checkpoint_every=0.2)


def the_command(arguments: list[str], said: Path) -> None:
    """`heavytail ARGUMENTS` with its standard error in the file `said`."""
    from heavytail.cli import main

    signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background job ignores it
    torch.set_num_threads(1)
    with said.open("w") as sys.stderr:
        status = main(arguments)
    sys.exit(status)


def _meet(folder: Path) -> None:
    """Wait until two processes are here, so that none of them does the work of both."""
    (folder / str(os.getpid())).touch()
    wait_for(lambda: len(list(folder.iterdir())) == 2)


def _die_before_operation(number: int, folder: str) -> None:
    seen = 0

    def hook(event: str, arguments: tuple[object, ...]) -> None:
        nonlocal seen
        if event in ("open", "os.rename", "os.remove", "os.chmod", "os.mkdir") and str(arguments[0]).startswith(folder):
            seen += 1
            if seen == number:
                os.kill(os.getpid(), signal.SIGKILL)

    sys.addaudithook(hook)


def _log_runs(log: Path) -> None:
    keep = store.keep

    def logged(folder: Path, outcome: object) -> None:
        with log.open("a") as file:
            file.write(outcome.run.key + "\n")
        keep(folder, outcome)

    store.keep = logged


def rows_of(folder: Path) -> dict[str, tuple[int, int]]:
    """The rows of a store by name, with what changes when one is written again."""
    return {path.name: (path.stat().st_ino, path.stat().st_mtime_ns) for path in (folder / "rows").glob("*.json")}


def files_of(folder: Path) -> set[str]:
    """Every file of a store, hidden ones too."""
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}


def assert_same(swept: Results, other: Results, runs: list) -> None:
    """Tables equal in all columns but `seconds`, and weights, bit for bit."""
    left, right = (results.table.drop(columns="seconds") for results in (swept, other))
    pd.testing.assert_frame_equal(left, right, check_exact=True)
    for run in runs:
        one, two = swept.weights(run), other.weights(run)
        assert one.keys() == two.keys()
        assert all(torch.equal(one[name].view(torch.int32), two[name].view(torch.int32)) for name in one)


def wait_for(happened):
    """What `happened()` returns once it is true; fails the test if that takes too long."""
    end = time.monotonic() + PATIENCE
    while time.monotonic() < end:
        if found := happened():
            return found
        time.sleep(0.02)
    raise AssertionError(f"nothing happened in {PATIENCE} s")
