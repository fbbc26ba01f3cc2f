"""The ledger: every measured claim can be contradicted by a table, and the verdict follows from the numbers."""

from __future__ import annotations

import json
import math
import tomllib

import pandas as pd
import pytest
from made_up_results import controlled, diverged, measured, sweep, table
from made_up_simulations import GRIDS, made_up

from heavytail import Run
from heavytail.cli import main
from heavytail.evidence import claims, depths, experiments
from heavytail.evidence.cells import Cell
from heavytail.evidence.claims import CLAIMS, PROFILES, SOURCES, VERDICTS, Claim, Entry
from heavytail.evidence.claims.experiments import EXPERIMENTS
from heavytail.evidence.claims.theory import THEORY
from heavytail.lab import results, simulations
from heavytail.lab.runs import read_grid

MEASURED_CLAIMS = [claim for claim in CLAIMS if claim.measure is not None]
OF_CONTROLS = [claim for claim in MEASURED_CLAIMS if claim.table == "controls"]
OF_DEPTH = [claim for claim in MEASURED_CLAIMS if claim.measure is depths.growth_of_loss]
OF_WIDTH = [claim for claim in MEASURED_CLAIMS if claim.table == "width"]
OTHERS = (*OF_CONTROLS, *OF_DEPTH, *OF_WIDTH)
OF_RUNS = [claim for claim in MEASURED_CLAIMS if claim in EXPERIMENTS and claim not in OTHERS]
OF_SIMULATIONS = [claim for claim in MEASURED_CLAIMS if claim in THEORY]
SEEDS = range(1, 63)  # six settings: 372 noisy runs, enough to say that collapses are rarer than one in a hundred


def jitter(seed):
    return 1e-4 * math.sin(seed)


def plain(seed):
    return {"pruning_ratio": 0.2 + jitter(seed), "train_loss": 0.07 * (1 + jitter(seed))}


def agreeing(noise, alpha, seed):
    """Numbers as the claims would have them."""
    return {
        "pruning_ratio": 0.9 - 0.3 * alpha + 3 * jitter(seed) + 0.2,
        "train_loss": 0.07 * (1 + jitter(seed)) * (1 + 1e-4 * math.cos(seed)),
        "test_accuracy": 0.945 + jitter(seed),
        "test_accuracy_pruned": 0.944,
        "share_accuracy": 0.92 + jitter(seed),
        "train_accuracy_pruned": 0.5 if seed % 10 == 1 else 0.95,
    }


def contradicting(noise, alpha, seed):
    """Numbers that contradict every claim."""
    return {
        "pruning_ratio": 0.3 * alpha - 0.5 + jitter(seed) ** 2,
        "train_loss": 0.08 * (1 + jitter(seed)),
        "test_accuracy": 0.90 + jitter(seed),
        "test_accuracy_pruned": 0.80,
        "share_accuracy": 0.85 + jitter(seed),
        "train_accuracy_pruned": 0.94,
    }


@pytest.fixture(scope="module")
def good():
    return sweep(plain, agreeing, seeds=SEEDS)


@pytest.fixture(scope="module")
def bad():
    return sweep(lambda seed: {**plain(seed), "pruning_ratio": 0.3}, contradicting, seeds=SEEDS)


@pytest.mark.parametrize("claim", OF_CONTROLS, ids=lambda claim: claim.id)
@pytest.mark.long
def test_every_claim_about_controls_can_come_out_either_way(claim):
    for agree, verdict in ((True, "supported"), (False, "not supported")):
        assert claims.hold(claim, controlled(agree, SEEDS), "quick").verdict == verdict
        assert claims.hold(claim, controlled(agree, [1]), "quick").verdict == "mixed"


def at_depths(frame, lost):
    """The runs at two and at four hidden layers, where pruning costs `lost[depth]` of test accuracy."""
    kept = {
        depth: frame["test_accuracy"] - loss - 1e-4 * (depth * frame["seed"]).map(math.sin)
        for depth, loss in lost.items()
    }
    return pd.concat([frame.assign(depth=depth, test_accuracy_pruned=after) for depth, after in kept.items()])


@pytest.mark.parametrize("claim", OF_DEPTH, ids=lambda claim: claim.id)
def test_every_claim_about_depth_can_come_out_either_way(claim, good):
    for lost, verdict in (({2: 0.01, 4: 0.03}, "supported"), ({2: 0.03, 4: 0.01}, "not supported")):
        frame = at_depths(good, lost)
        assert claims.hold(claim, frame, "quick").verdict == verdict
        assert claims.hold(claim, frame[frame["seed"] == 1], "quick").verdict == "mixed"


