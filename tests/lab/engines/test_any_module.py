"""Networks of any module at once: each as it is alone, up to rounding."""

from __future__ import annotations

import pytest
import torch
from torch.nn.functional import cross_entropy

from heavytail import compress, networks, streams
from heavytail.lab import measuring
from heavytail.lab.engines import any_module
from heavytail.networks import hidden_weights
from heavytail.noise import Kick

SHAPES = {"fcn": ((12,), 3), "vgg": ((3, 32, 32), 1)}


def model(network, seed):
    shape, depth = SHAPES[network]
    stream = streams.generator(seed, "weights")
    return networks.build(network, shape, 3, width=4, depth=depth, generator=stream)


def samples(network, runs=None):
    g = torch.Generator().manual_seed(0)
    lead = () if runs is None else (runs,)
    return torch.randn(*lead, 9, *SHAPES[network][0], generator=g), torch.randint(0, 3, (*lead, 9), generator=g)


def kick(seed, unit):
    return Kick(1.75, "isotropic", unit, 0.01, streams.key(seed, "noise"), 3)


@pytest.mark.parametrize("own_batches", [False, True])
@pytest.mark.parametrize("network", SHAPES)
def test_networks_trained_at_once_agree_with_each_alone(network, own_batches):
    x, y = samples(network, 3 if own_batches else None)
    rates = torch.tensor([0.1, 0.2, 0.3])
    together = any_module.stack([model(network, seed) for seed in range(3)], "float32", "kernel")
    kicks = {0: kick(0, "kernel"), 2: kick(2, "kernel")}
    for _ in range(2):
        losses = any_module.descend(together, x, y, rates, kicks)
    accuracies = any_module.evaluate(together, *samples(network))[0]
    for row in range(3):
        alone = any_module.stack([model(network, row)], "float32", "kernel")
        own = (x[row : row + 1], y[row : row + 1]) if own_batches else (x, y)
        for _ in range(2):
            loss = any_module.descend(alone, *own, rates[row : row + 1], {0: kicks[row]} if row in kicks else {})
        torch.testing.assert_close(loss[0], losses[row], rtol=1e-5, atol=1e-6)
        for name, weight in any_module.weights(alone, 0).items():
            torch.testing.assert_close(weight, any_module.weights(together, row)[name], rtol=1e-4, atol=1e-6)
        assert abs(float(any_module.evaluate(alone, *samples(network))[0] - accuracies[row])) <= 1 / 9


@pytest.mark.parametrize("network", SHAPES)
def test_every_hidden_layer_gets_noise_of_its_own_and_no_other_does(network):
    found = any_module.stack([model(network, 0)], "float32", "filter")
    before = any_module.weights(found, 0)
    any_module.perturb(found, {0: kick(1, "filter")})
    moved = {
        name: w - before[name] for name, w in any_module.weights(found, 0).items() if not torch.equal(w, before[name])
    }
    assert moved.keys() == hidden_weights(model(network, 0)).keys()
    first = {tuple(change.flatten()[:4].tolist()) for change in moved.values()}
    assert len(first) == len(moved)


def test_bfloat16_products_err_by_a_rounding_of_bfloat16():
    x, y = samples("fcn")
    moved = {}
    for products in ("float32", "bfloat16"):
        found = any_module.stack([model("fcn", 0)], products, "filter")
        before = any_module.weights(found, 0)
        any_module.descend(found, x, y, torch.tensor([0.5]), {})
        moved[products] = torch.cat([(w - before[name]).flatten() for name, w in any_module.weights(found, 0).items()])
    error = (moved["bfloat16"] - moved["float32"]).norm() / moved["float32"].norm()
    assert 2**-12 < error < 2**-4


def with_dead_filters(model):
    """The first convolution, which is not pruned, has filters that are all zero, and shrink takes them away."""
    with torch.no_grad():
        model[0].weight[:2] = 0
    return model


def with_a_hook(model):
    model.register_forward_hook(lambda module, inputs, outputs: -outputs)
    return model


@pytest.mark.parametrize("changed", [None, with_dead_filters, with_a_hook])
@pytest.mark.parametrize("network", SHAPES)
def test_a_network_pruned_in_parts_gets_right_what_it_gets_right_pruned_as_a_whole(network, changed):
    if (network, changed) == ("fcn", with_dead_filters):
        pytest.skip("it has no convolution")
    whole = model(network, 0) if changed is None else changed(model(network, 0))
    x, y = samples(network)
    splits = [(x, y), (x[:5], y[:5])]
    for criteria, chance in ((measuring.CRITERIA, None), (measuring.RANDOM, 3)):
        found = any_module.pruned(any_module.stack([whole], "float32", "filter"), 0, criteria, splits, chance=chance)
        for criterion in criteria:
            sparse = compress.prune(whole, **criterion._asdict(), generator=compress.chance(chance))
            assert found[criterion].ratio == compress.pruning_ratio(sparse)
            for (inputs, labels), accuracy in zip(splits, found[criterion].accuracies, strict=True):
                outputs = sparse(inputs)
                ties = int((outputs.topk(2).values.diff().abs() < 1e-6).sum())  # rounding decides them
                right = int((outputs.argmax(1) == labels).sum())
                assert abs(accuracy * len(labels) - right) <= (ties if ties < len(labels) else 0) + 1e-9


def test_measuring_is_the_loss_and_both_ways_of_pruning():
    x, y = samples("fcn")
    train, test = (x, y), (x[:5], y[:5])
    nets = any_module.stack([model("fcn", 0)], "float32", "filter")
    found = any_module.measure(nets, train, test, measuring.CRITERIA, measuring.RANDOM, 3)
    assert found.loss == pytest.approx(float(cross_entropy(model("fcn", 0)(x), y).detach()), rel=1e-6)
    assert found.pruned == any_module.pruned(nets, 0, measuring.CRITERIA, [train, test])
    assert found.by_chance == any_module.pruned(nets, 0, measuring.RANDOM, [test], chance=3)
    assert found.by_chance != any_module.pruned(nets, 0, measuring.RANDOM, [test])
