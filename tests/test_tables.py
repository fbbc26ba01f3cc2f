"""Tables as pages show them: order, formatting, failures in sight."""

from __future__ import annotations

import math

import pandas as pd
import pytest
from made_up_results import diverged, measured, sweep, table
from scipy import stats

from heavytail import Run, tables
from heavytail.claims import Claim, Entry
from heavytail.measures import Cell
from heavytail.results import SHARES

MEASURES = ["train %", "test %", "pruned %", "train after %", "test after %"]


def noisy(noise, alpha, seed, sigma=0.1):
    return Run(noise=noise, alpha=alpha, sigma=sigma, seed=seed)


def test_rows_come_in_the_papers_order_whatever_the_order_of_the_runs():
    settings = [("isotropic", 1.75, 0.1), ("shared", 1.9, 0.1), ("entrywise", 2, 0.1), ("shared", 1.75, 0.2)]
    settings += [("shared", 1.75, 0.1)]
    frame = sweep(lambda seed: {}, lambda *_: {}, settings)
    form = tables.paper_form(frame.sample(frac=1, random_state=3))
    assert list(form.columns) == ["noise", "α", "σ", *MEASURES, "runs", "failed"]
    assert list(zip(form["noise"], form["α"], form["σ"], strict=True)) == [
        ("none", "", "0"),
        ("Type-I", "1.75", "0.1"),
        ("Type-I", "1.75", "0.2"),
        ("Type-I", "1.9", "0.1"),
        ("Type-II", "2", "0.1"),
        ("Type-III", "1.75", "0.1"),
    ]
    assert set(form["runs"]) == {3}
    assert set(form["failed"]) == {0}


def test_a_cell_is_a_percentage_with_half_of_its_interval():
    ratios = [0.10, 0.20, 0.60]
    rows = [(Run(seed=s), measured(pruning_ratio=r, train_accuracy=0.5)) for s, r in enumerate(ratios)]
    (row,) = tables.paper_form(table(rows)).to_dict("records")
    half = stats.t.ppf(0.975, 2) * stats.sem([10, 20, 60])
    assert row["pruned %"] == f"30.0 ± {half:.1f}"
    assert row["train %"] == "50.0 ± 0.0"
    assert row["test after %"] == "95.0 ± 0.0"


def test_one_seed_is_shown_without_an_interval():
    (row,) = tables.paper_form(table([(Run(), measured(pruning_ratio=0.1143))])).to_dict("records")
    assert (row["pruned %"], row["runs"], row["failed"]) == ("11.4", 1, 0)


def test_failed_runs_are_counted_and_do_not_move_the_mean():
    rows = [(noisy("shared", 1.75, 1), measured(pruning_ratio=0.4)), (noisy("shared", 1.75, 2), diverged())]
    rows += [(noisy("isotropic", 1.75, seed), diverged()) for seed in (1, 2)]
    some, none = tables.paper_form(table(rows)).to_dict("records")
    assert (some["pruned %"], some["runs"], some["failed"]) == ("40.0", 1, 1)
    assert (none["noise"], none["pruned %"], none["runs"], none["failed"]) == ("Type-III", "nan", 0, 2)


def test_accuracy_curves_have_one_row_a_run_and_share():
    numbers = measured()
    for share in SHARES:
        numbers[f"test_accuracy_share_{share:.1f}"] = 1 - share
        numbers[f"train_accuracy_share_{share:.1f}"] = share
    frame = table([(Run(seed=1), numbers), (noisy("shared", 1.9, 2), numbers)])
    long = tables.accuracy_curves(frame)
    assert set(long.columns) == {"noise", "alpha", "sigma", "seed", "share", "accuracy"}
    assert len(long) == 2 * len(SHARES)
    assert sorted(set(long["share"])) == list(SHARES)
    assert ((long["accuracy"] + long["share"]) == 1).all()
    assert set(long.loc[long["noise"] == "shared", "seed"]) == {2}
    train = tables.accuracy_curves(frame, "train")
    assert (train["accuracy"] == train["share"]).all()


def test_the_ledger_form_shows_the_weakest_cell_and_how_many_agree():
    claim = Claim("made-up", "A statement.", "D", "theory", "a number", (0.0, math.inf), "t")
    cells = (Cell("a", 0.25, 0.125, 0.375, 3), Cell("b", -0.25, -0.375, -0.125, 3))
    tested, untested = tables.ledger_form([Entry(claim, "quick", cells), Entry(claim, None, ())]).to_dict("records")
    assert tested == {
        "claim": "made-up",
        "source": "D",
        "verdict": "mixed",
        "weakest cell [interval]": "-0.25 [-0.375, -0.125]",
        "cells that agree": "1 of 2",
        "profile": "quick",
    }
    assert untested["verdict"] == "not tested"
    assert untested["weakest cell [interval]"] == untested["cells that agree"] == untested["profile"] == "—"


@pytest.mark.parametrize("kind", [None, "shared", "entrywise", "isotropic"])
def test_every_noise_has_the_papers_name(kind):
    assert tables.PAPER_TYPE[kind] in ("none", "Type-I", "Type-II", "Type-III")
    assert len(set(tables.PAPER_TYPE.values())) == 4


def test_a_shown_table_keeps_numbers_unbroken_and_lets_texts_wrap():
    long = "a statement that is too long to stand on one line"
    page = tables.show(pd.DataFrame({"a<b": ["1.0 ± 0.1", long], "n": [1, 2]}), "R & D")._repr_html_()
    assert '<td class="short">1.0 ± 0.1</td>' in page
    assert f"<td>{long}</td>" in page
    assert "<caption>R &amp; D</caption>" in page
    assert "a&lt;b" in page
    assert "<caption>" not in tables.show(pd.DataFrame({"n": [1]})).text
