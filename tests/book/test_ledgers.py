from __future__ import annotations

import json
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
