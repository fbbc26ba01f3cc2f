"""What a page says is said once: no paragraph, point of a list or sentence of some length stands on three pages."""

from __future__ import annotations

import re
from collections import defaultdict
from pathlib import Path

BOOK = Path(__file__).parents[2] / "book"
LONG = 12  # words
# What stands on three pages or more all the same. It may leave this list, and nothing may join it.
REPEATED: set[str] = set()


def units(text: str) -> set[str]:
    """The paragraphs, points and sentences of a page that have many words, without code, numbers and marks."""
    text = re.sub(r"\A---\n.*?\n---\n", "", text, flags=re.DOTALL)
    text = re.sub(r"^( *)```.*?^\1```$", "\n", text, flags=re.DOTALL | re.MULTILINE)
    text = re.sub(r"\{glue:text\}`[^`]*`|\{cite(:\w)?\}`[^`]*`|\$[^$]*\$", " ", text)
    text = re.sub(r"\{[\w:]+\}`([^`<]*?)(\s*<[^>]*>)?`", r"\1", text)
    paragraphs = re.split(r"\n\s*\n|\n(?=[*|] )", text)
    parts = [*paragraphs, *(sentence for one in paragraphs for sentence in re.split(r"(?<=[.:;])\s", one))]
    words = (re.findall(r"[^\W\d_]+", part.lower()) for part in parts)
    return {" ".join(found) for found in words if len(found) >= LONG}


def repeated(pages: dict[str, str]) -> dict[str, list[str]]:
    """What stands on three pages or more, with their names."""
    where = defaultdict(list)
    for name, text in pages.items():
        for unit in units(text):
            where[unit].append(name)
    return {unit: names for unit, names in where.items() if len(names) > 2}


def test_nothing_is_said_on_three_pages():
    found = repeated({path.stem: path.read_text("utf-8") for path in sorted(BOOK.glob("*.md"))})
    assert set(found) == REPEATED, found


def test_what_stands_on_three_pages_is_found_whatever_its_numbers_and_line_ends():
    said = "Each {term}`run <run>` was trained on\nNUMBER images, until it fits most of them, or for ten steps."
    a, b, c = (said.replace("NUMBER", number) for number in ("{glue:text}`n`", "5", "$n$"))
    assert repeated({"a": f"# One\n\nFirst. {a}\n", "b": b}) == {}
    ((unit, names),) = repeated({"a": f"# One\n\nFirst. {a}\n", "b": b, "c": f"* one\n* {c}"}).items()
    assert unit.startswith("each run was trained on images until")
    assert names == ["a", "b", "c"]
    assert repeated(dict.fromkeys("abc", f"```\n{a}\n```")) == {}
