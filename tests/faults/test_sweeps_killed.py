"""What a sweep survives: kill -9, a full disk, two sweeps at once, dead workers, Ctrl-C. It ends as if undisturbed."""

from __future__ import annotations

import errno
import multiprocessing
import os
import random
import signal
import subprocess
import sys
import threading
import time
import warnings
from pathlib import Path

import pandas as pd
import pytest
from fault_counts import ALL, ONE_SENTENCE, UNDISTURBED, some
from sweep_children import (
    LONG,
    PATIENCE,
    RUNS,
    SHORT,
    SIMULATIONS,
    a_death_in_a_progress_bar,
    a_simulation,
    a_sweep,
    a_sweep_by_two,
    assert_same,
    children,
    ended,
    files_of,
    rows_of,
    the_command,
    threads_of,
    wait_for,
)

import heavytail
from heavytail import grid, sweep
from heavytail.lab import simulations, store
from heavytail.lab.machine import workers

pytestmark = [pytest.mark.long, pytest.mark.usefixtures("one_thread")]

ROOT = Path(__file__).parents[2]
KILLS, DISKS = "kills and signals", "full disks and limits"


@pytest.fixture(scope="module")
def forked():
    return children()


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    folder = tmp_path_factory.mktemp("undisturbed")
    swept = sweep(RUNS, store=folder, progress=False)
    assert_same(swept, heavytail.train(RUNS, progress=False), RUNS)
    return swept, files_of(folder)


@pytest.fixture(scope="module")
def short(tmp_path_factory):
    folder = tmp_path_factory.mktemp("short")
    return sweep(SHORT, store=folder, progress=False), files_of(folder)


def assert_ends_as(undisturbed, folder, runs=RUNS):
    """Going on finishes the sweep: no damage, no run done again, nothing left over, the undisturbed result."""
    results, names = undisturbed
    before = rows_of(folder)
    with warnings.catch_warnings():
        warnings.filterwarnings("error", category=UserWarning)
        assert_same(sweep(runs, store=folder, progress=False), results, runs)
    assert before.items() <= rows_of(folder).items()
    assert files_of(folder) == names


# kill -9


def a_moment():
    pass


@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="needs /proc")
def test_the_parent_of_the_children_has_one_thread(forked):
    child = forked.Process(target=a_moment)
    child.start()
    parent = int(Path(f"/proc/{child.pid}/stat").read_text().rpartition(")")[2].split()[1])
    assert ended(child) == 0
    assert len(threads_of(parent)) == 1, threads_of(parent)


def test_a_child_killed_in_a_progress_bar_does_not_stop_the_next_one(forked, tmp_path):
    child = forked.Process(target=a_death_in_a_progress_bar)
    child.start()
    assert ended(child) == -signal.SIGKILL
    child = forked.Process(target=a_sweep, args=(tmp_path, SHORT))
    child.start()
    assert ended(child) == 0


def test_a_sweep_killed_at_random_moments_ends_as_if_undisturbed(forked, undisturbed, tmp_path, tried):
    start = time.perf_counter()
    child = forked.Process(target=a_sweep, args=(tmp_path / "whole",))
    child.start()
    started = time.perf_counter() - start  # long the first time, when the others' common parent starts
    assert ended(child) == 0
    whole = time.perf_counter() - start - started
    chance = random.Random(20)
    folder, kills, before = tmp_path / "0", 0, {}
    while kills < (40 if ALL else 8):
        child = forked.Process(target=a_sweep, args=(folder,))
        child.start()
        child.join(chance.uniform(0, whole))
        child.kill()
        child.join()
        assert child.exitcode in (0, -signal.SIGKILL)
        kills += child.exitcode != 0
        assert before.items() <= rows_of(folder).items()
        before = rows_of(folder)
        if child.exitcode == 0 or len(before) == len(RUNS):
            assert_ends_as(undisturbed, folder)
            folder, before = tmp_path / str(kills), {}
    assert_ends_as(undisturbed, folder)
    for _ in range(kills):
        tried(KILLS, UNDISTURBED)


def test_a_sweep_killed_before_any_of_its_file_operations_ends_as_if_undisturbed(forked, short, tmp_path, tried):
    for number in range(1, 200, 1 if ALL else 4):
        folder = tmp_path / str(number)
        child = forked.Process(target=a_sweep, args=(folder, SHORT), kwargs={"die_at": number})
        child.start()
        if ended(child) == 0:
            break
        assert child.exitcode == -signal.SIGKILL
        assert_ends_as(short, folder, SHORT)
        tried(KILLS, UNDISTURBED)
    assert child.exitcode == 0
    assert number > 40  # the kills reached snapshots, weights and row


