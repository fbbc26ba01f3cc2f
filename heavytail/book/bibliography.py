"""How the bibliography is labelled and sorted."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable, Iterator
from typing import Any


def labels(entries: Iterable[Any]) -> Iterator[str]:
    """Labels of the bibliography, as the text cites: `Wan et al., 2024`.

    Takes pybtex's entries. Two of the same author and year would have one label; the test of the references forbids it.
    """
    for entry in entries:
        names = ["".join(map(str, person.rich_prelast_names + person.rich_last_names)) for person in _authors(entry)]
        said = " and ".join(names) if len(names) < 3 else f"{names[0]} et al."
        yield ", ".join(filter(None, [said, entry.fields.get("year")]))


def _authors(entry: Any) -> list[Any]:
    return list(entry.persons.get("author", []))


def add_style() -> None:
    """Makes `bibtex_default_style: heavytail` known: pybtex's plain one, with `labels`, and Ş sorted as S."""
    from pybtex.backends.plaintext import Backend
    from pybtex.plugin import register_plugin
    from pybtex.style.formatting.plain import Style as Plain
    from pybtex.style.labels import BaseLabelStyle
    from pybtex.style.sorting import BaseSortingStyle

    class Labels(BaseLabelStyle):
        def format_labels(self, sorted_entries: Iterable[Any]) -> Iterator[str]:
            return labels(sorted_entries)

    class Sorting(BaseSortingStyle):
        def sorting_key(self, entry: Any) -> str:
            said = unicodedata.normalize("NFD", next(labels([entry])).lower())
            return "".join(letter for letter in said if not unicodedata.combining(letter))

    class Style(Plain):
        default_label_style = Labels
        default_sorting_style = Sorting

    register_plugin("pybtex.style.formatting", "heavytail", Style, force=True)
    # As installed, but at hand: every citation asks for it, and to look through all packages takes a tenth of a second.
    register_plugin("pybtex.backends", "plaintext", Backend, force=True)
