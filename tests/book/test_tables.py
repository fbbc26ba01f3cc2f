"""Tables as pages show them: order, formatting, failures in sight."""

from __future__ import annotations

import math
import re
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest
from bs4 import BeautifulSoup
from made_up_results import controlled, diverged, measured, rivalled, sweep, table

from heavytail import Run
from heavytail.book import tables
from heavytail.evidence import arms
from heavytail.evidence.cells import Cell, median_cell
from heavytail.evidence.claims import Claim, Entry
from heavytail.lab.results import SHARES

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


def test_a_cell_is_a_median_in_percent_with_its_interval():
    ratios = [0.10, 0.20, 0.60, 0.30, 0.35, 0.40]
    rows = [(Run(seed=s), measured(pruning_ratio=r, train_accuracy=0.5)) for s, r in enumerate(ratios)]
    (row,) = tables.paper_form(table(rows)).to_dict("records")
    assert row["pruned %"] == "32.5 [10.0, 60.0]"
    assert row["train %"] == "50.0"  # of all seeds
    assert row["test after %"] == "95.0"


def test_below_six_seeds_there_is_the_range_and_no_interval():
    rows = [(Run(seed=s), measured(pruning_ratio=r)) for s, r in enumerate([0.10, 0.20, 0.60])]
    (row,) = tables.paper_form(table(rows)).to_dict("records")
    assert row["pruned %"] == "20.0 (10.0 to 60.0)"
    lost = [0.1, 0.2, 0.3, 0.4, 0.5, math.nan]  # the lost one may lie anywhere
    assert tables.over_seeds(lost) == "30.0 (10.0 to 50.0)"
    assert tables.over_seeds([*lost, 0.15, 0.25, 0.35]) == "27.5 [10.0, 50.0]"


def test_one_seed_is_shown_without_an_interval():
    (row,) = tables.paper_form(table([(Run(), measured(pruning_ratio=0.1143))])).to_dict("records")
    assert (row["pruned %"], row["runs"], row["failed"]) == ("11.4", 1, 0)


def test_failed_runs_are_counted_and_do_not_move_the_mean():
    rows = [(noisy("shared", 1.75, 1), measured(pruning_ratio=0.4)), (noisy("shared", 1.75, 2), diverged())]
    rows += [(noisy("isotropic", 1.75, seed), diverged()) for seed in (1, 2)]
    some, none = tables.paper_form(table(rows)).to_dict("records")
    assert (some["pruned %"], some["runs"], some["failed"]) == ("40.0", 1, 1)
    assert (none["noise"], none["pruned %"], none["runs"], none["failed"]) == ("Type-III", "—", 0, 2)


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


def entry_of(claim, *cells, profile="quick", scale="toy"):
    return Entry(claim, profile if cells else None, claim.judged(cells, scale))


def test_the_ledger_form_shows_the_weakest_cell_and_in_how_many_the_claim_holds():
    claim = Claim("made-up", "A statement.", "D", "theory", "a number", (0.0, math.inf), "t")
    cells = (Cell("a", 0.25, 0.125, 0.375, 9, seeds=9), Cell("b", -0.25, -0.375, -0.125, 9, seeds=10))
    tested, untested = tables.ledger_form([entry_of(claim, *cells), entry_of(claim)]).to_dict("records")
    assert tested == {
        "claim": "made-up",
        "source": "D",
        "verdict": "holds 1, fails 1",
        "weakest cell [interval]": "-0.25 [-0.375, -0.125]",
        "cells that hold": "1 of 2",
        "seeds": "9 to 10",
        "scale": "toy",
    }
    assert untested["verdict"] == "not tested"
    assert {untested[name] for name in ("weakest cell [interval]", "cells that hold", "seeds", "scale")} == {"—"}


def test_a_verdict_in_a_sentence_has_its_cells_its_seeds_and_its_scale():
    claim = Claim("made-up", "A statement.", "D", "theory", "a number", (0.0, math.inf), "t")
    cells = (Cell("a", 0.25, 0.125, 0.375, 9, seeds=9), Cell("b", 0.25, -0.375, 0.5, 9, seeds=9))
    assert tables.said(entry_of(claim, *cells)) == "✓\u00a0holds 1, ?\u00a0undecided 1 (of 2 cells; 9 seeds; toy)"
    assert tables.said(entry_of(claim, cells[0])) == "✓\u00a0holds (1 cell; 9 seeds; toy)"
    assert tables.said(entry_of(claim)) == "not tested"


