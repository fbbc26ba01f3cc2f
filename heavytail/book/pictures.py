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
