"""Pruned networks that are tuned: plain SGD by hand, units that stay gone, and rows that are the same without it."""

from __future__ import annotations

import math
from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch
from made_up_data import made_up
from torch import nn
from torch.nn.functional import cross_entropy

from heavytail import Run, compress, networks, streams
from heavytail.lab import models, results, trainer, training, tuning
from heavytail.lab.engines import any_module, two_layer
from heavytail.lab.machine import threads

TUNED = [f"test_accuracy_tuned_{share:.1f}" for share in results.TUNED]
PRUNED = [f"test_accuracy_share_{share:.1f}" for share in results.TUNED]
TOY = made_up(rows=(40, 200))
IMAGES = made_up("cifar10", rows=(8, 30), shape=(3, 32, 32))
BASE = Run(dataset="digits", width=40, lr=0.1, max_steps=9, seed=5, noise="entrywise", alpha=1.5, sigma=0.3)
BASE = replace(BASE, tune_steps=7)
VGG = replace(BASE, dataset="cifar10", network="vgg", width=2, lr=0.5, sigma=0.01, max_steps=3, tune_steps=8)


def biased(shape, classes, *, width, depth, generator):
    """A pruned unit of this network still says φ(bias), and its bias learns."""
    model = nn.Sequential(nn.Linear(shape[0], width), nn.Sigmoid(), nn.Linear(width, classes))
    for weight in model.parameters():
        nn.init.normal_(weight, std=0.3, generator=generator)
    return model


KINDS = {
    "full batch": BASE,
    "minibatches": replace(BASE, batch_size=7, tune_steps=13),
    "weight decay": replace(BASE, weight_decay=0.7),
    "mean field": replace(BASE, network="mean_field", noise="isotropic"),
    "mean field that decays": replace(BASE, network="mean_field", weight_decay=0.7, batch_size=16),
    "two layers": replace(BASE, depth=2, weight_decay=0.3),
    "few samples": replace(BASE, samples=20, batch_size=8),
    "filters": VGG,
    "kernels": replace(VGG, unit="kernel", batch_size=3, width=4, lr=0.2),
    "own": replace(BASE, network=":biased"),
}


def data(run):
    return TOY if run.dataset == "digits" else IMAGES


def builds(run):
    return {"biased": biased} if run.network == ":biased" else None


def rows(*runs, **options):
    used = {run.dataset: data(run) for run in runs}
    options = {"networks": builds(runs[0]), **options}
    return trainer.train(runs, data=used, progress=False, **options)


def by_hand(run, weights):
    """Test accuracy and loss of each tuned copy, by torch's own modules, gradients and steps."""
    dataset, build = data(run), biased if run.network == ":biased" else None
    x, y = dataset.x_train[: run.samples], dataset.y_train[: run.samples]
    found = []
    for share in results.TUNED:
        model = compress.prune(models.final_model(run, weights, dataset, build), keep=1 - share, unit=run.unit)
        hidden = networks.hidden_weights(model)
        gone = {}
        for name, weight in hidden.items():
            by = 2 if run.unit == "kernel" and weight.ndim == 4 else 1
            gone[name] = (weight.detach().flatten(by).flatten(by) == 0).all(-1)
        rate = run.lr * (run.width if run.network == "mean_field" else 1)
        epoch, order = 0, []
        for _ in range(run.tune_steps):
            if run.batch_size is None:
                batch = torch.arange(len(y))
            else:
                if not order:
                    shuffle = streams.generator(run.seed, "tuning", epoch)
                    order, epoch = list(torch.randperm(len(y), generator=shuffle).split(run.batch_size)), epoch + 1
                batch = order.pop(0)
            loss = cross_entropy(model(x[batch]), y[batch])
            trained = [p for p in model.parameters() if p.requires_grad]
            gradients = torch.autograd.grad(loss, trained)
            with torch.no_grad():
                for p, gradient in zip(trained, gradients, strict=True):
                    p.copy_((1 - run.lr * run.weight_decay) * p - rate * gradient)
                for name, weight in hidden.items():
                    weight[gone[name]] = 0
        with torch.no_grad():
            outputs = model(dataset.x_test)
        right = (outputs.argmax(1) == dataset.y_test).double().mean()
        found.append((float(right), float(cross_entropy(outputs, dataset.y_test))))
    return found


def spied(run, weights):
    """What `tuning.measure` gives, with the test losses that it saw on the way, and the networks it ended with."""
    engine = two_layer if run.depth == 1 and run.network in ("fcn", "mean_field") else any_module
    losses, ended = [], []

    def evaluate(nets, x, y):
        accuracy, loss = engine.evaluate(nets, x, y)
        losses.append(float(loss[0]))
        ended.append(engine.hidden(nets, 0))
        return accuracy, loss

    watched = SimpleNamespace(stack=engine.stack, hidden=engine.hidden, descend=engine.descend, evaluate=evaluate)
    dataset = data(run)
    cut = replace(dataset, x_train=dataset.x_train[: run.samples], y_train=dataset.y_train[: run.samples])
    with threads.using(1):
        columns = tuning.measure(run, weights, cut, biased if run.network == ":biased" else None, watched)
    return columns, losses, ended


