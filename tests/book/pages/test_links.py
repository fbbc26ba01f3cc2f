"""Links inside the built book: the file is there, and so is the place in it."""

from __future__ import annotations

import re
from urllib.parse import unquote, urlsplit

import pytest

pytestmark = pytest.mark.pages


def places(page):
    """What a link can lead to in a page."""
    return {tag.attributes["id"] for tag in page if "id" in tag.attributes} | {
        tag.attributes["name"] for tag in page if tag.name == "a" and "name" in tag.attributes
    }


def leads(tag):
    """Where a tag leads, or what it loads; nothing if it does neither."""
    return tag.attributes.get("href") or tag.attributes.get("src") or ""


def test_every_link_and_every_anchor_inside_the_book_resolves(tags):
    known = {path: places(page) for path, page in tags.items()}
    files = {}
    broken, followed = [], 0
    for path, page in tags.items():
        for tag in page:
            if not ({"href", "src"} & tag.attributes.keys()):
                continue
            parts = urlsplit(leads(tag))
            if parts.scheme or parts.netloc:
                continue
            key = (path.parent, parts.path)
            if key not in files:
                target = (path.parent / unquote(parts.path)).resolve()
                files[key] = target, target.exists()
            target, there = files[key] if parts.path else (path, True)
            followed += 1
            if not there:
                broken.append(f"{path.name}: {leads(tag)}: no such file")
            elif target.name == "explorer.html":
                continue  # its fragments are views, not places
            elif parts.fragment and target in known and unquote(parts.fragment) not in known[target]:
                broken.append(f"{path.name}: {leads(tag)}: no such place")
    assert broken == []
    assert followed > 500


def test_the_front_page_is_painted_before_formulas_and_pictures_are_there(tags, elsewhere):
    """What the browser reads before it paints: style sheets, and scripts that do not say they can wait."""
    first = elsewhere / "book" / "index.html"
    waiting = {"defer", "async"}
    read = [
        leads(tag)
        for tag in tags[first]
        if (tag.name == "link" and "stylesheet" in (tag.attributes.get("rel") or "").split())
        or (tag.name == "script" and "src" in tag.attributes and not waiting & tag.attributes.keys())
    ]
    files = [(first.parent / unquote(urlsplit(place).path)).resolve() for place in read]
    assert len(files) > 3
    assert not [path for path in files if "mathjax" in path.as_posix().lower()]
    assert sum(path.stat().st_size for path in files) < 1e6, sorted(path.name for path in files)


def test_nothing_in_a_page_is_loaded_from_another_host(tags):
    loading = {"script", "img", "link", "iframe", "source", "video", "audio"}
    loads = [
        (path.name, str(tag)[:200])
        for path, page in tags.items()
        for tag in page
        if tag.name in loading
        and urlsplit(tag.attributes.get("src") or tag.attributes.get("href") or "").netloc
        and not (tag.name == "link" and "canonical" in (tag.attributes.get("rel") or ""))
    ]
    assert loads == []


def test_every_picture_has_a_text_in_its_place(tags):
    without = [
        (path.name, str(tag)[:120])
        for path, page in tags.items()
        for tag in page
        if tag.name == "img"
        and not tag.attributes.get("alt")
        and (tag.in_article or "alt" not in tag.attributes)  # empty beside the name of the book
    ]
    assert without == []


def test_a_chapter_opens_with_its_box_and_ends_with_a_command(elsewhere):
    articles = {path.name: article_of(path.read_text("utf-8")) for path in (elsewhere / "book").glob("*.html")}
    chapters = {name: article for name, article in articles.items() if ">In short</p>" in article}
    assert len(chapters) >= 15
    for name, article in chapters.items():
        box = re.search(r'<div class="[^"]*\badmonition\b[^"]*">\s*<p class="admonition-title">(.*?)</p>', article)
        assert box[1] == "In short", f"{name}: another box comes first"
        assert article[: box.start()].count("<section") == 1, f"{name}: a section comes first"
        if name != "performance.html":
            assert re.findall(r"<h2>(.*?)<", article)[-1] == "What to change next", name


def article_of(page):
    """What stands between the tags of its article."""
    return page.partition("<article")[2].partition("</article>")[0]
