"""The glossary and the references in the built book: definitions by pointer, keyboard and finger, clean labels."""

from __future__ import annotations

import re

import pytest
from bs4 import BeautifulSoup

pytestmark = pytest.mark.pages

SHOWN = """() => {
  const box = document.querySelector(".term-definition"), place = box.getBoundingClientRect();
  const ground = getComputedStyle(box).backgroundColor; // rgb(...) if nothing shines through it
  return { seen: !box.hidden, text: box.textContent, left: place.left, right: innerWidth - place.right, ground };
}"""
TAP = """(number) => {
  const word = document.querySelectorAll("a.term")[number];
  word.dispatchEvent(new PointerEvent("pointerdown", { pointerType: "touch", bubbles: true }));
  return word.dispatchEvent(new MouseEvent("click", { bubbles: true, cancelable: true }));
}"""


def test_every_word_that_leads_to_the_glossary_carries_what_stands_there(elsewhere, tags):
    glossary = BeautifulSoup((elsewhere / "book" / "glossary.html").read_text("utf-8"), "html.parser")
    told = {term["id"]: " ".join(term.find_next("dd").get_text().split()) for term in glossary.select("dt[id]")}
    assert len(told) > 50
    pages = 0
    for path in (elsewhere / "book").glob("*.html"):
        words = [tag.attributes for tag in tags[path] if tag.name == "a" and tag.in_article and leads_to_a_term(tag)]
        pages += bool(words)
        for word in words:
            said = " ".join(word["data-definition"].split()).removesuffix(".")
            assert told[word["href"].partition("#")[2]].startswith(said), (path.name, word)
    assert pages > 15


def leads_to_a_term(tag):
    return "#term-" in (tag.attributes.get("href") or "") and "headerlink" not in (tag.attributes.get("class") or "")


def test_the_references_have_clean_labels_and_lead_to_what_they_name(elsewhere):
    page = BeautifulSoup((elsewhere / "book" / "references.html").read_text("utf-8"), "html.parser")
    entries = page.select("div.citation")
    assert len(entries) > 50
    labels = [" ".join(entry.select_one(".label").get_text().split()) for entry in entries]
    assert [label for label in labels if not re.fullmatch(r"\[[^\W\d_][\w .'-]*(, \d{4})?\]", label)] == []
    assert [entry.get_text() for entry in entries if set("{}\\$") & set(entry.get_text())] == []
    leading = [entry.select_one("a.external") for entry in entries]
    assert sum(link is None for link in leading) <= 2  # those that tests/book/test_references.py excuses
    cited = {label.strip("[]").partition(",")[0].removesuffix(" et al.") for label in labels}
    assert {"Wan", "Şimşekli", "Mei", "Hugging Face"} <= cited


@pytest.mark.parametrize("width", [1280, 375])
def test_a_definition_is_shown_by_keyboard_pointer_and_finger_and_goes_again(visit, width):
    seen = visit("book/story.html", width=width)
    page, word = seen.page, seen.page.locator("a.term").first
    definition = word.get_attribute("data-definition")
    assert not page.evaluate(SHOWN)["seen"]

    word.focus()
    shown = page.evaluate(SHOWN)
    assert (shown["seen"], shown["text"]) == (True, definition)
    assert shown["ground"].startswith("rgb(")
    assert shown["left"] >= 0
    assert shown["right"] >= 0
    assert word.get_attribute("aria-describedby") == "definition"
    page.keyboard.press("Escape")
    assert not page.evaluate(SHOWN)["seen"]
    assert word.get_attribute("aria-describedby") is None

    other = page.locator("a.term").nth(1)
    other.hover()
    assert page.evaluate(SHOWN)["text"] == other.get_attribute("data-definition")
    page.mouse.move(1, 1)
    page.wait_for_function("() => document.querySelector('.term-definition').hidden")

    address = page.url
    assert page.evaluate(TAP, 2) is False  # the first tap does not follow the link
    assert page.evaluate(SHOWN)["seen"]
    assert page.url == address
    page.evaluate(TAP, 2)
    page.wait_for_url("**/glossary.html#term-*")
    assert (seen.said, seen.failed, seen.away) == ([], [], [])
