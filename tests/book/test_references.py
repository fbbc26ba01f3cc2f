"""The bibliography: every entry is cited and can be found, and its label is a name and a year."""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path

import pytest
from pybtex.database import parse_string

from heavytail.book import bibliography

BOOK = Path(__file__).parents[2] / "book"
DOI = re.compile(r"10\.\d{4,9}/[^\s{}\\]*[\w)]")
EPRINT = re.compile(r"\d{4}\.\d{5}")
LABEL = re.compile(r"[^\W\d_][\w .'-]*(, \d{4})?")
# What has neither doi nor eprint nor address here, as none could be checked; the journal, volume and pages are enough.
WITHOUT = {"amini2011compressibility", "lepage1981convergence"}


def cited(text: str) -> set[str]:
    """Keys that a page cites."""
    return {key.strip() for keys in re.findall(r"\{cite(?::\w+)?\}`([^`]+)`", text) for key in keys.split(",")}


def faults(bib: str, used: set[str]) -> list[str]:
    """What is wrong with a bibliography of which the keys `used` are cited."""
    keys = Counter(re.findall(r"^@\w+\{([^,\s]+),", bib, re.MULTILINE))
    found = [f"{key}: twice" for key, times in keys.items() if times > 1]
    found += [f"{key}: cited, and not there" for key in sorted(used - keys.keys())]
    found += [f"{key}: not cited" for key in sorted(keys.keys() - used)]
    if any(times > 1 for times in keys.values()):
        return found
    entries = dict(parse_string(bib, "bibtex").entries)
    dois = Counter(entry.fields["doi"].lower() for entry in entries.values() if "doi" in entry.fields)
    found += [f"{doi}: the doi of two" for doi, times in dois.items() if times > 1]
    named = dict(zip(entries, bibliography.labels(entries.values()), strict=True))
    found += [f"{label}: the label of two" for label, times in Counter(named.values()).items() if times > 1]
    for key, entry in entries.items():
        fields = entry.fields
        if not {"doi", "eprint", "url"} & set(fields) and key not in WITHOUT:
            found.append(f"{key}: neither doi nor eprint nor url")
        if "doi" in fields and not DOI.fullmatch(fields["doi"]):
            found.append(f"{key}: no doi: {fields['doi']}")
        if "eprint" in fields and not (EPRINT.fullmatch(fields["eprint"]) and fields.get("eprinttype") == "arXiv"):
            found.append(f"{key}: no number of arXiv: {fields['eprint']}")
        if "url" in fields and not re.fullmatch(r"https://[\w./~-]+", fields["url"]):
            found.append(f"{key}: no address: {fields['url']}")
        if not LABEL.fullmatch(named[key]):
            found.append(f"{key}: debris in the label: {named[key]}")
    return found


def test_every_entry_is_cited_and_can_be_found():
    used = set().union(*(cited(path.read_text("utf-8")) for path in BOOK.glob("*.md")))
    bib = (BOOK / "references.bib").read_text("utf-8")
    assert faults(bib, used) == []
    assert used >= WITHOUT
    assert not any(re.search(rf"@\w+{{{key},[^@]*\bdoi\b", bib) for key in WITHOUT), (
        "it has a doi: take it off the list"
    )


GOOD = """@article{one, author = {Şimşekli, Umut}, title = {T}, journal = {J}, year = {2019}, doi = {10.1000/a}}
@misc{two, author = {Wan, Y. and Li, X.}, title = {T}, year = {2024}, eprint = {2306.08125}, eprinttype = {arXiv}}
"""


@pytest.mark.parametrize(
    ("was", "is_", "said"),
    [
        ("", "", []),
        ("{two,", "{one,", ["one: twice", "two: cited, and not there"]),
        ("{two,", "{new,", ["two: cited, and not there", "new: not cited"]),
        (", doi = {10.1000/a}", "", ["one: neither doi nor eprint nor url"]),
        ("10.1000/a", "https://doi.org/10.1000/a", ["one: no doi: https://doi.org/10.1000/a"]),
        ("2306.08125", "2306", ["two: no number of arXiv: 2306"]),
        ("Şimşekli, Umut", r"{\c{S}}im{\c{s}}ekli, Umut", []),  # pybtex reads LaTeX, and the label is a name
        ("Şimşekli", r"{\unknown S}imsekli", [r"one: debris in the label: \unknown Simsekli, 2019"]),
        ("Wan, Y. and Li, X.}, title = {T}, year = {2024}", "Şimşekli, A.}, title = {T}, year = {2019}",
         ["Şimşekli, 2019: the label of two"]),
    ],
)  # fmt: skip
def test_a_fault_in_the_bibliography_is_seen(was, is_, said):
    assert faults(GOOD.replace(was, is_) if was else GOOD, {"one", "two"}) == said
