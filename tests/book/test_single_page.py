"""A book in one file: everything inside, nothing asked for."""

from __future__ import annotations

import base64

import pytest
from bs4 import BeautifulSoup

from heavytail.book import single_page

PAGE = """<html><head><link rel="stylesheet" href="../_static/a.css?v=1"><link rel="icon" href="../_static/a.svg">
<script src="../_static/a.js"></script><script>theme()</script></head><body>
<div class="bd-sidebar-primary bd-sidebar">elsewhere</div>
<span id="document-book/two"></span><h1 id="top">One</h1><img src="_images/a.svg" alt="A">
<a href="two.html#a">two</a> <a href="../book/index.html#top">up</a>
<a href="gone.html">gone</a> <a href="https://a.org/#b">out</a>
<div class="cell_output"><script>1 + 1</script><script src="../_static/a.js"></script></div>
<picture class="drawn light"><source srcset="a-narrow.svg"><img src="../_static/a.svg" alt="B"></picture>
<picture class="drawn dark"><source srcset="a-narrow-dark.svg"><img src="../_static/a-dark.svg" alt="B"></picture>
<p>\\(x\\)</p></body></html>"""


@pytest.fixture
def folder(tmp_path):
    for name, text in {
        "book/index.html": PAGE,
        "_static/a.css": '@import url("b.css"); @font-face { src: url(a.woff) }',
        "_static/b.css": "p { color: red }",
        "_static/a.svg": "<svg/>",
        "_static/a.js": "alert(1)",
        "_images/a.svg": "<svg>\u03b1</svg>",
        single_page.FORMULAS: "set('</script>')",
    }.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text, "utf-8")
    return tmp_path


def test_pictures_styles_and_formulas_are_inside_and_nothing_is_loaded(folder):
    page = BeautifulSoup(single_page.of(folder), "html.parser")
    kind, _, data = page.img["src"].partition(";base64,")
    assert kind == "data:image/svg+xml"
    assert base64.b64decode(data).decode() == "<svg>\u03b1</svg>"
    assert page.style.get_text().split() == ["p", "{", "color:", "red", "}"]
    own, formulas = ["1 + 1", "alert(1)"], "set('<\\/script>')"
    assert [script.get_text() for script in page.find_all("script")] == [*own, formulas]
    assert page.find_all("link") == page.find_all(src=lambda src: src and not src.startswith("data:")) == []
    assert "elsewhere" not in page.get_text()
    assert page.find_all("source") == []  # its figures are those for wide and light pages
    assert [image["alt"] for image in page.find_all("img")] == ["A", "B"]


def test_links_between_chapters_lead_to_places_in_the_file(folder):
    page = BeautifulSoup(single_page.of(folder), "html.parser")
    assert [link["href"] for link in page.find_all("a")] == ["#document-book/two", "#top", "#", "https://a.org/#b"]


def test_a_folder_of_many_pages_is_refused(folder):
    (folder / "book" / "two.html").write_text("", "utf-8")
    with pytest.raises(ValueError, match="too many"):
        single_page.of(folder)
