"""Links inside the built book: the file is there, and so is the place in it."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest
from bs4 import BeautifulSoup

pytestmark = pytest.mark.pages


@pytest.fixture(scope="module")
def parsed(elsewhere: Path) -> dict[Path, BeautifulSoup]:
    found = [path for path in sorted(elsewhere.rglob("*.html")) if "_static" not in path.parts]  # there templates lie
    return {path: BeautifulSoup(path.read_text("utf-8"), "html.parser") for path in found}


def places(page: BeautifulSoup) -> set[str]:
    return {tag["id"] for tag in page.find_all(id=True)} | {
        tag["name"] for tag in page.find_all("a", attrs={"name": True})
    }


def test_every_link_and_every_anchor_inside_the_book_resolves(parsed):
    known = {path: places(page) for path, page in parsed.items()}
    broken, followed = [], 0
    for path, page in parsed.items():
        for tag in page.find_all(href=True) + page.find_all(src=True):
            parts = urlsplit(tag.get("href") or tag.get("src"))
            if parts.scheme or parts.netloc:
                continue
            target = (path.parent / unquote(parts.path)).resolve() if parts.path else path
            followed += 1
            if not target.exists():
                broken.append(f"{path.name}: {tag.get('href') or tag.get('src')}: no such file")
            elif target.name == "explorer.html":
                continue  # its fragments are views, not places
            elif parts.fragment and target in known and unquote(parts.fragment) not in known[target]:
                broken.append(f"{path.name}: {tag['href']}: no such place")
    assert broken == []
    assert followed > 500


def test_the_front_page_is_painted_before_formulas_and_pictures_are_there(parsed, elsewhere):
    """What the browser reads before it paints: style sheets, and scripts that do not say they can wait."""
    first = elsewhere / "book" / "index.html"
    scripts = [tag for tag in parsed[first].find_all("script", src=True) if not {"defer", "async"} & tag.attrs.keys()]
    places = [tag["href"] for tag in parsed[first].find_all("link", rel="stylesheet")] + [tag["src"] for tag in scripts]
    files = [(first.parent / unquote(urlsplit(place).path)).resolve() for place in places]
    assert not [path for path in files if "mathjax" in path.as_posix().lower()]
    assert sum(path.stat().st_size for path in files) < 1e6, sorted(path.name for path in files)


def test_nothing_in_a_page_is_loaded_from_another_host(parsed):
    loads = [
        (path.name, str(tag)[:200])
        for path, page in parsed.items()
        for tag in page.find_all(["script", "img", "link", "iframe", "source", "video", "audio"])
        if urlsplit(tag.get("src") or tag.get("href") or "").netloc
        and not (tag.name == "link" and "canonical" in (tag.get("rel") or []))
    ]
    assert loads == []


def test_every_picture_has_a_text_in_its_place(parsed):
    without = [
        (path.name, str(tag)[:120])
        for path, page in parsed.items()
        for tag in page.find_all("img")
        if not tag.get("alt")
        and (tag.find_parent("article") or "alt" not in tag.attrs)  # empty beside the name of the book
    ]
    assert without == []


def test_a_chapter_opens_with_its_box_and_ends_with_a_command(parsed):
    chapters = [path for path, page in parsed.items() if path.parent.name == "book" and page.find(string="In short")]
    assert len(chapters) >= 15
    for path in chapters:
        page = parsed[path]
        sections = [heading.get_text().rstrip("#").strip() for heading in page.find("article").find_all("h2")]
        box = page.find("article").find(class_="admonition")
        assert "In short" in box.get_text(), f"{path.name}: another box comes first"
        assert box.find_previous("section") is page.find("article").find("section"), (
            f"{path.name}: a section comes first"
        )
        if path.name != "performance.html":
            assert sections[-1] == "What to change next", (path.name, sections[-1])
