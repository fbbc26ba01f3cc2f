"""The built book, and all that it was built from, says nothing of the machine that it was made on."""

from __future__ import annotations

from pathlib import Path

import pytest

from heavytail.book import traces

from .conftest import HTML, ROOT

pytestmark = pytest.mark.pages

KINDS = {".html", ".js", ".ipynb", ".svg", ".json", ".css", ".inv", ".md", ".txt", ".xml"}


def held(files: list[Path], known: dict[str, str]) -> list[tuple[str, str]]:
    """Files that hold a trace, and what it is."""
    looked = [(path, traces.first(path.read_text("utf-8", errors="replace"), known)) for path in files]
    return [(path.name, what) for path, what in looked if what]


def files(folder: Path) -> list[Path]:
    return [path for path in sorted(folder.rglob("*")) if path.suffix in KINDS and path.is_file()]


def test_no_file_of_the_book_holds_a_path_of_this_machine(elsewhere):
    every = files(elsewhere)
    assert len(every) > 100
    assert elsewhere / "heavytail-book.html" in every
    assert held(every, traces.paths(ROOT)) == []


def test_no_page_names_this_user_or_this_machine(elsewhere):
    own = [path for path in files(elsewhere) if "_static" not in path.relative_to(elsewhere).parts]  # others wrote that
    assert held(own, traces.names(ROOT)) == []


def test_no_executed_notebook_holds_a_path_or_a_name(elsewhere):
    notebooks = sorted((ROOT / "_build" / "chapters" / "quick").glob("*.ipynb"))
    notebooks = [path for path in notebooks if not path.name.endswith(".failed.ipynb")]
    assert len(notebooks) > 10
    assert held(notebooks, traces.paths(ROOT) | traces.names(ROOT)) == []


def test_what_a_page_holds_is_found(elsewhere, tmp_path):
    page = tmp_path / "index.html"
    page.write_text((elsewhere / "book" / "index.html").read_text("utf-8") + f"<!-- {HTML} -->", "utf-8")
    assert held(files(tmp_path), traces.paths(ROOT)) == [("index.html", "the project's folder")]
