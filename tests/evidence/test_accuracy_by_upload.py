"""Accuracy against upload on made-up federations: caps, targets, what a search takes, and claims each way."""

from __future__ import annotations

import math
from dataclasses import replace
from functools import cache

import pytest
from made_up_simulations import table as simulated

from heavytail.evidence import claims, federated, scales
from heavytail.lab.simulations import Federated

SEEDS = range(1, 8)
ROUNDS = 4
DENSE = Federated(dataset="mnist", width=100, lr=0.1, clients=10, rounds=ROUNDS, steps=1, split="even")
COLUMNS = replace(DENSE, select="columns", amount=0.1)
KNOWN = replace(DENSE, select="known", design="common", amount=0.1)
TOP = replace(DENSE, select="top", amount=0.1)
SMALL = replace(DENSE, width=10)
HEAVY = [
    replace(DENSE, alpha=1.5, sigma=0.01, design=design, select=select, amount=0.1)
    for design, select in (("local", "columns"), ("common", "columns"), ("common", "known"), ("server", "columns"))
]
GAUSSIAN = [replace(record, alpha=2.0) for record in HEAVY]
EVERY = (DENSE, COLUMNS, KNOWN, TOP, SMALL, *HEAVY, *GAUSSIAN)
WHOLE = 1000.0  # bytes of a message that leaves nothing out

MORE = {"holds": 0.03, "fails": -0.03, "no difference": 0.0}  # accuracy of heavy-tailed kicks less that of others


def trained(size, curve, records=EVERY, seeds=SEEDS):
    """A table in which a client of a record sends so many bytes a round, and is so accurate after each."""

    def numbers(record):
        found = {}
        for number in range(1, record.rounds + 1):
            wobble = 1e-5 * math.sin(record.seed + number)
            found["accuracy", number] = [curve(record, number) + wobble]
            found["pruning_ratio", number] = [0.5]
            found["upload", number] = [size(record) * record.clients * number]
            found["download", number] = [WHOLE * record.clients * number]
            found["answered", number] = [float(record.clients)]
        return found

    every = [replace(record, seed=seed) for record in records for seed in seeds]
    return simulated((record, numbers(record)) for record in every)


def is_heavy(record):
    return record.sigma > 0 and record.alpha < 2


def is_whole(record):
    return (record.width, record.select, record.sigma) == (DENSE.width, "all", 0)


def bytes_of(factor):
    """A tenth of a message for all who send parts; what heavy-tailed kicks send is a factor of it."""
    return lambda record: WHOLE if is_whole(record) else 100.0 * (factor if is_heavy(record) else 1)


def alike(record, number):
    return 0.9 + 0.01 * number


@cache
def made(factor):
    """The table in which nothing but the bytes differs, made once: nobody changes it."""
    return trained(bytes_of(factor), alike)


@cache
def better(more):
    """The table in which heavy-tailed kicks are so much more accurate."""
    return trained(bytes_of(1), lambda record, number: 0.9 + more * is_heavy(record))


def test_every_training_has_a_row_a_round_with_its_way_and_its_upload_in_whole_messages():
    rows = federated.trainings(made(1))
    assert len(rows) == len(EVERY) * len(SEEDS) * ROUNDS
    names = {tuple(row) for row in rows[["kicks", "design", "way"]].drop_duplicates().itertuples(index=False)}
    assert {("", "", "dense"), ("", "", "small network"), ("", "", "known columns"), ("", "", "top numbers")} < names
    assert {(kicks, *pair) for kicks in ("heavy", "Gaussian") for pair in federated.DESIGNS} < names
    assert len(names) == len(EVERY)
    dense = rows[rows["way"] == "dense"].groupby("round")["sent"].unique()
    assert [list(values) for values in dense] == [[1], [2], [3], [4]]
    assert rows.loc[rows["way"] == "top numbers", "sent"].max() == pytest.approx(0.4)


def test_a_table_without_whole_messages_has_no_unit_of_upload():
    with pytest.raises(
        ValueError, match=r"^upload is counted in dense messages of the whole network: the table has no"
    ):
        federated.trainings(trained(bytes_of(1), alike, records=(COLUMNS, TOP)))


def test_at_a_cap_a_model_is_that_of_the_last_round_within_it_and_before_the_first_it_guesses():
    rows = federated.trainings(trained(bytes_of(1), alike, seeds=[1]))
    one = federated.at_cap(rows, 1.0).set_index(["kicks", "design", "way"])
    assert one.loc[("", "", "dense"), "round"] == 1
    assert one.loc[("", "", "largest columns"), "round"] == ROUNDS
    few = federated.at_cap(rows, 0.25).set_index(["kicks", "design", "way"])
    assert few.loc[("", "", "largest columns"), "round"] == 2
    dense = few.loc[("", "", "dense")]
    assert (dense["round"], dense["sent"], dense["accuracy"]) == (0, 0, 0.1)
    assert len(few) == len(one) == len(EVERY)


