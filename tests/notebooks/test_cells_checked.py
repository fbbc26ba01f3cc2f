"""The code of the pages, checked as the package's is: no unused import, no name that nobody defines."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from heavytail.book import page

jupytext = pytest.importorskip("jupytext")
PAGES = [
    path for path in sorted((page.project_root() / "book").glob("*.md")) if "{code-cell}" in path.read_text("utf-8")
]


def shown(cell: object) -> bool:
    """Whether a reader sees the code of a cell and may copy it, the checks of the page itself left out."""
    tags = cell.metadata.get("tags", [])
    if cell.cell_type != "code" or {"remove-cell", "remove-input"} & set(tags):
        return False
    return "hide-input" not in tags or "parameters" in tags or "assert " not in cell.source


def complaints(text: str, folder: Path, *, shown_alone: bool = False) -> str:
    """What the linter says of the code cells of a page, all of them or those that are shown; empty if nothing."""
    notebook = folder / "page.ipynb"
    read = jupytext.reads(text, "md:myst")
    if shown_alone:
        read.cells = [cell for cell in read.cells if shown(cell)]
    jupytext.write(read, notebook)
    rules = ["--isolated", "--no-cache", f"--select={'F821' if shown_alone else 'F'}", "--output-format=concise"]
    done = subprocess.run(
        [sys.executable, "-m", "ruff", "check", *rules, str(notebook)], capture_output=True, text=True
    )
    return done.stdout + done.stderr if done.returncode else ""


@pytest.mark.parametrize("source", PAGES, ids=lambda path: path.stem)
def test_the_code_of_a_page_is_clean(source, tmp_path):
    assert complaints(source.read_text("utf-8"), tmp_path) == ""


@pytest.mark.parametrize("source", PAGES, ids=lambda path: path.stem)
def test_what_is_shown_of_a_page_needs_no_cell_that_is_not(source, tmp_path):
    assert complaints(source.read_text("utf-8"), tmp_path, shown_alone=True) == ""


def test_a_shown_cell_that_needs_a_hidden_one_is_seen(tmp_path):
    cell = "```{{code-cell}} python\n:tags: [{}]\n{}\n```\n"
    hidden, check = cell.format("remove-cell", "low = 1"), cell.format("hide-input", "assert low < 2")
    assert complaints(hidden + check, tmp_path, shown_alone=True) == ""
    assert "Undefined name `low`" in complaints(
        hidden + cell.format("hide-cell", "low + 1"), tmp_path, shown_alone=True
    )


@pytest.mark.parametrize(
    ("planted", "seen"),
    [("import torch", "`torch` imported but unused"), ("print(nowhere)", "Undefined name `nowhere`")],
)
def test_a_fault_in_a_page_is_seen(planted, seen, tmp_path):
    text = (page.project_root() / "book" / "mnist.md").read_text("utf-8")
    assert seen in complaints(f"{text}\n```{{code-cell}} python\n{planted}\n```\n", tmp_path)
