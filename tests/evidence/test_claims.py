"""The ledger: every measured claim can be contradicted by a table, and the verdict follows from the numbers."""

from __future__ import annotations

import json
import math
import tomllib
from dataclasses import replace
from functools import cache

import pandas as pd
import pytest
from made_up_results import controlled, diverged, measured, rivalled, sweep, table
from made_up_simulations import GRIDS
from made_up_simulations import made_up as simulations_made_up
from made_up_simulations import table as simulated

from heavytail import Run
from heavytail.cli import main
from heavytail.evidence import claims, controls, depths, rivals, untrained, widths
from heavytail.evidence.cells import Cell, Sample, median_cell, shares
from heavytail.evidence.claims import CLAIMS, PROFILES, SOURCES, VERDICTS, Claim, Entry
from heavytail.evidence.claims.experiments import EXPERIMENTS
from heavytail.evidence.claims.law import LAW
from heavytail.evidence.claims.ledger import _quick_to_cut
from heavytail.evidence.claims.theory import THEORY
from heavytail.evidence.intervals import family_level
from heavytail.lab import results, simulations
from heavytail.lab.runs import read_grid


def made_once(make):
    """Tables made once for all claims, as the ledger has those that it reads; to measure one changes no table."""
    return cache(lambda *how, **also: _quick_to_cut(make(*how, **also)))


rivalled, controlled, made_up = made_once(rivalled), made_once(controlled), made_once(simulations_made_up)
MEASURED_CLAIMS = [claim for claim in CLAIMS if claim.measure is not None]
OF_CONTROLS = [claim for claim in MEASURED_CLAIMS if claim.table == "controls"]
OF_DEPTH = [claim for claim in MEASURED_CLAIMS if claim.measure is depths.growth_of_loss]
OF_WIDTH = [claim for claim in MEASURED_CLAIMS if claim.measure and claim.measure.__module__ == widths.__name__]
OF_RIVALS = [
    claim
    for claim in MEASURED_CLAIMS
    if claim.table != "controls"
    and claim in EXPERIMENTS
    and claim.measure.__module__ in {module.__name__ for module in (rivals, controls, untrained)}
]
OF_SHIPPING = [claim for claim in MEASURED_CLAIMS if claim.chapter == "shipping"]  # see test_smallest_files.py
OF_FEDERATION = [claim for claim in MEASURED_CLAIMS if claim.chapter == "federated"]  # see test_accuracy_by_upload.py
OTHERS = (*OF_CONTROLS, *OF_DEPTH, *OF_WIDTH, *OF_RIVALS, *OF_SHIPPING, *OF_FEDERATION)
OF_RUNS = [claim for claim in MEASURED_CLAIMS if claim in EXPERIMENTS and claim not in OTHERS]
OF_SIMULATIONS = [claim for claim in MEASURED_CLAIMS if claim in THEORY]
SEEDS = range(1, 101)  # enough to say that collapses are rarer than one in twenty, for three noise types at once


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
        "train_accuracy_pruned": 0.5 if seed % 5 == 1 else 0.95,
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


def alike(noise, alpha, seed):
    """Numbers of a network that noise leaves as it is, but for less than would matter."""
    return {"pruning_ratio": 0.203 + jitter(seed), "share_accuracy": 0.9 + jitter(seed)}


@pytest.fixture(scope="module")
def good():
    return _quick_to_cut(sweep(plain, agreeing, seeds=SEEDS))


@pytest.fixture(scope="module")
def few(good):
    return good[good["seed"] < 6]


@pytest.fixture(scope="module")
def bad():
    return _quick_to_cut(sweep(lambda seed: {**plain(seed), "pruning_ratio": 0.3}, contradicting, seeds=SEEDS))


@pytest.fixture(scope="module")
def same():
    return _quick_to_cut(sweep(plain, alike, seeds=SEEDS))


@cache
def once(measure):
    """A measure that takes what it has measured of a table from its memory: claims about several data sets share it."""
    known = {}

    def of(frame):
        if id(frame) not in known:
            known[id(frame)] = frame, measure(frame)
        return known[id(frame)][1]

    return of


def held(claim, frame):
    """What comes of a claim in a table that is held against several claims."""
    return claims.hold(replace(claim, measure=once(claim.measure)), frame, "quick").verdict