def test_a_simulation_killed_before_any_of_its_file_operations_ends_as_if_undisturbed(forked, tmp_path, tried):
    whole = simulations.simulate(SIMULATIONS).drop(columns="seconds")
    for number in range(1, 200, 1 if ALL else 4):
        path = tmp_path / str(number) / "t.parquet"
        path.parent.mkdir()
        child = forked.Process(target=a_simulation, args=(path, number))
        child.start()
        if ended(child) == 0:
            break
        assert child.exitcode == -signal.SIGKILL
        again = simulations.fill(path, SIMULATIONS).drop(columns="seconds")
        pd.testing.assert_frame_equal(again, whole, check_exact=True, check_dtype=False)
        # An empty part of the check before the work, or a lock, is left for the next writer, which removes both.
        assert [entry.name for entry in path.parent.iterdir()] == ["t.parquet"]
        tried(KILLS, UNDISTURBED)
    assert child.exitcode == 0
    assert number > 15


# a full disk


@pytest.fixture
def small_disk(tmp_path):
    """A function that mounts a disk of so many KiB, or gives it another size."""
    place = tmp_path / "disk"
    place.mkdir()

    def mount(size, again=""):
        command = ["mount", "-t", "tmpfs", "-o", f"{again}size={size}k", "tmpfs", str(place)]
        if subprocess.run(command, capture_output=True, check=False).returncode:
            pytest.skip("a small disk cannot be mounted here: that takes root")
        return place

    yield mount
    subprocess.run(["umount", "-l", str(place)], capture_output=True, check=False)


@pytest.mark.parametrize("size", some([4, 8, 12, 20, 24, 28, 36, 44], 3))
def test_a_full_disk_is_one_sentence_and_a_larger_one_goes_on(size, small_disk, undisturbed, tried):
    folder = small_disk(size) / "store"
    with pytest.raises(OSError, match=r"No space left on device.* of 5 runs are finished and safe in .* go on") as said:
        sweep(RUNS, store=folder, progress=False, checkpoint_every=0)
    assert "\n" not in str(said.value)
    assert f"{len(rows_of(folder))} of 5 runs" in str(said.value)
    assert not [name for name in files_of(folder) if name.endswith(".part")]
    small_disk(1024, "remount,")
    assert_ends_as(undisturbed, folder)
    tried(DISKS, ONE_SENTENCE)


@pytest.mark.parametrize("room", some([0, 100, 6500, 8500, 16000], 2))
def test_a_write_that_fails_half_way_leaves_nothing_of_its_run(room, undisturbed, tmp_path, monkeypatch, tried):
    write = Path.write_bytes
    left = room

    def limited(path, content):
        nonlocal left
        fits, left = content[:left], max(0, left - len(content))
        write(path, fits)
        if len(fits) < len(content):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))

    monkeypatch.setattr(Path, "write_bytes", limited)
    with pytest.raises(OSError, match=r"No space left on device.* of 5 runs are finished and safe in"):
        sweep(RUNS, store=tmp_path, progress=False)
    monkeypatch.undo()
    finished = {name.removesuffix(".json") for name in rows_of(tmp_path)}
    assert {path.stem for path in (tmp_path / "weights").iterdir()} == finished
    assert_ends_as(undisturbed, tmp_path)
    tried(DISKS, ONE_SENTENCE)


# two sweeps


def test_two_sweeps_share_a_store_and_no_run_is_trained_twice(forked, undisturbed, tmp_path):
    gate = forked.Barrier(2)
    both = [
        forked.Process(target=a_sweep, args=(tmp_path / "store",), kwargs={"log": tmp_path / "log", "gate": gate})
        for _ in range(2)
    ]
    for child in both:
        child.start()
    assert [ended(child) for child in both] == [0, 0]
    assert sorted((tmp_path / "log").read_text().split()) == sorted(run.key for run in RUNS)
    assert_ends_as(undisturbed, tmp_path / "store")


def test_a_sweep_waits_for_the_runs_of_another_one_and_says_so(undisturbed, tmp_path):
    folder = store.prepare(tmp_path)
    swept = []

    def other():
        with pytest.warns(UserWarning, match="another sweep is at 1 runs in .*: waiting for it"):
            swept.append(sweep(RUNS, store=folder, progress=False))

    with store.claim(folder, RUNS[:1]) as mine:
        assert mine == RUNS[:1]
        assert not store.is_free(folder, RUNS[0])
        thread = threading.Thread(target=other)
        thread.start()
        wait_for(lambda: len(rows_of(folder)) == len(RUNS) - 1)
        thread.join(1)
        assert thread.is_alive()
    thread.join(PATIENCE)
    assert_same(swept[0], undisturbed[0], RUNS)


# workers that die


def kill_once_a_row_is_there(folder, process):
    def kill():
        wait_for(lambda: rows_of(folder))
        os.kill(process(), signal.SIGKILL)

    thread = threading.Thread(target=kill)
    thread.start()
    return thread


def test_a_pool_that_lost_a_worker_is_one_sentence_and_the_next_sweep_goes_on(forked, undisturbed, tmp_path, tried):
    runs = [*RUNS, *LONG]
    started = set(multiprocessing.active_children())

    def a_worker():
        return min(child.pid for child in set(multiprocessing.active_children()) - started)

    killer = kill_once_a_row_is_there(tmp_path, a_worker)
    lost = pytest.raises(
        RuntimeError, match=r"a task did not come back .*: \d of 7 runs are finished and safe in .* go on"
    )
    with lost, workers.processes(2) as executor:
        sweep(runs, executor, store=tmp_path, progress=False)
    killer.join()
    assert not set(multiprocessing.active_children()) - started
    assert rows_of(tmp_path)
    assert_ends_as(undisturbed, tmp_path)
    tried(KILLS, ONE_SENTENCE)


