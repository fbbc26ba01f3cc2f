"""The study of federated training: a record is a plan, a start and a split, and its numbers are those of its rounds."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest
import torch

from heavytail import compress, federated
from heavytail.lab import datasets, models, simulations
from heavytail.lab.simulations import Federated
from heavytail.lab.simulations.federated import shards

BASE = Federated(dataset="digits", width=12, lr=0.3, clients=5, rounds=3, steps=4, batch_size=32, seed=3)
KICKED = replace(BASE, design="common", sigma=0.01, alpha=1.5, select="known", amount=0.25, noise="shared")


def numbers(simulation):
    table = simulations.simulate([simulation])
    return {(row.quantity, row.level): row.value for row in table.itertuples()}


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"clients": 0}, "clients must be a whole number >= 1, got 0"),
        ({"rounds": 0}, "rounds must be a whole number >= 1, got 0"),
        ({"classes_each": 0}, "classes_each must be a whole number >= 1, got 0"),
        ({"split": "odd"}, "unknown split 'odd': choose one of even, dirichlet, classes"),
        ({"concentration": 0}, "concentration must be a finite number above 0, got 0"),
        ({"design": "own"}, "unknown design 'own': choose one of local, common, server"),
        ({"select": "top"}, "a selection of kind 'top' has an amount in (0, 1], a share, got 0"),
        (
            {"select": "known", "amount": 0.1},
            "columns are known beforehand by common kicks alone: take design='common'",
        ),
        ({"weighting": "votes"}, "unknown weighting 'votes': choose one of samples, equal"),
        ({"lr": 0}, "the step size lr must be a finite number above 0, got 0.0"),
    ],
    ids=str,
)
def test_a_bad_record_is_refused_in_one_sentence(change, sentence):
    with pytest.raises(ValueError, match=rf"^{re.escape(sentence)}$"):
        Federated(**change)


@pytest.mark.parametrize("record", [BASE, KICKED, replace(BASE, split="dirichlet")], ids=["plain", "kicked", "skewed"])
def test_its_numbers_are_those_of_its_rounds(record):
    found, digits = numbers(record), datasets.load("digits")
    assert found.keys() == record.numbers.keys()
    model, upload, download = models.initial_model(record.run, digits), 0, 0
    for done in federated.simulate(record.plan, model, shards(record, digits)):
        now, weight = done.federation.round, done.federation.weights()["1.weight"]
        upload, download = upload + done.upload, download + done.download
        assert (found["upload", now], found["download", now], found["answered", now]) == (upload, download, 5)
        assert found["pruning_ratio", now] == compress.prunable_share(weight)
        federated.fill(model, done.federation.weights())
        right = (model(digits.x_test).argmax(1) == digits.y_test).double().mean()
        assert found["accuracy", now] == pytest.approx(float(right))
    assert len(set(found.values())) > 9


def test_strategies_of_one_seed_have_the_same_start_split_and_batches():
    digits = datasets.load("digits")
    for name in ("even", "dirichlet", "classes"):
        one, other = (shards(replace(record, split=name), digits) for record in (BASE, KICKED))
        assert all(torch.equal(a.x, b.x) for a, b in zip(one, other, strict=True))
        others = shards(replace(BASE, split=name, seed=4), digits)
        assert torch.cat([part.y for part in one]).tolist() != torch.cat([part.y for part in others]).tolist()
    starts = [models.initial_model(record.run, digits).state_dict() for record in (BASE, KICKED)]
    assert all(torch.equal(starts[0][name], starts[1][name]) for name in starts[0])


def test_few_classes_are_what_a_client_has():
    digits = datasets.load("digits")
    record = replace(BASE, split="classes", clients=10)
    assert [part.y.unique().numel() for part in shards(record, digits)] == [2] * 10


def test_known_columns_cost_fewer_bytes_than_all():
    assert numbers(KICKED)["upload", 3] < 0.5 * numbers(replace(KICKED, select="all", amount=0.0))["upload", 3]
