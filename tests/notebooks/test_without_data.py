"""The book needs no data: results are drawn from committed tables, and what is trained live ships with the package."""

from __future__ import annotations

import re

import pytest

from heavytail.book import page
from heavytail.book.run import run_one

nbformat = pytest.importorskip("nbformat")

CHAPTERS = [name for name in page.pages(page.project_root()) if page.has_code(page.read(name))]
TRAINS = re.compile(r"\btrain\(")


def cells(chapter):
    return "\n".join(cell.source for cell in page.read(chapter).cells if cell.cell_type == "code")


def test_one_chapter_trains():
    """Another that does needs a run without data as well, below."""
    assert [chapter.stem for chapter in CHAPTERS if TRAINS.search(cells(chapter))] == ["story"]


@pytest.mark.parametrize("chapter", CHAPTERS, ids=lambda chapter: chapter.stem)
def test_no_chapter_reads_data(chapter):
    assert "datasets" not in cells(chapter), "draw from a committed table, or train on the digits"


@pytest.mark.long
def test_the_chapter_that_trains_needs_neither_data_nor_a_network(tmp_path, monkeypatch):
    monkeypatch.setenv("HEAVYTAIL_DATA", str(tmp_path))
    for variable in ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY"):
        monkeypatch.setenv(variable, "http://127.0.0.1:9")  # nobody listens there: no network
    small = {"width": 100}  # a fifth of the neurons that the book has, and half of the time
    notebook = nbformat.read(run_one("story", tmp_path / "story.ipynb", small), 4)
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", [])]
    assert sum("image/svg+xml" in output.get("data", {}) for output in outputs) == 3
