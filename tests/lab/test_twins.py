"""A run's twin: the start and the run's own kicks, to the bit, and nothing of its data."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch
from made_up_data import made_up
from torch import nn

from heavytail import Run, compress, networks, noise
from heavytail.lab import datasets, models, trainer, training, twins
from heavytail.lab.machine import threads

COLUMNS = ["twin_pruning_ratio", "twin_norm_median", "twin_norm_rms"]
TRAINED = ["pruning_ratio", "norm_median", "norm_rms"]
TOY = made_up()
IMAGES = made_up("cifar10", rows=(8, 6), shape=(3, 32, 32))
BASE = Run(dataset="digits", width=40, lr=0.1, max_steps=9, seed=5, noise="entrywise", alpha=1.5, sigma=0.3)
VGG = replace(BASE, dataset="cifar10", network="vgg", width=2, lr=0.01, max_steps=3)
KINDS = {
    **{kind: replace(BASE, noise=kind) for kind in noise.NOISES},
    "mean field": replace(BASE, network="mean_field", noise="isotropic"),
    "along a direction": replace(BASE, noise="shared", along="unseen"),
    "minibatches and weight decay": replace(BASE, batch_size=7, weight_decay=0.5),
    "three layers": replace(BASE, depth=3, noise="isotropic"),
    "filters": replace(VGG, noise="isotropic"),
    "kernels": replace(VGG, unit="kernel", noise="shared"),
}


def rows(*runs, data=None, **options):
    sets = data or {"digits": TOY, "cifar10": IMAGES}
    used = {run.dataset: sets[run.dataset] for run in runs}
    return trainer.train(runs, data=used, progress=False, **options).table


def by_hand(run, kicks, data=None):
    """The columns of a twin that gets so many kicks, each of a whole weight at once."""
    dataset = data or {"digits": TOY, "cifar10": IMAGES}[run.dataset]
    model = models.initial_model(run, dataset)
    weights = networks.hidden_weights(model)
    along = datasets.unseen(dataset.x_train) if run.along == "unseen" else None
    key = training.noise_key(replace(run, dataset=dataset.id))
    size = run.sigma * run.lr ** (1 / run.alpha)
    for step in range(1, kicks + 1):
        for layer, weight in enumerate(weights.values()):
            at = {"key": key, "step": step, "layer": layer, "unit": run.unit, "along": along}
            noise.add(weight, run.alpha, run.noise, size, **at)
    norms = torch.cat([compress.norms(weight.detach(), run.unit) for weight in weights.values()])
    pruned = compress.prune(model, squared_error=0.1, unit=run.unit)
    return [compress.pruning_ratio(pruned), float(norms.median()), float(norms.square().mean().sqrt())]


@pytest.mark.parametrize("kind", KINDS)
def test_a_twin_is_the_start_and_the_kicks_of_all_steps_but_the_last(kind, monkeypatch):
    monkeypatch.setattr(twins, "BLOCK", 64)
    run = KINDS[kind]
    row = rows(run).iloc[0]
    assert row[COLUMNS].tolist() == by_hand(run, run.max_steps - 1)
    assert row["twin_norm_rms"] != by_hand(run, run.max_steps)[2]
    assert row["twin_norm_rms"] != by_hand(run, run.max_steps - 2)[2]


@pytest.mark.parametrize("kind", ["shared", "entrywise", "isotropic", "mean field", "three layers", "kernels"])
def test_where_no_gradient_reaches_the_hidden_weights_the_trained_network_is_its_twin(kind):
    """All inputs are zero, and so is the gradient of every weight that sees them."""
    run = KINDS[kind]
    x = torch.zeros_like((TOY if run.dataset == "digits" else IMAGES).x_train)
    blind = datasets.from_arrays("blind", x, torch.arange(len(x)) % 2, x, torch.arange(len(x)) % 2)
    runs = [replace(run, dataset="blind", max_steps=steps) for steps in (1, 2, 6)]
    runs.append(replace(run, dataset="blind", max_steps=60, eval_every=4, stop_accuracy=0.5))
    table = rows(*runs, data={"blind": blind})
    assert table["status"].tolist() == ["max_steps"] * 3 + ["converged"]
    assert table["steps"].tolist() == [1, 2, 6, 4]
    assert table[COLUMNS].to_numpy().tolist() == table[TRAINED].to_numpy().tolist()
    assert table["twin_norm_rms"].nunique() == 4


def test_a_run_that_stalled_has_the_kicks_of_its_own_steps():
    run = replace(BASE, max_steps=50, eval_every=3, stop_accuracy=1.0, patience=1)
    row = rows(run).iloc[0]
    assert (row["status"], row["steps"] < 50) == ("stalled", True)
    assert row[COLUMNS].tolist() == by_hand(run, row["steps"] - 1)


@pytest.mark.parametrize("plain", [{"noise": None, "alpha": None, "sigma": 0.0}, {"sigma": 0.0}])
def test_the_twin_of_a_run_without_noise_is_its_start(plain):
    run = replace(BASE, weight_decay=1.0, **plain)
    row = rows(run).iloc[0]
    [weight] = networks.hidden_weights(models.initial_model(run, TOY)).values()
    start = compress.norms(weight.detach())
    assert row["twin_norm_median"] == float(start.median())
    assert row["twin_pruning_ratio"] == compress.count(weight.detach(), squared_error=0.1) / run.width
    assert row["norm_median"] < 0.9 * row["twin_norm_median"]  # the decay is the run's alone


def test_a_twin_has_the_same_bits_alone_in_a_grid_and_on_any_number_of_threads(monkeypatch):
    monkeypatch.setattr(twins, "BLOCK", 64)
    runs = [
        replace(BASE, noise=kind, alpha=alpha, seed=seed)
        for kind in noise.NOISES
        for alpha in (1.5, 1.9)
        for seed in (1, 2)
    ]
    runs += [replace(BASE, max_steps=4), replace(BASE, noise=None, alpha=None, sigma=0)]
    with threads.using(2):
        together = rows(*runs)
    with threads.using(1):
        alone = [rows(run).iloc[0][COLUMNS].tolist() for run in runs]
    assert together[COLUMNS].to_numpy().tolist() == alone
    assert together["twin_norm_rms"].nunique() == len(runs)


@pytest.mark.parametrize("run", [BASE, replace(VGG, max_steps=6)], ids=["two layers", "convolutions"])
def test_the_twin_of_a_resumed_run_is_that_of_the_whole_run(run):
    taken = []
    data = {run.dataset: TOY if run.dataset == "digits" else IMAGES}
    [whole] = trainer.outcomes([run], data=data, progress=False, keep=taken.append, keep_every=0)
    middle = [snapshot for snapshot in taken if 0 < snapshot.step < run.max_steps]
    assert middle
    [resumed] = trainer.outcomes([run], data=data, progress=False, snapshots=middle[-1:])
    assert [resumed.row[name] for name in COLUMNS] == [whole.row[name] for name in COLUMNS]


def test_twins_that_do_not_fit_in_memory_together_are_measured_one_after_the_other(monkeypatch):
    runs = [replace(BASE, seed=seed) for seed in range(4)]
    with threads.using(4):
        wanted = rows(*runs)
        sizes, measured = [], twins._measured
        monkeypatch.setattr(twins, "_measured", lambda ended, *rest: sizes.append(len(ended)) or measured(ended, *rest))
        monkeypatch.setattr(twins.devices, "available", lambda device: 10**9 if not sizes else 1)
        sizes.append(0)
        monkeypatch.setattr("heavytail.lab.queue._at_once", lambda run, dataset: 4)
        again = rows(*runs)
    assert sizes == [0, 1, 1, 1, 1]
    assert again[COLUMNS].equals(wanted[COLUMNS])


def test_a_start_that_is_all_zero_has_no_ratio_and_the_run_is_measured_all_the_same():
    def silent(shape, classes, *, width, depth, generator):
        model = nn.Sequential(nn.Linear(shape[0], width, bias=False), nn.Tanh(), nn.Linear(width, classes, bias=False))
        nn.init.zeros_(model[0].weight)
        nn.init.normal_(model[2].weight, generator=generator)
        return model

    run = Run(dataset="digits", network=":silent", width=6, lr=0.1, max_steps=4)
    row = rows(run, networks={"silent": silent}).iloc[0]
    assert row["status"] == "max_steps"
    assert all(math.isnan(row[name]) for name in COLUMNS)
    assert not math.isnan(row["pruning_ratio"])


def test_a_run_that_diverged_has_no_twin():
    row = rows(replace(BASE, lr=1e30, sigma=0.0)).iloc[0]
    assert row["status"] == "diverged"
    assert all(math.isnan(row[name]) for name in COLUMNS)