@pytest.mark.parametrize("kind", KINDS)
def test_tuning_is_plain_sgd_after_which_pruned_units_are_zero_again(kind):
    run = KINDS[kind]
    made = rows(run)
    weights = made.weights(run)
    wanted = by_hand(run, weights)
    columns, losses, ended = spied(run, weights)
    assert losses == pytest.approx([loss for _, loss in wanted], rel=1e-5)
    assert [columns[name] for name in TUNED] == [accuracy for accuracy, _ in wanted]
    assert made.table.iloc[0][TUNED].tolist() == list(columns.values())
    untuned = by_hand(replace(run, tune_steps=0), weights)
    moves = [abs(before / after - 1) for (_, before), after in zip(untuned, losses, strict=True)]
    assert max(moves) > 2e-3  # the steps are seen in what is compared
    for share, hidden in zip(results.TUNED, ended, strict=True):
        whole = networks.hidden_weights(models.final_model(run, weights, data(run), (builds(run) or {}).get("biased")))
        for weight, full in zip(hidden, whole.values(), strict=True):
            alive = int(compress.norms(weight, run.unit).count_nonzero())
            assert alive <= len(compress.norms(full, run.unit)) - compress.count(full, keep=1 - share, unit=run.unit)
            assert alive > 0


def test_tuning_takes_other_batches_than_the_run_and_the_same_at_every_share():
    run = replace(BASE, batch_size=7)
    own, ours = (training.batches(run, 40, "cpu", stream=stream) for stream in ("batches", "tuning"))
    epochs = [[torch.cat([next(order) for _ in range(6)]).tolist() for _ in range(3)] for order in (own, ours)]
    assert all(sorted(epoch) == list(range(40)) for order in epochs for epoch in order)
    assert len({tuple(epoch) for order in epochs for epoch in order}) == 6


def test_tuned_networks_have_the_same_bits_alone_in_a_grid_and_on_any_number_of_threads():
    runs = [replace(run, seed=seed) for kind in ("minibatches", "mean field", "two layers") for seed in (1, 2)
            for run in [replace(KINDS[kind], width=600, sigma=0.02)]]  # fmt: skip
    runs.append(replace(KINDS["filters"], seed=1))
    with threads.using(2):
        together = rows(*runs).table
        many = [spied(run, rows(run).weights(run)) for run in runs[:1]]
    with threads.using(1):
        alone = [rows(run) for run in runs]
        again = [spied(run, alone[0].weights(run)) for run in runs[:1]]
    assert together[TUNED].to_numpy().tolist() == [one.table.iloc[0][TUNED].tolist() for one in alone]
    assert [losses for _, losses, _ in many] == [losses for _, losses, _ in again]
    assert together[TUNED].drop_duplicates().shape[0] > 4


@pytest.mark.parametrize("kind", ["two layers", "filters", "own"])
def test_the_losses_of_tuned_modules_have_the_same_bits_on_any_number_of_threads(kind):
    run = KINDS[kind]
    weights = rows(run).weights(run)
    engine, seen = any_module, []

    def evaluate(nets, x, y):
        assert torch.get_num_threads() == 1  # so no product can depend on how many there are
        accuracy, loss = engine.evaluate(nets, x, y)
        seen.append(float(loss[0]))
        return accuracy, loss

    watched = SimpleNamespace(stack=engine.stack, hidden=engine.hidden, descend=engine.descend, evaluate=evaluate)
    build = (builds(run) or {}).get("biased")
    for count in (1, 2, 3):
        with threads.using(count):
            tuning.measure(run, weights, data(run), build, watched)
    assert sorted(seen[:4]) == sorted(seen[4:8]) == sorted(seen[8:])
    assert len(set(seen)) == 4


@pytest.mark.parametrize("kind", ["minibatches", "two layers", "filters"])
def test_without_tuning_a_row_is_what_it_was_and_with_it_only_its_own_columns_are_new(kind):
    run = KINDS[kind]
    tuned, plain = rows(run), rows(replace(run, tune_steps=0))
    assert plain.table[TUNED].isna().all(axis=None)
    assert tuned.table[TUNED].notna().all(axis=None)
    other = [*TUNED, "seconds", "key", "tune_steps"]
    assert tuned.table.drop(columns=other).equals(plain.table.drop(columns=other))
    first, second = tuned.weights(run), plain.weights(replace(run, tune_steps=0))
    assert all(torch.equal(first[name], second[name]) for name in first)


def test_without_tuning_nothing_is_pruned_or_made_for_it(monkeypatch):
    monkeypatch.setattr(tuning.models, "final_model", lambda *given: pytest.fail("a model was made"))
    assert tuning.measure(replace(BASE, tune_steps=0), {}, TOY, None, two_layer) == {}


def test_a_network_that_cannot_move_is_as_right_as_the_pruned_one():
    run = replace(BASE, lr=1e-30, noise=None, alpha=None, sigma=0.0)
    row = rows(run).table.iloc[0]
    assert row[TUNED].tolist() == row[PRUNED].tolist()


def test_tuning_helps_a_network_of_which_little_is_left():
    run = replace(BASE, width=200, tune_steps=60, max_steps=60)
    row = rows(run).table.iloc[0]
    assert row["test_accuracy_tuned_0.9"] > row["test_accuracy_share_0.9"]


@pytest.mark.parametrize("run", [BASE, replace(BASE, depth=2)], ids=["one layer", "two layers"])
def test_a_copy_that_diverges_has_no_accuracy_and_the_run_keeps_the_rest(run):
    weights = rows(run).weights(run)
    columns, *_ = spied(replace(run, lr=1e30, sigma=0.0), weights)
    assert list(columns) == TUNED
    assert all(math.isnan(value) for value in columns.values())
    diverged = rows(replace(run, lr=1e30, sigma=0.0)).table.iloc[0]
    assert diverged["status"] == "diverged"
    assert all(math.isnan(diverged[name]) for name in TUNED)
