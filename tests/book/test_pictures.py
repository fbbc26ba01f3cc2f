"""Figures of a notebook as files, and what stands in their places on its page."""

from __future__ import annotations

import nbformat
import pytest
from bs4 import BeautifulSoup
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output

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


def test_figures_are_numbered_and_their_captions_and_the_text_lead_to_them():
    text = new_markdown_cell("Before [](#figure-last).")
    drawn = cell("A", **{"text/html": pictures.html("page-1", {"": SVG}, "A")})
    table = cell("", **{"text/html": "<table></table>"})
    piece = cell("", **{"text/html": '<link href="a.css">\n<section class="dots">', "text/plain": "<Html>"})
    piece.metadata["name"] = "last"
    captions = [new_markdown_cell("A *dot* is a network."), new_markdown_cell("See [](#figure-last), [here](#other).")]
    cells = [text, drawn, captions[0], table, new_markdown_cell("Plain."), piece, captions[1]]
    pictures.numbered(new_notebook(cells=cells), "page")
    first, second = (f'<a href="#figure-page-{number}">Figure {number}</a>' for number in (1, 2))
    assert text.source == f"Before {second}."
    assert captions[0].source == f"{first}. A *dot* is a network."
    assert captions[1].source == f"{second}. See {second}, [here](#other)."
    starts = [one.outputs[0].data["text/html"].partition("</div>")[0] for one in (drawn, table, piece)]
    assert starts == ['<div id="figure-page-1">', "<table></table>", '<div id="figure-page-2">']
    assert cells[4].source == "Plain."


def test_a_link_to_a_figure_that_is_not_there_is_refused():
    with pytest.raises(ValueError, match="page: no cell with a figure has the name gone"):
        pictures.numbered(
            new_notebook(cells=[cell("", **{"text/html": "1"}), new_markdown_cell("[](#figure-gone)")]), "page"
        )
