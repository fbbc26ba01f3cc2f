"""Real data for the tests that ask for it by `@pytest.mark.needs_data(name)`; without it they skip."""

from __future__ import annotations

import functools
import gc
import os
import subprocess
import sys
from collections.abc import Iterator
from multiprocessing import forkserver
from pathlib import Path

import lean_interpreter
import pytest
import torch
from fault_counts import pytest_terminal_summary, tried

try:
    from hypothesis import HealthCheck, settings
except ModuleNotFoundError:  # as where `make gpu` finds few packages: its tests skip, and those beside them run
    import without_hypothesis

    sys.modules["hypothesis"] = without_hypothesis  # type: ignore[assignment]
    sys.modules["hypothesis.strategies"] = without_hypothesis.strategies  # type: ignore[assignment]
    from without_hypothesis import HealthCheck, settings  # type: ignore[assignment]

from samplers import CPU, Sampler

from heavytail.lab import datasets
from heavytail.lab.machine import threads

__all__ = ["pytest_terminal_summary", "tried"]  # a hook and a fixture

ROOT = Path(__file__).resolve().parents[1]
# A folder of packed data sets with its own unpack.py, in the project or beside it.
PACKED = [folder for folder in (ROOT / "shared/data", ROOT.parent / "shared/data") if (folder / "unpack.py").is_file()]

# The same examples in every run, and no limit that a busy machine could break.
settings.register_profile("steady", derandomize=True, deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("steady")

# Thousands of tests are there to the end. To look for cycles among them as often as Python does takes a tenth of the
# time.
gc.set_threshold(10_000, 10, 10)


def pytest_collection_finish() -> None:
    """What is there now is not looked through again, neither for cycles nor by the interpreter of kernels."""
    lean_interpreter.make()
    gc.collect()
    gc.freeze()


def pytest_configure(config: pytest.Config) -> None:
    if not torch.cuda.is_available():
        os.environ.setdefault("TRITON_INTERPRET", "1")  # read where a kernel is defined
    if hasattr(config, "workerinput"):  # one of several processes, which share the cores
        torch.set_num_threads(1)
    if PACKED and not os.environ.get("HEAVYTAIL_DATA"):
        unpacked = ROOT / "_build" / "data"
        subprocess.run([sys.executable, PACKED[0] / "unpack.py", unpacked], check=True)  # leaves what is there alone
        os.environ["HEAVYTAIL_DATA"] = str(unpacked)


def pytest_runtest_setup(item: pytest.Item) -> None:
    if item.get_closest_marker("needs_cuda") and not torch.cuda.is_available():
        pytest.skip("needs a CUDA device")
    for marker in item.iter_markers("needs_data"):
        if datasets.find(marker.args[0]) is None:
            pytest.skip(f"needs {marker.args[0]} in {datasets.folder()}")


@pytest.fixture(scope="module", autouse=True)
def fork_server_of_its_own() -> Iterator[None]:
    """The parent of forked workers keeps the folder that it was started in, which a module may have made for itself."""
    yield
    forkserver._forkserver._stop()  # nothing to do if there is none


@pytest.fixture(scope="module")
def one_thread() -> Iterator[None]:
    """Sums over threads may differ in the last bit."""
    with threads.using(1):
        yield


@pytest.fixture(scope="session")
def onnx_operators_read_once() -> Iterator[None]:
    """Torch's exporter parses the source of all operators of ONNX anew at every call: half of the time of an export."""
    try:
        from onnxscript._framework_apis import torch_2_5 as operators
    except ImportError:  # another version, or none
        yield
        return
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(operators, "get_torchlib_ops", functools.cache(operators.get_torchlib_ops))
        yield


@pytest.fixture(scope="session")
def packed() -> Path:
    """The folder of packed data sets as they are published."""
    if not PACKED:
        pytest.skip("needs a folder shared/data with packed data sets")
    return PACKED[0]


@pytest.fixture
def sampler() -> Sampler:
    """Who draws where a law is tested: the CPU, but in `test_gpu_laws.py`."""
    return CPU


@pytest.fixture
def book_style() -> Iterator[None]:
    """Plots in the style of the book, and none left open."""
    import matplotlib as mpl
    from matplotlib import pyplot as plt

    from heavytail.book import figures

    with mpl.rc_context():
        figures.style()
        yield
    plt.close("all")
