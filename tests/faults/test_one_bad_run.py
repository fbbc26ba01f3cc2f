"""A run that fails is a row with a status and a reason, and the others of its grid end as they do alone."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from fault_counts import UNDISTURBED, some

from heavytail import Run, sweep
from heavytail.lab import measuring, queue, results, trainer
from heavytail.lab.engines import any_module, two_layer
from heavytail.lab.store import Unwritable

BASE = Run(dataset="digits", width=10, lr=0.1, max_steps=6)
GOOD = [replace(BASE, seed=seed) for seed in (1, 2, 3, 4)]
BAD = replace(BASE, seed=13)
ZEROED = replace(BASE, weight_decay=9, max_steps=400)
MEASURED = [name for name in results.COLUMNS if name.startswith(results.MEASURED)]


def train(*runs, **options):
    return trainer.train(runs, progress=False, **options)


@pytest.fixture(scope="module")
def alone():
    return {run: train(run).weights(run) for run in GOOD}


def same(found, expected):
    return found.keys() == expected.keys() and all(torch.equal(found[name], expected[name]) for name in found)


def assert_one_failed(outcome, runs, bad, reason, alone):
    for run, row in zip(runs, outcome.table.itertuples(), strict=True):
        if run == bad:
            assert (row.status, row.reason) == ("failed", reason)
            assert outcome.table.loc[row.Index, MEASURED].isna().all()
        else:
            assert row.status == "max_steps"
            assert same(outcome.weights(run), alone[run])


def test_a_network_that_decays_to_zero_is_a_row_that_says_so_and_keeps_its_weights(alone, tried):
    runs = [GOOD[0], ZEROED, GOOD[1]]
    outcome = train(*runs)
    reason = "the weights of a hidden layer were all zero after step 400: nothing was left to prune"
    assert_one_failed(outcome, runs, ZEROED, reason, alone)
    assert not outcome.weights(ZEROED)["1.weight"].any()
    tried("one bad run", UNDISTURBED)


def break_in(monkeypatch, module, name, when, error):
    """Let a function of a module raise when its arguments are so."""
    real = getattr(module, name)

    def fail(*arguments, **named):
        if when(*arguments):
            raise error
        return real(*arguments, **named)

    monkeypatch.setattr(module, name, fail)


def has_bad(going):
    return any(one.run == BAD for one in going)


PLACES = {
    "its network": (queue.models, "reached", lambda run, *_: run == BAD),
    "its start": (queue.training, "begin", lambda start, *_: start.run == BAD),
    "a step": (queue.training, "steps", lambda runs, *_: has_bad(runs.going)),
    "a late step": (queue.training, "check", lambda going, _: has_bad(going) and going[0].step > 3),
    "noise": (queue.training, "kicks", lambda going: has_bad(going)),
}
ERRORS = [
    RuntimeError("shapes cannot be multiplied\nand a trace"),
    ValueError("out of range"),
    ZeroDivisionError("division by zero"),
    AssertionError(),
    OSError(5, "Input/output error"),
    ValueError("no file \udcff here"),
    SystemExit(3),
]
CASES = [(where, error, place) for where in PLACES for error in ERRORS for place in (0, 2)]


@pytest.mark.parametrize(("where", "error", "place"), some(CASES), ids=str)
def test_an_error_of_one_run_is_its_row_and_the_others_have_the_bits_they_have_alone(
    where, error, place, alone, monkeypatch, tried
):
    monkeypatch.setattr(queue, "_at_once", lambda *_: 8)
    break_in(monkeypatch, *PLACES[where], error)
    runs = [*GOOD[:place], BAD, *GOOD[place:]]
    reason = f"{type(error).__name__}: {error}".partition("\n")[0].replace("\udcff", "\\udcff")
    assert_one_failed(train(*runs), runs, BAD, reason.strip(), alone)
    tried("one bad run", UNDISTURBED)


@pytest.mark.parametrize("engine", [two_layer, any_module], ids=lambda engine: engine.__name__.rpartition(".")[2])
def test_an_error_of_measuring_is_a_row_that_keeps_its_weights(engine, monkeypatch, tried):
    depth = 1 if engine is two_layer else 2
    bad, good = replace(BAD, depth=depth), replace(GOOD[0], depth=depth)
    expected = {run: train(run).weights(run) for run in (bad, good)}
    real = measuring._norms
    monkeypatch.setattr(measuring, "_norms", lambda weights, unit: real(weights, unit))
    asked = []

    def fail(one, *arguments):
        asked.append(one.run)
        if one.run == bad:
            raise ValueError("no order\nof units")
        return numbers(one, *arguments)

    numbers = measuring._numbers
    monkeypatch.setattr(measuring, "_numbers", fail)
    outcome = train(bad, good)
    row = outcome.table.iloc[0]
    assert (row.status, row.reason) == ("failed", "it could not be measured: ValueError: no order")
    assert outcome.table.iloc[1].status == "max_steps"
    assert sorted(run.seed for run in asked) == [1, 13]  # nothing was trained again
    assert all(same(outcome.weights(run), expected[run]) for run in (bad, good))
    tried("one bad run", UNDISTURBED)


class Ours(Exception):
    """An error of somebody who watches."""


def test_an_error_of_those_who_watch_goes_through(tried):
    def look(*_):
        raise Ours

    with pytest.raises(Ours):
        train(replace(BASE, eval_every=2), on_look=look)

    def keep(_):
        raise Unwritable("the store is full")

    with pytest.raises(Unwritable, match="the store is full"):
        list(trainer.outcomes([BASE], progress=False, keep=keep, keep_every=0))
    tried("one bad run", UNDISTURBED)


@pytest.mark.parametrize(("room", "name"), [(queue.training, "steps"), (measuring, "_numbers")])
def test_a_device_that_is_broken_fails_no_run(room, name, monkeypatch, tried):
    error = torch.AcceleratorError("CUDA error: an illegal memory access was encountered")
    break_in(monkeypatch, room, name, lambda *_: True, error)
    with pytest.raises(torch.AcceleratorError, match="illegal memory access"):
        train(*GOOD)
    tried("one bad run", UNDISTURBED)


SIZES = [("fcn", 10**18, 1), ("fcn", 2**63 - 1, 1), ("mean_field", 10**18, 1), ("fcn", 10**18, 3), ("fcn", 2, 10**18)]


@pytest.mark.parametrize("size", SIZES, ids=str)
def test_a_network_that_no_memory_holds_is_a_row_at_once_and_the_others_are_done(size, alone, tried):
    network, width, depth = size
    huge = replace(BASE, network=network, width=width, depth=depth)
    outcome = train(huge, GOOD[0])
    row = outcome.table.iloc[0]
    assert row.status == "out_of_memory"
    assert row.reason.startswith("it does not fit in memory: its weights take ")
    assert outcome.table.iloc[1].status == "max_steps"
    assert same(outcome.weights(GOOD[0]), alone[GOOD[0]])
    tried("one bad run", UNDISTURBED)


class Mute(RuntimeError):  # as torch's own, whose text is looked at
    """An error that cannot say what it is."""

    def __str__(self):
        raise RuntimeError("no text")


@pytest.mark.parametrize(
    ("error", "reason"), [(ValueError("no file \udcff"), r"ValueError: no file \udcff"), (Mute(), "Mute")], ids=repr
)
def test_an_error_whose_text_no_file_can_hold_costs_its_own_run_alone(
    error, reason, tmp_path, alone, monkeypatch, tried
):
    break_in(monkeypatch, *PLACES["a step"], error)
    runs = [GOOD[0], BAD]
    outcome = train(*runs)
    assert_one_failed(outcome, runs, BAD, reason, alone)
    results.write_table(outcome.table, tmp_path / "table.parquet")
    for _ in range(2):
        assert list(sweep(runs, store=tmp_path / "store", progress=False).table["reason"]) == ["", reason]
    tried("one bad run", UNDISTURBED)


def test_a_sweep_keeps_a_failed_run_and_does_not_try_it_again(tmp_path, alone, monkeypatch, tried):
    runs = [ZEROED, replace(BASE, width=10**18), *GOOD[:2]]
    first = sweep(runs, store=tmp_path / "store", progress=False)
    assert list(first.table["status"]) == ["failed", "out_of_memory", "max_steps", "max_steps"]
    assert all(same(first.weights(run), alone[run]) for run in GOOD[:2])
    monkeypatch.setattr(queue, "train", lambda *_: pytest.fail("a run was tried again"))
    again = sweep(runs, store=tmp_path / "store", progress=False)
    assert again.table.equals(first.table)
    tried("one bad run", UNDISTURBED)