def test_the_tally_tells_the_papers_claims_from_ours():
    paper, own = (Claim(s, "A.", s, "theory", "a number", (0.0, math.inf), "t") for s in ("P", "D"))
    yes, no = Cell("a", 0.25, 0.125, 0.375, 9), Cell("b", -0.25, -0.375, -0.125, 9, noise="shared")
    rows = tables.tally_form([entry_of(paper, yes, yes), entry_of(own, yes, no), entry_of(own)]).to_dict("records")
    assert [(row["claims"], row["counted"], row["holds"], row["fails"], row["not tested"]) for row in rows] == [
        ("the paper's [P]", "noise types", 1, 0, 0),
        ("ours", "noise types", 1, 1, 1),
        ("the paper's [P]", "cells", 2, 0, 0),
        ("ours", "cells", 1, 1, 0),
    ]


def test_what_would_decide_the_undecided_stands_beside_the_seeds_that_there_are():
    claim = Claim("made-up", "A statement.", "D", "theory", "a number", (0.0, math.inf), "t")
    held = Cell("a", 0.25, 0.125, 0.375, 9, seeds=9)
    near = (-0.1, 0.2, 0.3, 0.2)  # 17 seeds would decide
    nearer = (0.1, 0.2, 0.3, 0.2)  # 6
    level = (-0.1, 0.1)  # none: the median lies on the end of the range
    unknown = [median_cell(name, points) for name, points in (("b", near), ("c", nearer), ("d", level))]
    decided, two, three = (entry_of(claim, held, *unknown[:many]) for many in (0, 2, 3))
    shown = tables.undecided_form([decided, two, three]).to_dict("records")
    assert shown == [
        {"claim": "made-up", "undecided": "2 of 3", "seeds": "4 to 9", "for half": "6", "for all": "17"},
        {"claim": "made-up", "undecided": "3 of 4", "seeds": "2 to 9", "for half": "17", "for all": "—"},
    ]
    assert tables.undecided_form([decided]).empty


def held_against_many():
    """Made-up entries: two claims against three tables each, one against two, one against one."""
    cell = Cell("a", 0.25, 0.125, 0.375, 9, noise="shared", seeds=9)
    other = Cell("b", 0.25, -0.125, 0.375, 9, noise="entrywise", seeds=9)

    def entry(name, table, *cells):
        return entry_of(Claim(name, "A < B.", "D", "mnist", "a number", (0.0, math.inf), table), *cells)

    three = [
        entry("it-grows", "ecg5000", cell, other),
        entry("it-grows-mnist", "mnist"),
        entry("it-grows-vgg", "vgg", cell),
    ]
    more = [entry(f"shrinks-{table}", table, cell) for table in ("vgg", "mnist", "deeper")]
    few = [entry("alone", "mnist", cell), entry("two-vgg", "vgg", cell), entry("two-mnist", "mnist", cell)]
    return few[:1] + three + few[1:] + more, few


def test_claims_held_against_three_tables_or_more_stand_side_by_side_and_others_alone():
    entries, few = held_against_many()
    assert tables.alone(entries) == few
    across = BeautifulSoup(tables.verdicts_across(entries)._repr_html_(), "html.parser")
    rows = [[cell.get_text() for cell in row.find_all("td")] for row in across.select("tbody tr")]
    assert rows == [
        ["It grows", "holds 1, undecided 1 1 of 2", "not tested", "holds 1 of 1", "—"],
        ["Shrinks", "—", "holds 1 of 1", "holds 1 of 1", "holds 1 of 1"],
    ]
    assert {link["href"] for link in across.select("a")} == {"mnist.html"}
    marks = [mark["class"][1] for mark in across.select("tbody tr")[0].select(".verdict")]
    assert marks == ["holds", "undecided", "not-tested", "holds"]
    single = BeautifulSoup(tables.verdicts(few)._repr_html_(), "html.parser")
    first = [cell.get_text(" ") for cell in single.select("tbody tr")[0].find_all("td")]
    assert first == ["Alone A < B. [D]", "+0.25 [+0.125, +0.375] a number", "1 of 1", "holds 9 seeds, toy"]
    assert single.select_one(".verdict")["class"] == ["verdict", "holds"]


