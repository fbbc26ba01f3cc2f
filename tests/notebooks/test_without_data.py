"""The book without a network and without data: a chapter says so, and trains on what ships with the package."""

from __future__ import annotations

from pathlib import Path

import pytest

from heavytail.book import page, traces
from heavytail.book.run import run_one

nbformat = pytest.importorskip("nbformat")
pytestmark = pytest.mark.long


def text_of(notebook: Path) -> str:
    outputs = [output for cell in nbformat.read(notebook, 4).cells for output in cell.get("outputs", [])]
    return "\n".join(str(output.get("data", output.get("text", ""))) for output in outputs)


# What a chapter trains on, the file that it must name, and neurons enough to run.
WANTS = {
    "ecg5000": ("ecg5000", "ECG5000_TRAIN", 8),
    "mnist": ("mnist", "train-images-idx3-ubyte", 8),
    "cifar": ("cifar10", "cifar-10-batches-py", 8),
    "heavy_tail": ("mnist", "train-images-idx3-ubyte", 8),
    "deeper": ("mnist", "train-images-idx3-ubyte", 8),
    "noise_types": ("mnist", "train-images-idx3-ubyte", 8),
    "width": ("ecg5000", "ECG5000_TRAIN", 8),
    "shipping": ("ecg5000", "ECG5000_TRAIN", 8),
    "vgg": ("cifar10", "cifar-10-batches-py", 2),
}


# Each is half a minute: here the three that differ in how they fall back, in `make slow` the rest.
FAST = ("ecg5000", "mnist", "vgg")


@pytest.mark.parametrize("name", [pytest.param(n, marks=() if n in FAST else pytest.mark.slow) for n in WANTS])
def test_a_chapter_without_its_data_says_so_and_trains_on_digits(name, tmp_path, monkeypatch):
    data, file, width = WANTS[name]
    empty = tmp_path / "data"
    empty.mkdir()
    monkeypatch.setenv("HEAVYTAIL_DATA", str(empty))
    for variable in ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY"):
        monkeypatch.setenv(variable, "http://127.0.0.1:9")  # nobody listens there: no network
    shown = text_of(run_one(name, tmp_path / f"{name}.ipynb", {"width": width, "seed": 1}))
    assert f"{data} could not be had" in shown
    assert file in shown, "it must name the file to put there"
    assert "HEAVYTAIL_DATA" in shown
    assert traces.first(shown, traces.paths(page.project_root())) is None, "a page is for others"
    assert "rained for this page: digits" in shown
    assert "ommitted table" in shown
