"""How many runs are trained at once follows the memory there is."""

from __future__ import annotations

import pytest
import torch

from heavytail import Run
from heavytail.lab import queue
from heavytail.lab.bench.stage import ECG5000
from heavytail.lab.machine import devices, threads

CPU = torch.device("cpu")


def test_some_memory_is_free():
    assert devices.available(CPU) > 2**20


@pytest.mark.parametrize(("free", "expected"), [(0, 1), (7_000_000, 1), (16_000_000, 2), (10**12, 3)])
def test_a_core_has_a_run_unless_memory_is_short(monkeypatch, free, expected):
    """A run of 2000 neurons on 500 samples takes 6.3 MB; there are three threads."""
    monkeypatch.setattr(devices, "available", lambda device: free)
    with threads.using(3):
        assert queue._at_once(Run(dataset="ecg5000", width=2000, lr=1e-3, max_steps=1), ECG5000.data()) == expected


def test_only_errors_of_memory_say_that_it_ran_out():
    assert devices.ran_out(MemoryError())
    assert devices.ran_out(torch.OutOfMemoryError("CUDA out of memory"))
    assert devices.ran_out(RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 8 bytes"))
    assert not devices.ran_out(RuntimeError("mat1 and mat2 shapes cannot be multiplied"))