@pytest.mark.parametrize("claim", OF_CONTROLS, ids=lambda claim: claim.id)
@pytest.mark.long
def test_every_claim_about_controls_can_come_out_each_way(claim):
    for agree, verdict in ((True, "holds"), (False, "fails"), (None, "no difference" if claim.margin else "holds")):
        assert held(claim, controlled(agree, range(1, 13))) == verdict
        assert held(claim, controlled(agree, range(1, 6))) == "undecided"


@pytest.mark.parametrize("claim", OF_RIVALS, ids=lambda claim: claim.id)
@pytest.mark.long
def test_every_claim_about_rivals_can_come_out_each_way(claim):
    for agree, verdict in ((True, "holds"), (False, "fails"), (None, "no difference" if claim.margin else "holds")):
        assert held(claim, rivalled(agree, range(1, 13))) == verdict
        assert held(claim, rivalled(agree, range(1, 6))) == "undecided"


@cache
def law(agree, repeats):
    """A table of start plus noise whose ratios are as the claims would have them, the other way round, or alike."""
    ratio = {1.5: 0.6, 1.75: 0.5, 2.0: 0.4}
    todo = [
        simulations.Untrained(alpha=alpha, sigma=0.1, noise=noise, width=width, inputs=3, repeats=repeats)
        for noise in ("shared", "entrywise", "isotropic")
        for alpha in ratio
        for width in (50, 500)
    ]

    def numbers(alpha, width):
        middle = ratio[alpha] + (0.05 if width > 50 else 0.0)
        middle = 0.5 if agree is None else middle if agree else 1 - middle
        start = 0.5 if agree is None else 0.1 if agree else 0.9
        shaken = [1 + 1e-4 * math.sin(repeat) for repeat in range(repeats)]
        return {
            "pruning_ratio": [middle * factor for factor in shaken],
            "start_ratio": [start * factor for factor in shaken],
        }

    return _quick_to_cut(simulated((simulation, numbers(simulation.alpha, simulation.width)) for simulation in todo))


@pytest.mark.parametrize("claim", LAW, ids=lambda claim: claim.id)
@pytest.mark.long
def test_every_claim_about_the_law_can_come_out_each_way(claim):
    for agree, verdict in ((True, "holds"), (False, "fails"), (None, "no difference")):
        assert held(claim, law(agree, 40)) == verdict
        assert held(claim, law(agree, 5)) == "undecided"


def at_depths(frame, lost):
    """The runs at two and at four hidden layers, where pruning costs `lost[depth]` of test accuracy."""
    kept = {
        depth: frame["test_accuracy"] - loss - 1e-4 * (depth * frame["seed"]).map(math.sin)
        for depth, loss in lost.items()
    }
    return pd.concat([frame.assign(depth=depth, test_accuracy_pruned=after) for depth, after in kept.items()])


@pytest.mark.parametrize("claim", OF_DEPTH, ids=lambda claim: claim.id)
def test_every_claim_about_depth_can_come_out_each_way(claim, good):
    ways = {"holds": {2: 0.01, 4: 0.03}, "fails": {2: 0.03, 4: 0.01}, "no difference": {2: 0.01, 4: 0.011}}
    for verdict, lost in ways.items():
        frame = at_depths(good, lost)
        assert claims.hold(claim, frame, "quick").verdict == verdict
        assert claims.hold(claim, frame[frame["seed"] < 6], "quick").verdict == "undecided"


def at_widths(frame, gained):
    """The runs at 100 and at 1000 neurons; with noise the wide network prunes `gained` further and is so much better.

    Without noise it gains 0.05: what noise gains is more than that, or less, or the same.
    """
    wide = frame.assign(width=1000)
    gain = wide["noise"].notna().map({True: gained, False: 0.05}) + 1e-4 * frame["seed"].map(math.sin)
    for name in ("pruning_ratio", *(f"test_accuracy_share_{share:.1f}" for share in results.SHARES)):
        wide[name] += gain
    return pd.concat([frame.assign(width=100), wide])


@pytest.mark.parametrize("claim", OF_WIDTH, ids=lambda claim: claim.id)
def test_every_claim_about_width_can_come_out_each_way(claim, good):
    same = 0.0 if claim.measure is widths.compressibility else 0.05
    for verdict, gained in (("holds", 0.1), ("fails", -0.1), ("no difference", same)):
        frame = at_widths(good, gained)
        assert claims.hold(claim, frame, "quick").verdict == verdict
        assert claims.hold(claim, frame[frame["seed"] < 6], "quick").verdict == "undecided"