def at_widths(frame, gained):
    """The runs at 100 and at 1000 neurons, where the wide network prunes `gained` further and is so much better."""
    wide = frame.assign(width=1000)
    for name in ("pruning_ratio", *(f"test_accuracy_share_{share:.1f}" for share in results.SHARES)):
        wide[name] += gained + 1e-4 * frame["seed"].map(math.sin)
    return pd.concat([frame.assign(width=100), wide])


@pytest.mark.parametrize("claim", OF_WIDTH, ids=lambda claim: claim.id)
def test_every_claim_about_width_can_come_out_either_way(claim, good):
    for gained, verdict in ((0.1, "supported"), (-0.1, "not supported")):
        frame = at_widths(good, gained)
        assert claims.hold(claim, frame, "quick").verdict == verdict
        assert claims.hold(claim, frame[frame["seed"] == 1], "quick").verdict == "mixed"


@pytest.mark.parametrize("claim", OF_RUNS, ids=lambda claim: claim.id)
def test_every_claim_about_runs_can_come_out_either_way(claim, good, bad):
    assert claims.hold(claim, good, "quick").verdict == "supported"
    assert claims.hold(claim, bad, "quick").verdict == "not supported"


@pytest.mark.parametrize("claim", OF_SIMULATIONS, ids=lambda claim: claim.id)
@pytest.mark.long
def test_every_claim_about_simulations_can_come_out_either_way(claim):
    assert claims.hold(claim, made_up(claim.table, agree=True), "quick").verdict == "supported"
    assert claims.hold(claim, made_up(claim.table, agree=False), "quick").verdict == "not supported"


@pytest.mark.parametrize("claim", OF_RUNS, ids=lambda claim: claim.id)
def test_one_seed_decides_no_claim(claim, good):
    first = good[good["seed"] == 1]
    entry = claims.hold(claim, first, "quick")
    if claim.measure is experiments.collapses:  # its interval is over runs, not over seeds: here 6 of 6 collapse
        assert entry.verdict == "supported"
    else:
        assert entry.verdict == "mixed"


@pytest.mark.parametrize("agree", [True, False], ids=["agreeing", "contradicting"])
@pytest.mark.parametrize("claim", OF_SIMULATIONS, ids=lambda claim: claim.id)
@pytest.mark.long
def test_one_repeat_decides_no_claim(claim, agree):
    entry = claims.hold(claim, made_up(claim.table, agree=agree, repeats=1), "quick")
    assert entry.verdict == "mixed"
    assert {cell.verdict(claim.expected) for cell in entry.cells} == {"mixed"}


@pytest.mark.parametrize(("repeats", "verdict"), [(99, "mixed"), (100, "supported")])
@pytest.mark.long
def test_fewer_than_a_hundred_repeats_do_not_decide_on_a_law(repeats, verdict):
    # Kolmogorov and Smirnov pass every law on a few numbers.
    assert claims.hold("limit-law", made_up("limit-law", agree=True, repeats=repeats), "quick").verdict == verdict


@pytest.mark.parametrize(("repeats", "verdict"), [(10, "mixed"), (40, "supported")])
def test_a_few_networks_that_all_keep_a_promise_do_not_show_that_nine_in_ten_do(repeats, verdict):
    frame = made_up("trained", agree=True, repeats=repeats)
    assert claims.hold("t3-compressibility", frame, "quick").verdict == verdict


@pytest.mark.parametrize("claim", MEASURED_CLAIMS, ids=lambda claim: claim.id)
def test_a_measured_claim_names_its_measure_its_table_and_a_grid_that_makes_it(claim):
    assert claim.what
    low, high = claim.expected
    assert low < high
    path = GRIDS / f"{claim.table}.toml"
    simulated = "study" in tomllib.loads(path.read_text(encoding="utf-8"))
    assert simulated == (claim in OF_SIMULATIONS)
    for profile in ("quick", "workstation"):
        assert simulations.read_grid(path, profile) if simulated else read_grid(path, profile)


def test_claims_have_ids_of_their_own_known_sources_and_a_chapter():
    assert len({claim.id for claim in CLAIMS}) == len(CLAIMS)
    for claim in CLAIMS:
        assert claim.source in SOURCES
        assert claim.chapter
        assert claim.statement.endswith(".")
        assert claims.named(claim.id) is claim


