"""The book as a PDF: there where a browser prints it, said where none can, and never half a file."""

from __future__ import annotations

import pytest

from heavytail.book import pdf
from heavytail.book.__main__ import main

PRINTS = 'for word; do case "$word" in --print-to-pdf=*) printf {} > "${{word#*=}}";; esac; done; exit {}'


@pytest.mark.parametrize(
    ("content", "status", "said"),
    [("%%PDF-1.4", 0, "printed in"), ("%%PDF-1.4", 1, "could not print"), ("nothing", 0, "could not print")],
)
def test_a_pdf_lies_beside_the_page_only_where_it_was_printed(tmp_path, monkeypatch, content, status, said):
    program, page = tmp_path / "browser", tmp_path / "book.html"
    program.write_text("#!/bin/sh\n" + PRINTS.format(content, status))
    program.chmod(0o755)
    page.write_text("<p>All.</p>")
    monkeypatch.setenv("CHROMIUM", str(program))
    assert said in pdf.beside(page)
    assert (tmp_path / pdf.NAME).exists() == (said == "printed in")


def test_without_a_browser_it_is_said_and_nothing_fails(tmp_path, monkeypatch):
    monkeypatch.delenv("CHROMIUM", raising=False)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert "no Chromium here" in pdf.beside(tmp_path / "book.html")
    monkeypatch.setenv("CHROMIUM", str(tmp_path / "gone"))
    assert "could not print" in pdf.beside(tmp_path / "book.html")


def test_make_is_told_the_program_or_that_there_is_none(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("CHROMIUM", "/a/browser")
    assert (main(["browser"]), capsys.readouterr().out) == (0, "/a/browser\n")
    monkeypatch.delenv("CHROMIUM")
    monkeypatch.setenv("PATH", str(tmp_path))
    assert (main(["browser"]), capsys.readouterr().out) == (1, "")
