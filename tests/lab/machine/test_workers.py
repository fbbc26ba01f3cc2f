"""Worker processes: none for one, Ctrl-C left to their parent. How they end is in test_sweeps_killed."""

from __future__ import annotations

import errno
import multiprocessing
import signal
import subprocess
import sys

import pytest
from sweep_children import children, wait_for

from heavytail.lab.machine import workers
from heavytail.lab.machine.workers import processes


def test_one_worker_is_no_executor():
    with processes(1) as executor:
        assert executor is None


@pytest.mark.parametrize("count", [-1, 0, 1025, 10**11])
def test_fewer_workers_than_one_or_far_too_many_are_refused(count):
    with pytest.raises(ValueError, match=f"workers must be 1 to 1024, got {count}:"), processes(count):
        pass


@pytest.mark.long
def test_workers_ignore_ctrl_c_their_starter_does_not_and_none_is_left():
    children()  # where workers come from, in a moment
    before, there = signal.getsignal(signal.SIGINT), set(multiprocessing.active_children())
    with processes(2) as executor:
        assert executor.submit(signal.getsignal, signal.SIGINT).result() == signal.SIG_IGN
        assert signal.getsignal(signal.SIGINT) == before
    assert set(multiprocessing.active_children()) <= there


def begin_and_fail(executor):
    forever = executor.submit(signal.pause)
    wait_for(forever.running)
    raise KeyError


@pytest.mark.long
def test_workers_end_at_once_with_an_exception():
    children()
    there = set(multiprocessing.active_children())
    with pytest.raises(KeyError), processes(2) as executor:
        begin_and_fail(executor)
    assert set(multiprocessing.active_children()) <= there


@pytest.mark.parametrize("method", ["forkserver", "spawn"])
@pytest.mark.long
def test_a_script_without_main_guard_ends_with_one_sentence(tmp_path, method):
    script = tmp_path / "script.py"
    script.write_text(
        "import multiprocessing\n"
        "from heavytail.lab.machine import workers\n"
        f"workers._context = lambda *_: multiprocessing.get_context({method!r})\n"
        "with workers.processes(2) as executor:\n"
        "    print(executor.submit(abs, -1).result())\n"
    )
    done = subprocess.run([sys.executable, script], capture_output=True, text=True, timeout=120)
    assert done.returncode == 1
    assert done.stdout == ""
    assert done.stderr.count("Traceback") == 1
    assert done.stderr.splitlines()[-1].startswith("RuntimeError: no worker process started: a script that starts")


@pytest.mark.parametrize("count", ["2", None, 1.5, True])
def test_a_count_that_is_no_whole_number_is_refused(count):
    with pytest.raises(ValueError, match=f"workers must be 1 to 1024, got {count!r}:"), processes(count):
        pass


@pytest.mark.parametrize("place", ["_context", "_start"])
def test_no_worker_for_want_of_files_says_so_and_not_that_the_folder_is_wrong(place, monkeypatch):
    def short(*_):
        raise OSError(errno.EMFILE, "Too many open files")

    monkeypatch.setattr(workers, place, short)
    with pytest.raises(RuntimeError, match=r"started \(Too many open files\): ask for fewer"), workers.processes(2):
        pass