def test_a_ledger_names_profiles_only_where_they_differ():
    claim = Claim("made-up", "A statement.", "D", "theory", "a number", (0.0, math.inf), "t")
    entry = entry_of(claim, Cell("a", 0.25, 0.125, 0.375, 9, seeds=9))
    both = [entry, replace(entry, profile="workstation"), entry_of(claim)]
    assert tables.ledger_form(both)["scale"].tolist() == ["toy (quick)", "toy (workstation)", "—"]


def test_claims_that_share_no_table_stand_in_tables_of_their_own_and_many_columns_have_signs_alone():
    def held(name, *on):
        cell = Cell("a", 0.25, 0.125, 0.375, 9, noise="shared", seeds=9)
        claims = [Claim(f"{name}-{table}", "A < B.", "D", "mnist", "a number", (0.0, math.inf), table) for table in on]
        return [entry_of(claim, cell) for claim in claims]

    one, other, many = ("ecg5000", "mnist", "vgg"), ("x", "y", "z"), ("ecg5000", *"abcdef")
    entries = [*held("it-grows", *one), *held("it-ships", *other), *held("it-shrinks", *many)]
    page = BeautifulSoup(tables.verdicts_across(entries)._repr_html_(), "html.parser")
    found = [
        ([row.td.get_text() for row in table.select("tbody tr")], [head.get_text() for head in table.select("th")[1:]])
        for table in page.select("table")
    ]
    assert found == [
        (["It ships"], ["x", "y", "z"]),
        (["It grows", "It shrinks"], [*one, *"abcdef"]),  # the third claim has a table of the first
    ]
    assert ["signs" in table["class"] for table in page.select("table")] == [False, True]
    left_out = page.select("table")[1].select("tbody tr")[0].select("td.nothing")
    assert [cell["data-title"] for cell in left_out] == [*"abcdef"]


def test_a_stacked_table_titles_every_entry_but_the_first_and_marks_what_a_phone_leaves_out():
    table = pd.DataFrame({"run": ["<one>", "two"], "a & b": ["—", "many words that a line of a table has no room for"]})
    page = BeautifulSoup(tables.show(table, "A caption", stacked=True)._repr_html_(), "html.parser")
    assert "stacked" in page.table["class"]
    cells = [
        [(cell.get("data-title"), cell.get_text()) for cell in row.select("td")] for row in page.select("tbody tr")
    ]
    assert cells == [[(None, row.run), ("a & b", row["a & b"])] for _, row in table.iterrows()]
    assert [cell["data-title"] for cell in page.select("td.nothing")] == ["a & b"]
    assert "data-title" not in tables.show(table)._repr_html_()


def test_counts_are_blocks_with_the_same_numbers_in_words_beside_them():
    entries, few = held_against_many()
    page = BeautifulSoup(tables.counts({"A < B": entries, "Cells": few[:2], "None": []})._repr_html_(), "html.parser")
    rows = {row.dt.get_text(): row.dd for row in page.select("dl.counts > div")}
    assert {title: row.get_text().strip() for title, row in rows.items()} == {
        "A < B, toy scale": "holds 8, undecided 1",
        "Cells, toy scale": "holds 2",
    }
    for row in rows.values():
        shown = [block["class"][0] for block in row.select(".blocks i")]
        words = [f"{word} {shown.count(word)}" for word in dict.fromkeys(shown)]
        assert words == [mark.get_text() for mark in row.select(".verdict")]


def test_counts_are_of_cells_with_a_row_for_each_scale():
    claim = Claim("made-up", "A statement.", "D", "theory", "a number", (0.0, math.inf), "t", margin=0.5)
    yes, no, none = Cell("a", 1, 0.75, 2, 9), Cell("b", -1, -2, -0.75, 9), Cell("c", 0, -0.25, 0.25, 9)
    entries = [entry_of(claim, yes, yes, no, none, scale="full"), entry_of(claim, yes, scale="toy"), entry_of(claim)]
    page = BeautifulSoup(tables.counts({"It": entries})._repr_html_(), "html.parser")
    assert {row.dt.get_text(): row.dd.get_text().strip() for row in page.select("dl.counts > div")} == {
        "It, full scale": "holds 2, fails 1, no difference 1",
        "It, toy scale": "holds 1",
    }


