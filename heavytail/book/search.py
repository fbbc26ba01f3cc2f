"""The index of the book's search: every section of every page in plain text, in a script that only its page loads.

Sphinx's own search fetches pages for its excerpts, which no browser allows a page that is opened as a file.
"""

from __future__ import annotations

import base64
import json
import re
import unicodedata
import zlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from heavytail.lab.machine.files import write_atomically

INDEX = "search-index.js"
#: Of Sphinx's own search; no page loads them.
SPHINX = ("searchindex.js", "_static/searchtools.js", "_static/language_data.js")
LOADED = re.compile(rf'<script src="[./]*(?:{"|".join(map(re.escape, SPHINX))})[^"]*"></script>\s*')
_OURS = f"""<link rel="stylesheet" href="_static/search.css">
<script defer src="{INDEX}"></script>
<script defer src="_static/search.js"></script>
</head>"""

# What a reader does not read: scripts, pictures, folded code, marks beside headings.
_NO_TEXT = "script, style, svg, button, select, .headerlink, details.hide, .toctree-wrapper"
_BLOCKS = "p, li, td, th, dt, dd, pre, div, caption, figcaption, .small, h1, h2, h3, h4, h5, h6, br"
_HEADINGS = ("h1", "h2", "h3", "h4", "h5", "h6")
_SIGNS = {"le": "≤", "leq": "≤", "ge": "≥", "geq": "≥", "to": "→", "infty": "∞", "sqrt": "√", "sum": "∑", "cdot": "·"}


@dataclass(frozen=True)
class Section:
    """A place that a search can find: the anchor in its page, its heading, and its text without that of inner ones."""

    anchor: str
    heading: str
    text: str


@dataclass(frozen=True)
class Page:
    """A page's address from the top of the book, its title and sections, and whether it lists names of functions."""

    address: str
    title: str
    reference: bool
    sections: tuple[Section, ...]


def read(page: str, address: str) -> Page | None:
    """The sections of a built page, in their order; None for one that has none, as one that only leads elsewhere.

    >>> page = "<article><section id='a'><h1>Lévy<a class='headerlink'>#</a></h1><p>Jumps.</p></section></article>"
    >>> found = read(page, "a.html")
    >>> found.title, found.sections
    ('Lévy', (Section(anchor='a', heading='Lévy', text='Jumps.'),))
    """
    from bs4 import BeautifulSoup, SoupStrainer

    article: Any = BeautifulSoup(page, "html.parser", parse_only=SoupStrainer("article"))
    for tag in article.select(_NO_TEXT):
        tag.decompose()
    for tag in article.select("td"):
        if not re.search(r"[^\W\d_]{3}", tag.get_text()):  # a number, a key
            tag.decompose()
    for tag in article.select(".math"):
        tag.string = formula(tag.get_text())
    for tag in article.select(_BLOCKS):
        tag.insert(0, " ")
        tag.append(" ")
    reference = article.select_one("dl.py") is not None
    sections = tuple(_sections(article))[::-1]
    return Page(address, sections[0].heading, reference, sections) if sections else None


def _sections(article: Any) -> Iterator[Section]:
    """From the last to the first; each is taken out of the tree, so that those around it keep what is their own.

    A function or class of the reference is a place as a section is; what some lack, an anchor, is that around them.
    """
    for tag in reversed(article.select("section, dl.py")):
        if tag.name == "dl" and tag.find_parent("dl", class_="py") is not None:
            continue  # a method
        head = tag.find("dt" if tag.name == "dl" else _HEADINGS, recursive=False)
        if head is None:
            continue
        anchor = head.get("id") or tag.get("id") or tag.find_parent("section")["id"]
        names = "".join(name.get_text() for name in head.select(".descclassname, .descname"))
        heading = _plain(names or head.get_text())
        head.decompose()
        yield Section(str(anchor), heading, _plain(tag.get_text()))
        tag.decompose()


def _plain(text: str) -> str:
    """A text in one line, an accented letter as one character, so that none moves when a search folds it."""
    return unicodedata.normalize("NFC", " ".join(text.split()))


def formula(tex: str) -> str:
    r"""A formula as an excerpt can show it: letters and signs, without commands.

    >>> formula(r"\(\alpha \le 2\)"), formula(r"\(\sigma \eta^{1/\alpha}\)")
    ('α ≤ 2', 'σ η^1/α')
    """

    def sign(match: re.Match[str]) -> str:
        name = match[1].removeprefix("var")
        size = "CAPITAL" if name[0].isupper() else "SMALL"
        try:
            return unicodedata.lookup(f"GREEK {size} LETTER {name.replace('ambda', 'amda')}")
        except KeyError:
            return _SIGNS.get(name, "")

    return " ".join(re.sub(r"[{}&$]", "", re.sub(r"\\([A-Za-z]+|.)", sign, tex)).split())


def script(pages: Iterable[Page]) -> str:
    """The index as a script: it gives `heavytailIndex` to the page that loads it, deflated, a third of its size."""
    listed = [
        [p.address, p.title, int(p.reference), [[s.anchor, s.heading, s.text] for s in p.sections]] for p in pages
    ]
    deflated = zlib.compress(json.dumps(listed, ensure_ascii=False, separators=(",", ":")).encode(), 9)
    return f'window.heavytailIndex = "{base64.b64encode(deflated).decode()}";\n'


def settle(out: Path, pages: Mapping[str, str]) -> None:
    """Write the index of the pages of a built book, let its search page load it, and take Sphinx's own out.

    Pages are HTML by their addresses, in their order.
    """
    found = [read(page, address) for address, page in pages.items()]
    text = script(page for page in found if page is not None)
    write_atomically(out / INDEX, lambda part: part.write_text(text, encoding="utf-8"))
    page = out / "search.html"
    html = LOADED.sub("", page.read_text("utf-8"))
    page.write_text(html if INDEX in html else html.replace("</head>", _OURS, 1), "utf-8")
    for name in SPHINX:
        (out / name).unlink(missing_ok=True)


def in_order(root: str, inside: dict[str, list[str]]) -> Iterator[str]:
    """Names of pages in the order of the contents: each before those that it includes.

    >>> list(in_order("a", {"a": ["b", "d"], "b": ["c"]}))
    ['a', 'b', 'c', 'd']
    """
    yield root
    for name in inside.get(root, []):
        yield from in_order(name, inside)
