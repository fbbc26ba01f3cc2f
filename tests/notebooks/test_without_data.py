"""The book without a network and without data: a chapter says so, and trains on what ships with the package."""

from __future__ import annotations

from pathlib import Path

import pytest

from heavytail import chapters

nbformat = pytest.importorskip("nbformat")


def text_of(notebook: Path) -> str:
    outputs = [output for cell in nbformat.read(notebook, 4).cells for output in cell.get("outputs", [])]
    return "\n".join(str(output.get("data", output.get("text", ""))) for output in outputs)


def test_the_ecg_chapter_without_ecg_data_says_so_and_trains_on_digits(tmp_path, monkeypatch):
    empty = tmp_path / "data"
    empty.mkdir()
    monkeypatch.setenv("HEAVYTAIL_DATA", str(empty))
    for name in ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")  # nobody listens there: no network
    made = chapters.run_one("ecg5000", tmp_path / "ecg5000.ipynb", {"width": 8, "seed": 1})
    shown = text_of(made)
    assert "ECG5000 could not be had" in shown
    assert "ECG5000_TRAIN" in shown, "it must name the file to put there"
    assert "Trained for this page: digits" in shown
    assert "Committed table" in shown