def test_an_unknown_claim_is_refused_with_the_known_ones():
    with pytest.raises(ValueError, match=r"unknown claim 'no-such': choose one of t1-propagation-of-chaos, "):
        claims.named("no-such")
    with pytest.raises(ValueError, match=r"unknown claim 'no-such'"):
        claims.hold("no-such", table([]), "quick")


def test_a_claim_without_a_measure_cannot_be_held():
    with pytest.raises(ValueError, match=r"claim 'made-up' has no measure yet"):
        claims.hold(Claim("made-up", "A statement.", "D", "theory"), table([(Run(), measured())]), "quick")


def test_a_claim_can_be_held_by_its_id(good):
    entry = claims.hold("noise-compresses", good, "workstation")
    assert entry.claim is claims.named("noise-compresses")
    assert (entry.profile, entry.verdict, len(entry.cells), entry.agreeing) == ("workstation", "supported", 6, 6)


# from cells to a verdict

CLAIM = Claim("made-up", "A statement.", "D", "theory", "a number", (0.0, math.inf), "made-up")
RANGED = Claim("ranged", "A statement.", "D", "theory", "a number", (-1.0, 1.0), "made-up")
YES, NO, BETWEEN = Cell("yes", 0.2, 0.1, 0.3, 3), Cell("no", -0.2, -0.3, -0.1, 3), Cell("between", 0.1, -0.1, 0.3, 3)
ALONE = Cell("alone", 0.5, -math.inf, math.inf, 1)


@pytest.mark.parametrize(
    ("cells", "verdict", "agreeing", "weakest"),
    [
        ((), "not tested", 0, None),
        ((YES,), "supported", 1, YES),
        ((YES, YES), "supported", 2, YES),
        ((NO, NO), "not supported", 0, NO),
        ((YES, NO), "mixed", 1, NO),
        ((YES, BETWEEN), "mixed", 1, BETWEEN),
        ((BETWEEN, NO), "mixed", 0, NO),
        ((YES, ALONE, NO), "mixed", 1, ALONE),
    ],
)
def test_a_claim_stands_only_if_all_its_cells_do(cells, verdict, agreeing, weakest):
    entry = Entry(CLAIM, "quick" if cells else None, cells)
    assert (entry.verdict, entry.agreeing, entry.weakest) == (verdict, agreeing, weakest)
    assert entry.verdict in VERDICTS


def test_the_weakest_cell_of_a_claim_with_two_ends_is_the_one_nearest_to_either():
    near_low, near_high = Cell("low", -0.5, -0.9, -0.1, 3), Cell("high", 0.5, 0.1, 0.95, 3)
    assert Entry(RANGED, "quick", (near_low, near_high)).weakest is near_high
    assert Entry(RANGED, "quick", (near_high, Cell("out", -2.0, -2.1, -1.9, 3))).weakest.label == "out"


def test_the_measure_in_words_names_the_weakest_cell_the_agreement_and_the_failures():
    cells = (YES, Cell("some", 0.1, -0.1, 0.3, 3, failed=2))
    assert claims.measured(Entry(CLAIM, "quick", cells)) == (
        "a number: +0.1 [-0.1, +0.3] (1 of 2 cells; weakest some; quick, 2 failed runs)"
    )
    assert claims.measured(Entry(CLAIM, "paper", (YES,))) == "a number: +0.2 [+0.1, +0.3] (yes; paper)"
    assert claims.measured(Entry(CLAIM, None, ())) == "no table yet"


# the ledger


def test_without_tables_nothing_is_tested(tmp_path):
    entries = claims.ledger(tmp_path)
    assert [entry.claim for entry in entries] == list(CLAIMS)
    assert {entry.verdict for entry in entries} == {"not tested"}
    assert {entry.profile for entry in entries} == {None}
    lines = claims.as_text(entries).splitlines()
    assert len(lines) == len(CLAIMS)
    assert all("not tested" in line and line.endswith("no table yet") for line in lines)


