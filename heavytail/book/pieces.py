"""The pieces of the book that a reader can touch, as HTML: data, their script, and what stands without it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from html import escape
from typing import Any

from heavytail.book import dark
from heavytail.book.figures.style import COLOURS
from heavytail.book.tables import Html


def colour(name: str) -> str:
    """A colour of `style.COLOURS` in CSS: of light pages, and its twin, which figures have on dark ones.

    >>> colour("Type-II")
    'light-dark(#0173b2, #018cd9)'
    """
    return f"light-dark({COLOURS[name]}, {dark.twin(COLOURS[name])})"


def html(
    name: str,
    label: str,
    data: Mapping[str, Any],
    without: str,
    *,
    static: str,
    shared: bool = False,
    attributes: str = "",
    note: str = "",
) -> Html:
    """The piece that `NAME.js` draws from `data`, with what a reader sees `without` that script.

    What pieces share, `pieces.js`, comes before it with each of them: twice on a page it does no harm.

    label       says what the piece is, to a screen reader
    static      where scripts and styles lie, from the page
    shared      whether it has the styles of the class `piece`, in `pieces.css`, and not its own, in `NAME.css`
    attributes  more of them on the section, as HTML
    note        HTML that stands below the piece, with the script and without it

    The data are in the piece itself, because a page opened as a file may not read another file. Raises ValueError for
    numbers that are not finite.

    >>> print(html("dot", "A dot", {"x": "</script>"}, "<p>One dot.</p>", static=".").text)
    <link rel="stylesheet" href="./dot.css">
    <section class="dot" aria-label="A dot">
    <div class="dot-without"><p>One dot.</p></div>
    <script type="application/json">{"x":"\\u003c/script>"}</script>
    </section>
    <script src="./pieces.js"></script>
    <script src="./dot.js"></script>
    """
    text = json.dumps(data, allow_nan=False, ensure_ascii=False, separators=(",", ":")).replace("<", "\\u003c")
    sheet, look, classes = ("pieces", "piece", f"piece {name}") if shared else (name, name, name)
    return Html(
        f'<link rel="stylesheet" href="{escape(static)}/{sheet}.css">\n'
        f'<section class="{classes}" aria-label="{escape(label)}"{attributes}>\n'
        f'<div class="{look}-without">{without}</div>\n'
        f'<script type="application/json">{text}</script>\n'
        f"{note}</section>\n"
        f'<script src="{escape(static)}/pieces.js"></script>\n'
        f'<script src="{escape(static)}/{name}.js"></script>'
    )
