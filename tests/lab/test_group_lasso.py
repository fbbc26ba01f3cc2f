"""The group lasso: after the gradient every hidden unit is shortened by ηλ, to nothing at most, and then kicked."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from made_up_data import made_up
from torch.nn.functional import cross_entropy

from heavytail import Run, noise
from heavytail.lab import models, trainer, training
from heavytail.lab.engines.protocol import shorten
from heavytail.lab.machine import threads
from heavytail.networks import hidden_weights

DATA = {"digits": made_up(), "cifar10": made_up("cifar10", rows=(8, 6), shape=(3, 32, 32))}
BASE = Run(dataset="digits", width=30, lr=0.1, max_steps=8, seed=3, group_lasso=0.3)
VGG = replace(BASE, dataset="cifar10", network="vgg", width=2, lr=0.05, max_steps=3, group_lasso=0.5)
KICKED = {"noise": "entrywise", "alpha": 1.5, "sigma": 0.05}
KINDS = {
    "plain": BASE,
    "mean field": replace(BASE, network="mean_field"),
    "three layers": replace(BASE, depth=3),
    "minibatches, decay and noise": replace(BASE, batch_size=7, weight_decay=0.4, **KICKED),
    "filters": VGG,
    "kernels": replace(VGG, unit="kernel", **KICKED),
    "wide, in two tiles": replace(BASE, width=600, max_steps=3, **KICKED),
}


def outcomes(*runs, **options):
    used = {run.dataset: DATA[run.dataset] for run in runs}
    finished = trainer.outcomes(runs, data=used, progress=False, **options)
    return {outcome.run: outcome for outcome in finished}


def by_hand(run):
    """The weights after training in plain torch, unit by unit."""
    data = DATA[run.dataset]
    model = models.initial_model(run, data)
    rate, key = models.rate(run, model), training.noise_key(run)
    layers = hidden_weights(model)
    kernels = run.unit == "kernel"
    steps = trainer.batches(run, len(data.y_train), "cpu")
    for step, batch in zip(range(1, run.max_steps + 1), steps, strict=False):
        model.zero_grad()
        cross_entropy(model(data.x_train[batch]), data.y_train[batch]).backward()
        with torch.no_grad():
            for p in model.parameters():
                p.copy_((1 - run.lr * run.weight_decay) * p - rate * p.grad)
            for layer, weight in enumerate(layers.values()):
                for unit in weight.flatten(0, 1) if kernels and weight.ndim == 4 else weight:
                    length = float(unit.double().norm())
                    unit *= max(0.0, 1 - run.lr * run.group_lasso / length) if length else 0.0
                if run.noise and step < run.max_steps:
                    size = run.sigma * run.lr ** (1 / run.alpha)
                    noise.add(weight, run.alpha, run.noise, size, key=key, step=step, layer=layer, unit=run.unit)
    return {name: p.detach() for name, p in model.named_parameters()}


@pytest.mark.parametrize("kind", KINDS)
def test_a_step_shortens_every_hidden_unit_after_the_gradient_and_before_the_noise(kind):
    run = KINDS[kind]
    found, wanted = outcomes(run)[run].weights, by_hand(run)
    for name, weight in wanted.items():
        torch.testing.assert_close(found[name], weight, rtol=3e-5, atol=3e-6)
    plain = replace(run, group_lasso=0.0)
    without = outcomes(plain)[plain].weights
    assert any(not torch.allclose(found[name], without[name], rtol=1e-3, atol=1e-5) for name in wanted)


def test_the_output_layer_and_the_first_convolution_are_left_alone():
    run = replace(VGG, group_lasso=1e4, max_steps=1)
    data, free = DATA["cifar10"], replace(VGG, group_lasso=0.0, max_steps=1)
    found, without = outcomes(run)[run], outcomes(free)[free]
    hidden = set(hidden_weights(models.initial_model(run, data)))
    assert found.row["status"] == "failed"
    assert "nothing was left to prune" in found.row["reason"]
    for name, weight in found.weights.items():
        assert not weight.any() if name in hidden else torch.equal(weight, without.weights[name])


def test_a_unit_of_zeros_stays_and_one_shorter_than_the_step_becomes_it():
    weights = torch.tensor([[[3.0, 4.0], [0.0, 0.1], [0.0, 0.0]]]).repeat(2, 1, 1)
    shorten(weights, torch.tensor([1.0, 0.0]), axes=1)
    torch.testing.assert_close(weights[0], torch.tensor([[2.4, 3.2], [0.0, 0.0], [0.0, 0.0]]))
    assert torch.equal(weights[1], torch.tensor([[3.0, 4.0], [0.0, 0.1], [0.0, 0.0]]))


@pytest.mark.parametrize("kind", ["wide, in two tiles", "minibatches, decay and noise", "three layers", "kernels"])
def test_a_run_has_the_same_bits_alone_beside_others_resumed_and_on_any_number_of_threads(kind):
    run = KINDS[kind]
    with threads.using(1):
        alone = outcomes(run)[run].weights
    others = [replace(run, group_lasso=0.0), replace(run, seed=9), replace(run, lr=run.lr / 2)]
    taken = []
    with threads.using(3 if run.depth == 1 and run.network == "fcn" else 1):  # convolutions add in parts
        together = outcomes(others[0], run, *others[1:], keep=taken.append, keep_every=0)
    middle = [snapshot for snapshot in taken if snapshot.run == run and 0 < snapshot.step < run.max_steps]
    resumed = outcomes(run, snapshots=middle[:1])[run].weights
    free = outcomes(others[0])[others[0]].weights
    for name, weight in alone.items():
        assert torch.equal(weight, together[run].weights[name])
        assert torch.equal(weight, resumed[name])
        assert torch.equal(free[name], together[others[0]].weights[name])


def test_the_longer_the_penalty_the_more_units_are_gone():
    runs = [replace(BASE, group_lasso=strength, max_steps=40) for strength in (0.0, 0.1, 0.15)]
    gone = [int((outcome.weights["1.weight"] == 0).all(1).sum()) for outcome in outcomes(*runs).values()]
    assert gone[0] == 0
    assert gone[0] <= gone[1] < gone[2] < BASE.width


@pytest.mark.parametrize("value", [-0.1, float("inf"), float("nan")])
def test_a_strength_out_of_range_is_refused(value):
    with pytest.raises(ValueError, match=r"^group_lasso must be a finite number >= 0, got "):
        replace(BASE, group_lasso=value)