def test_upload_until_the_target_is_that_of_the_first_round_there_and_infinite_for_who_never_is():
    def curve(record, number):
        if record.select == "top":
            return 0.5  # never there
        return 0.9 if number < 3 else 0.95

    spent = federated.sent_to_target(federated.trainings(trained(bytes_of(1), curve))).set_index(["way", "kicks"])
    assert set(spent.loc[("dense", ""), "sent"]) == {3}
    assert spent.loc[("small network", ""), "sent"].tolist() == pytest.approx([0.3] * len(SEEDS))
    assert set(spent.loc[("top numbers", ""), "sent"]) == {math.inf}
    assert len(spent) == len(EVERY) * len(SEEDS)


def test_the_target_is_a_point_below_the_median_last_model_of_federated_averaging():
    table = trained(bytes_of(1), lambda record, number: 0.8 + 0.01 * number + 0.001 * record.seed)
    assert federated.target(federated.trainings(table)).tolist() == pytest.approx([0.8 + 0.04 + 0.004 - 0.01], abs=2e-5)


def of_upload(rival):
    return claims.named(f"within-cap-better-than-{rival}-federated-mnist")


@pytest.mark.parametrize(("word", "more"), MORE.items())
@pytest.mark.parametrize("rival", ["none", "gaussian", "small", "top"])
def test_a_claim_at_the_cap_has_a_cell_a_design_and_can_get_each_word(rival, word, more):
    entry = claims.hold(of_upload(rival), better(more), "quick")
    assert [cell.verdict for cell in entry.cells] == [word] * 4
    assert entry.verdict == word
    assert all(cell.value == pytest.approx(more, abs=1e-4) and cell.seeds == len(SEEDS) for cell in entry.cells)
    assert {cell.label.rpartition(", K")[0] for cell in entry.cells} == {
        f"{design} kicks, {way}" for design, way in federated.DESIGNS
    }


@pytest.mark.parametrize(("rival", "record"), [("none", KNOWN), ("gaussian", GAUSSIAN[2])])
def test_kicks_are_compared_with_who_sends_the_like(rival, record):
    table = trained(bytes_of(1), lambda r, n: 0.5 if replace(r, seed=record.seed) == record else 0.9)
    words = {cell.label: cell.verdict for cell in claims.hold(of_upload(rival), table, "quick").cells}
    assert words.pop("common kicks, known columns, K = 10, even") == "holds"
    assert set(words.values()) == {"no difference"}


def test_who_sends_more_has_had_fewer_rounds_at_the_cap():
    dear = trained(bytes_of(4), lambda record, number: 0.5 + 0.1 * number)
    entry = claims.hold(of_upload("none"), dear, "quick")
    assert entry.verdict == "fails"
    assert all(cell.value == pytest.approx(-0.2, abs=1e-4) for cell in entry.cells)  # two rounds of four


def test_of_several_strengths_claims_take_the_least():
    strong = [replace(record, sigma=0.1) for record in HEAVY]
    table = trained(bytes_of(1), lambda r, n: 0.5 if r.sigma == 0.1 else 0.9, records=(*EVERY, *strong))
    assert claims.hold(of_upload("none"), table, "quick").verdict == "no difference"


def test_too_few_seeds_decide_nothing():
    table = trained(bytes_of(1), lambda record, number: 0.9 + 0.05 * is_heavy(record), seeds=range(5))
    assert claims.hold(of_upload("none"), table, "quick").verdict == "undecided"


def test_a_search_takes_the_most_accurate_over_caps_and_the_strongest_kicks_that_cost_little():
    records = [replace(DENSE, validation=100), replace(COLUMNS, validation=100)]
    records += [
        replace(HEAVY[0], validation=100, sigma=sigma, lr=lr) for sigma in (0.001, 0.01, 0.1, 1.0) for lr in (0.1, 0.3)
    ]

    def curve(record, number):
        loss = {0.0: 0, 0.001: 0, 0.01: 0, 0.1: 0.015, 1.0: 0.1}[record.sigma]
        return 0.9 - loss - 0.05 * (record.lr == 0.3)

    chosen = federated.chosen(trained(bytes_of(1), curve, records=records))
    heavy = chosen[chosen["kicks"] == "heavy"].set_index("strength")
    assert (heavy.loc["best", "sigma"], heavy.loc["best", "lr"]) == (0.001, 0.1)
    assert (heavy.loc["strong", "sigma"], heavy.loc["strong", "lr"]) == (0.1, 0.1)
    assert sorted(chosen["way"]) == ["dense", "largest columns", "largest columns", "largest columns"]
    # Dense guesses at the two caps below one message, and columns of a tenth have all rounds at the others.
    scores = chosen[chosen["kicks"] == ""].set_index("way")["score"]
    assert scores["dense"] == pytest.approx((0.1 + 0.1 + 3 * 0.9) / 5, abs=1e-4)
    assert scores["largest columns"] == pytest.approx(0.9, abs=1e-4)


