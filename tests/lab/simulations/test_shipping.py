"""The study of what one would ship: a plain loop that is the trainer's, and a ladder of files."""

from __future__ import annotations

import math
from dataclasses import replace
from itertools import pairwise

import pytest
import torch

import heavytail
from heavytail import Run, networks, train
from heavytail.lab import datasets, models, parts, simulations
from heavytail.lab.simulations import Shipping, shipping

BASE = Shipping(dataset="digits", width=20, lr=0.3, batch_size=200, steps=12, tune_steps=3, seed=5)
NOISY = replace(BASE, sigma=0.01, alpha=1.5, noise="entrywise")


def data(simulation):
    return parts.seen(simulation.run, datasets.load(simulation.dataset))


def numbers(simulation):
    table = simulations.simulate([simulation])
    return {(row.quantity, row.level): row.value for row in table.itertuples()}


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"network": "vgg"}, r"unknown network 'vgg': choose one of fcn, resnet"),
        ({"steps": 0}, r"steps must be a whole number >= 1, got 0"),
        ({"tune_steps": 0}, r"tune_steps must be a whole number >= 1, got 0"),
        ({"tune_lr": -1}, r"tune_lr must be a finite number >= 0, got -1"),
        ({"int8": 1}, r"int8 must be true or false, got 1"),
        ({"lr": 0}, r"the step size lr must be a finite number above 0, got 0"),
        ({"sigma": 0.1, "group_lasso": 0.1}, r"noise and group_lasso are two arms: leave one of them at 0"),
    ],
)
def test_a_bad_record_is_refused_in_one_sentence(change, sentence):
    with pytest.raises(ValueError, match=rf"^{sentence}$"):
        Shipping(**change)


def test_a_record_is_a_run_and_without_sigma_it_has_no_noise():
    assert BASE.run == Run(dataset="digits", width=20, lr=0.3, batch_size=200, max_steps=12, seed=5)
    assert NOISY.run == replace(BASE.run, noise="entrywise", alpha=1.5, sigma=0.01)
    assert replace(BASE, samples=300, validation=40).run.validation == 40


@pytest.mark.parametrize("width", [1, 2, 7, 80, 81, 130, 2000, 5000])
def test_the_ladder_ascends_to_all_units_without_a_wide_gap(width):
    ladder = Shipping(width=width).ladder
    assert ladder == tuple(sorted(set(ladder)))
    assert (ladder[0], ladder[-1]) == (1, width)
    assert all(more <= 2.5 * less for less, more in pairwise(ladder))
    assert Shipping(width=width, prune=False).ladder == (width,)


@pytest.mark.parametrize("change", [{}, {"weight_decay": 0.5}, {"group_lasso": 0.2}, {"batch_size": 0}], ids=str)
def test_without_noise_the_plain_loop_comes_to_the_weights_of_the_trainer(change):
    simulation = replace(BASE, **change)
    model = shipping.trained(simulation.run, data(simulation))
    found = train(simulation.run, progress=False).weights(simulation.run)
    assert not model.training
    for name, weight in model.state_dict().items():
        torch.testing.assert_close(weight, found[name], rtol=1e-4, atol=1e-6)
    if change.get("group_lasso"):
        assert (found["1.weight"].norm(dim=1) == 0).any()  # a lasso that does nothing would pass


def test_noise_is_that_of_perturb_on_the_hidden_weights_and_there_is_none_after_the_last_step(monkeypatch):
    handles, real = [], heavytail.noise.perturb

    def watched(*given, **options):
        handles.append((real(*given, **options), options))
        return handles[-1][0]

    monkeypatch.setattr(heavytail.noise, "perturb", watched)
    one, two = (shipping.trained(replace(NOISY, steps=steps, seed=77).run, data(NOISY)) for steps in (1, 2))
    plain = shipping.trained(replace(BASE, steps=1, seed=77).run, data(BASE))
    assert torch.equal(one[1].weight, plain[1].weight)
    (handle, options) = handles[-1]
    assert handle.state_dict()["step"] == 1
    assert (options["alpha"], options["sigma"], options["noise"]) == (1.5, 0.01, "entrywise")
    again = shipping.trained(replace(BASE, steps=2, seed=77).run, data(BASE))
    assert (two[1].weight - again[1].weight).abs().median() > 10 * (two[3].weight - again[3].weight).abs().median()


