"""Samples dealt to clients: each once, nobody with none, the same for the same seed, and skewed as was asked."""

from __future__ import annotations

import re

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from heavytail.federated import dirichlet, even, few_classes

LABELS = torch.arange(3000) % 10
SPLITS = {
    "even": even,
    "dirichlet": lambda labels, clients, seed: dirichlet(labels, clients, concentration=0.3, seed=seed),
    "few_classes": few_classes,
}


@pytest.mark.parametrize("name", SPLITS)
def test_the_same_seed_deals_the_same_and_another_one_others(name):
    split = SPLITS[name]
    first, again, other = (split(LABELS, 7, seed=seed) for seed in (1, 1, 2))
    assert all(map(torch.equal, first, again))
    assert not all(a.tolist() == b.tolist() for a, b in zip(first, other, strict=True))


@pytest.mark.parametrize("name", SPLITS)
@given(
    labels=st.lists(st.integers(0, 4), min_size=1, max_size=60),
    clients=st.integers(1, 12),
    seed=st.integers(0, 3),
)
def test_every_sample_is_dealt_once_and_every_client_has_some(name, labels, clients, seed):
    labels = torch.tensor(labels)
    if clients > len(labels):
        with pytest.raises(ValueError, match=rf"cannot be dealt to {clients} clients, one each or more$"):
            SPLITS[name](labels, clients, seed=seed)
        return
    try:
        parts = SPLITS[name](labels, clients, seed=seed)
    except ValueError:
        if name != "few_classes":  # which wants enough samples of each class
            raise
        return
    assert len(parts) == clients
    assert all(len(part) for part in parts)
    assert sorted(torch.cat(parts).tolist()) == list(range(len(labels)))


def test_even_parts_differ_by_one_sample_and_have_all_classes():
    parts = even(LABELS, 7, seed=0)
    assert {len(part) for part in parts} == {428, 429}
    assert all(LABELS[part].unique().numel() == 10 for part in parts)


@pytest.mark.parametrize(("classes", "clients", "each"), [(10, 10, 2), (5, 7, 2), (3, 8, 2), (10, 20, 1), (7, 4, 3)])
def test_a_client_has_so_many_classes(classes, clients, each):
    labels = torch.arange(2100) % classes
    for seed in range(5):
        parts = few_classes(labels, clients, each=each, seed=seed)
        assert [labels[part].unique().numel() for part in parts] == [each] * clients


def test_a_smaller_concentration_leaves_a_client_fewer_classes():
    def largest_share(concentration):
        shares = []
        for seed in range(5):
            parts = dirichlet(LABELS, 10, concentration=concentration, seed=seed)
            shares += [float(torch.bincount(LABELS[part]).max() / len(part)) for part in parts]
        return sum(shares) / len(shares)

    shares = [largest_share(concentration) for concentration in (0.02, 0.3, 100.0)]
    assert shares[0] > shares[1] + 0.2
    assert shares[1] > shares[2] + 0.1
    assert shares[2] < 0.2


@pytest.mark.parametrize("concentration", [0.3, 2.0])
def test_shares_have_the_moments_of_a_dirichlet_law(concentration):
    """E p = 1/K and Var p = (1/K)(1 - 1/K) / (K a + 1); 5 sigma of each mean over 800 independent classes."""
    clients, classes, size = 5, 800, 200
    labels = torch.arange(classes).repeat_interleave(size)
    (first, *_) = dirichlet(labels, clients, concentration=concentration, seed=3)
    shares = torch.bincount(labels[first], minlength=classes).double() / size
    mean, variance = 1 / clients, (1 / clients) * (1 - 1 / clients) / (clients * concentration + 1)
    assert abs(float(shares.mean()) - mean) < 5 * (variance / classes) ** 0.5
    spread = (shares - mean).square()
    assert abs(float(spread.mean()) - variance) < 5 * float(spread.std()) / classes**0.5 + 1e-4
    wrong = (1 / clients) * (1 - 1 / clients) / (clients * 3 * concentration + 1)
    assert abs(float(spread.mean()) - wrong) > 5 * float(spread.std()) / classes**0.5


@pytest.mark.parametrize(
    ("split", "sentence"),
    [
        (lambda: even(LABELS, 0, seed=0), "clients must be a whole number >= 1, got 0"),
        (lambda: even(LABELS[:3], 4, seed=0), "labels of shape (3,) cannot be dealt to 4 clients, one each or more"),
        (
            lambda: dirichlet(LABELS, 4, concentration=0, seed=0),
            "the concentration of a Dirichlet law is a finite number above 0, got 0",
        ),
        (lambda: even(LABELS, 2, seed=1.5), "seed must be a whole number >= 0, got 1.5"),
        (lambda: even(LABELS, 2, seed="a"), "seed must be a whole number >= 0, got 'a'"),
        (
            lambda: even(LABELS.tolist()[:3], 2, seed=0),
            "labels are a tensor of shape (N,), not a list: call torch.as_tensor",
        ),
        (
            lambda: dirichlet(LABELS, 4, concentration="a", seed=0),
            "the concentration of a Dirichlet law is a finite number above 0, got 'a'",
        ),
        (
            lambda: dirichlet(LABELS, 4, concentration=True, seed=0),
            "the concentration of a Dirichlet law is a finite number above 0, got True",
        ),
        (lambda: few_classes(LABELS, 10, each=1.5, seed=0), "each must be a whole number >= 1, got 1.5"),
        (lambda: few_classes(LABELS, 10, each="2", seed=0), "each must be a whole number >= 1, got '2'"),
        (
            lambda: few_classes(LABELS, 4, seed=0),
            "4 clients with 2 classes each cannot have all 10: take more clients",
        ),
        (
            lambda: few_classes(LABELS, 4, each=11, seed=0),
            "10 classes cannot be dealt 11 a client: take a number from 1 to that",
        ),
        (
            lambda: few_classes(torch.tensor([0, 0, 0, 1]), 2, seed=0),
            "class 1 has 1 samples for 2 clients: take fewer clients, or classes",
        ),
    ],
)
def test_what_cannot_be_dealt_is_refused_in_one_sentence(split, sentence):
    with pytest.raises((TypeError, ValueError), match=rf"^{re.escape(sentence)}$"):
        split()


def test_whole_numbers_of_numpy_deal_as_those_of_python_do():
    two, seed, clients = np.int64(2), np.int64(3), np.int64(10)
    for a, b in (
        (even(LABELS, clients, seed=seed), even(LABELS, 10, seed=3)),
        (few_classes(LABELS, clients, each=two, seed=seed), few_classes(LABELS, 10, each=2, seed=3)),
    ):
        assert all(map(torch.equal, a, b))


@pytest.mark.parametrize("concentration", [5e-324, 1e-310, 1e-300, 1e300])
def test_the_smallest_and_the_largest_concentration_deal_every_sample(concentration):
    parts = dirichlet(LABELS, 3, concentration=concentration, seed=0)
    assert sorted(torch.cat(parts).tolist()) == list(range(len(LABELS)))
    shares = torch.stack([torch.bincount(LABELS[part], minlength=10) for part in parts]) / 300
    assert bool((shares.max(0).values > 0.99).all()) if concentration < 1 else bool((shares - 1 / 3).abs().max() < 0.01)
