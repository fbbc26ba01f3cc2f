"""What the glossary says of a term, on every page that leads to it."""

from __future__ import annotations

import re
from html import escape
from typing import Any

# A word that leads to the glossary, as Sphinx writes it.
TERM = re.compile(r'<a class="reference internal" (href="[^"]*#(term-[^"]*)")')


def definitions(doctree: Any) -> dict[str, str]:
    """What a glossary says: the id of each term, and its definition as plain text without the chapter at its end."""
    found: dict[str, str] = {}
    for item in doctree.findall(lambda node: node.tagname == "definition_list_item"):
        terms = [child["ids"][0] for child in item if child.tagname == "term" and child["ids"]]
        said = " ".join(child.astext() for child in item if child.tagname == "definition")
        text = re.sub(r" \(\w+\)\.?$", "", " ".join(said.split()))
        found |= dict.fromkeys(terms, text.removesuffix(".") + ".")
    return found


def explained(body: str, known: dict[str, str]) -> str:
    """A page whose links into the glossary carry what they lead to, which `terms.js` shows; no page is loaded for it.

    >>> link = '<a class="reference internal" href="glossary.html#term-kick">kick</a>'
    >>> explained(link, {"term-kick": 'A "push".'})
    '<a class="reference internal term" data-definition="A &quot;push&quot;." href="glossary.html#term-kick">kick</a>'
    """

    def told(match: re.Match[str]) -> str:
        if match[2] not in known:
            return match[0]
        return f'<a class="reference internal term" data-definition="{escape(known[match[2]])}" {match[1]}'

    return TERM.sub(told, body)