def test_a_wider_network_that_gains_no_more_than_plain_sgd_is_not_better(good):
    entry = claims.hold("wider-better-at-equal-share", at_widths(good, 0.03), "quick")
    assert entry.verdict == "fails"
    assert entry.weakest.value == pytest.approx(-0.02)


@pytest.mark.parametrize("claim", OF_RUNS, ids=lambda claim: claim.id)
def test_every_claim_about_runs_can_come_out_each_way(claim, good, few, bad, same):
    assert held(claim, good) == "holds"
    assert held(claim, bad) == "fails"
    assert held(claim, few) == "undecided"
    if claim.margin:
        assert held(claim, same) == "no difference"


@pytest.mark.parametrize("claim", OF_SIMULATIONS, ids=lambda claim: claim.id)
@pytest.mark.long
def test_every_claim_about_simulations_can_come_out_each_way(claim):
    assert claims.hold(claim, made_up(claim.table, agree=True), "quick").verdict == "holds"
    assert claims.hold(claim, made_up(claim.table, agree=False), "quick").verdict == "fails"


@pytest.mark.parametrize("agree", [True, False], ids=["agreeing", "contradicting"])
@pytest.mark.parametrize("claim", OF_SIMULATIONS, ids=lambda claim: claim.id)
@pytest.mark.long
def test_one_repeat_decides_no_claim(claim, agree):
    entry = claims.hold(claim, made_up(claim.table, agree=agree, repeats=1), "quick")
    # What is never so is refuted by one network in each of many settings.
    word = "fails" if (claim.id, agree) == ("t3-surely", False) else "undecided"
    assert entry.verdict == word
    assert {cell.verdict for cell in entry.cells} == {word}


@pytest.mark.parametrize(("repeats", "verdict"), [(1000, "undecided"), (1300, "holds")])
@pytest.mark.long
def test_a_thousand_repeats_do_not_decide_on_a_law(repeats, verdict):
    # Numbers that fit it perfectly may come from a law that is 0.043 away.
    assert claims.hold("limit-law", made_up("limit-law", agree=True, repeats=repeats), "quick").verdict == verdict


@pytest.mark.parametrize(("repeats", "verdict"), [(10, "undecided"), (40, "holds")])
def test_a_few_networks_that_all_keep_a_promise_do_not_show_that_nine_in_ten_do(repeats, verdict):
    frame = made_up("trained", agree=True, repeats=repeats)
    assert claims.hold("t3-compressibility", frame, "quick").verdict == verdict


@cache
def is_studied(name):
    """Whether a grid lists simulations; it has a quick and a larger profile. Many claims have one grid."""
    path = GRIDS / f"{name}.toml"
    studied = "study" in tomllib.loads(path.read_text(encoding="utf-8"))
    for profile in ("quick", "workstation"):
        assert simulations.read_grid(path, profile) if studied else read_grid(path, profile)
    return studied


@pytest.mark.parametrize("claim", MEASURED_CLAIMS, ids=lambda claim: claim.id)
def test_a_measured_claim_names_its_measure_its_table_and_a_grid_that_makes_it(claim):
    assert claim.what
    low, high = claim.expected
    assert low < high
    assert is_studied(claim.table) == (claim in (*OF_SIMULATIONS, *LAW, *OF_SHIPPING, *OF_FEDERATION))


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
    assert (entry.profile, entry.verdict, len(entry.cells), entry.agreeing) == ("workstation", "holds", 6, 6)


# from cells to a verdict

CLAIM = Claim("made-up", "A statement.", "D", "theory", "a number", (0.0, math.inf), "made-up")
RANGED = Claim("ranged", "A statement.", "D", "theory", "a number", (-1.0, 1.0), "made-up")
YES, NO, BETWEEN = Cell("yes", 0.2, 0.1, 0.3, 9), Cell("no", -0.2, -0.3, -0.1, 9), Cell("between", 0.1, -0.1, 0.3, 9)
ALONE = Cell("alone", 0.5, -math.inf, math.inf, 1)


def entry_of(*cells, claim=CLAIM, profile="quick"):
    return Entry(claim, profile if cells else None, claim.judged(cells, "toy"))


