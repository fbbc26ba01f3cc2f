"""The whole book in one file: to print, or to send to somebody."""

from __future__ import annotations

import base64
import re
from pathlib import Path
from typing import Any

NAME = "heavytail-book.html"
FORMULAS = "_static/mathjax/tex-svg.js"  # draws its letters itself, where the pages' version loads fonts
# The font of the icons is not inside; the theme prints a title and contents of its own in place of a page's title.
_LAST = """[class*=title]::before, [class*=title]::after, i[class*=fa-] { content: none !important; display: none }
#jb-print-docs-body { display: none !important }
@media print {
  .bd-main .bd-content .bd-article h1:first-of-type { display: block !important }
  [id^="document-book/"] + section { break-before: page }
  [id^="document-book/"] + section > h2 { font-size: 2.5em }
}
"""
_TYPES = {".svg": "image/svg+xml", ".png": "image/png", ".jpg": "image/jpeg"}


def of(folder: Path) -> str:
    """The page that `singlehtml` of Sphinx built in `folder`, with all that it loads inside.

    Raises ValueError if there is not one page.
    """
    from bs4 import BeautifulSoup

    (path,) = (folder / "book").glob("*.html")
    page: Any = BeautifulSoup(path.read_text("utf-8"), "html.parser")
    page.html["data-theme"] = "light"  # it has no switch
    for tag in page.select(".bd-sidebar, .bd-header-article, .prev-next-area, template, dialog, picture.dark, source"):
        tag.decompose()
    _take_in_styles(page, path)
    _take_in_scripts(page, path)
    _take_in_pictures(page, path)
    _turn_links_inwards(page)
    formulas = page.new_tag("script")
    formulas.string = _as_script((folder / FORMULAS).read_text("utf-8"))
    page.body.append(formulas)
    return str(page)


def _take_in_styles(page: Any, path: Path) -> None:
    for tag in page.select("link"):
        if "stylesheet" in tag.get("rel", []) and (sheet := _local(path, tag["href"])):
            inside = page.new_tag("style")
            inside.string = _style(sheet)
            tag.replace_with(inside)
        else:
            tag.decompose()
    last = page.new_tag("style")
    last.string = _LAST
    page.body.append(last)


def _take_in_scripts(page: Any, path: Path) -> None:
    """Those of chapters and what the formulas are told; the theme's go."""
    for tag in page.select("script"):
        if not (tag.find_parent(class_="cell_output") or "window.MathJax" in tag.get_text()):
            tag.decompose()
        elif script := _local(path, tag.get("src", "")):
            del tag["src"]
            tag.string = _as_script(script.read_text("utf-8"))


def _take_in_pictures(page: Any, path: Path) -> None:
    for tag in page.select("img[src]"):
        if picture := _local(path, tag["src"]):
            kind, data = _TYPES[picture.suffix], base64.b64encode(picture.read_bytes()).decode()
            tag["src"] = f"data:{kind};base64,{data}"


def _turn_links_inwards(page: Any) -> None:
    """A link to a chapter, or to a place in one, leads to that place in this page."""
    places = {tag["id"] for tag in page.find_all(id=True)}
    for tag in page.select("a[href]"):
        before, _, place = tag["href"].partition("#")
        if "://" not in before and not before.startswith(("data:", "mailto:")):
            chapter = f"document-book/{before.removesuffix('.html')}"  # Sphinx's name for where one begins
            tag["href"] = "#" + next((name for name in (place, chapter) if name in places), "")


def _local(page: Path, address: Any) -> Path | None:
    """The file that a page means; Sphinx names some from the page's folder, and some from the one above it."""
    name = str(address).partition("?")[0]
    found = [base / name for base in (page.parent, page.parent.parent) if (base / name).is_file()]
    return found[0] if found else None


def _style(sheet: Path) -> str:
    """A style sheet with those that it imports inside, and without the fonts that it would load."""

    def imported(match: re.Match[str]) -> str:
        return (sheet.parent / match[1]).read_text("utf-8")

    text = re.sub(r"""@import\s+(?:url\()?["']?([^"')]+)["']?\)?\s*;""", imported, sheet.read_text("utf-8"))
    return re.sub(r"@font-face\s*\{[^}]*\}", "", text)


def _as_script(text: str) -> str:
    """A script that does not end before its end."""
    return text.replace("</script", "<\\/script")
