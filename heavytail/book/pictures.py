"""Figures of executed chapters as pictures of the pages: light and dark, wide and narrow, each in a file of its own.

A page loads what it shows. They are files and no part of the page, for a figure has thousands of marks; a style sheet
cannot reach into a file, so the page has a picture for each theme, and its switch shows one of them.
"""

from __future__ import annotations

import re
from html import escape
from typing import Any

from heavytail.book import dark
from heavytail.book.figures.layouts import NARROW_TYPE, WIDE_TYPE

FOLDER = "figures"  # in the book's `_static`
PHONE = "screen and (max-width: 719px)"  # where the narrow one is shown; paper has room
_FIGURE = re.compile("<(picture|section) class=")  # one drawn, and a piece to touch


def taken_out(notebook: Any, name: str) -> dict[str, str]:
    """The files of a notebook's figures by their names in FOLDER; the notebook has HTML in the figures' places."""
    files: dict[str, str] = {}
    number = 0
    for cell in notebook.cells:
        for output in cell.get("outputs", []):
            data = output.get("data", {})
            if WIDE_TYPE not in data:
                continue
            number += 1
            drawn = {"": data.pop(WIDE_TYPE), "-narrow": data.pop(NARROW_TYPE, None)}
            stem, theirs = f"{name}-{number}", {kind: text for kind, text in drawn.items() if text}
            for kind, text in theirs.items():
                files[f"{stem}{kind}.svg"] = text
                files[f"{stem}{kind}-dark.svg"] = dark.figure(text)
            alt = cell.metadata.get("mystnb", {}).get("image", {}).get("alt", "")
            data["text/html"] = html(stem, theirs, alt)
    return files


def html(stem: str, drawn: dict[str, str], alt: str) -> str:
    """A figure on a page: a picture for each theme, each wide or narrow as the screen is."""
    return "\n".join(_picture(stem, drawn, alt, theme) for theme in ("light", "dark"))


def numbered(notebook: Any, name: str) -> None:
    """Number the figures of a page, pieces to touch too: "Figure 2" begins the text after it, and is a link to it.

    `[](#figure-NAME)` in a text becomes such a link too, to the figure whose cell has that name in its metadata.
    Raises ValueError for a name that no such cell has.
    """
    links: dict[str, str] = {}
    number, caption = 0, ""
    for cell in notebook.cells:
        if cell.cell_type == "markdown":
            cell.source, caption = caption + cell.source, ""
        for output in cell.get("outputs", []):
            data = output.get("data", {})
            if _FIGURE.search(data.get("text/html", "")):
                number += 1
                place = f"figure-{name}-{number}"
                data["text/html"] = f'<div id="{place}"></div>{data["text/html"]}'
                links[cell.metadata.get("name", "")] = link = f'<a href="#{place}">Figure {number}</a>'
                caption += f"{link}. "

    def linked(match: re.Match[str]) -> str:
        if match[1] not in links:
            raise ValueError(f"{name}: no cell with a figure has the name {match[1]} in its metadata")
        return links[match[1]]

    for cell in notebook.cells:
        if cell.cell_type == "markdown":
            cell.source = re.sub(r"\[\]\(#figure-([\w-]+)\)", linked, cell.source)


def _picture(stem: str, drawn: dict[str, str], alt: str, theme: str) -> str:
    end = "-dark.svg" if theme == "dark" else ".svg"
    at = f"../_static/{FOLDER}/{stem}"
    narrow = ""
    if "-narrow" in drawn:
        narrow = f'<source media="{PHONE}" srcset="{at}-narrow{end}"{_size(drawn["-narrow"])}>'
    kind = "stacks" if narrow else "scrolls"
    late = ' loading="lazy"' if theme == "dark" else ""  # the light one is wanted on paper too
    image = f'<img src="{at}{end}" alt="{escape(alt)}"{_size(drawn[""])}{late}>'
    return f'<picture class="drawn {theme} {kind}">{narrow}{image}</picture>'


def _size(svg: str) -> str:
    """Width and height of an SVG as attributes, so that a page knows its lines before a figure is there."""
    found = re.search(r'<svg [^>]*?width="([\d.]+)pt" height="([\d.]+)pt"', " ".join(svg[:2000].split()))
    return "" if found is None else f' width="{float(found[1]) * 4 / 3:.0f}" height="{float(found[2]) * 4 / 3:.0f}"'