@pytest.mark.parametrize(
    ("cells", "verdict", "agreeing", "weakest"),
    [
        ((), "not tested", 0, None),
        ((YES,), "holds", 1, "yes"),
        ((YES, YES), "holds", 2, "yes"),
        ((NO, NO), "fails", 0, "no"),
        ((YES, NO), "holds 1, fails 1", 1, "no"),
        ((YES, BETWEEN), "holds 1, undecided 1", 1, "between"),
        ((BETWEEN, NO), "fails 1, undecided 1", 0, "no"),
        ((YES, ALONE, NO), "holds 1, fails 1, undecided 1", 1, "alone"),
    ],
)
def test_a_claim_has_a_word_only_if_all_its_cells_have_it(cells, verdict, agreeing, weakest):
    entry = entry_of(*cells)
    assert (entry.verdict, entry.agreeing) == (verdict, agreeing)
    assert (entry.weakest.label if entry.weakest else None) == weakest
    assert set(entry.words) <= set(VERDICTS)


def test_the_verdict_counts_noise_types_each_of_which_wants_all_its_cells():
    def of(noise, *cells):
        return [replace(cell, noise=noise, seeds=9) for cell in cells]

    entry = entry_of(*of("shared", YES, YES), *of("entrywise", YES, NO), *of("isotropic", YES))
    assert {noise: (word.verdict, word.seeds) for noise, word in entry.by_noise.items()} == {
        "shared": ("holds", 9),
        "entrywise": ("holds 1, fails 1", 9),
        "isotropic": ("holds", 9),
    }
    assert entry.words == ("holds", "undecided", "holds")
    assert entry.verdict == "holds 2, undecided 1"
    assert entry_of(*of("shared", YES, YES), *of("isotropic", YES)).verdict == "holds"
    assert entry_of(*of("shared", NO), *of("isotropic", YES, YES)).verdict == "holds 1, fails 1"


def test_the_word_of_a_noise_type_is_that_of_the_rule(good):
    entry = claims.hold("noise-compresses", good, "quick")
    assert {noise: word.seeds for noise, word in entry.by_noise.items()} == dict.fromkeys(
        ("entrywise", "isotropic", "shared"), len(SEEDS)
    )
    assert {cell.level for cell in entry.cells} == {family_level(3)}
    (shared,) = {cell.level for cell in claims.hold("shared-noise-compresses", good, "quick").cells}
    assert shared == family_level(1)


def test_cells_that_were_not_judged_make_no_verdict():
    with pytest.raises(ValueError, match=r"^cell 'yes' was not judged: make an entry of cells that `Claim.judged`"):
        _ = Entry(CLAIM, "quick", (YES,)).verdict


def test_the_weakest_cell_of_a_claim_with_two_ends_is_the_one_nearest_to_either():
    near_low, near_high = Cell("low", -0.5, -0.9, -0.1, 9), Cell("high", 0.5, 0.1, 0.95, 9)
    assert entry_of(near_low, near_high, claim=RANGED).weakest.label == "high"
    assert entry_of(near_high, Cell("out", -2.0, -2.1, -1.9, 9), claim=RANGED).weakest.label == "out"


def test_of_cells_without_an_interval_the_weakest_is_told_by_its_number():
    open_ended = {"low": -math.inf, "high": math.inf, "runs": 3}
    cells = [Cell("small", 0.1, **open_ended), Cell("smaller", -0.1, **open_ended), Cell("large", 0.2, **open_ended)]
    assert entry_of(*cells).weakest.label == "smaller"
    assert entry_of(*cells, Cell("none", math.nan, -math.inf, math.inf, 0, 3)).weakest.label == "none"


def test_the_measure_in_words_names_the_weakest_cell_the_agreement_and_the_failures():
    cells = (YES, Cell("some", 0.1, -0.1, 0.3, 3, failed=2, diverged=1))
    assert claims.measured(entry_of(*cells)) == (
        "a number: +0.1 [-0.1, +0.3] (1 of 2 cells hold; weakest some; quick, toy, 2 failed runs, "
        "1 diverged runs at chance; how many seeds would decide is not known)"
    )
    assert claims.measured(entry_of(YES, profile="paper")) == "a number: +0.2 [+0.1, +0.3] (yes; paper, toy)"
    assert claims.measured(entry_of()) == "no table yet"


