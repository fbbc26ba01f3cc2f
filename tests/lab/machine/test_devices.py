"""How many runs are trained at once follows the memory there is."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import replace

import pytest
import torch

from heavytail import Run
from heavytail.lab import queue, trainer
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


class OnAGpu(list):
    """Samples that say that they lie on a GPU."""

    device = torch.device("cuda")


def test_what_torch_keeps_of_tensors_that_are_gone_is_free_on_a_gpu(monkeypatch):
    """Or the runs after a large group would go a few at a time: it has ended, and its memory is torch's still."""
    whole, held, kept = 10**9, 10**8, []
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (whole - held - sum(kept), whole))
    monkeypatch.setattr(torch.cuda, "memory_reserved", lambda device: held + sum(kept))
    monkeypatch.setattr(torch.cuda, "memory_allocated", lambda device: held)
    data, run = ECG5000.data(), Run(dataset="ecg5000", width=2000, lr=1e-3, max_steps=1)
    placed = replace(data, x_train=OnAGpu(data.x_train))
    before = queue._at_once(run, placed)
    assert before > 10
    kept.append(8 * 10**8)
    assert devices.available(OnAGpu.device) == whole - held
    assert queue._at_once(run, placed) == before


def test_only_errors_of_memory_say_that_it_ran_out():
    assert devices.ran_out(MemoryError())
    assert devices.ran_out(torch.OutOfMemoryError("CUDA out of memory"))
    assert devices.ran_out(RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 8 bytes"))
    assert not devices.ran_out(RuntimeError("mat1 and mat2 shapes cannot be multiplied"))


MORE = "\nCUDA kernel errors might be asynchronously reported at some other API call"


@pytest.mark.parametrize(
    ("error", "memory", "broken"),
    [
        (torch.AcceleratorError(f"CUDA error: out of memory{MORE}"), True, False),
        (torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB"), True, False),
        (RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"), True, False),
        (RuntimeError("cuDNN error: CUDNN_STATUS_ALLOC_FAILED"), True, False),
        (torch.AcceleratorError(f"CUDA error: operation not permitted when stream is capturing{MORE}"), False, False),
        (torch.AcceleratorError("CUDA error: operation failed due to a previous error during capture"), False, False),
        (torch.AcceleratorError("CUDA error: dependency created on uncaptured work in another stream"), False, False),
        (torch.AcceleratorError(f"CUDA error: device-side assert triggered{MORE}"), False, True),
        (torch.AcceleratorError("CUDA error: an illegal memory access was encountered"), False, True),
        (RuntimeError("expected scalar type Float but found Half"), False, False),
    ],
    ids=range(10),
)
def test_a_device_is_broken_by_what_it_cannot_go_on_from_and_by_nothing_else(error, memory, broken):
    assert (devices.ran_out(error), devices.broke(error)) == (memory, broken)


def precisions():
    return torch.backends.cuda.matmul.fp32_precision, torch.backends.cudnn.conv.fp32_precision


def test_a_gpu_rounds_no_factor_unless_asked_and_is_left_as_it_was():
    """Torch's convolutions do by default. The settings are there without a GPU too."""
    before = precisions()
    for kind, wanted in (("float32", "ieee"), ("bfloat16", "ieee"), ("tf32", "tf32")):
        with devices.products(kind, torch.device("cuda")):
            assert precisions() == (wanted, wanted)
        assert precisions() == before
    with pytest.raises(ValueError, match="ours"), devices.products("tf32", torch.device("cuda")):
        raise ValueError("ours")
    assert precisions() == before
    with devices.products("tf32", CPU):
        assert precisions() == before


@pytest.mark.parametrize("products", ["float32", "tf32"])
def test_runs_are_trained_in_the_products_that_they_name(products, monkeypatch):
    """On the CPU, which takes float32 for TF32."""
    asked = []

    @contextmanager
    def spy(kind, device):
        asked.append((kind, device.type))
        yield

    monkeypatch.setattr(devices, "products", spy)
    run = Run(dataset="digits", width=5, lr=0.1, max_steps=3, products=products)
    weights = trainer.train(run, progress=False).weights(run)
    assert set(asked) == {(products, "cpu")}
    plain = replace(run, products="float32")
    assert torch.equal(weights["1.weight"], trainer.train(plain, progress=False).weights(plain)["1.weight"])