@pytest.mark.parametrize("kind", [None, "shared", "entrywise", "isotropic"])
def test_every_noise_has_the_papers_name(kind):
    assert tables.PAPER_TYPE[kind] in ("none", "Type-I", "Type-II", "Type-III")
    assert len(set(tables.PAPER_TYPE.values())) == 4


def test_a_shown_table_keeps_numbers_unbroken_and_lets_texts_wrap():
    long = "a statement that is too long to stand on one line"
    page = tables.show(pd.DataFrame({"a<b": ["1.0 [0.9, 1.1]", long], "n": [1, 2]}), "R & D")._repr_html_()
    assert '<td>1.0 <span class="short">[0.9, 1.1]</span></td>' in page
    assert f"<td>{long}</td>" in page
    assert "<caption>R &amp; D</caption>" in page
    assert "a&lt;b" in page
    listed = tables.show(pd.DataFrame({"word": ["noise 1, plain SGD 2"], "range": ["[0, 1], [0, 2]"]})).text
    assert '<td><span class="short">noise 1</span>, <span class="short">plain SGD 2</span></td>' in listed
    assert '<td class="short">[0, 1], [0, 2]</td>' in listed
    small = tables.show(pd.DataFrame({"n": [3e-05, 1.25e-7], "word": ["-3.5e-05 [-1e-04, +2e+07]", "key 1e-05a"]})).text
    assert [text in small for text in ("3 · 10⁻⁵<", "1.25 · 10⁻⁷<", "-3.5 · 10⁻⁵ ", "[-1 · 10⁻⁴, +2 · 10⁷]")] == [
        True
    ] * 4, small
    assert "key 1e-05a" in small
    assert "<caption>" not in tables.show(pd.DataFrame({"n": [1]})).text


def test_controls_have_rows_of_their_own_that_say_what_they_are():
    shown = tables.paper_form(controlled(True, (1, 2)))
    assert list(shown["noise"]) == [
        *("none", "none, weight decay 0.1", "Type-I", "Type-I, unseen", "Type-I", "Type-I"),
        *["Type-II"] * 3,
        *["Type-III"] * 3,
    ]
    assert list(shown["runs"]) == [2] * 12
    lasso = tables.paper_form(table([(Run(seed=1, group_lasso=0.2), measured()), (Run(seed=1), measured())]))
    assert list(lasso["noise"]) == ["none", "none, group lasso 0.2"]
    assert list(tables.keys_form(table([(Run(seed=1, group_lasso=0.2), measured())]))["noise"]) == [
        "none, group lasso 0.2"
    ]


def test_rivals_and_step_sizes_have_rows_of_their_own():
    runs = [Run(seed=1), Run(seed=1, group_lasso=0.2), Run(seed=1, lr=0.01), noisy("shared", 1.5, 1)]
    shown = tables.paper_form(table([(run, measured()) for run in runs]))
    assert list(shown["noise"]) == [
        *("none, η = 0.001", "none, η = 0.01", "none, group lasso 0.2, η = 0.001", "Type-I, η = 0.001")
    ]


def test_the_headline_holds_the_smallest_and_largest_median_ratio_and_counts_failures():
    rows = [(Run(seed=seed, width=30), measured(pruning_ratio=0.1)) for seed in (1, 2)]
    for sigma, ratios in ((0.1, (0.2, 0.4)), (0.2, (0.5, None))):
        for seed, ratio in enumerate(ratios, start=1):
            run = Run(seed=seed, width=30, noise="shared", alpha=1.5, sigma=sigma)
            rows.append((run, diverged() if ratio is None else measured(pruning_ratio=ratio)))
    told = tables.headline(table(rows))
    assert (told["plain"], told["low"], told["high"]) == ("10.0%", "30%", "50%")
    assert (told["runs"], told["failed"], told["seeds"], told["neurons"]) == (6, 1, 2, 30)