def test_an_undecided_cell_says_how_many_seeds_it_would_take():
    (cell,) = CLAIM.judged([median_cell("few", [0.1, 0.2, 0.3, 0.2])])
    assert (cell.verdict, cell.needed) == ("undecided", 6)
    assert cell.number() == "+0.2, 4 seeds: +0.1 to +0.3"
    assert claims.measured(Entry(CLAIM, "quick", (cell,))).endswith("(few; quick; some 6 seeds would decide)")
    (rare,) = replace(CLAIM, expected=(0.05, math.inf)).judged(shares([Sample("rare", "", pd.Series([False] * 20))]))
    assert (rare.verdict, rare.needed) == ("undecided", 72)
    assert YES.judged((0.0, math.inf)).needed is None


@pytest.mark.parametrize("expected", [(0.0, 1.0), (-1.0, 1.0)])
def test_a_range_with_two_ends_has_no_margin(expected):
    with pytest.raises(ValueError, match=r"leave the margin at 0$"):
        Claim("made-up", "A statement.", "D", "theory", expected=expected, margin=0.1)


def test_margins_are_those_stated_for_ratios_and_accuracies():
    for claim in MEASURED_CLAIMS:
        margins = {0.1} if claim in OF_SHIPPING else {0.01, 0.0} if "ratio" in claim.what else {0.005, 0.0}
        assert claim.margin in margins
        more = claim in OF_SHIPPING or (claim.expected == (0.0, math.inf) and claim in (*EXPERIMENTS, *LAW))
        assert bool(claim.margin) == more, claim.id


def test_the_papers_claims_and_ours_are_counted_apart(tmp_path):
    def made(source, *cells):
        return entry_of(*cells, claim=replace(CLAIM, source=source))

    entries = [made("P", YES), made("P", NO, NO), made("S"), made("D", YES, BETWEEN), made("?", YES)]
    found = claims.tally(entries)
    assert {whose: claims.counted(words) for whose, words in found.items()} == {
        claims.WHOSE["P"]: "holds 1, fails 1",
        claims.WHOSE["S"]: "not tested 1",
        claims.OURS: "holds 1, undecided 1",
    }
    assert {whose: claims.counted(words) for whose, words in claims.tally_cells(entries).items()} == {
        claims.WHOSE["P"]: "holds 1, fails 2",
        claims.OURS: "holds 2, undecided 1",
    }
    text = claims.as_text(entries)
    assert f"  {claims.OURS}: holds 1, undecided 1" in text.splitlines()


def test_what_is_known_from_a_summary_only_is_labelled_so():
    labels = {claim.id: claim.source for claim in CLAIMS}
    assert {labels["t1-propagation-of-chaos"], labels["within-cap-better-than-none-federated-mnist"]} == {"S"}
    assert {labels["t3-compressibility"], labels["noise-compresses"], labels["accuracy-survives-pruning"]} == {"P"}


# the ledger


def test_without_tables_nothing_is_tested(tmp_path):
    entries = claims.ledger(tmp_path)
    assert [entry.claim for entry in entries] == list(CLAIMS)
    assert {entry.verdict for entry in entries} == {"not tested"}
    assert {entry.profile for entry in entries} == {None}
    lines = claims.as_text(entries).splitlines()
    assert all("not tested" in line and line.endswith("no table yet") for line in lines[: len(CLAIMS)])
    assert not any("no table yet" in line for line in lines[len(CLAIMS) :])


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
    for name in {claim.table for claim in LAW}:
        results.write_table(law(False, 40), tmp_path / "quick" / f"{name}.parquet")
    results.write_table(at_widths(bad, -0.1), tmp_path / "quick" / "width.parquet")
    entries = {entry.claim.id: entry for entry in claims.ledger(tmp_path)}
    unmade = {*OF_RIVALS, *OF_SHIPPING, *OF_FEDERATION}  # those want arms that `good` does not have
    for claim in set(MEASURED_CLAIMS) - unmade:
        large = claim.table == "ecg5000"
        expected = ("workstation", "holds") if large else ("quick", "fails")
        assert (entries[claim.id].profile, entries[claim.id].verdict) == expected
    assert {entries[claim.id].verdict for claim in (*OF_SHIPPING, *OF_FEDERATION)} == {"not tested"}  # no table there
    results.write_table(bad, tmp_path / "alone" / "paper" / "ecg5000.parquet")
    results.write_table(good, tmp_path / "alone" / "workstation" / "ecg5000.parquet")
    again = {entry.claim.id: entry for entry in claims.ledger(tmp_path / "alone")}
    assert (again["noise-compresses"].profile, again["noise-compresses"].verdict) == ("paper", "fails")


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