def test_a_search_takes_no_amount_that_some_kicks_were_not_tried_with():
    records = [replace(record, validation=100) for record in (DENSE, COLUMNS, replace(COLUMNS, amount=0.01), HEAVY[0])]
    table = trained(bytes_of(1), lambda record, number: 0.95 if record.amount == 0.01 else 0.9, records=records)
    chosen = federated.chosen(table)
    assert set(chosen.loc[chosen["way"] == "largest columns", "amount"]) == {0.1}
    alone = federated.chosen(table[table["sigma"] == 0])
    assert set(alone.loc[alone["way"] == "largest columns", "amount"]) == {0.01}


def test_with_kicks_a_way_sends_what_is_best_without():
    records = [replace(record, validation=100) for record in (DENSE, COLUMNS, HEAVY[0])]
    records += [replace(record, amount=0.2) for record in records[1:]]

    def curve(record, number):
        return 0.9 + 0.05 * ((record.amount == 0.2) == (record.sigma > 0))

    chosen = federated.chosen(trained(bytes_of(1), curve, records=records))
    assert set(chosen.loc[chosen["way"] == "largest columns", "amount"]) == {0.1}
    table = trained(bytes_of(1), curve, records=[*EVERY, replace(HEAVY[0], amount=0.2, sigma=0.001)])
    assert set(federated.best(federated.trainings(table))["amount"]) == {0.0, 0.1}


def test_a_search_that_saw_the_test_split_is_refused():
    with pytest.raises(ValueError, match=r"^settings are chosen on a validation part: set validation= in every record"):
        federated.chosen(made(1))


CLIENTS = [
    replace(
        DENSE, dataset="ecg5000", width=500, lr=0.3, steps=25, alpha=alpha, sigma=0.005, clients=clients, design=design
    )
    for alpha in (1.5, 2.0)
    for clients, design in ((1, "local"), (5, "local"), (20, "local"), (100, "local"), (10, "common"))
]
QUIET = replace(CLIENTS[0], sigma=0.0)


def ratios(ratio):
    def numbers(record):
        found = {
            (name, number): [1.0]
            for number in range(1, record.rounds + 1)
            for name in ("accuracy", "upload", "download", "answered")
        }
        for number in range(1, record.rounds + 1):
            found["pruning_ratio", number] = [ratio(record) if number == record.rounds else 0.1]
        return found

    every = [replace(record, seed=seed) for record in (QUIET, *CLIENTS) for seed in SEEDS]
    return simulated((record, numbers(record)) for record in every)


@cache
def said():
    """What the law says of each record, by alpha, clients and design."""
    rows = federated.trainings(ratios(lambda _: 0.5))
    groups = rows[rows["kicks"] != ""].groupby(["alpha", "clients", "design"])
    return {setting: federated.predicted(own) for setting, own in groups}


def lawful(record):
    return said()[record.alpha, record.clients, record.design] if record.sigma else 0.1


def test_a_global_model_as_compressible_as_the_law_says_follows_it_and_another_does_not():
    entry = claims.hold("trained-follows-averaging-law", ratios(lawful), "quick")
    assert [cell.label for cell in entry.cells] == [
        "α = 1.5, K = 1",
        "α = 1.5, K = 100",
        "α = 2, K = 1",
        "α = 2, K = 100",
    ]
    assert entry.verdict == "holds"
    unaveraged = ratios(lambda record: said()[record.alpha, 1, "local"])  # as if a hundred clients averaged nothing
    words = [cell.verdict for cell in claims.hold("trained-follows-averaging-law", unaveraged, "quick").cells]
    assert words == ["holds", "fails", "holds", "holds"]


def test_common_kicks_are_held_against_local_ones_of_the_most_clients():
    entry = claims.hold("common-kicks-keep-more", ratios(lawful), "quick")
    assert [(cell.label, cell.verdict) for cell in entry.cells] == [("α = 1.5", "holds")]
    level = ratios(lambda record: 0.5)
    assert claims.hold("common-kicks-keep-more", level, "quick").verdict == "no difference"


def test_a_table_of_federated_training_has_a_scale():
    assert scales.scale(made(1)) == "toy"  # 100 neurons of 5000
    assert scales.scale(ratios(lambda _: 0.5)) == "reduced"
