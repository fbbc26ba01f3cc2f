"""Plans and selections: what they refuse, that they survive a file of settings, and what each selection sends."""

from __future__ import annotations

import itertools
import re
from dataclasses import replace

import pytest
import torch
from torch import nn

from heavytail import compress
from heavytail.federated import (
    Layout,
    Plan,
    Selection,
    Strategy,
    fill,
    flat,
    layout,
    plan_from,
    selecting,
    taking_part,
)
from heavytail.federated.layout import state_of

PLAN = {"clients": 4, "rounds": 3, "steps": 2, "lr": 0.1, "seed": 0}
LAYOUT = Layout((("weight", (20, 5)), ("out", (2, 20))), ("weight",))


def move(seed=0):
    generator = torch.Generator().manual_seed(seed)
    return {"weight": torch.randn(20, 5, generator=generator), "out": torch.randn(2, 20, generator=generator)}


def sent(kind, amount, seed=0):
    return selecting.select(Selection(kind, amount), move(seed), LAYOUT, {})


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"clients": 0}, "clients must be a whole number >= 1, got 0"),
        ({"rounds": 1.5}, "rounds must be a whole number >= 1, got 1.5"),
        ({"steps": True}, "steps must be a whole number >= 1, got True"),
        ({"batch_size": -1}, "batch_size must be a whole number >= 0, got -1"),
        ({"sampled": -1}, "sampled must be a whole number >= 0, got -1"),
        ({"sampled": 5}, "5 of 4 clients cannot take part: take fewer, or 0 for all"),
        ({"seed": "a"}, "seed must be a whole number >= 0, got 'a'"),
        ({"lr": 0.0}, "the step size lr must be a finite number above 0, got 0.0"),
        ({"lr": float("nan")}, "the step size lr must be a finite number above 0, got nan"),
        ({"weighting": "votes"}, "unknown weighting 'votes': choose one of samples, equal"),
        ({"rounds": 2**31, "steps": 2}, "2147483648 rounds of 2 steps are more than the 2^32 that kicks can number"),
        ({"design": "clients"}, "unknown design 'clients': choose one of local, common, server"),
        ({"alpha": 2.5}, "the stability index alpha must lie in (0, 2], got 2.5"),
        ({"sigma": -1.0}, "the noise scale sigma must be a finite number >= 0, got -1"),
        ({"kind": "gaussian"}, "unknown noise 'gaussian': choose one of shared, entrywise, isotropic"),
        (
            {"select": "best"},
            "unknown selection 'best': choose one of all, error, columns, known, top, random, threshold",
        ),
        ({"select": "columns"}, "a selection of kind 'columns' has an amount in (0, 1], a share, got 0"),
        (
            {"select": "error", "amount": 1},
            "a selection of kind 'error' has an amount in [0, 1), a squared error, got 1",
        ),
        ({"select": "all", "amount": 1}, "a selection of kind 'all' has an amount of 0: it sends everything, got 1"),
        (
            {"select": "threshold", "amount": 0},
            "a selection of kind 'threshold' has an amount above 0, the size of a number, got 0",
        ),
        (
            {"select": "known", "amount": 0.1},
            "columns are known beforehand by common kicks alone: take design='common'",
        ),
        ({"lr": True}, "the step size lr must be a finite number above 0, got True"),
        ({"batch-size": 8, "batch_size": 4}, "settings have batch_size twice, with - and with _: leave one out"),
        ({"color": 3}, "a plan has no color: leave that out"),
    ],
    ids=str,
)
def test_a_bad_plan_is_refused_in_one_sentence(change, sentence):
    with pytest.raises(ValueError, match=rf"^{re.escape(sentence)}$"):
        plan_from(PLAN | change)


@pytest.mark.parametrize("name", ["alpha", "sigma"])
def test_true_is_no_number(name):
    with pytest.raises(TypeError, match=rf"^{name} is a number, not True$"):
        plan_from(PLAN | {name: True})


def test_kicks_of_a_server_that_float32_cannot_hold_are_refused_before_they_are_drawn():
    """Those of one step are small enough; of a hundred, at this alpha, they are not."""
    settings = PLAN | {"alpha": 0.05, "sigma": 1.0, "lr": 1.0, "steps": 100}
    assert plan_from(settings | {"design": "local"}).steps == 100
    with pytest.raises(
        ValueError, match=r"^kicks of size sigma \* lr\^\(1/alpha\) = 10\^40\.0 are above what float32 holds"
    ):
        plan_from(settings | {"design": "server"})


def test_what_is_missing_is_named():
    with pytest.raises(ValueError, match=r"^a plan lacks lr, seed: add that$"):
        plan_from({"clients": 1, "rounds": 1, "steps": 1})