TABLES = sorted({claim.table for claim in CLAIMS if claim.measure})


def test_the_ledger_knows_the_kind_of_each_of_its_tables():
    studies = {name: tomllib.loads((GRIDS / f"{name}.toml").read_text("utf-8")).get("study", "") for name in TABLES}
    assert {name: claims.study_of(name) for name in TABLES} == studies


@pytest.fixture(scope="module")
def files_of_kinds(good, tmp_path_factory):
    """A file of each kind of table, written once for all names, and what is of no kind."""
    chaos, rates = made_up("chaos", agree=True), made_up("rate", agree=True)
    tables = {"runs": good, "chaos": chaos, "pruning": rates}
    tables |= {str(word): chaos.assign(study=word) for word in ("x", None)} | {"no rows": chaos.head(0)}
    folder, files = tmp_path_factory.mktemp("kinds"), {}
    for kind, frame in tables.items():
        results.write_table(frame, folder / f"{kind}.parquet")
        files[kind] = (folder / f"{kind}.parquet").read_bytes()
    return files


@pytest.mark.parametrize("name", TABLES)
def test_a_table_of_another_kind_than_its_name_promises_is_one_sentence(name, tmp_path, files_of_kinds, capsys):
    study = claims.study_of(name)
    wanted = f"simulations of study {study}" if study else "trained networks"
    path = tmp_path / "quick" / f"{name}.parquet"
    path.parent.mkdir()
    for content in (content for kind, content in files_of_kinds.items() if kind != (study or "runs")):
        path.write_bytes(content)
        assert main(["claims", "--results", str(tmp_path)]) == 2
        (said,) = capsys.readouterr().err.splitlines()
        assert said.startswith(f"heavytail: {path} is no table of {wanted}, as its name promises: move it away, or ")


@pytest.mark.parametrize(
    ("name", "frame", "words"),
    [
        (
            "chaos",
            made_up("chaos", agree=True).drop(columns="inputs"),
            "is no table of simulations of study chaos with a",
        ),
        (
            "limit-law",
            made_up("rate", agree=True),
            "does not hold what claim limit-law is measured from (this law needs",
        ),
    ],
    ids=["a column", "rows"],
)
def test_a_table_that_lacks_what_its_claims_are_measured_from_is_one_sentence(name, frame, words, tmp_path, capsys):
    path = tmp_path / "quick" / f"{name}.parquet"
    results.write_table(frame, path)
    assert main(["claims", "--results", str(tmp_path)]) == 2
    (said,) = capsys.readouterr().err.splitlines()
    assert said.startswith(f"heavytail: {path} {words}")


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
    results.write_table(alone, tmp_path / "quick" / "mnist.parquet")
    assert main(["claims", "--json", "--results", str(tmp_path)]) == 0
    entries = {entry["id"]: entry for entry in strict(capsys.readouterr().out)}
    assert list(entries) == [claim.id for claim in CLAIMS]
    for claim in CLAIMS:
        entry = entries[claim.id]
        assert (entry["statement"], entry["source"], entry["chapter"]) == (claim.statement, claim.source, claim.chapter)
        assert entry["verdict"] in VERDICTS
        assert entry["whose"] == claim.whose
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
    assert {(part["verdict"], part["seeds"], part["scale"]) for part in tested["cells"]} == {
        ("holds", len(SEEDS), "full")
    }
    assert tested["by_noise"]["shared"] == {"verdict": "holds", "seeds": len(SEEDS)}
    single = entries["noise-compresses-mnist"]
    assert single["interval"] == [None, None]
    assert single["cells"][0]["low"] is None
    assert single["measure"] == claims.hold("noise-compresses-mnist", alone, "quick").weakest.value
    untested = entries["rate"]
    assert (untested["measure"], untested["interval"], untested["profile"], untested["cells"]) == (None, None, None, [])


def test_the_json_of_runs_that_all_diverged_is_json_too(tmp_path):
    frame = sweep(lambda seed: diverged(), lambda *_: diverged())
    entry = claims.hold("noise-compresses", frame, "quick")
    text = json.dumps(entry.as_dict(), allow_nan=False)
    assert strict(text)["measure"] is None
    assert strict(text)["cells"][0]["failed"] == 3