def test_dask_does_the_runs_of_a_killed_worker_elsewhere(undisturbed, tmp_path, tried):
    dask = pytest.importorskip("dask")
    dask.config.set({"distributed.worker.multiprocessing-method": "forkserver"})  # saves an import of torch a worker
    distributed = pytest.importorskip("distributed")
    options = {"n_workers": 2, "threads_per_worker": 1, "processes": True, "dashboard_address": None}
    with distributed.LocalCluster(**options) as cluster, distributed.Client(cluster) as client:
        pids = client.run(os.getpid)
        killer = kill_once_a_row_is_there(tmp_path, lambda: min(pids.values()))
        swept = sweep(RUNS, client.get_executor(), store=tmp_path, progress=False)
        killer.join()
        assert min(pids.values()) not in client.run(os.getpid, on_error="ignore").values()
    assert_same(swept, undisturbed[0], RUNS)
    assert_ends_as(undisturbed, tmp_path)
    tried(KILLS, UNDISTURBED)


def alive(pid):
    """Whether a process is there and no zombie."""
    try:
        return "Z" not in Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return False


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="needs /proc")
def test_workers_end_with_the_process_that_started_them(forked, tmp_path, tried):
    child = forked.Process(target=a_sweep_by_two, args=(tmp_path / "store", tmp_path / "pids"))
    child.start()
    snapshots = tmp_path / "store" / "snapshots"
    wait_for(lambda: snapshots.exists() and len(list(snapshots.glob("*.safetensors"))) == len(LONG))
    pids = [int(pid) for pid in (tmp_path / "pids").read_text().split()]
    assert len(pids) == 2
    assert all(alive(pid) for pid in pids)
    child.kill()
    child.join()
    try:
        wait_for(lambda: not any(alive(pid) for pid in pids))
    finally:
        for pid in filter(alive, pids):
            os.kill(pid, signal.SIGKILL)
    assert all(store.is_free(tmp_path / "store", run) for run in LONG)
    tried(KILLS, UNDISTURBED)


# Ctrl-C

GRID = """
[[quick]]
dataset = "digits"
width = 20
max_steps = [12, 13, 10_000_000, 10_000_001]
"""


@pytest.fixture
def grid_of_two_short_and_two_long(tmp_path):
    (tmp_path / "grid.toml").write_text(GRID)
    return ["sweep", str(tmp_path / "grid.toml"), "--store", str(tmp_path / "store")]


def assert_stopped_well(said, folder):
    """One sentence, and what was finished is there and is not done again."""
    assert said == f"heavytail: stopped; what was done is in {folder}, run the same again to go on\n"
    before = rows_of(folder)
    done = grid(dataset="digits", width=20, max_steps=[12, 13])
    assert len(sweep(done, store=folder, progress=False).table) == len(before) == 2
    assert rows_of(folder) == before


def test_ctrl_c_ends_the_command_in_one_sentence(forked, grid_of_two_short_and_two_long, tmp_path, tried):
    child = forked.Process(target=the_command, args=(grid_of_two_short_and_two_long, tmp_path / "said"))
    child.start()
    folder = tmp_path / "store"
    wait_for(lambda: folder.exists() and len(rows_of(folder)) == 2)
    os.kill(child.pid, signal.SIGINT)
    assert ended(child) == 130
    assert_stopped_well((tmp_path / "said").read_text(), folder)
    tried(KILLS, ONE_SENTENCE)


def test_ctrl_c_in_a_terminal_ends_the_command_and_all_its_workers(grid_of_two_short_and_two_long, tmp_path, tried):
    folder = tmp_path / "store"
    command = [sys.executable, "-m", "heavytail", *grid_of_two_short_and_two_long, "--workers", "2"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    # Python's own handler of Ctrl-C is not set up where the parent ignores the signal, as a background job does.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    process = subprocess.Popen(command, env=environment, start_new_session=True, **pipes)
    signal.signal(signal.SIGINT, before)
    try:
        wait_for(lambda: folder.exists() and len(rows_of(folder)) == 2)
        os.killpg(process.pid, signal.SIGINT)  # as a terminal does: to every process of the command
        printed, said = process.communicate(timeout=PATIENCE)
        assert (process.returncode, printed) == (130, "")
        wait_for(lambda: not group_is_there(process.pid))
    finally:
        if group_is_there(process.pid):
            os.killpg(process.pid, signal.SIGKILL)
    assert_stopped_well(said, folder)
    tried(KILLS, ONE_SENTENCE)


def group_is_there(number):
    try:
        os.killpg(number, 0)
    except ProcessLookupError:
        return False
    return True
