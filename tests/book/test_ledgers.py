from __future__ import annotations

import json
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from made_up_simulations import made_up

from heavytail.book import ledgers
from heavytail.evidence import claims
from heavytail.lab import results


def test_a_ledger_that_was_written_down_says_the_same_until_a_table_changes_or_the_file_is_damaged(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []
    compute = claims.ledger
    monkeypatch.setattr(claims, "ledger", lambda folder: asked.append(folder) or compute(folder))
    tables, written = tmp_path / "results", tmp_path / "made" / "ledger.json"
    results.write_table(made_up("chaos", agree=True), tables / "quick" / "chaos.parquet")

    def said() -> str:
        return repr(ledgers.ledger(tables, written))  # of NaN, which equals nothing, too

    first = said()
    assert first == repr(compute(tables))
    assert "holds" in first
    assert "nan" in first or "inf" in first
    assert (said(), len(asked)) == (first, 1)

    results.write_table(made_up("chaos", agree=False), tables / "quick" / "chaos.parquet")
    changed = said()
    assert changed == repr(compute(tables)) != first
    assert len(asked) == 2

    whole = written.read_text()
    for damaged in ("", whole[:100], "[]", json.dumps({**json.loads(whole), "made from": "another"})):
        written.write_text(damaged)
        assert said() == changed
    assert (len(asked), written.read_text()) == (6, whole)


def test_two_pages_that_ask_at_once_have_it_made_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []
    monkeypatch.setattr(claims, "ledger", lambda folder: asked.append(folder) or time.sleep(0.5) or [])
    (tmp_path / "results").mkdir()
    with ThreadPoolExecutor(2) as pages:
        both = [pages.submit(ledgers.ledger, tmp_path / "results", tmp_path / "ledger.json") for _ in range(2)]
    assert [each.result() for each in both] == [[], []]
    assert len(asked) == 1


def test_some_entries_are_those_of_the_whole_ledger_written_down_or_not(tmp_path: Path) -> None:
    names = ("averaging-index", "required-width")
    alone = ledgers.held(*names, written=tmp_path / "none.json")
    assert list(alone) == list(names)
    assert [entry.claim.id for entry in alone.values()] == list(names)
    root = ledgers.project_root()
    written = tmp_path / "ledger.json"
    lines = [{"claim": name, "profile": "as written", "cells": []} for name in reversed(names)]
    written.write_text(json.dumps({"made from": ledgers._inputs(root, root / "data" / "results"), "entries": lines}))
    assert [entry.profile for entry in ledgers.held(*names, written=written).values()] == ["as written"] * 2
    with pytest.raises(ValueError, match="unknown claim 'loud'"):
        ledgers.held("loud", written=tmp_path / "none.json")