@pytest.mark.long
def test_the_ledger_holds_each_claim_against_the_largest_table(tmp_path, good, bad):
    for profile, frame in (("quick", bad), ("workstation", good)):
        results.write_table(frame, tmp_path / profile / "ecg5000.parquet")
    for name in {claim.table for claim in OF_RUNS} - {"ecg5000"}:
        results.write_table(bad, tmp_path / "quick" / f"{name}.parquet")
    for name in {claim.table for claim in OF_SIMULATIONS}:
        results.write_table(made_up(name, agree=False), tmp_path / "quick" / f"{name}.parquet")
    results.write_table(controlled(False, SEEDS), tmp_path / "quick" / "controls.parquet")
    results.write_table(at_depths(bad, {2: 0.11, 4: 0.1}), tmp_path / "quick" / "deeper.parquet")
    results.write_table(at_widths(bad, -0.1), tmp_path / "quick" / "width.parquet")
    entries = {entry.claim.id: entry for entry in claims.ledger(tmp_path)}
    for claim in MEASURED_CLAIMS:
        large = claim.table == "ecg5000"
        expected = ("workstation", "supported") if large else ("quick", "not supported")
        assert (entries[claim.id].profile, entries[claim.id].verdict) == expected
    assert {entries[c.id].verdict for c in CLAIMS if c.measure is None} == {"not tested"}
    results.write_table(bad, tmp_path / "paper" / "ecg5000.parquet")
    again = {entry.claim.id: entry for entry in claims.ledger(tmp_path)}
    assert (again["noise-compresses"].profile, again["noise-compresses"].verdict) == ("paper", "not supported")


def test_profiles_go_from_small_to_large(tmp_path):
    assert PROFILES == ("quick", "workstation", "paper")
    for profile in PROFILES:
        path = tmp_path / profile / "some.parquet"
        path.parent.mkdir()
        path.touch()
        assert claims.largest(tmp_path, "some") == (profile, path)
    assert claims.largest(tmp_path, "other") is None


def test_a_missing_folder_is_refused_with_advice(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"there is no results folder .*missing: .* name it with --results"):
        claims.ledger(tmp_path / "missing")


def test_a_damaged_table_in_the_ledger_is_refused_by_name(tmp_path):
    (tmp_path / "quick").mkdir()
    (tmp_path / "quick" / "ecg5000.parquet").write_bytes(b"PAR1 and no more")
    with pytest.raises(ValueError, match=r"ecg5000.parquet is not a readable results table"):
        claims.ledger(tmp_path)


# json


def strict(text):
    def refuse(name):
        raise AssertionError(f"{name} is not JSON")

    return json.loads(text, parse_constant=refuse)


def test_the_ledger_as_json_holds_what_a_reader_needs(tmp_path, good, capsys):
    alone = sweep(plain, agreeing, seeds=[1])  # infinite intervals
    results.write_table(good, tmp_path / "workstation" / "ecg5000.parquet")
    results.write_table(alone, tmp_path / "quick" / "ecg5000-shared.parquet")
    assert main(["claims", "--json", "--results", str(tmp_path)]) == 0
    entries = {entry["id"]: entry for entry in strict(capsys.readouterr().out)}
    assert list(entries) == [claim.id for claim in CLAIMS]
    for claim in CLAIMS:
        entry = entries[claim.id]
        assert (entry["statement"], entry["source"], entry["chapter"]) == (claim.statement, claim.source, claim.chapter)
        assert entry["verdict"] in VERDICTS
        assert {"measure", "interval", "profile", "cells", "expected", "what", "where", "table"} <= entry.keys()
    tested = entries["noise-compresses"]
    cell = claims.hold("noise-compresses", good, "workstation").weakest
    assert tested["profile"] == "workstation"
    assert tested["measure"] == pytest.approx(cell.value)
    assert tested["interval"] == pytest.approx([cell.low, cell.high])
    assert tested["where"] == cell.label
    assert tested["expected"] == [0, None]
    assert tested["table"] == "ecg5000"
    assert len(tested["cells"]) == 6
    single = entries["shared-noise-unseen"]
    assert single["interval"] == [None, None]
    assert single["cells"][0]["low"] is None
    assert single["measure"] == pytest.approx(1e-4 * math.cos(1))
    untested = entries["rate"]
    assert (untested["measure"], untested["interval"], untested["profile"], untested["cells"]) == (None, None, None, [])


def test_the_json_of_runs_that_all_diverged_is_json_too(tmp_path):
    frame = sweep(lambda seed: diverged(), lambda *_: diverged())
    entry = claims.hold("noise-compresses", frame, "quick")
    text = json.dumps(entry.as_dict(), allow_nan=False)
    assert strict(text)["measure"] is None
    assert strict(text)["cells"][0]["failed"] == 3