def test_every_number_that_is_promised_is_measured_and_files_grow_with_the_units():
    found = numbers(NOISY)
    assert found.keys() == NOISY.numbers.keys()
    ladder = NOISY.ladder
    assert [found["parameters", level] for level in ladder] == [level * (64 + 10) for level in ladder]
    sizes = [found["bytes", level] for level in ladder]
    assert sizes == sorted(set(sizes))
    assert all(4 * 74 * level < size < 4 * 74 * level + 200 for level, size in zip(ladder, sizes, strict=True))
    x, y = data(NOISY).x_test, data(NOISY).y_test
    whole = shipping.trained(NOISY.run, data(NOISY))
    assert found["accuracy", 20] == pytest.approx(float((whole(x).argmax(1) == y).double().mean()))


def test_tuning_is_steps_of_plain_sgd_on_what_is_left_and_has_a_step_size_of_its_own():
    simulation = replace(NOISY, batch_size=0, tune_steps=1, tune_lr=0.7, weight_decay=0.1)
    dataset = data(simulation)
    model = shipping.smaller(simulation, shipping.trained(simulation.run, dataset), 4, dataset)
    assert model[1].weight.shape == (4, 64)
    before = [p.detach().clone().requires_grad_() for p in model.parameters()]
    outputs = torch.relu(dataset.x_train @ before[0].T) @ before[1].T
    gradients = torch.autograd.grad(torch.nn.functional.cross_entropy(outputs, dataset.y_train), before)
    shipping.tune(simulation, model, dataset)
    for p, old, gradient in zip(model.parameters(), before, gradients, strict=True):
        torch.testing.assert_close(p, (1 - 0.07) * old - 0.7 * gradient, rtol=1e-4, atol=1e-6)


def test_what_is_pruned_is_a_copy_so_that_every_size_is_of_the_same_network():
    dataset = data(BASE)
    model = shipping.trained(BASE.run, dataset)
    before = {name: weight.clone() for name, weight in model.state_dict().items()}
    small = shipping.smaller(BASE, model, 3, dataset)
    shipping.tune(BASE, small, dataset)
    assert all(torch.equal(weight, before[name]) for name, weight in model.state_dict().items())


def test_a_training_that_diverges_has_sizes_and_no_accuracies():
    found = numbers(replace(BASE, lr=1e30, width=6))
    for (quantity, level), value in found.items():
        assert math.isnan(value) == (quantity in ("train_accuracy", "accuracy", "tuned")), (quantity, level)
    assert found["bytes", 3] < found["bytes", 6]


@pytest.mark.long
def test_in_int8_the_whole_network_is_smaller_and_says_nearly_the_same():
    found = numbers(replace(BASE, width=200, int8=True, prune=False, steps=60))
    assert found["int8_bytes", 200] < found["bytes", 200] / 2
    assert found["int8", 200] == pytest.approx(found["accuracy", 200], abs=0.03)
    assert found["accuracy", 200] > 0.8


@pytest.mark.long
def test_a_residual_network_is_trained_with_its_normalisation_and_its_channels_are_taken_out():
    generator = torch.Generator().manual_seed(0)
    model = networks.resnet((3, 16, 16), 4, width=6, depth=1, generator=generator).eval()
    x = torch.randn(5, 3, 16, 16, generator=generator)
    assert model(x).shape == (5, 4)
    model.train()(x)  # which gives normalisations something to say of a channel that is zero
    with torch.no_grad():
        for name, p in model.named_parameters():
            if "bn" in name:
                p.add_(torch.randn(p.shape, generator=generator))
    before = {name: weight.clone() for name, weight in model.state_dict().items()}
    simulation = replace(BASE, network="resnet", width=6)
    small = shipping.smaller(simulation, model.eval(), 3, _Images(x))
    fresh = networks.resnet((3, 16, 16), 4, width=3, depth=1, generator=generator)
    assert [p.shape for p in small.parameters()] == [p.shape for p in fresh.parameters()]
    assert all(torch.equal(weight, before[name]) for name, weight in model.state_dict().items())
    pruned = heavytail.prune(model, keep=0.5, sample=x, coupled=True)
    for block in list(pruned)[3:6]:
        block.silence()
    torch.testing.assert_close(small(x), pruned(x), rtol=1e-4, atol=1e-5)
    assert models.initial_model(Run(dataset="cifar10", network=shipping.NETWORKS["resnet"], width=2), _Images(x))


class _Images:
    """As much of a data set as makes a network."""

    def __init__(self, x):
        self.x_train, self.classes = x, 10
