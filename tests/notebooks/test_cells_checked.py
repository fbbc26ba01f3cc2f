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


def complaints(text: str, folder: Path) -> str:
    """What the linter says of the code cells of a page; empty if nothing."""
    notebook = folder / "page.ipynb"
    jupytext.write(jupytext.reads(text, "md:myst"), notebook)
    rules = ["--isolated", "--no-cache", "--select=F", "--output-format=concise"]
    done = subprocess.run(
        [sys.executable, "-m", "ruff", "check", *rules, str(notebook)], capture_output=True, text=True
    )
    return done.stdout + done.stderr if done.returncode else ""


@pytest.mark.parametrize("source", PAGES, ids=lambda path: path.stem)
def test_the_code_of_a_page_is_clean(source, tmp_path):
    assert complaints(source.read_text("utf-8"), tmp_path) == ""


@pytest.mark.parametrize(
    ("planted", "seen"),
    [("import torch", "`torch` imported but unused"), ("print(nowhere)", "Undefined name `nowhere`")],
)
def test_a_fault_in_a_page_is_seen(planted, seen, tmp_path):
    text = (page.project_root() / "book" / "mnist.md").read_text("utf-8")
    assert seen in complaints(f"{text}\n```{{code-cell}} python\n{planted}\n```\n", tmp_path)
