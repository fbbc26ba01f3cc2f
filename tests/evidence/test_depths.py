"""Depth: the yardstick of errors, and the growth of what pruning costs, seed by seed."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
from made_up_results import diverged, measured, table

from heavytail import Run, compress
from heavytail.evidence import depths


def test_the_yardstick_is_the_error_of_layers_that_each_lose_a_tenth():
    assert depths.compounded(1) == pytest.approx(math.sqrt(compress.SQUARED_ERROR))
    assert depths.compounded(3, 0.5) == pytest.approx(math.sqrt(1 - 0.125))
    assert depths.compounded(2, 0.0) == 0


def losing(layers, loss, *, seed, noise=None):
    kicks = {} if noise is None else {"noise": noise, "alpha": 1.75, "sigma": 0.1}
    before = 0.9 - seed / 100
    return Run(depth=layers, seed=seed, **kicks), measured(test_accuracy=before, test_accuracy_pruned=before - loss)


def test_growth_is_what_the_deepest_loses_less_what_the_shallowest_loses_seed_by_seed():
    rows = []
    for seed in range(1, 8):
        rows += [losing(2, 0.1 * seed, seed=seed), losing(3, 99.0, seed=seed), losing(4, 0.1 * seed + 0.02, seed=seed)]
        rows += [losing(layers, 0.2, seed=seed, noise="isotropic") for layers in (4, 2)]
    plain, noisy = depths.growth_of_loss(table(rows).sample(frac=1, random_state=0))
    assert (plain.label, plain.runs) == ("plain SGD, depth 4 less 2", 7)
    assert (plain.value, plain.low, plain.high) == pytest.approx((0.02, 0.02, 0.02))  # unpaired it would be far wider
    assert noisy.label == "isotropic, α = 1.75, depth 4 less 2"
    assert noisy.value == pytest.approx(0, abs=1e-12)
    assert (plain.noise, noisy.noise) == ("", "isotropic")


def test_growth_is_that_of_the_strongest_noise_of_each_depth_and_of_plain_sgd_at_its_best_step_size():
    rows, weak = [], {"noise": "shared", "alpha": 1.75, "lr": 0.1}
    for seed in range(1, 8):
        for layers, loss, sigma, lr in ((2, 0.1, 0.3, 0.1), (4, 0.3, 0.2, 0.3)):  # sigma and step size of each depth
            ends = measured(test_accuracy=0.8, test_accuracy_pruned=0.8 - loss, share_accuracy=0.8)
            rows += [
                (Run(depth=layers, seed=seed, **weak | {"sigma": sigma}), ends),
                (Run(depth=layers, seed=seed, lr=lr), ends),
            ]
            other = measured(test_accuracy=0.7, test_accuracy_pruned=0.7, share_accuracy=0.7)
            rows += [
                (Run(depth=layers, seed=seed, **weak | {"sigma": 0.1}), other),
                (Run(depth=layers, seed=seed, lr=0.4 - lr), other),
            ]
    cells = depths.growth_of_loss(table(rows))
    assert [cell.label for cell in cells] == ["plain SGD, depth 4 less 2", "shared, α = 1.75, depth 4 less 2"]
    assert [cell.value for cell in cells] == pytest.approx([0.2, 0.2])


def test_growth_counts_seeds_of_which_one_depth_failed_and_needs_two_depths():
    rows = [losing(2, 0.1, seed=seed) for seed in (1, 2, 3)] + [losing(4, 0.2, seed=seed) for seed in (1, 2)]
    (cell,) = depths.growth_of_loss(table([*rows, (Run(depth=4, seed=3), diverged())]))
    assert (cell.runs, cell.failed, cell.value) == (2, 1, pytest.approx(0.1))
    assert depths.growth_of_loss(table(rows[:3])) == []
    (cell,) = depths.growth_of_loss(table([*rows, losing(2, 0.1, seed=1, noise="shared")]))
    assert cell.label.startswith("plain")  # a noise at one depth is not compared


def test_accuracy_lost_is_before_less_after():
    run, numbers = losing(2, 0.25, seed=1)
    assert list(depths.accuracy_lost(table([(run, numbers), (replace(run, seed=2), diverged())])))[:1] == [
        pytest.approx(0.25)
    ]
