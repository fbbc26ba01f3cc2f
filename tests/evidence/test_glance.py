"""The reproduction at a glance: tables of one kind in one line, each counted once, at its largest profile."""

from __future__ import annotations

from dataclasses import replace

import pandas as pd
from made_up_results import measured, table

from heavytail import Run
from heavytail.book import tables
from heavytail.evidence import glance
from heavytail.evidence.cells import Cell
from heavytail.evidence.claims import Entry, named
from heavytail.lab import results

CELL = Cell("a cell", 0.3, 0.2, 0.4, 6, noise="shared", seeds=6)


def trained(folder, profile, name, dataset, seeds):
    runs = [(Run(dataset=dataset, seed=seed), measured(seconds=90.0)) for seed in range(seeds)]
    (folder / profile).mkdir(exist_ok=True)
    results.write_table(table(runs), folder / profile / f"{name}.parquet")


def held(table_name, verdict, scale):
    claim = replace(named("noise-compresses"), id=f"a-{table_name}", table=table_name)
    return Entry(claim, "workstation", (replace(CELL, verdict=verdict, scale=scale),))


def test_each_kind_has_a_line_with_its_runs_time_scales_and_verdicts(tmp_path):
    trained(tmp_path, "quick", "mnist", "mnist", 2)
    trained(tmp_path, "workstation", "mnist", "mnist", 5)  # what counts, and not the smaller one too
    trained(tmp_path, "workstation", "choose-mnist", "mnist", 3)
    trained(tmp_path, "quick", "ecg5000-random", "ecg5000-random", 1)
    rows = {"key": ["a", "a", "b"], "seconds": [7.0, 7.0, 5.0], "device": "cuda"}  # a row a number: two simulations
    pd.DataFrame(rows).to_parquet(tmp_path / "workstation" / "rate.parquet")
    entries = [held("mnist", "holds", "reduced"), held("mnist", "fails", "reduced"), held("rate", "holds", "toy")]
    ecg, mnist, theory = lines = glance.lines(tmp_path, entries)
    assert (ecg.what, ecg.tables, ecg.profiles) == ("networks trained on ECG5000", ("ecg5000-random",), ("quick",))
    assert not any(ecg.words.values())
    assert (mnist.datasets, mnist.tables, mnist.runs) == (("MNIST",), ("choose-mnist", "mnist"), 8)
    assert (mnist.seconds, mnist.scales, mnist.devices) == (720.0, ("reduced",), ("cpu",))
    assert (mnist.words["holds"], mnist.words["fails"]) == (1, 1)
    assert (theory.runs, theory.seconds, theory.devices, theory.scales) == (2, 12.0, ("cuda",), ("toy",))
    form = tables.glance_form(lines)
    assert list(form["computing"]) == ["1 min 30 s", "12 min", "12 s", "14 min"]
    assert list(form["verdicts"]) == ["—", "holds 1, fails 1", "holds 1", "holds 2, fails 1"]
    assert list(form["runs"]) == ["1", "8", "2", "11"]
