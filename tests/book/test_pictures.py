"""Figures of a notebook as files, and what stands in their places on its page."""

from __future__ import annotations

import nbformat
from bs4 import BeautifulSoup
from nbformat.v4 import new_code_cell, new_notebook, new_output

from heavytail.book import dark, pictures
from heavytail.book.figures.layouts import NARROW_TYPE, WIDE_TYPE

SVG = '<svg xmlns:xlink="x" width="576pt"\n height="230.4pt">\n<path style="fill: #262626"/>{}</svg>'


def cell(alt, **data):
    output = new_output("display_data", {"text/plain": "<Figure>", **data})
    return new_code_cell("draw()", outputs=[output], metadata={"mystnb": {"image": {"alt": alt}}})


def test_a_figure_is_a_picture_for_each_theme_and_a_file_for_each_of_its_layouts():
    wide, narrow, other = SVG.format("wide"), SVG.format("narrow").replace("576", "250"), SVG.format("other")
    cells = [
        cell('A "dot"', **{WIDE_TYPE: wide, NARROW_TYPE: narrow}),
        new_code_cell("1"),
        cell("B", **{WIDE_TYPE: other}),
    ]
    notebook = new_notebook(cells=cells)
    files = pictures.taken_out(notebook, "page")
    nbformat.validate(notebook)
    light = {"page-1.svg": wide, "page-1-narrow.svg": narrow, "page-2.svg": other}
    assert files == light | {name.replace(".svg", "-dark.svg"): dark.figure(text) for name, text in light.items()}

    first, second = (cell.outputs[0].data for cell in (notebook.cells[0], notebook.cells[2]))
    assert first.keys() == {"text/plain", "text/html"}
    page = BeautifulSoup(first["text/html"] + second["text/html"], "html.parser")
    assert [tag["alt"] for tag in page.select("img")] == ['A "dot"'] * 2 + ["B"] * 2
    theirs = [
        tag[key].removeprefix("../_static/figures/")
        for tag in page.select("source, img")
        for key in ("srcset", "src")
        if tag.get(key)
    ]
    assert set(theirs) == files.keys()
    assert [("dark" in tag["class"], "stacks" in tag["class"]) for tag in page.select("picture")] == [
        (False, True), (True, True), (False, False), (True, False),
    ]  # fmt: skip
    for picture in page.select("picture"):
        assert all("-dark" in str(tag) for tag in picture.select("source, img")) == ("dark" in picture["class"])
    image, source = page.select_one("img"), page.select_one("source")
    assert (image["width"], image["height"], source["width"]) == ("768", "307", "333")
    assert source["media"].startswith("screen")  # paper has room for the wide one


def test_other_outputs_stay_as_they_are():
    notebook = new_notebook(cells=[cell("", **{"text/html": "<p>1</p>"}), cell("", **{"image/png": "AAAA"})])
    before = nbformat.writes(notebook)
    assert pictures.taken_out(notebook, "page") == {}
    assert nbformat.writes(notebook) == before
