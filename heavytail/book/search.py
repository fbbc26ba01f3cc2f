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
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

from heavytail.lab.machine.files import write_atomically

INDEX = "search-index.js"
SILENT = "silent"  # the language in which Sphinx's own search finds no words
#: Of Sphinx's own search; no page loads them.
SPHINX = ("searchindex.js", "_static/searchtools.js", "_static/language_data.js")
LOADED = re.compile(rf'<script src="[./]*(?:{"|".join(map(re.escape, SPHINX))})[^"]*"></script>\s*')
_OURS = f"""<link rel="stylesheet" href="_static/search.css">
<script defer src="{INDEX}"></script>
<script defer src="_static/search.js"></script>
</head>"""

# What a reader does not read: scripts, pictures, folded code, marks beside headings.
_NO_TEXT = {"script", "style", "svg", "button", "select"}
_NO_TEXT_OF = {"headerlink", "toctree-wrapper"}
_HEADINGS = {"h1", "h2", "h3", "h4", "h5", "h6"}
_BLOCKS = {"p", "li", "td", "th", "dt", "dd", "pre", "div", "caption", "figcaption", "br", *_HEADINGS}
_EMPTY = {"br", "img", "input", "hr", "wbr", "source", "col", "link", "meta", "area", "embed", "track"}  # have no end
_NAMES = {"descclassname", "descname"}
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
    reader = _Reader()
    reader.feed(page)
    sections = tuple(
        Section(e.anchor, _plain(e.heading), _plain("".join(e.text or ()))) for e in reader.sections if e.headed
    )
    return Page(address, sections[0].heading, reader.reference, sections) if sections else None


@dataclass(eq=False)
class _Element:
    """An open tag, and the text in it that is kept apart until its end; None where that is text of what is around."""

    name: str
    classes: frozenset[str] = frozenset()
    place: str = ""  # its id
    text: list[str] | None = None
    raw: list[str] | None = None  # of a cell of a table, with formulas as they are written
    headed: bool = False  # of a section: its heading was there
    anchor: str = ""
    heading: str = ""
    names: list[str] | None = None  # of a heading: the names of a function


class _Reader(HTMLParser):
    """Goes once through a page; a tree of it would take ten times as long.

    A function or class of the reference is a place as a section is; what some lack, an anchor, is that around them.
    """

    def __init__(self) -> None:
        super().__init__()
        self.sections: list[_Element] = []  # by their beginnings, also those that turn out to have no heading
        self.reference = False
        self._open: list[_Element] = []
        self._unread = 0  # how many of the open ones lie in what is not read, which is the first of them
        self._inside = False  # of the article

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag == "article":
            self._inside = True
        if not self._inside:
            return
        named = dict(attrs)
        one = _Element(tag, frozenset((named.get("class") or "").split()), named.get("id") or "")
        hidden = tag in _NO_TEXT or one.classes & _NO_TEXT_OF or (tag == "details" and "hide" in one.classes)
        if self._unread or hidden:
            if tag not in _EMPTY:
                self._unread += 1
                self._open.append(one)
            return
        around = self._open[-1] if self._open else None
        if tag == "section" or (tag == "dl" and "py" in one.classes):
            self.reference |= tag == "dl"
            if tag == "section" or not any(e.name == "dl" and "py" in e.classes for e in self._open):  # no method
                one.text = []
                self.sections.append(one)
        elif self._is_heading(tag, around):
            one.text, one.names = [], []
        elif tag == "td":
            one.text, one.raw = [], []
        elif "math" in one.classes or one.classes & _NAMES:
            one.text = []
        if tag in _EMPTY:
            self._write(" " * (tag in _BLOCKS))
            return
        self._open.append(one)
        if tag in _BLOCKS or "small" in one.classes:
            self._write(" ")

    def handle_data(self, data: str) -> None:
        if self._inside and not self._unread:
            self._write(data)
            for one in self._open:
                if one.raw is not None:
                    one.raw.append(data)

    def handle_endtag(self, tag: str) -> None:
        if tag in (one.name for one in self._open):
            while self._end().name != tag:
                pass  # one without an end of its own
        if tag == "article":
            self._inside = False

    def _is_heading(self, tag: str, around: _Element | None) -> bool:
        """Whether this is the first heading right in a section, or the first name in an entry of the reference."""
        if around is None or around.headed or around not in self.sections:
            return False
        return tag in _HEADINGS if around.name == "section" else tag == "dt"

    def _write(self, text: str) -> None:
        next((one.text for one in reversed(self._open) if one.text is not None), []).append(text)

    def _end(self) -> _Element:
        """Close the last open tag, and hand its text on if it is part of the text around."""
        one = self._open.pop()
        if self._unread:
            self._unread -= 1
            return one
        text = "".join(one.text or ())
        if one.names is not None:
            around = self._open[-1]
            outer = next((e.place for e in reversed(self._open[:-1]) if e.name == "section"), "")
            around.headed, around.heading = True, "".join(one.names) or text
            around.anchor = one.place or around.place or outer
        elif one.raw is not None:
            if re.search(r"[^\W\d_]{3}", "".join(one.raw)):  # not a number, a key
                self._write(text)
        elif "math" in one.classes:
            self._write(f" {formula(text)} " if one.name in _BLOCKS else formula(text))
        elif one.classes & _NAMES:
            for head in self._open:
                if head.names is not None:
                    head.names.append(text)
            self._write(text)
        elif one.text is not None and not one.headed:
            self.sections.remove(one)
            self._write(text)
        if one.name in _BLOCKS or "small" in one.classes:
            self._write(" ")
        return one


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


def silence(app: Any) -> None:
    """Sphinx's own index is thrown away, so no word of the pages is put into it: that would take it seconds."""
    from sphinx.search import SearchLanguage

    class Silent(SearchLanguage):
        lang, language_name = SILENT, "Silent"

        def split(self, input: str) -> list[str]:
            return []

    app.add_search_language(Silent)


def in_order(root: str, inside: dict[str, list[str]]) -> Iterator[str]:
    """Names of pages in the order of the contents: each before those that it includes.

    >>> list(in_order("a", {"a": ["b", "d"], "b": ["c"]}))
    ['a', 'b', 'c', 'd']
    """
    yield root
    for name in inside.get(root, []):
        yield from in_order(name, inside)
