"""The glossary: what chapters link to is there, says what it is in plain words, and names a chapter to read on in."""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path

import pytest

from heavytail.book import glossary

BOOK = Path(__file__).parents[2] / "book"
LINK = re.compile(r"\{term\}`([^`<]+?)(?:\s*<([^>]+)>)?`")
ENTRIES = dict(re.findall(r"^([^\s`#|].*)\n((?:  .*\n)+)", (BOOK / "glossary.md").read_text("utf-8"), re.MULTILINE))


def linked(text: str) -> list[str]:
    """The terms that a page links to, in its order."""
    return [" ".join((target or word).split()) for word, target in LINK.findall(text)]


def test_a_chapter_links_to_terms_that_are_there_and_to_each_once():
    texts = {path.stem: linked(path.read_text("utf-8")) for path in BOOK.glob("*.md")}
    assert {(page, term) for page, terms in texts.items() for term in terms if term not in ENTRIES} == set()
    assert {
        (page, term) for page, terms in texts.items() for term, times in Counter(terms).items() if times > 1
    } == set()
    assert sum(bool(terms) for terms in texts.values()) > 20
    assert not texts["glossary"]


def test_an_entry_is_one_or_two_sentences_without_formulas_and_ends_with_a_chapter():
    assert len(ENTRIES) > 50
    assert len({term.lower() for term in ENTRIES}) == len(ENTRIES)
    for term, text in ENTRIES.items():
        said = " ".join(text.split())
        chapter = re.search(r" \(\{doc\}`(\w+)`\)\.$", said)
        assert chapter, f"{term}: {said}"
        assert (BOOK / f"{chapter[1]}.md").is_file(), term
        plain = re.sub(r"\d\.\d", "", said[: chapter.start()])
        assert len(re.findall(r"[.:;](?= )", plain)) <= 3, f"{term} takes many sentences"
        assert not set(plain) & set("$\\{}"), f"{term}: a hint cannot show {said}"  # it is plain text


def test_a_chapter_that_explains_a_term_uses_its_word():
    for term, text in ENTRIES.items():
        (chapter,) = re.findall(r"\(\{doc\}`(\w+)`\)", text)
        word = re.split(r"[\s']", term)[0].lower()[:6]
        assert word in (BOOK / f"{chapter}.md").read_text("utf-8").lower(), f"{chapter} has no {term}"


def test_a_link_carries_the_definition_and_other_links_do_not():
    kick, other = (f'<a class="reference internal" href="{place}">' for place in ("g.html#term-kick", "g.html#a"))
    told = glossary.explained(kick + other, {"term-kick": "A push."})
    assert told == f'<a class="reference internal term" data-definition="A push." href="g.html#term-kick">{other}'
    assert glossary.explained(kick, {}) == kick


def test_definitions_are_read_without_the_chapter_at_their_end():
    nodes = pytest.importorskip("docutils.nodes")
    item = nodes.definition_list_item()
    item += nodes.term("", "kick", ids=["term-kick"])
    item += nodes.definition("", nodes.paragraph("", "Noise of\none step (stable_noise)."))
    assert glossary.definitions(nodes.section("", nodes.definition_list("", item))) == {
        "term-kick": "Noise of one step."
    }