def test_each_cell_names_the_keys_of_its_runs_in_the_order_of_their_seeds():
    runs = [
        Run(seed=seed, noise="shared", alpha=1.5, sigma=0.1, along=along)
        for along in ("ones", "unseen")
        for seed in (2, 1)
    ]
    shown = tables.keys_form(table([(run, measured()) for run in runs]))
    assert list(shown["noise"]) == ["Type-I", "Type-I, unseen"]
    assert list(shown["keys of the runs"]) == [f"{runs[1].key} {runs[0].key}", f"{runs[3].key} {runs[2].key}"]


def test_every_arm_has_a_row_with_its_setting_and_what_it_prunes():
    rows = tables.arms_form(arms.of_strength(rivalled(True, range(1, 4)), "most", 0.01)).set_index("arm")
    kinds = [f"{kind}, α = {alpha}" for kind in ("Type-I", "Type-II", "Type-III") for alpha in ("1.5", "1.75", "2")]
    assert list(rows.index) == sorted(["plain SGD", "weight decay", "group lasso", *kinds])
    assert rows.loc["plain SGD", ["η", "strength", "pruned %", "test %", "seeds"]].tolist() == [
        *("0.01", "", "10.0", "95.0", 3)
    ]
    assert rows.loc["weight decay", ["strength", "kept 0.5", "tuned"]].tolist() == ["1", "50.0", "93.0"]
    noisy = rows.loc["Type-I, α = 1.75"]
    assert noisy[["strength", "pruned %", "its twin %", "at random"]].tolist() == ["0.1", "50.0", "50.0", "70.0"]
    assert noisy["attacked"] == "65.0"


def test_an_arm_without_a_number_shows_a_dash_and_one_that_diverged_guesses():
    (row,) = tables.arms_form(table([(Run(), diverged())])).to_dict("records")
    assert (row["test %"], row["attacked"], row["pruned %"], row["seeds"]) == ("50.0", "50.0", "—", 1)
    (row,) = tables.arms_form(table([(Run(), {**diverged(), "status": "failed"})])).to_dict("records")
    assert (row["test %"], row["attacked"]) == ("—", "—")


def test_arms_are_compared_at_every_share_kept_in_points_and_a_sign():
    frame = arms.of_strength(rivalled(True, range(1, 13)), "least", 0.01)
    rows = tables.against_form(frame).set_index("arm")
    assert "plain SGD" not in rows.index
    assert rows.loc["weight decay", "0.5 kept"] == "-20.0 ✗"
    assert rows.loc["Type-I, α = 1.5", "0.1 kept"] == "+0.0 ="
    few = tables.against_form(arms.of_strength(rivalled(True, range(1, 4)), "least", 0.01)).set_index("arm")
    assert few.loc["weight decay", "0.5 kept"] == "-20.0 ?"
    better = tables.against_form(frame, "weight decay").set_index("arm")
    assert better.loc["plain SGD", "0.5 kept"] == "+20.0 ✓"


def test_verdicts_have_their_signs_in_texts_and_in_tables_and_the_style_sheet_has_the_same():
    words = pd.DataFrame(
        {"claim": ["holds water"], "verdict": ["holds 2, no difference 1"], "weakest": ["holds (1 cell)"]}
    )
    page = tables.show(words).text
    assert '<span class="verdict holds"><span>holds</span> 2</span>, <span class="verdict no-difference">' in page
    assert page.count("verdict") == 3  # what holds water is no verdict
    style = (Path(__file__).parents[2] / "book" / "_static" / "heavytail.css").read_text("utf-8")
    signs = dict(re.findall(r'\n\.verdict\.([\w-]+)::before \{\n  content: "(.)";', style))
    assert signs == {word.replace(" ", "-"): sign for word, sign in tables.SIGNS.items()}


def test_five_digits_have_their_thousands_apart_and_names_and_decimals_do_not():
    page = tables.show(pd.DataFrame({"n = 10000": ["0.08366", "1731", "3b41234f", "895869 [1, 2]"]})).text
    assert re.findall(r"<t[hd](?: [^>]*)?>([^<]+)", page) == [
        "n = 10\u00a0000",
        "0.08366",
        "1731",
        "3b41234f",
        "895\u00a0869 ",
    ]