@pytest.mark.parametrize("select", [("all", 0.0), ("error", 0.1), ("known", 0.2), ("random", 1.0)])
def test_a_plan_survives_a_file_of_settings(select):
    plan = Plan(
        **PLAN,
        batch_size=7,
        sampled=2,
        weighting="equal",
        strategy=Strategy("common", 0.1, 1.5, "shared", Selection(*select)),
    )
    assert plan_from(flat(plan)) == plan
    assert plan_from({name.replace("_", "-"): value for name, value in flat(plan).items()}) == plan
    assert all(isinstance(value, int | float | str) for value in flat(plan).values())


def test_every_client_is_drawn_as_often_as_any_other_and_each_round_anew():
    """Of 2000 rounds each of ten clients has 600, give or take 20.5 (binomial): five of these, false alarms 6e-6."""
    plan = plan_from(PLAN | {"clients": 10, "sampled": 3})
    drawn = [taking_part(plan, round) for round in range(2000)]
    assert all(len(set(clients)) == 3 and list(clients) == sorted(clients) for clients in drawn)
    counts = [sum(k in clients for clients in drawn) for k in range(10)]
    assert all(abs(count - 600) < 5 * 20.5 for count in counts)
    assert len(set(drawn)) == 120  # all there are
    together = sum(clients == later for clients, later in itertools.pairwise(drawn))
    assert together < 17 + 5 * 4.1  # as often as 1 in 120
    assert drawn[:50] != [taking_part(replace(plan, seed=1), round) for round in range(50)]
    assert drawn[:50] == [taking_part(replace(plan, rounds=90, lr=0.2), round) for round in range(50)]
    assert taking_part(plan_from(PLAN), 7) == taking_part(plan_from(PLAN | {"sampled": 4}), 7) == (0, 1, 2, 3)


def test_columns_by_error_or_share_are_those_that_pruning_keeps():
    model = nn.Sequential(nn.Linear(5, 20, bias=False), nn.ReLU(), nn.Linear(20, 2, bias=False))
    fill(model, dict(zip(("0.weight", "2.weight"), move().values(), strict=True)))
    for kind, amount, rule in (("error", 0.2, {"squared_error": 0.2}), ("columns", 0.3, {"keep": 0.3})):
        pruned = compress.prune(model, **rule)
        assert torch.equal(sent(kind, amount)["weight"], pruned[0].weight)
        assert 0 < int((pruned[0].weight == 0).all(1).sum()) < 20
        assert torch.equal(sent(kind, amount)["out"], move()["out"])


def test_numbers_are_the_largest_those_above_a_size_or_drawn():
    weight = move()["weight"]
    top = sent("top", 0.13)["weight"]
    assert int((top != 0).sum()) == 13
    assert float(weight[top == 0].abs().max()) <= float(weight[top != 0].abs().min())
    assert torch.equal(sent("threshold", 0.5)["weight"], torch.where(weight.abs() >= 0.5, weight, 0.0))
    masks = [
        selecting.drawn(0.3, LAYOUT, *address)["weight"]
        for address in ((0, 1, 2), (0, 1, 2), (1, 1, 2), (0, 2, 2), (0, 1, 3))
    ]
    assert torch.equal(masks[0], masks[1])
    assert not any(torch.equal(masks[0], mask) for mask in masks[2:])
    assert all(int(mask.sum()) == 30 for mask in masks)


def test_a_move_of_nothing_is_sent_by_every_selection():
    nothing = {name: torch.zeros(shape) for name, shape in LAYOUT.shapes}
    for kind, amount in (("all", 0), ("error", 0.1), ("columns", 0.1), ("top", 0.1), ("threshold", 0.1)):
        assert not selecting.select(Selection(kind, amount), nothing, LAYOUT, {})["weight"].any()


def test_places_known_beforehand_have_to_be_passed():
    with pytest.raises(ValueError, match="are known beforehand: pass their masks"):
        sent("random", 0.5)


def test_a_network_without_an_average_has_no_layout():
    with pytest.raises(ValueError, match=r"has a buffer '1\.running_mean', of which clients have no average"):
        layout(nn.Sequential(nn.Linear(2, 3), nn.BatchNorm1d(3), nn.Linear(3, 2)))
    with pytest.raises(ValueError, match=r"the weight '0\.weight' is torch.float64, and messages hold float32"):
        layout(nn.Sequential(nn.Linear(2, 3), nn.Linear(3, 2)).double())
    model = nn.Sequential(nn.Linear(2, 3), nn.Dropout(0.5), nn.Linear(3, 2))
    with pytest.raises(ValueError, match=r"^the network has dropout '1', whose draws no seed decides: use one without"):
        layout(model)
    model[1].p = 0.0
    assert layout(model).numbers == 17
    model[2].weight.requires_grad_(False)
    sentence = r"^the weight '2\.weight' is frozen, and a federation trains all: call requires_grad_\(True\)$"
    with pytest.raises(ValueError, match=sentence):
        layout(model)
    model = nn.Sequential(nn.Linear(2, 3), nn.Linear(3, 2))
    with pytest.raises(ValueError, match="these are not the weights of this network"):
        fill(model, {**state_of(model), "0.bias": torch.zeros(4)})
