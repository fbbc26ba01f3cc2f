"""Parts on threads: every part once, in order, one torch thread each, errors not lost."""

from __future__ import annotations

import os
import re
import threading
from contextlib import contextmanager
from pathlib import Path

import pytest
import torch

from heavytail.lab.machine import threads

CPU = torch.device("cpu")


@pytest.fixture(autouse=True, params=[1, 2, 3])
def count(request):
    with threads.using(request.param):
        yield request.param


@pytest.mark.parametrize("parts", [0, 1, 2, 7])
def test_every_part_is_done_once_and_in_order(parts):
    called = []
    assert threads.each(lambda part: called.append(part) or part**2, range(parts), CPU) == [k**2 for k in range(parts)]
    assert sorted(called) == list(range(parts))


def test_a_part_has_one_torch_thread_and_the_caller_its_own_number_again(count):
    assert set(threads.each(lambda _: torch.get_num_threads(), range(6), CPU)) == {1}
    assert torch.get_num_threads() == count


@pytest.fixture
def helpers_alone(monkeypatch, count):
    """New helper threads, and a caller that turns to the parts when those have done them all."""
    all_done, one_thread = threading.Event(), threads._one_thread

    @contextmanager
    def late():
        assert count == 1 or all_done.wait(30)  # one thread has no helpers
        with one_thread():
            yield

    monkeypatch.setattr(threads, "_one_thread", late)

    def each(do, parts):
        threads._pool.cache_clear()
        left = list(range(parts))

        def last(part):
            result = do(part)
            left.pop()
            if not left:
                all_done.set()
            return result

        return threads.each(last, range(parts), CPU)

    yield each
    threads._pool.cache_clear()


def test_a_helper_has_one_torch_thread_also_where_its_part_is_its_first_use_of_torch(helpers_alone):
    """Torch sets a thread's count at its first use, to what was set last anywhere: here to the caller's."""

    def counts(_):
        told = torch.__config__.parallel_info()  # asks OpenMP and MKL themselves
        return {
            int(count) for count in re.findall(r"(?:at::get_num|omp_get_max|mkl_get_max)_threads\(\) : (\d+)", told)
        }

    assert helpers_alone(counts, 6) == [{1}] * 6


@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="needs a system that lists a process's threads")
def test_a_helper_starts_no_thread_of_its_own_for_a_large_operation(helpers_alone):
    def started(_):
        before = set(os.listdir("/proc/self/task"))
        torch.ones(2**21).exp()  # torch divides what has more than 2^15 entries
        return set(os.listdir("/proc/self/task")) - before

    assert helpers_alone(started, 2) == [set()] * 2


def test_parts_run_at_the_same_time_on_as_many_threads_as_there_are(count):
    together = threading.Barrier(count, timeout=30)  # passes only if `count` parts are under way at once
    names = set(threads.each(lambda _: (together.wait(), threading.current_thread().name)[1], range(count), CPU))
    assert len(names) == count


def test_parts_of_a_part_stay_on_its_thread():
    def inner(_):
        return threading.current_thread().name

    found = threads.each(lambda _: {inner(0), *threads.each(inner, range(5), CPU)}, range(4), CPU)
    assert all(len(names) == 1 for names in found)


@pytest.mark.parametrize("bad", [0, 3])
def test_what_a_part_raises_reaches_the_caller_and_the_next_call_works(bad, count):
    def do(part):
        if part == bad:
            raise ValueError(f"part {part}")
        return part

    with pytest.raises(ValueError, match=f"part {bad}"):
        threads.each(do, range(4), CPU)
    assert torch.get_num_threads() == count
    assert threads.each(abs, range(4), CPU) == [0, 1, 2, 3]


def test_scratch_belongs_to_its_thread_and_grows():
    small = threads.scratch(2, 3, like=torch.empty(0))
    assert small.shape == (2, 3)
    assert threads.scratch(3, 2, like=torch.empty(0)).data_ptr() == small.data_ptr()
    assert threads.scratch(50, 50, like=torch.empty(0)).numel() == 2500
    other = []
    thread = threading.Thread(target=lambda: other.append(threads.scratch(2, 3, like=torch.empty(0))))
    thread.start()
    thread.join()
    assert other[0].data_ptr() != threads.scratch(2, 3, like=torch.empty(0)).data_ptr()
